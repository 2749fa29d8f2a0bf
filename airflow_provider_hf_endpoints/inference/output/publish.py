"""The output files, written whole: results and errors in input order, then the manifest, last and
atomically."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, JournalCorruptError
from airflow_provider_hf_endpoints.inference.inputs.unpack import can_zstd, packing
from airflow_provider_hf_endpoints.inference.journal.dead_letters import letter_of, output_line
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import EMPTY, ERROR, FILTERED, TRUNCATED, Record
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.paths import local_path

IN_MEMORY = 1 << 22  # bytes of a file on its way to an object store, beyond which it waits on the disk


class LineTarget(Protocol):
    """What output lines are written to."""

    def write(self, data: bytes, /) -> Any:
        """One line, newline included."""


@contextmanager
def replacing(path: UPath) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well; nobody sees it half written."""
    local = local_path(path)
    if local is None:
        with _uploading(path) as upload:
            yield upload
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    temporary = local.with_name(f".{local.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, local)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _uploading(path: UPath) -> Iterator[IO[bytes]]:
    """Gathered on the worker's disk until it is whole: an object appears when its file is closed, also by an error."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as whole:
        yield cast("IO[bytes]", whole)
        whole.seek(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
        try:
            shutil.copyfileobj(whole, file, 1 << 20)
        except BaseException:
            try:
                file.close()  # which makes an object of what has come so far
            finally:
                path.unlink(missing_ok=True)
            raise
        file.close()


@contextmanager
def writing_rows(path: UPath) -> Iterator[LineTarget]:
    """The results file, which takes its place when the block ends well, in the form that its name tells.

    Its `write` takes a line at a time, newline included.
    """
    with replacing(path) as file:
        if path.name.endswith(".parquet"):
            from airflow_provider_hf_endpoints.inference.output import parquet  # Arrow takes its time and memory

            with parquet.rows_of(file) as rows:
                yield rows
        elif path.name.endswith((".gz", ".zst")):
            with packing(path.name, file) as packed:
                yield packed
        else:
            yield file


class Totals:
    """Counts of records that are done, as a report tells them."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("rows", "succeeded", "failed", "truncated", "filtered", "empty"), 0)
        self._tokens = 0  # of rows that succeeded
        self._kinds: dict[str, int] = {}

    def add(self, record: Record, line: bytes) -> None:
        """A record, and the line that it is in the output."""
        counts, flags = self._counts, record.flags
        counts["rows"] += 1
        if flags:
            counts["truncated"] += bool(flags & TRUNCATED)
            counts["filtered"] += bool(flags & FILTERED)
            counts["empty"] += bool(flags & EMPTY)
        if flags & ERROR:
            counts["failed"] += 1
            error = fastjson.decode(line)["error"]
            kind = error.get("type") or error["code"]
            self._kinds[kind] = self._kinds.get(kind, 0) + 1
        else:
            counts["succeeded"] += 1
            self._tokens += record.prompt_tokens + record.completion_tokens

    def as_dict(self, journal: Journal) -> dict[str, Any]:
        """They, and the tokens of all answers that came."""
        return {
            **self._counts,
            "prompt_tokens": journal.prompt_tokens,
            "completion_tokens": journal.completion_tokens,
            "discarded_tokens": journal.prompt_tokens + journal.completion_tokens - self._tokens,
            "errors": self._kinds,
        }


def publish(layout: OutputLayout, journal: Journal, rows: int, *, complete: bool) -> dict[str, Any]:
    """Write results and errors from the journal, in input order; returns the counts of what was written.

    :param rows: rows of the input
    :param complete: every row must be there; otherwise those that are done are written
    :raises JournalCorruptError: a row is missing although the batch is complete
    """
    totals = Totals()
    with writing_rows(layout.results) as results, replacing(layout.errors) as errors:
        for index in range(rows):
            record = journal.read(index)
            if record is None:
                if complete:
                    raise JournalCorruptError(f"row {index} is missing although every row is done")
                continue
            line = output_line(record)
            results.write(line + b"\n")
            if record.flags & ERROR:
                errors.write(letter_of(record) + b"\n")
            totals.add(record, line)
    return totals.as_dict(journal)


def count(journal: Journal) -> dict[str, Any]:
    """The counts of what a journal holds, without an output."""
    totals = Totals()
    for index in range(len(journal.index)):
        record = journal.read(index)
        if record is not None:
            totals.add(record, output_line(record))
    return totals.as_dict(journal)


def require_writer(path: UPath) -> None:
    """
    :raises BatchInputError: what the form of a results file needs is not installed, or its place cannot hold a batch
    """
    if path.protocol == "hf":
        raise BatchInputError(
            f"output_path {path} is on the Hub, where every file written is a commit: a journal of many small parts "
            "and a lock cannot be kept there. Write to a disk or an object store, and upload what is finished"
        )
    extra, module = {".parquet": ("parquet", "pyarrow"), ".zst": ("zstd", "zstd")}.get(path.suffix, (None, ""))
    if extra is not None and not (can_zstd() if extra == "zstd" else importlib.util.find_spec(module)):
        raise BatchInputError(
            f"output_path {path} needs {module}: "
            f"pip install 'airflow-provider-hf-endpoints[{extra}]', or end it in .jsonl"
        )


def write_manifest(layout: OutputLayout, manifest: dict[str, Any]) -> None:
    """Write the manifest; with it the output is finished."""
    with replacing(layout.manifest) as file:
        file.write(json.dumps(manifest, indent=2, ensure_ascii=False, default=str).encode() + b"\n")


def read_manifest(layout: OutputLayout) -> dict[str, Any] | None:
    """The manifest of a finished output, None when there is none."""
    try:
        text = layout.manifest.read_bytes()
    except FileNotFoundError:
        return None
    manifest = json.loads(text)
    return manifest if isinstance(manifest, dict) else None
