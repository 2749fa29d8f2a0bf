"""What holds after every case, whatever was in it; each check says what it found broken, in words with values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.generated import tasks
from tests.generated.shapes import Alone, Group, Task
from tests.generated.sweeping import SWEEPS
from tests.generated.wanted import (
    BILLING,
    Fault,
    group_of,
    is_left_on_purpose,
    kind_of,
    name_of,
    names_in,
    parts_in,
    parts_of,
    state_at,
)

STOPPED = frozenset({"paused", "failed", "deleted"})
LONGEST_STOP = 300.0  # seconds that a release may take where the service answers
LONGEST_IDLE = 2 * 3600.0 + 300.0  # seconds: max_startup and max_idle, where nobody sees the end of the start
SLACK = 600.0  # seconds beyond a limit: boots, retries of requests, troubles of the service
COST_ERROR = 0.03  # of the meter
SMALL_COST = 0.004  # USD: a run begins some seconds before its first task does


def broken(played: Any, idle: bool) -> list[Fault]:
    """Every fault of a case that was played.

    :param played: the `_Play`
    :param idle: whether nothing was left to happen
    """
    checks = (
        _without_reason,
        _left_running,
        _stopped_under_others,
        _stopped_under_itself,
        _swept,
        *SWEEPS,
        _work_without,
        _idle,
        _twice,
        _green,
        _waits,
        _cost,
        _secrets,
        _rows,
    )
    found = [fault for check in checks for fault in check(played)]
    if not idle and not _waits_for_a_run(played):
        found.append(Fault("endless", f"something still goes on after {played.wire.requests} requests"))
    return found


def _waits_for_a_run(play: Any) -> bool:
    """What goes on is the user's own wait for a DAG run, which Airflow may hold back forever (`depends_on_past`)."""
    going = [attempt.task_id.rpartition(".")[2] for attempt in play.world.attempts if attempt.ended is None]
    return bool(going) and all(task_id.startswith("trigger") for task_id in going)


# ------------------------------------------------------------------------------------------- the checks


def _left_running(play: Any) -> Iterable[Fault]:
    """No endpoint that this provider started runs when no run wants it."""
    waiting = [run for run in play.world.tables.runs() if run.state in ("running", "queued")]
    for name in names_in(play):
        state = state_at(play, name, play.world.now)
        if state not in BILLING or is_left_on_purpose(play, name):
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
        mine = group_of(play, change.who)
        if mine is None:
            continue
        for use in tasks.USES:
            theirs = group_of(play, use.who)
            until = use.until or use.who.ended or play.world.now
            if use.name != change.name or theirs in (None, mine) or not use.since <= change.at < until:
                continue
            if _is_releasing(play, theirs, use.since, change.at):
                continue  # somebody has ended that work, and its process has not heard of it: see the next check
            words = f"{name_of(change.who)}: {change.action} {change.name} while {name_of(use.who)} works with it"
            yield Fault("stopped under others", words)


def _is_releasing(play: Any, group: Any, since: float, until: float) -> bool:
    """Whether the release of that use has begun between two moments."""
    attempts = (each for each in play.world.attempts if since <= each.began <= until and kind_of(each) == "release")
    return any(group_of(play, each) == group for each in attempts)


def _stopped_under_itself(play: Any) -> Iterable[Fault]:
    """No release comes while the work of its own use goes on, unless somebody has ended that work."""
    if any(person.deed != "trigger" for person in play.case.people) or any(
        dag.fail_fast or dag.timeout for dag in play.case.dags
    ):
        return
    for change in play.wire.changes:
        if change.who is None or kind_of(change.who) != "release" or change.status >= 300:
            continue
        mine = group_of(play, change.who)
        for use in tasks.USES:
            until = use.until or use.who.ended or play.world.now
            if use.name == change.name and group_of(play, use.who) == mine and use.since <= change.at < until:
                words = f"{name_of(change.who)}: {change.action} {change.name} while {name_of(use.who)} works with it"
                yield Fault("stopped under its own work", words)


def _idle(play: Any) -> Iterable[Fault]:
    """No endpoint that a deferrable group has started runs for hours before anything of the work has begun."""
    parts = list(parts_in(play))
    if play.case.found == "running" or play.case.troubles or not all(isinstance(each, Group) for each in parts):
        return
    for name in {part.name for part in parts if all(each.deferrable for each in parts if isinstance(each, Group))}:
        uses = [use.since for use in tasks.USES if use.name == name]
        history = [moment for moment in play._history(name) if moment["at"] >= play.began]
        began = next((moment["at"] for moment in history if moment["state"] == "running"), None)
        until = min([*uses, play.world.now])
        if began is None or is_left_on_purpose(play, name) or until - began <= LONGEST_IDLE:
            continue
        if state_at(play, name, began + LONGEST_IDLE) == "running":
            yield Fault("idle", f"endpoint {name} runs for {until - began:.0f} s before any work begins")


