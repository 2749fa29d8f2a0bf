"""The simulation itself: it adds no fault, plays a case again as before, and leaves out nothing that decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.generated.play import play
from tests.generated.shapes import Alone, Case, Dag, Deed, Group, Person, Task
from tests.generated.strategies import cases
from tests.generated.written import read


def test_a_plain_case_breaks_nothing() -> None:
    """One group, one run, one create, one pause."""
    played = play(Case())
    assert ([], {"success": 1}, {"create": 1, "pause": 1}) == (played.faults, played.runs, played.actions)


@pytest.mark.parametrize("mapped", [0, 2])
def test_a_group_leaves_the_xcoms_that_are_documented_and_asks_for_no_other(mapped: int) -> None:
    """Airflow logs an error for an XCom that is asked for and not there: a new user's first log would begin with it."""
    played = play(Case(dags=(Dag(parts=(Group(mapped=mapped),)),)))
    assert [] == played.missed
    page = (Path(__file__).parents[2] / "docs/reference/xcoms.md").read_text()
    documented = {line.split("`")[1]: line.split("|")[2] for line in page.splitlines() if line.startswith("| `")}
    for task in ("acquire", "start", "release"):
        assert played.xcoms[task] <= {key for key, tasks in documented.items() if task in tasks}, task
    assert {"return_value"} == played.xcoms["acquire"]


def test_an_acquire_that_is_cleared_asks_for_no_xcom_that_is_not_there() -> None:
    """While the start has left none: neither has a retry of `acquire` an error in its log."""
    played = play(Case(people=(Person(deed="clear", state="success", after=0.05),)))
    assert [] == played.missed


def test_the_same_case_plays_the_same() -> None:
    """A seed is enough to see a case again: every attempt, action and state at the same moment."""
    case = Case(dags=(Dag(parts=(Group(tasks=(Task(), Task(mapped=2))),), runs=(0, 30)),), seed=3)
    assert play(case, story=True).story == play(case, story=True).story


def test_a_task_that_is_cleared_between_two_loops_is_scheduled_again() -> None:
    """A mapped task ends and is cleared before the scheduler looks: the run goes on, as in Airflow's own loop."""
    dag = Dag(parts=(Group(release="scale_to_zero", mapped=2),))
    case = Case(dags=(dag,), people=(Person(deed="clear", state="success", after=0.05),), found="running", seed=4)
    played = play(case, story=True)
    assert {"success": 1} == played.runs
    assert play(case, story=True, everything=True).story == played.story


def test_a_mapped_task_waits_for_every_index_of_the_one_before() -> None:
    """Outside of a mapped group an index does not look at its own index alone, and is asked about when another ends."""
    case = Case(dags=(Dag(parts=(Group(tasks=(Task(mapped=2), Task(mapped=2))),)),))
    played = play(case, story=True)
    assert {"success": 1} == played.runs
    assert play(case, story=True, everything=True).story == played.story


def test_a_run_is_not_judged_while_another_ended_run_still_stops_its_start() -> None:
    """`fail_fast` ends a run at once; the process of its start learns that some seconds later, and then stops."""
    one = Dag(parts=(Alone(create=False, deferrable=False, tasks=(Task(kind="branch"),)),), fail_fast=True)
    start = Alone(create=False, deferrable=False, tasks=())
    other = Dag("b", parts=(start, Task(kind="call", takes=True)), parallel=True, fail_fast=True)
    assert [] == play(Case(dags=(one, other))).faults


def test_a_release_does_not_report_what_was_deleted_before_its_group_began() -> None:
    """Two groups of one run, one after the other, on one name: what deleted the first endpoint reports its cost."""
    first, second = Group("other", tasks=(Task(), Task(kind="delete"))), Group("other", tasks=(Task(kind="branch"),))
    assert [] == play(Case(dags=(Dag(parts=(Group(tasks=(first, second)),)),), loading=90)).faults


def test_what_a_task_before_its_group_has_woken_is_left_to_its_user() -> None:
    """The task stands before the group whose endpoint it would take, so that it names the endpoint itself."""
    dag = Dag(parts=(Task(kind="call", takes=True), Group(tasks=(Task(kind="branch"),))))
    assert [] == play(Case(dags=(dag,), found="scaledToZero")).faults


@pytest.mark.parametrize("deed", ["clear", "fail run", "succeed run"])
def test_what_a_person_does_leaves_the_dag_that_the_scheduler_has_as_it_is(deed: Deed) -> None:
    """Airflow 3.3 takes the groups inside of a mapped one out of a DAG when a task of it is cleared."""
    dag = Dag(parts=(Group(tasks=(Group(),), mapped=2),))
    case = Case(dags=(dag,), people=(Person(deed=deed, task=0, after=0.05), Person(deed="clear", after=0.5)))
    assert [] == play(case).faults


@seed(11)
@settings(
    max_examples=6,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)
@given(cases())
def test_what_is_not_asked_decides_nothing(case: Case) -> None:
    """A case goes as it goes where Airflow is asked about every task in every loop, as its own scheduler does."""
    assert play(case, story=True, everything=True).story == play(case, story=True).story, read(case)
