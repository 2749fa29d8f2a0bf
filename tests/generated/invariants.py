"""What holds after every case, whatever was in it; each check says what it found broken, in words with values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.generated import tasks
from tests.generated.shapes import Alone, Group, Task

BILLING = frozenset({"pending", "initializing", "running", "updating", "updateFailed"})
STOPPED = frozenset({"paused", "failed", "deleted"})
LONGEST_STOP = 300.0  # seconds that a release may take where the service answers
LONGEST_IDLE = 2 * 3600.0 + 300.0  # seconds: max_startup and max_idle, where nobody sees the end of the start
QUIET = 1200.0  # seconds without a use, after which a sweeper stops what is left over, and some more
SLACK = 600.0  # seconds beyond a limit: boots, retries of requests, troubles of the service
COST_ERROR = 0.03  # of the meter
SMALL_COST = 0.004  # USD: a run begins some seconds before its first task does


@dataclass(frozen=True)
class Fault:
    """Something broken; `kind` is the same for what is broken in the same way."""

    kind: str
    words: str


def broken(played: Any, idle: bool) -> list[Fault]:
    """Every fault of a case that was played.

    :param played: the `_Play`
    :param idle: whether nothing was left to happen
    """
    checks = (
        _without_reason,
        _left_running,
        _stopped_under_others,
        _swept,
        _kept,
        _stays_swept,
        _resumed_for_nobody,
        _work_without,
        _idle,
        _twice,
        _green,
        _waits,
        _cost,
        _secrets,
    )
    found = [fault for check in checks for fault in check(played)]
    if not idle:
        found.append(Fault("endless", f"something still goes on after {played.wire.requests} requests"))
    return found


# ------------------------------------------------------------------------------------------- who wants what


def _names(play: Any) -> list[str]:
    return sorted({part.name for part in _parts(play)})


def _parts(play: Any) -> Iterator[Group | Alone]:
    for dag in play.case.dags:
        yield from _parts_of(dag)


def _parts_of(dag: Any) -> Iterator[Group | Alone]:
    for part in dag.parts:
        if isinstance(part, Group | Alone):
            yield part
            yield from (each for each in part.tasks if isinstance(each, Group))


def _is_left_on_purpose(play: Any, name: str) -> bool:
    """Whether a DAG, or a person, says that the endpoint is to stay as it is."""
    if play.case.found == "running":
        return True
    for part in _parts(play):
        if part.name == name and (
            (isinstance(part, Group) and part.release == "keep") or (isinstance(part, Alone) and not part.teardown)
        ):
            return True
    if play.world.timed_out and not _is_swept_at_the_end(play):
        return True  # Airflow runs no teardown then, and only a sweeper is left
    return any(_ends_a_release(play, person) for person in play.case.people if person not in play.left)


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


def _state_at(play: Any, name: str, at: float) -> str | None:
    state = None
    for moment in play._history(name):
        if moment["at"] <= at:
            state = moment["state"]
    return state


def _group_of(play: Any, attempt: Any) -> tuple[str, str, str, int] | None:
    """Who holds the lease that the attempt belongs to; None where it takes no endpoint of a group."""
    task = play.world.dags[attempt.dag_id].get_task(attempt.task_id)
    if "." not in attempt.task_id:
        taken = [each for each in task.upstream_task_ids if each.endswith(".start")]
        return (attempt.dag_id, attempt.run_id, taken[0].rpartition(".")[0], -1) if taken else None
    mapped = task.get_closest_mapped_task_group() is not None
    return (attempt.dag_id, attempt.run_id, attempt.task_id.rpartition(".")[0], attempt.map_index if mapped else -1)


def _who(attempt: Any) -> str:
    return str(attempt)


# ------------------------------------------------------------------------------------------- the checks


def _left_running(play: Any) -> Iterable[Fault]:
    """No endpoint that this provider started runs when no run wants it."""
    waiting = [run for run in play.world.tables.runs() if run.state in ("running", "queued")]
    for name in _names(play):
        state = _state_at(play, name, play.world.now)
        if state not in BILLING or _is_left_on_purpose(play, name):
            continue
        if waiting:
            left = {
                ti.task_id: str(ti.state) for ti in play.world.tables.tis() if ti.state not in ("success", "failed")
            }
            words = f"endpoint {name} is {state}, and runs that nothing ever ends keep it so; tasks: {left}"
            yield Fault("started and never released: the run never ends", words)
        else:
            runs = {f"{run.dag_id}/{run.run_id}": str(run.state) for run in play.world.tables.runs()}
            releases = {
                f"{ti.run_id}/{ti.task_id}": str(ti.state)
                for ti in play.world.tables.tis()
                if ti.task_id.endswith("release") or "pause" in ti.task_id
            }
            yield Fault("left running", f"endpoint {name} is {state}; all runs are over: {runs}, releases: {releases}")


def _stopped_under_others(play: Any) -> Iterable[Fault]:
    """None is stopped, updated or deleted while somebody else works with it."""
    for change in play.wire.changes:
        stops = change.action in ("pause", "scale-to-zero", "delete", "update") and change.status < 300
        if not stops or change.who is None or change.state not in BILLING:
            continue
        mine = _group_of(play, change.who)
        if mine is None:
            continue
        for use in tasks.USES:
            theirs = _group_of(play, use.who)
            until = use.until or use.who.ended or play.world.now
            if use.name != change.name or theirs in (None, mine) or not use.since <= change.at < until:
                continue
            words = f"{_who(change.who)}: {change.action} {change.name} while {_who(use.who)} works with it"
            yield Fault("stopped under others", words)


def _idle(play: Any) -> Iterable[Fault]:
    """No endpoint that a deferrable group has started runs for hours before anything of the work has begun."""
    parts = list(_parts(play))
    if play.case.found == "running" or play.case.troubles or not all(isinstance(each, Group) for each in parts):
        return
    for name in {part.name for part in parts if all(each.deferrable for each in parts if isinstance(each, Group))}:
        uses = [use.since for use in tasks.USES if use.name == name]
        began = next((moment["at"] for moment in play._history(name) if moment["state"] == "running"), None)
        until = min([*uses, play.world.now])
        if began is None or _is_left_on_purpose(play, name) or until - began <= LONGEST_IDLE:
            continue
        if _state_at(play, name, began + LONGEST_IDLE) == "running":
            yield Fault("idle", f"endpoint {name} runs for {until - began:.0f} s before any work begins")


def _work_without(play: Any) -> Iterable[Fault]:
    """Work whose endpoint was started does not begin on one that somebody has stopped."""
    harmless = all(person.deed == "trigger" for person in play.case.people)
    if play.case.fails_to_start or play.case.troubles or not harmless or _stopped_by_a_task(play):
        return
    for use in tasks.USES:
        group = _group_of(play, use.who)
        if group is None:
            continue
        start = play.world.tables.ti((group[0], group[1], f"{group[2]}.start", group[3]))
        watch = play.world.tables.ti((group[0], group[1], f"{group[2]}.watch", group[3]))
        if watch is not None and watch.state == "failed":
            continue  # the endpoint was let go because the work did not begin
        state = _state_at(play, use.name, use.since)
        if start is not None and start.state == "success" and state in STOPPED:
            yield Fault("work on a stopped endpoint", f"{_who(use.who)} begins while {use.name} is {state}")


def _stopped_by_a_task(play: Any) -> bool:
    """Whether a task of a user stops or deletes an endpoint, which is that user's own decision inside of a group."""
    return any(_kind_of(change.who) in ("delete", "zero") for change in play.wire.changes if change.who is not None)


