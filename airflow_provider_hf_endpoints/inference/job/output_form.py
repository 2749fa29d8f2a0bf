"""In which form a job's results are: the name of `output_path` tells it where that is a file, else `output_format`."""

from __future__ import annotations

from typing import Literal

from upath import UPath

from airflow_provider_hf_endpoints.inference.engines.names import EMBED, canonical_task

#: Forms that a folder's results may have.
OutputFormat = Literal["jsonl", "parquet"]
#: Ends of names that are the results themselves.
RESULT_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
#: Ends of names that nobody gives to a folder.
_OTHER_FILES = (
    *(".json", ".ndjson", ".csv", ".tsv", ".txt", ".xlsx", ".xls", ".feather", ".arrow", ".avro", ".orc"),
    *(".gz", ".zst", ".zip", ".bz2", ".xz", ".db", ".sqlite"),
)


def suffix_of_results(path: UPath, output_format: OutputFormat | None) -> str | None:
    """The suffix that makes an output path the results file itself; None for a folder.

    :raises ValueError: `output_format` is not what the name tells
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
    """Whether a task's answers are vectors, for which Parquet has a column of their own. Their looks do not tell."""
    return canonical_task(task) == EMBED
