"""What the function of a batch returned, kept next to the output: a retry of the task resumes with the same rows.

Two files. `_input.jsonl` has the rows, if the function returned rows and not a path. `_input.json` says which task has
asked its function, and what the batch reads. It is written last, so a task that is killed before asks again. The first
row is sent after that. A cleared task asks again, too: its author may have corrected the function.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.inference.fastjson import encode
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.inference.input_errors import OutputConflictError
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import encoded, read_document
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here


class Returned:
    """What one task's function returned.

    :param layout: of the task's output
    :param task: names the task in all its runs
    :param attempt: names one run of the task with all its tries; a clear makes it another
    :param function: its name, for errors
    """

    def __init__(self, layout: OutputLayout, task: str, attempt: str, function: str) -> None:
        folder = layout.journal.parent
        stem = layout.journal.name.removesuffix("_journal").removesuffix(".journal")
        prefix = f"{stem}." if stem else "_"
        self._rows, self._note = folder / f"{prefix}input.jsonl", folder / f"{prefix}input.json"
        self._journal, self._task, self._attempt, self._function = layout.journal, task, attempt, function

    def kept(self, *, replaces: bool) -> Any:
        """The input path of an earlier try of this attempt; None if there was none.

        :param replaces: whether the output may be another task's
        :raises OutputConflictError: the output is another task's
        """
        note = patiently_here(lambda: read_document(self._note, lenient=True), "reading the kept input", sent=False)
        if note is None:
            return None
        if note.get("task") != self._task and not replaces:
            raise OutputConflictError(
                f"{self._note} says that the output is that of task {note.get('task')}, but this is {self._task}. One "
                "task would replace the rows of the other. Choose another output_path, or set on_existing="
                '"overwrite" to discard that output'
            )
        if not self._attempt or note.get("attempt") != self._attempt:
            return None
        if "input_path" in note:
            return note["input_path"]
        return self._rows if self._rows.exists() else None

    def keep(self, given: Any) -> Any:
        """The input path of what the function returned. Rows are written, each as one line.

        :raises InvalidArgumentError: it is neither rows nor paths
        :raises OutputBusyError: another run writes this output
        """
        paths = self._paths_of(given)
        lock = OutputLock(self._journal)
        lock.acquire()
        try:
            if paths is None:
                self._write_rows(given)
            self._write_note({} if paths is None else {"input_path": _as_texts(paths)})
        finally:
            lock.release()
        return self._rows if paths is None else paths

    def _paths_of(self, given: Any) -> Any:
        """The paths that were returned; None for rows."""
        if _is_path(given):
            if not str(given).strip():
                raise InvalidArgumentError(f"{self._function} returned an empty path. Return the path of the rows.")
            return given
        if isinstance(given, list | tuple) and given and all(_is_path(each) for each in given):
            return list(given)
        if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
            raise InvalidArgumentError(
                f"{self._function} returned {_described(given)}, but a batch needs rows or a path. Return a list or an "
                f"iterator of dicts, one per row, or the path of the rows{_advice(given)}."
            )
        return None

    def _write_rows(self, rows: Iterable[Any]) -> None:
        """All rows at once, or none. A failure of the store is not tried again here: an iterator has one pass."""
        with replacing(self._rows) as file:
            for number, row in enumerate(rows):
                file.write(self._line(number, row))

    def _line(self, number: int, row: Any) -> bytes:
        if not isinstance(row, Mapping):
            raise InvalidArgumentError(
                f"{self._function} returned {_described(row)} as row {number}, but a row is a dict with a value for "
                "each column. Return for example {'text': …}."
            )
        try:
            return encode(plain(f"row {number}", row)) + b"\n"
        except ValueError as error:
            raise InvalidArgumentError(f"{self._function}: {error}.") from None

    def _write_note(self, what: Mapping[str, Any]) -> None:
        def write() -> None:
            with replacing(self._note) as file:
                file.write(encoded({"task": self._task, "attempt": self._attempt, **what}))

        patiently_here(write, "keeping the input", sent=False)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike | UPath)


def _as_texts(paths: Any) -> Any:
    return [str(each) for each in paths] if isinstance(paths, list) else str(paths)


def _described(value: Any) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 80 else f'{shown[:80]}…'}"


def _advice(value: Any) -> str:
    if hasattr(value, "to_dict"):
        return "; of a pandas DataFrame, to_dict('records')"
    return "; a function without return returns None" if value is None else ""
