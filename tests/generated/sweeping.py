"""What holds for sweepers, and tasks that undo a stop: a kept endpoint is not touched, a stopped one stays stopped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.generated.shapes import Group
from tests.generated.wanted import BILLING, Fault, group_of, kind_of, name_of, parts_in


def _kept(play: Any) -> Iterable[Fault]:
    """A sweeper leaves alone what a person keeps, and what every DAG that uses it means to keep."""
    for change in _sweeps(play):
        by_dags = all(
            isinstance(part, Group) and part.release == "keep" for part in parts_in(play) if part.name == change.name
        )
        if change.name in play.case.kept or by_dags:
            yield Fault("swept although kept", f"{name_of(change.who)}: {change.action} {change.name}")


def _stays_swept(play: Any) -> Iterable[Fault]:
    """What is swept stays stopped until somebody starts it."""
    for change in _sweeps(play):
        started = [
            each.at for each in play.wire.changes if each.name == change.name and each.at >= change.at and _starts(each)
        ]
        until = min(started, default=play.world.now)
        for moment in play._history(change.name):
            if change.action == "pause" and change.at < moment["at"] < until and moment["state"] in BILLING:
                words = (
                    f"{change.name} is {moment['state']} {moment['at'] - change.at:.0f} s after {name_of(change.who)}"
                )
                yield Fault("runs again after a sweep", words)


def _resumed_for_nobody(play: Any) -> Iterable[Fault]:
    """What is stopped at the end of a use is resumed only where somebody else has begun to use it."""
    for change in play.wire.changes:
        ends = change.who is not None and kind_of(change.who) in ("release", "watch", "sweep")
        if not ends or change.action != "resume" or change.status >= 300:
            continue
        if not any(_is_in_use(play, each, change) for each in play.world.attempts):
            yield Fault("resumed for nobody", f"{name_of(change.who)} resumes {change.name}, which nobody uses")


def _is_in_use(play: Any, acquire: Any, change: Any) -> bool:
    """Whether that attempt has acquired the endpoint for somebody else, and its release has not ended."""
    if not acquire.task_id.endswith(".acquire") or acquire.began > change.at:
        return False
    task = play.world.dags[acquire.dag_id].get_task(acquire.task_id)
    if task.endpoint != change.name or group_of(play, acquire) == group_of(play, change.who):
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
        if each.who is not None and kind_of(each.who) == "sweep" and each.action in stops and each.status < 300
    ]


def _starts(change: Any) -> bool:
    return change.action in ("create", "resume", "update") and change.status < 300


SWEEPS = (_kept, _stays_swept, _resumed_for_nobody)
