"""The holder of an output: what a lock says about it, and the errors for runs that find the lock taken."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError

#: The variables that tell a task's process which task it is, and the word for each in a message.
_TASK = {
    "AIRFLOW_CTX_DAG_ID": "DAG",
    "AIRFLOW_CTX_DAG_RUN_ID": "run",
    "AIRFLOW_CTX_TASK_ID": "task",
    "AIRFLOW_CTX_TRY_NUMBER": "try",
}


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that has the lock of an output.

    :param started: when it took the lock, by its own clock
    :param of: its DAG, run, task and try, if it is a task of Airflow
    """

    owner: str
    host: str
    pid: int
    started: str
    of: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def me(cls, owner: str) -> Holder:
        """This process, now."""
        return cls(
            owner,
            socket.gethostname(),
            os.getpid(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            task_of(os.environ),
        )

    def encode(self) -> bytes:
        """In the form that a lock stores."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Holder | None:
        """The holder in a lock, None if it is missing or incomplete."""
        try:
            found = json.loads(raw)
            return cls(**found)
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        of = "".join(f", {name} {value}" for name, value in self.of.items())
        return f"process {self.pid} on {self.host}{of}, since {self.started}"


@dataclass(frozen=True, slots=True)
class BusyLock:
    """A lock that another run has.

    :param holder: None if unknown
    :param alive: whether the run is known to be alive
    """

    holder: Holder | None
    alive: bool


def task_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The DAG, run, task and try that a process works for, by its environment; nothing outside Airflow."""
    return {word: environment[name] for name, word in _TASK.items() if environment.get(name)}


def held_by(lock: object, holder: Holder | None) -> OutputBusyError:
    """The error of a run that finds the lock taken."""
    return OutputBusyError(
        f"another run holds {lock}: {holder or 'holder unknown'}. Two runs with one output would send its rows twice. "
        "Wait until the other run has ended, or end it, then run the job again to resume"
    )


def taken_by(lock: object, holder: Holder | None) -> OutputBusyError:
    """The error of a run that has lost the lock."""
    return OutputBusyError(
        f"another run took over {lock}: {holder or 'that run has ended since, or somebody deleted the lock'}. This run "
        "did not renew its lock in time, because its process was suspended or its store failed, so it counted as dead. "
        "This run stops. Its recorded rows are kept, and the other run resumes from them"
    )