def _without_reason(play: Any) -> Iterable[Fault]:
    """Where nothing goes wrong but that reads lag and starts are slow, a run succeeds."""
    case = play.case
    if (
        any(person.deed != "trigger" for person in case.people)
        or case.troubles
        or case.fails_to_start
        or case.found == "scaledToZero"
    ):
        return
    parts = [*_parts(play), *(part for dag in case.dags for part in dag.parts if isinstance(part, Task))]
    every = [each for part in parts for each in (part.tasks if isinstance(part, Group | Alone) else (part,))]
    plain = all(
        isinstance(each, Group)
        or (each.kind == "work" and set(each.ends) == {"ok"} and not each.rule and not each.limit and not each.over)
        for each in every
    )
    alone = any(isinstance(part, Alone) for part in parts)
    if not plain or alone or len({part.name for part in _parts(play)}) < len(list(_parts(play))):
        return
    failed = [ti for ti in play.world.tables.tis() if ti.state == "failed"]
    if any(ti.task_id.endswith(".watch") for ti in failed):
        return  # the work was held back for longer than max_idle
    for ti in failed:
        last = next((line for line in reversed(play.world.said) if line.startswith("task runner:")), "")
        yield Fault("failed without a reason", f"{ti.dag_id}/{ti.run_id}/{ti.task_id} failed: {last[-300:]}")


