"""Notes of which task started an endpoint, and for what purpose. They are beside the leases. The sweeper reads them.

An endpoint that was started for a run is left over when the run has ended. An endpoint that a DAG keeps stays until a
person stops it.

A tag on the endpoint only says that this provider created it, and says nothing about a resume. If a note is lost or
cannot be written, the sweeper has one reason less, and no task fails.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from airflow_provider_hf_endpoints.kept import Document, KeptAt, StoreError, document_at

log = logging.getLogger(__name__)

_PLACE = "hf_endpoints_started"


@dataclass(frozen=True)
class StartNote:
    """The task that created or resumed an endpoint last.

    :param at: seconds since the epoch
    :param keep: whether it stays after the run
    :param budget: the budget of the start and the spent part, see `operators/starting/budget.py`; None without a budget
    :param created: when the service created the endpoint, seconds since the epoch; None as long as that is not known
    :param woken: whether the endpoint was scaled to zero before. Then the start is undone by a scale to zero
    """

    dag_id: str
    run_id: str
    task_id: str
    at: float
    keep: bool = False
    budget: Mapping[str, Any] | None = None
    created: float | None = None
    woken: bool = False

    @property
    def who(self) -> str:
        """For a person."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}"

    @property
    def task(self) -> tuple[str, str, str]:
        """The same in every attempt."""
        return (self.dag_id, self.run_id, self.task_id)

    @classmethod
    def of(cls, stored: object) -> Self | None:
        """What a store holds; None for anything else."""
        if not isinstance(stored, dict):
            return None
        try:
            named = {name: str(stored[name]) for name in ("dag_id", "run_id", "task_id")}
            budget = stored.get("budget")
            created = stored.get("created")
            return cls(
                **named,
                at=float(stored["at"]),
                keep=stored.get("keep") is True,
                budget=budget if isinstance(budget, dict) else None,
                created=None if created is None else float(created),
                woken=stored.get("woken") is True,
            )
        except (KeyError, TypeError, ValueError):
            return None


def start_note(task_instance: Any, now: float, *, keep: bool = False) -> StartNote | None:
    """The note of a task that starts an endpoint; None outside of a DAG run."""
    names = [getattr(task_instance, name, None) for name in ("dag_id", "run_id", "task_id")]
    if not all(isinstance(name, str) for name in names):
        return None
    dag_id, run_id, task_id = map(str, names)
    return StartNote(dag_id, run_id, task_id, now, keep)


class StartNotes:
    """The notes of one connection: an object each below its path, or an Airflow Variable each."""

    def __init__(self, kept_at: KeptAt) -> None:
        self._at = kept_at

    def write(self, namespace: str, name: str, note: StartNote) -> None:
        """Note who starts the endpoint. Replaces the note of the start before."""
        try:
            self._document(namespace, name).write(asdict(note))
        except StoreError as error:
            log.warning("Could not record who started the endpoint: %s", error)

    def read(self, namespace: str, name: str, *, run: tuple[str, str] | None = None) -> StartNote | None:
        """Who started the endpoint; None where that is not known.

        :param run: DAG and run: the note of any other start counts as none
        """
        try:
            note = StartNote.of(self._document(namespace, name).read())
        except StoreError as error:
            log.warning("Could not read who started the endpoint: %s", error)
            return None
        return None if note is None or run not in (None, (note.dag_id, note.run_id)) else note

    def remove(self, namespace: str, name: str, *, before: float) -> None:
        """Remove a note from before that moment (seconds since the epoch): the endpoint is deleted."""
        try:
            document = self._document(namespace, name)
            note = StartNote.of(document.read())
            if note is not None and note.at < before:
                document.remove()
        except StoreError as error:
            log.warning("Could not remove the record of who started the endpoint: %s", error)

    def _document(self, namespace: str, name: str) -> Document:
        of = self._at.key(namespace)
        return document_at(
            self._at,
            (_PLACE, of),
            name,
            key=f"{_PLACE}.{of}.{name}",
            description="Who started a Hugging Face endpoint",
        )
