"""Which process runs the code of which task, for a test that ends one."""

from __future__ import annotations

import contextlib
import re

import psutil

from dev.airflow_api import TaskState
from dev.local_airflow import LocalAirflow

# The process in which a task's code runs names itself after its task instance, in every Airflow.
TASK_PROCESS = re.compile(r"^airflow worker -- ([0-9a-f]{8}-[0-9a-f-]{27})$")


def task_process(airflow: LocalAirflow, attempt: TaskState | None = None) -> int:
    """The process that runs an attempt of a task, or the only task there is."""
    children = [each for name in airflow.components for each in _descendants(airflow.components[name].pid)]
    names = {child.pid: TASK_PROCESS.match(_command_of(child)) for child in children}
    (found,) = [pid for pid, name in names.items() if name and (attempt is None or name[1] == attempt.id)]
    return int(found)


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that has ended in between."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline()).strip()
    return ""