def _rows(play: Any) -> Iterable[Fault]:
    """A batch that succeeds has written each row of its input once, and in its order."""
    for attempt in play.world.attempts:
        name = attempt.task_id.rpartition(".")[2]
        if not name.startswith("batch") or attempt.end != "success":
            continue
        path = play.folder / f"out-{name}-{attempt.run_id}.jsonl"
        found = [json.loads(line)["index"] for line in path.read_text().splitlines()] if path.exists() else []
        if found != list(range(tasks.ROWS)):
            yield Fault("rows of a batch", f"{_who(attempt)} succeeds, and its output has the rows {found}")


def _swept(play: Any) -> Iterable[Fault]:
    """Sweepers and tasks outside of groups leave alone what a group works with; see `_stopped_under_others`."""
    for change in play.wire.changes:
        about_it = change.who is not None and change.status < 300 and change.state in BILLING
        if not about_it or _kind_of(change.who) not in ("sweep", "update", "delete", "zero", "pause"):
            continue
        mine = _group_of(play, change.who)
        for use in tasks.USES:
            group = _group_of(play, use.who)
            until = use.until or use.who.ended or play.world.now
            if use.name == change.name and group not in (None, mine) and use.since <= change.at < until:
                words = f"{_who(change.who)}: {change.action} {change.name} while {_who(use.who)} works with it"
                yield Fault(f"stopped under others by a {_kind_of(change.who)}", words)


def _kept(play: Any) -> Iterable[Fault]:
    """A sweeper leaves alone what a person keeps, and what every DAG that uses it means to keep."""
    for change in _sweeps(play):
        by_dags = all(
            isinstance(part, Group) and part.release == "keep" for part in _parts(play) if part.name == change.name
        )
        if change.name in play.case.kept or by_dags:
            yield Fault("swept although kept", f"{_who(change.who)}: {change.action} {change.name}")


def _stays_swept(play: Any) -> Iterable[Fault]:
    """What is swept stays stopped until somebody starts it."""
    for change in _sweeps(play):
        started = [
            each.at for each in play.wire.changes if each.name == change.name and each.at >= change.at and _starts(each)
        ]
        until = min(started, default=play.world.now)
        for moment in play._history(change.name):
            if change.action == "pause" and change.at < moment["at"] < until and moment["state"] in BILLING:
                words = f"{change.name} is {moment['state']} {moment['at'] - change.at:.0f} s after {_who(change.who)}"
                yield Fault("runs again after a sweep", words)


def _resumed_for_nobody(play: Any) -> Iterable[Fault]:
    """What is stopped at the end of a use is resumed only where somebody else has begun to use it."""
    for change in play.wire.changes:
        ends = change.who is not None and _kind_of(change.who) in ("release", "watch", "sweep")
        if not ends or change.action != "resume" or change.status >= 300:
            continue
        if not any(_is_in_use(play, each, change) for each in play.world.attempts):
            yield Fault("resumed for nobody", f"{_who(change.who)} resumes {change.name}, which nobody uses")


def _is_in_use(play: Any, acquire: Any, change: Any) -> bool:
    """Whether that attempt has acquired the endpoint for somebody else, and its release has not ended."""
    if not acquire.task_id.endswith(".acquire") or acquire.began > change.at:
        return False
    task = play.world.dags[acquire.dag_id].get_task(acquire.task_id)
    if task.endpoint != change.name or _group_of(play, acquire) == _group_of(play, change.who):
        return False
    release = f"{acquire.task_id.removesuffix('acquire')}release"
    place = (acquire.dag_id, acquire.run_id, release, acquire.map_index)
    ended = [each.ended for each in play.world.attempts if each.place == place and each.end == "success"]
    return not any(each is not None and acquire.began < each < change.at for each in ended)


