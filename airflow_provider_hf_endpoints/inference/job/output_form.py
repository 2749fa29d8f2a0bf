"""The form of a job's results: from the name of `output_path` if it is a file, else from `output_format`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from airflow_provider_hf_endpoints.inference.engines.names import EMBED, canonical_task

if TYPE_CHECKING:
    from pathlib import PurePath

    from upath import UPath

#: Forms of the results in a folder.
OutputFormat = Literal["jsonl", "parquet"]
#: Endings of names of results files.
RESULT_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
#: Endings that are not used for folders.
_OTHER_FILES = (
    *(".json", ".ndjson", ".csv", ".tsv", ".txt", ".xlsx", ".xls", ".feather", ".arrow", ".avro", ".orc"),
    *(".gz", ".zst", ".zip", ".bz2", ".xz", ".db", ".sqlite"),
)


def suffix_of_results(path: UPath | PurePath, output_format: OutputFormat | None) -> str | None:
    """The suffix if an output path is the results file; None for a folder.

    :raises ValueError: `output_format` contradicts the name
    """
    suffix = next((each for each in RESULT_SUFFIXES if path.name.endswith(each)), None)
    if suffix is None and path.suffix.lower() in _OTHER_FILES:
        raise ValueError(
            f"output_path {path.name!r} has a suffix that results do not support. Use {', '.join(RESULT_SUFFIXES)}, "
            "or name a folder"
        )
    if suffix is not None and output_format is not None and not suffix.startswith(f".{output_format}"):
        raise ValueError(
            f"output_path {path.name!r} does not match output_format {output_format}. Use the suffix .{output_format}"
        )
    return suffix


def answers_vectors(task: str) -> bool:
    """Whether a task's answers are vectors, which have a separate column in Parquet. Their form does not show it."""
    return canonical_task(task) == EMBED
