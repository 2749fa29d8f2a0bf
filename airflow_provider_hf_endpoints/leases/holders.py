"""Who holds a lease, as a text for a person, and the DAG run in it. Pure."""

from __future__ import annotations

import re

_HOLDER = re.compile(r"(\S+) (.+?) (\S+)( \[\d+\])?")


def holder_name(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """Who holds a lease: DAG, run, task and map index, the same in every attempt."""
    mapped = map_index is not None and map_index >= 0
    return " ".join([dag_id, run_id, task_id, *([f"[{map_index}]"] if mapped else [])])


def run_of_holder(who: str) -> tuple[str, str] | None:
    """DAG and run of a `holder_name`; None for anything else. Only a run's id may have spaces in it."""
    said = _HOLDER.fullmatch(who)
    return None if said is None else (said[1], said[2])


def task_of_holder(who: str) -> str | None:
    """The task of a `holder_name`; None for anything else."""
    said = _HOLDER.fullmatch(who)
    return None if said is None else said[3]


def index_of_holder(who: str) -> int | None:
    """The map index of a `holder_name`; None where the task is not mapped."""
    said = _HOLDER.fullmatch(who)
    return None if said is None or said[4] is None else int(said[4].strip(" []"))
