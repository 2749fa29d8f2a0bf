"""Which task started an endpoint, noted where the leases are: by it the sweeper asks whether that run goes on.

A tag on the endpoint says only that this provider created it, and nothing about a resume. A note that is lost, or can't
be written, costs the sweeper one reason; it fails no task.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, Self

from airflow.providers.common.compat.sdk import ObjectStoragePath, Variable

log = logging.getLogger(__name__)

_PLACE = "hf_endpoints_started"


@dataclass(frozen=True)
class StartNote:
    """The task that created or resumed an endpoint last.

    :param at: seconds since the epoch
    """

    dag_id: str
    run_id: str
    task_id: str
    at: float

    @property
    def who(self) -> str:
        """For a person."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}"

    @classmethod
    def of(cls, stored: object) -> Self | None:
        """What a store holds; None for what is none."""
        if not isinstance(stored, dict):
            return None
        try:
            named = {name: str(stored[name]) for name in ("dag_id", "run_id", "task_id")}
            return cls(**named, at=float(stored["at"]))
        except (KeyError, TypeError, ValueError):
            return None


def start_note(task_instance: Any, now: float) -> StartNote | None:
    """The note of a task that starts an endpoint; None outside of a DAG run."""
    names = [getattr(task_instance, name, None) for name in ("dag_id", "run_id", "task_id")]
    if not all(isinstance(name, str) for name in names):
        return None
    dag_id, run_id, task_id = map(str, names)
    return StartNote(dag_id, run_id, task_id, now)


class StartNotes:
    """The notes of one connection: an object each below `lease_path`, or an Airflow Variable each."""

    def __init__(self, lease_path: str | None) -> None:
        self._path = lease_path

    def write(self, namespace: str, name: str, note: StartNote) -> None:
        """Note who starts the endpoint, in the place of whoever did before."""
        text = json.dumps(asdict(note))

        def put() -> None:
            if self._path is None:
                Variable.set(_key(namespace, name), text, description="Who started a Hugging Face endpoint")
                return
            file = _file(self._path, namespace, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

        self._guarded("written", put)

    def read(self, namespace: str, name: str) -> StartNote | None:
        """Who started the endpoint; None where that is not known."""

        def get() -> Any:
            if self._path is None:
                return json.loads(Variable.get(_key(namespace, name), default="null"))
            try:
                return json.loads(_file(self._path, namespace, name).read_text())
            except FileNotFoundError:
                return None

        return StartNote.of(self._guarded("read", get))

    def _guarded(self, what: str, act: Any) -> Any:
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - of any storage or secrets backend; never worth a task
            log.warning("The note of who started an endpoint can't be %s (%s: %s)", what, type(error).__name__, error)
            return None


def _key(namespace: str, name: str) -> str:
    return f"{_PLACE}.{namespace}.{name}"  # Airflow 3.0 finds no variable with a slash in its key


def _file(path: str, namespace: str, name: str) -> Any:
    return ObjectStoragePath(path) / _PLACE / namespace / f"{name}.json"
