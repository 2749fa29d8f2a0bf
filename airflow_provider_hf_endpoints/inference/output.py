"""The output files, written whole: results and errors in input order, then the manifest, last and
atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.batch_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.dead_letters import letter_of, output_line
from airflow_provider_hf_endpoints.inference.job import OutputLayout
from airflow_provider_hf_endpoints.inference.journal import Journal
from airflow_provider_hf_endpoints.inference.paths import local_path
from airflow_provider_hf_endpoints.inference.records import EMPTY, ERROR, FILTERED, TRUNCATED


@contextmanager
def replacing(path: UPath) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well; nobody sees it half written."""
    local = local_path(path)
    if local is None:
        # An object appears when it is closed; until then there is none.
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield cast("IO[bytes]", file)
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


def publish(layout: OutputLayout, journal: Journal, rows: int, *, complete: bool) -> dict[str, Any]:
    """Write results and errors from the journal, in input order; returns the counts of what was written.

    :param rows: rows of the input
    :param complete: every row must be there; otherwise those that are done are written
    :raises JournalCorruptError: a row is missing although the batch is complete
    """
    totals = dict.fromkeys(
        (
            "rows",
            "succeeded",
            "failed",
            "truncated",
            "filtered",
            "empty",
            "prompt_tokens",
            "completion_tokens",
        ),
        0,
    )
    kinds: dict[str, int] = {}
    with replacing(layout.results) as results, replacing(layout.errors) as errors:
        for index in range(rows):
            record = journal.read(index)
            if record is None:
                if complete:
                    raise JournalCorruptError(f"row {index} is missing although every row is done")
                continue
            line = output_line(record)
            results.write(line + b"\n")
            flags = record.flags
            totals["rows"] += 1
            if flags:
                totals["truncated"] += bool(flags & TRUNCATED)
                totals["filtered"] += bool(flags & FILTERED)
                totals["empty"] += bool(flags & EMPTY)
            if flags & ERROR:
                totals["failed"] += 1
                errors.write(letter_of(record) + b"\n")
                error = fastjson.decode(line)["error"]
                kind = error.get("type") or error["code"]
                kinds[kind] = kinds.get(kind, 0) + 1
            else:
                totals["succeeded"] += 1
                totals["prompt_tokens"] += record.prompt_tokens
                totals["completion_tokens"] += record.completion_tokens
    return {**totals, "errors": kinds}


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