def _work_without(play: Any) -> Iterable[Fault]:
    """Work whose endpoint was started does not begin on one that somebody has stopped."""
    harmless = all(person.deed == "trigger" for person in play.case.people)
    if play.case.fails_to_start or play.case.troubles or not harmless or _stopped_by_a_task(play):
        return
    for use in tasks.USES:
        group = group_of(play, use.who)
        if group is None:
            continue
        start = play.world.tables.ti((group[0], group[1], f"{group[2]}.start", group[3]))
        watch = play.world.tables.ti((group[0], group[1], f"{group[2]}.watch", group[3]))
        if watch is not None and watch.state == "failed":
            continue  # the endpoint was let go because the work did not begin
        state = state_at(play, use.name, use.since)
        if start is not None and start.state == "success" and state in STOPPED:
            yield Fault("work on a stopped endpoint", f"{name_of(use.who)} begins while {use.name} is {state}")


def _stopped_by_a_task(play: Any) -> bool:
    """Whether a task of a user stops or deletes an endpoint, which is that user's own decision inside of a group."""
    return any(kind_of(change.who) in ("delete", "zero") for change in play.wire.changes if change.who is not None)


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
    parts = [*parts_in(play), *(part for dag in case.dags for part in dag.parts if isinstance(part, Task))]
    every = [each for part in parts for each in (part.tasks if isinstance(part, Group | Alone) else (part,))]
    plain = all(
        isinstance(each, Group)
        or (each.kind == "work" and set(each.ends) == {"ok"} and not each.rule and not each.limit and not each.over)
        for each in every
    )
    alone = any(isinstance(part, Alone) for part in parts)
    if not plain or alone or len({part.name for part in parts_in(play)}) < len(list(parts_in(play))):
        return
    failed = [ti for ti in play.world.tables.tis() if ti.state == "failed"]
    if any(isinstance(part, Group) and part.release == "delete" and not part.create for part in parts):
        # What one run has deleted, and no run creates, is a reason for another one's start.
        failed = [ti for ti in failed if ti.task_id.endswith("release")]
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
            yield Fault("rows of a batch", f"{name_of(attempt)} succeeds, and its output has the rows {found}")


def _swept(play: Any) -> Iterable[Fault]:
    """Sweepers and tasks outside of groups leave alone what a group works with; see `_stopped_under_others`."""
    for change in play.wire.changes:
        about_it = change.who is not None and change.status < 300 and change.state in BILLING
        if not about_it or kind_of(change.who) not in ("sweep", "update", "delete", "zero", "pause"):
            continue
        mine = group_of(play, change.who)
        for use in tasks.USES:
            group = group_of(play, use.who)
            until = use.until or use.who.ended or play.world.now
            if use.name == change.name and group not in (None, mine) and use.since <= change.at < until:
                words = f"{name_of(change.who)}: {change.action} {change.name} while {name_of(use.who)} works with it"
                yield Fault(f"stopped under others by a {kind_of(change.who)}", words)


def _twice(play: Any) -> Iterable[Fault]:
    """Each action is sent at most once per cause."""
    last: dict[tuple[int, str], Any] = {}
    for change in play.wire.changes:
        if change.who is None:
            continue
        before = last.get((id(change.who), change.name))
        if before is not None and before.action == change.action and before.answered and before.status < 300:
            yield Fault("sent twice", f"{name_of(change.who)}: {change.action} {change.name} after it was answered")
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
        at = max([at, *_still_going(play, at)])
        for name in sorted({part.name for part in parts_of(shape)}):
            state = state_at(play, name, at)
            if state in BILLING and not is_left_on_purpose(play, name):
                yield Fault("green and running", f"run {run.dag_id}/{run.run_id} is green while {name} is {state}")


def _still_going(play: Any, at: float) -> list[float]:
    """When the processes end that ended runs have left: each learns at its next heartbeat that its run is over."""
    attempts = play.world.attempts
    return [each.ended for each in attempts if each.ended is not None and each.began <= at < each.ended]


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
            words = f"{name_of(attempt)} takes {until - attempt.began:.0f} s; at most {limit:.0f} s are plausible"
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
