"""Which tasks use an endpoint of a played case, and which want it to stay as it is. The invariants need both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.generated.shapes import Alone, Group, Task

BILLING = frozenset({"pending", "initializing", "running", "updating", "updateFailed"})
QUIET = 1200.0  # seconds without a use, after which a sweeper stops what is left over, and some more


@dataclass(frozen=True)
class Fault:
    """Something broken; `kind` is the same for what is broken in the same way."""

    kind: str
    words: str


def names_in(play: Any) -> list[str]:
    return sorted({part.name for part in parts_in(play)})


def parts_in(play: Any) -> Iterator[Group | Alone]:
    for dag in play.case.dags:
        yield from parts_of(dag)


def parts_of(dag: Any) -> Iterator[Group | Alone]:
    for part in dag.parts:
        if isinstance(part, Group | Alone):
            yield part
            yield from (each for each in part.tasks if isinstance(each, Group))


_CALLING = ("sensor", "call", "batch")  # kinds of tasks that send requests to their endpoint


def is_left_on_purpose(play: Any, name: str) -> bool:
    """Whether a DAG, or a person, says that the endpoint is to stay as it is."""
    if play.case.found == "running":
        return True
    if play.case.found == "scaledToZero" and _is_woken_outside(play, name):
        return True  # by its user: where that is before a group looks, the group finds it running
    for part in parts_in(play):
        if part.name == name and (
            (isinstance(part, Group) and part.release == "keep") or (isinstance(part, Alone) and not part.teardown)
        ):
            return True
    if play.world.timed_out and not is_swept_at_the_end(play):
        return True  # Airflow runs no teardown then, and only a sweeper is left
    return any(_ends_a_release(play, person) for person in play.case.people if person not in play.left)


def lost_starts(play: Any, name: str) -> list[Any]:
    """The stand-alone starts of an endpoint that were ended between their deferral and the first step of their trigger.

    Nothing of ours runs in that moment: what stops the endpoint behind them has to find out.
    """
    return [
        attempt
        for attempt in play.world.triggerer.never_began
        if "." not in attempt.task_id and kind_of(attempt) == "start" and _endpoint_of(play, attempt) == name
    ]


def _endpoint_of(play: Any, attempt: Any) -> str:
    task = play.world.dags[attempt.dag_id].get_task(attempt.task_id)
    return str(getattr(task, "name", None) or task.endpoint)


def _is_woken_outside(play: Any, name: str) -> bool:
    """Whether a task that belongs to no group sends requests, which wake what is scaled to zero."""
    return any(
        isinstance(part, Task)
        and part.kind in _CALLING
        and part.endpoint == name
        # With no group before it, there is nothing that the task could take.
        and not (part.takes and any(isinstance(each, Group) for each in dag.parts[:number]))
        for dag in play.case.dags
        for number, part in enumerate(dag.parts)
    )


def _ends_a_release(play: Any, person: Any) -> bool:
    """A person who ends a release has the endpoint; a process that dies has not."""
    if person.deed not in ("fail", "succeed", "fail run", "succeed run", "pause dag"):
        return False
    if person.deed == "pause dag":
        return True
    dag = play.dags[person.dag % len(play.dags)]
    ids = [task.task_id for task in dag.tasks if not task.inherits_from_empty_operator]
    task_id = ids[person.task % len(ids)]
    return person.deed not in ("fail run", "succeed run") and ("release" in task_id or "pause" in task_id)


def state_at(play: Any, name: str, at: float) -> str | None:
    state = None
    for moment in play._history(name):
        if moment["at"] <= at:
            state = moment["state"]
    return state


def group_of(play: Any, attempt: Any) -> tuple[str, str, str, int] | None:
    """Who holds the lease that the attempt belongs to; None where it takes no endpoint of a group."""
    task = play.world.dags[attempt.dag_id].get_task(attempt.task_id)
    if "." not in attempt.task_id:
        taken = [each for each in task.upstream_task_ids if each.endswith(".start")]
        return (attempt.dag_id, attempt.run_id, taken[0].rpartition(".")[0], -1) if taken else None
    mapped = task.get_closest_mapped_task_group() is not None
    return (attempt.dag_id, attempt.run_id, attempt.task_id.rpartition(".")[0], attempt.map_index if mapped else -1)


def name_of(attempt: Any) -> str:
    return str(attempt)


def kind_of(attempt: Any) -> str:
    return str(attempt.task_id.rpartition(".")[2].rstrip("0123456789"))


def is_swept_at_the_end(play: Any) -> bool:
    """Whether a sweeper has looked when all runs were long over."""
    runs = [
        run.end_date.timestamp() if run.end_date else play.world.now
        for run in play.world.tables.runs()
        if run.dag_id != "sweeper"
    ]
    last = max(
        (each.began for each in play.world.attempts if each.dag_id == "sweeper" and each.end == "success"), default=0.0
    )
    return last > max(runs, default=0.0) + QUIET and not play.case.troubles and not play.case.kept
