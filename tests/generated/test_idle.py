"""Work that Airflow's own limits delay: the endpoint is released after `max_idle`, and the run fails."""

from __future__ import annotations

import re

import pytest

from tests.generated.play import play
from tests.generated.shapes import Case, Dag, Group, Person, Task
from tests.generated.written import read

LONG = 2 * 86400  # seconds
BLOCKED = Group(create=False, tasks=(Task(pool=True),))
PLAIN = Group(create=False, tasks=(Task(),))
HELD_BACK = {
    "full pool": Case(
        dags=(Dag(dag_id="a", parts=(Task(pool=True, seconds=LONG),)), Dag(dag_id="b", parts=(BLOCKED,)))
    ),
    "full pool, mapped group": Case(
        dags=(
            Dag(dag_id="a", parts=(Task(pool=True, seconds=LONG),)),
            Dag(dag_id="b", parts=(Group(create=False, tasks=(Task(pool=True),), mapped=2),)),
        )
    ),
    # The start is deferred when the other task takes the one slot: not even its end is seen.
    "max_active_tasks": Case(
        dags=(Dag(parts=(PLAIN, Task(seconds=LONG)), parallel=True, max_active_tasks=1),), initializing=300
    ),
    "DAG paused while the start waits": Case(
        dags=(Dag(parts=(PLAIN,)),), people=(Person(deed="pause dag", task=1, state="deferred"),)
    ),
}


@pytest.mark.parametrize("case", HELD_BACK.values(), ids=HELD_BACK)
def test_an_endpoint_whose_work_is_held_back_is_let_go(case: Case) -> None:
    """By the watch, which needs no slot of what is full; not before an hour has passed, and not hours later."""
    played = play(case, story=True)
    paused = [re.match(r"\s*([\d.]+)     pause demo .* by \w+/run0/group1.watch", line) for line in played.story]
    moments = [float(found[1]) for found in paused if found]
    assert moments, (read(case), played.story)
    assert 3600 <= max(moments) <= 2 * 3600 + 300
    assert [] == [fault for fault in played.faults if fault.kind in ("idle", "left running", "sent twice")]
    assert any(line.endswith("watch: failed") for line in played.story)


@pytest.mark.parametrize(
    "case",
    [
        Case(dags=(Dag(parts=(PLAIN,)),), initializing=1800),
        Case(dags=(Dag(parts=(Group(create=False, tasks=(Task(ends=("skip",)), Task(rule="one_failed"))),)),)),
        Case(dags=(Dag(parts=(Group(create=True),)),), fails_to_start=True),
        Case(dags=(Dag(parts=(Group(tasks=(Group(name="other"), Task())),)),)),
        Case(dags=(Dag(parts=(PLAIN,)),), people=(Person(deed="clear", task=3, state="success"),)),
    ],
)
def test_the_watch_ends_with_the_first_task_that_begins_or_never_will(case: Case) -> None:
    """It touches nothing, and the run ends as it would without it."""
    played = play(case, story=True)
    assert [] == [line for line in played.story if "by a/run0" in line and "watch" in line]
    watches = [line for line in played.story if re.search(r"watch: ", line)]
    assert watches
    assert [] == [line for line in watches if not line.endswith("success")]
    assert [] == played.faults, read(case)
