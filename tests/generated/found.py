"""Cases that were found broken, each in its smallest form and with its own test; and the kinds of fault still open."""

from __future__ import annotations

from dataclasses import dataclass

from tests.generated.shapes import Alone, Case, Dag, Group, Person, Task
from tests.generated.wire import Trouble


@dataclass(frozen=True)
class Found:
    """A case, the kind of fault that it showed, and why that is still so; `open` None: it is mended."""

    name: str
    kind: str
    case: Case
    open: str | None = None


def _inside(*tasks: Task | Group, runs: tuple[int, ...] = (0,), past: bool = False) -> Case:
    return Case(dags=(Dag(parts=(Group(tasks=tasks),), runs=runs, past=past),))


def _beside(task: Task) -> Case:
    """A task that skips what is behind it, and one that works on."""
    return Case(dags=(Dag(parts=(Group(tasks=(task, Task(seconds=900)), parallel=True),)),))


def _after(task: Task) -> Alone:
    """A task that comes when the endpoint has answered, beside who uses it."""
    return Alone(tasks=(task,))


FOUND = (
    Found("branch_that_picks_nothing", "left running", _inside(Task(kind="branch", picks="nothing"), Task())),
    Found("branch_that_picks_outside", "left running", _inside(Task(kind="branch", picks="outside"), Task())),
    Found("branch_alone", "left running", _inside(Task(kind="branch", picks="nothing"))),
    Found("latest_only", "left running", _inside(Task(kind="latest only"), runs=(0, 4000))),
    Found("branch_beside_work", "stopped under others", _beside(Task(kind="branch", picks="nothing"))),
    Found("branch_outside_beside_work", "stopped under others", _beside(Task(kind="branch", picks="outside"))),
    Found("short_circuit_beside_work", "stopped under others", _beside(Task(kind="short circuit", picks="nothing"))),
    Found("skips_beside_work", "stopped under its own work", _beside(Task(kind="skips", picks="nothing"))),
    Found(
        "skips_a_stop_of_its_own",
        "left running",
        Case(dags=(Dag(parts=(Alone(create=False, tasks=(Task(), Task(kind="skips", picks="nothing"))),)),)),
    ),
    # A person ends the run: both uses are released while the process of a task has not heard of it.
    Found(
        "run_marked_failed_under_two_uses",
        "stopped under others",
        Case(
            dags=(
                Dag(
                    parts=(
                        Group(name="other", tasks=(Task(kind="short circuit"), Task())),
                        Group(name="other"),
                    ),
                    parallel=True,
                ),
            ),
            people=(Person(state="deferred", after=0.05), Person(deed="fail run", task=4, after=0.05)),
        ),
    ),
    # The second of two triggered runs waits for the first, which has failed; its starter waits, and nothing runs.
    Found(
        "triggered_run_that_is_held_back",
        "endless",
        Case(
            dags=(
                Dag(parts=(Group(tasks=(Task(),)), Task(kind="trigger dag", endpoint="b")), runs=(0, 0)),
                Dag(dag_id="b", parts=(Alone(create=False, deferrable=False, tasks=()),), past=True, runs=()),
            )
        ),
    ),
    # The run begins again when it is cleared, and its cost with it.
    Found(
        "release_cleared_after_the_run",
        "cost",
        Case(
            dags=(Dag(parts=(Group(tasks=(Task(),)),)),),
            people=(Person(deed="clear", task=2, state="success", after=60),),
        ),
    ),
    # The release too: it is taken out of what Airflow is told to skip.
    Found("skips_everything", "left running", _inside(Task(kind="skips", picks="everything"), Task())),
    Found("skips_everything_beside_work", "left running", _beside(Task(kind="skips", picks="everything"))),
    Found(
        "skips_everything_in_a_use_inside",
        "left running",
        _inside(Task(), Group(name="other", tasks=(Task(kind="skips", picks="everything"), Task(seconds=900)))),
    ),
    Found(
        "skips_everything_and_another_use",
        "left running",
        Case(
            dags=(
                Dag(
                    parts=(
                        Group(tasks=(Task(kind="skips", picks="everything"),)),
                        Group(name="other", tasks=(Task(seconds=900),)),
                    )
                ),
            )
        ),
    ),
    Found(
        "skips_in_a_use_inside",
        "stopped under its own work",
        _inside(Group(name="other", tasks=(Task(kind="skips", picks="nothing"), Task(seconds=900)), parallel=True)),
    ),
    Found(
        "branch_in_a_use_inside",
        "left running",
        _inside(Task(), Group(name="other", tasks=(Task(kind="branch", picks="nothing"), Task(seconds=900)))),
    ),
    Found(
        "branch_in_a_mapped_use",
        "left running",
        Case(dags=(Dag(parts=(Group(tasks=(Task(kind="branch", picks="nothing"), Task()), mapped=2),)),)),
    ),
    Found(
        "depends_on_past",
        "started and never released: the run never ends",
        _inside(Task(past=True, ends=("fail",)), runs=(0, 4000)),
    ),
    Found(
        "depends_on_past_by_default",
        "started and never released: the run never ends",
        _inside(Task(ends=("fail",)), runs=(0, 4000), past=True),
    ),
    # Airflow fails such a run as soon as nothing else can run, and then no teardown runs.
    Found("work_that_never_runs", "left running", _inside(Task(), Task(over=True))),
    Found("work_that_never_runs_beside", "left running", _beside(Task(over=True))),
    # The same without a group: the pause waits for work that waits for the run before, or that never runs.
    Found(
        "depends_on_past_without_a_group",
        "started and never released: the run never ends",
        Case(dags=(Dag(parts=(Alone(tasks=(Task(past=True, ends=("fail",)),)),), runs=(0, 4000)),)),
    ),
    Found(
        "work_that_never_runs_without_a_group",
        "left running",
        Case(dags=(Dag(parts=(Alone(tasks=(Task(over=True),)),)),)),
    ),
    Found(
        "pause_beside_a_use",
        "stopped under others by a pause",
        Case(dags=(Dag(parts=(Group(tasks=(Task(seconds=900),)), Alone()), parallel=True),)),
    ),
    Found(
        "delete_beside_a_use",
        "stopped under others by a delete",
        Case(dags=(Dag(parts=(Group(tasks=(Task(seconds=900),)), _after(Task(kind="delete"))), parallel=True),)),
    ),
    Found(
        "release_waits_after_its_undo",
        "release waits too long",
        Case(
            dags=(Dag(parts=(Group(create=False, tasks=(Task(seconds=900),)),)),),
            people=(Person(deed="trigger", task=3, state="success", after=0.5),),
            seed=6,
        ),
    ),
    # Its process takes a lease all the same, and Airflow runs no release behind it.
    Found(
        "acquire_marked_failed_while_it_runs",
        "left running",
        Case(
            dags=(Dag(parts=(Group(create=False), Task(seconds=900)), parallel=True, runs=(0, 10)),),
            people=(Person(after=0.15),),
        ),
    ),
    # The simulation's own: a retry that is due in a DAG that is paused was looked for for ever.
    Found(
        "a_retry_is_due_in_a_paused_dag",
        "endless",
        Case(
            dags=(
                Dag(
                    parts=(
                        Group(tasks=(Task(kind="delete"),)),
                        Alone(create=False, tasks=(Task(kind="delete"),)),
                    ),
                    parallel=True,
                    runs=(313, 313),
                ),
            ),
            people=(Person(deed="pause dag", after=70.0),),
            troubles=(Trouble(what="429", after=316.0, seconds=10.0),),
            lag=5.0,
            found="scaledToZero",
            seed=340,
        ),
    ),
    # `endpoint["name"]` is an XCom of its own for Airflow.
    Found("a_key_of_the_endpoint", "failed without a reason", _inside(Task(keyed=True))),
    Found(
        "a_key_of_the_endpoint_of_a_mapped_group",
        "failed without a reason",
        Case(dags=(Dag(parts=(Group(create=False, tasks=(Task(keyed=True),), mapped=2),)),)),
    ),
    Found("created_and_not_seen_yet", "failed without a reason", Case(lag=2.0)),
    Found(
        "created_and_not_seen_yet_on_a_worker",
        "failed without a reason",
        Case(dags=(Dag(parts=(Group(deferrable=False),)),), lag=5.0),
    ),
    Found(
        "acquired_on_a_lagging_read",
        "left running",
        Case(
            dags=(Dag(parts=(Group(create=False),)),),
            people=(Person(deed="trigger", task=3, state="success", after=2.5),),
            lag=5.0,
            seed=10,
        ),
    ),
    Found(
        "deleted_by_the_other_run_while_its_cost_is_read",
        "cost",
        Case(
            dags=(Dag(parts=(Group(tasks=(Task(kind="scale to zero"),)),), runs=(150, 182)),),
            initializing=300,
            fails_to_start=True,
            leases="variables",
            seed=711,
        ),
    ),
    # Two false 404s in a row: the delete was taken for done, and its end was waited for while the endpoint ran.
    Found(
        "a_404_that_is_not_true_before_the_delete",
        "release waits too long",
        Case(
            dags=(Dag(parts=(Group(release="delete", tasks=(Task(kind="short circuit"),)),), runs=(84,)),),
            troubles=(Trouble(what="404", after=95.0, seconds=100.0, hits=2),),
            found="running",
        ),
    ),
    # A delete cannot be undone for a run that comes meanwhile: what is being deleted is refused to be resumed.
    Found(
        "acquired_while_it_is_deleted",
        "failed without a reason",
        Case(dags=(Dag(parts=(Group(create=False, release="delete"),), runs=(0, 146)),)),
    ),
    Found(
        "found_by_a_create_while_it_is_deleted",
        "failed without a reason",
        Case(dags=(Dag(parts=(Group(release="delete"),), runs=(0, 140)),)),
    ),
    # Refused by the start: Airflow skips a teardown directly behind a branch.
    Found(
        "teardown_behind_a_branch",
        "left running",
        Case(dags=(Dag(parts=(Alone(create=False, deferrable=False, tasks=(Task(kind="branch"),)),)),)),
    ),
    # Reads that say 404 for a minute: the request to delete was not sent, and the release was green.
    Found(
        "a_minute_of_404_at_a_release_that_deletes",
        "started and never released: the run never ends",
        Case(
            dags=(Dag(dag_id="b", parts=(Group(release="delete", tasks=(Task(kind="branch"),)),)),),
            troubles=(Trouble(what="404", after=22.0, seconds=60.0, hits=20),),
        ),
    ),
    # The harness's own: a person ends the run while its start sends the resume, and the start stops the endpoint when
    # it learns that, five seconds later; Airflow has called the run a success by then.
    Found(
        "a_run_that_is_ended_while_its_start_resumes",
        "green and running",
        Case(
            dags=(Dag(parts=(Alone(create=False, deferrable=False),)),),
            people=(Person(deed="fail run", after=0.05),),
        ),
    ),
    # The harness's own: the meter of an endpoint that another DAG deleted before this one created its own.
    Found(
        "a_deleted_namesake",
        "cost",
        Case(
            dags=(
                Dag(parts=(Alone(create=False, deferrable=False, tasks=(Task(kind="delete"),)),)),
                Dag(
                    dag_id="b",
                    parts=(
                        Alone(name="other", create=False, deferrable=False, tasks=()),
                        Group(tasks=(Task(kind="branch"),)),
                    ),
                ),
            ),
            initializing=300,
        ),
    ),
    # A stand-alone start that is ended before the first step of its trigger: its teardown was skipped, as of every
    # setup that has failed.
    Found(
        "ended_between_deferral_and_trigger",
        "left running",
        Case(dags=(Dag(parts=(Alone(),)),), people=(Person(state="deferred", after=0.0),)),
    ),
    # A name that was taken a moment ago could not be read yet: the create took the 409 for a quota.
    Found(
        "two_creates_of_one_name_while_reads_lag",
        "green and running",
        Case(
            dags=(
                Dag(
                    parts=(Alone(tasks=()), Alone(deferrable=False, tasks=(Task(kind="short circuit"),))),
                    fail_fast=True,
                ),
            ),
            lag=1.0,
        ),
    ),
    # What a start has woken from zero counted as started before; and the wait of a killed task woke it once more.
    *(
        Found(
            f"killed_start_of_{'a_created' if create else 'an'}_endpoint_at_zero",
            "left running",
            Case(
                dags=(Dag(parts=(Alone(create=create, deferrable=False, tasks=()),)),),
                people=(Person(after=0.05),),
                found="scaledToZero",
            ),
        )
        for create in (True, False)
    ),
)

# Kinds of fault that the cases above have shown; a search counts them and goes on behind them.
KNOWN = frozenset({each.kind for each in FOUND if each.open})