def _sweeps(play: Any) -> list[Any]:
    """What sweepers have stopped."""
    stops = ("pause", "scale-to-zero", "delete")
    return [
        each
        for each in play.wire.changes
        if each.who is not None and _kind_of(each.who) == "sweep" and each.action in stops and each.status < 300
    ]


def _starts(change: Any) -> bool:
    return change.action in ("create", "resume", "update") and change.status < 300


def _is_swept_at_the_end(play: Any) -> bool:
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


def _kind_of(attempt: Any) -> str:
    return str(attempt.task_id.rpartition(".")[2].rstrip("0123456789"))


def _twice(play: Any) -> Iterable[Fault]:
    """Each action is sent at most once per cause."""
    last: dict[tuple[int, str], Any] = {}
    for change in play.wire.changes:
        if change.who is None:
            continue
        before = last.get((id(change.who), change.name))
        if before is not None and before.action == change.action and before.answered and before.status < 300:
            yield Fault("sent twice", f"{_who(change.who)}: {change.action} {change.name} after it was answered")
        last[(id(change.who), change.name)] = change


def _green(play: Any) -> Iterable[Fault]:
    """No run is green whose endpoint could not be released."""
    runs = play.world.tables.runs()
    for run in runs:
        if run.state != "success" or run.end_date is None:
            continue
        at = run.end_date.timestamp()
        others = [each for each in runs if each is not run and each.state != "queued"]
        if any(each.start_date and each.start_date.timestamp() <= at and _goes_on(each, at) for each in others):
            continue
        (shape,) = (each for each in play.case.dags if each.dag_id == run.dag_id)
        for name in sorted({part.name for part in _parts_of(shape)}):
            state = _state_at(play, name, at)
            if state in BILLING and not _is_left_on_purpose(play, name):
                yield Fault("green and running", f"run {run.dag_id}/{run.run_id} is green while {name} is {state}")


def _goes_on(run: Any, at: float) -> bool:
    return run.end_date is None or run.end_date.timestamp() > at


def _waits(play: Any) -> Iterable[Fault]:
    """Nothing waits past its limits."""
    slack = SLACK if play.case.troubles or play.case.people[1:] else 0.0
    longest = max((trouble.after + trouble.seconds for trouble in play.case.troubles), default=0.0)
    attempts = play.world.attempts
    for number, attempt in enumerate(attempts):
        last = attempt.task_id.rpartition(".")[2]
        if attempt.dag_id in play.world.paused:
            continue  # what Airflow does not schedule does not go on
        if last not in ("acquire", "start", "release") and not last.startswith("pause"):
            continue
        until = attempt.ended or play.world.now
        if attempt.end == "deferred":
            later = [each for each in attempts[number + 1 :] if each.place == attempt.place]
            until = later[0].began if later else until
        limit = 3600.0 + SLACK if last == "start" else LONGEST_STOP + slack
        if until - attempt.began > limit + longest:
            words = f"{_who(attempt)} takes {until - attempt.began:.0f} s; at most {limit:.0f} s are plausible"
            yield Fault(f"{last.rstrip('0123456789')} waits too long", words)


def _cost(play: Any) -> Iterable[Fault]:
    """The reported cost is that of the meter, within 3 %."""
    for who, reported, metered in play.costs:
        if abs(reported - metered) > max(COST_ERROR * metered, SMALL_COST):
            yield Fault("cost", f"{who} reports {reported:.4f} USD, the meter says {metered:.4f}")


def _secrets(play: Any) -> Iterable[Fault]:
    """No secret is anywhere that a person, or a database dump, shows."""
    world = play.world
    places = {
        "XCom": str(world.memory.xcoms),
        "rendered fields, kwargs and events": str(world.memory.rendered),
        "variables": str(world.memory.variables),
        "serialized DAGs": str(world.stored),
        "logs": "\n".join(world.said),
    }
    for secret in ("hf_canaryOfTheToken", "canary-of-the-endpoint"):
        for place, text in places.items():
            if secret in text:
                at = text.index(secret)
                yield Fault(f"secret in {place}", f"{secret!r} in {place}: …{text[max(0, at - 200) : at + 60]}…")
