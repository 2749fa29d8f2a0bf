"""The results file in each form that a name can ask for: what writes lines into it, and what that needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from upath import UPath

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.unpack import can_zstd, packing
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing


class LineTarget(Protocol):
    """What output lines are written to."""

    def write(self, data: bytes, /) -> Any:
        """One line, newline included."""


@contextmanager
def writing_rows(
    path: UPath, check: Callable[[], None] = lambda: None, *, vectors: bool = False
) -> Iterator[LineTarget]:
    """The results file, which takes its place when the block ends well, in the form that its name tells.

    Its `write` takes a line at a time, newline included.

    :param check: see `replacing`
    :param vectors: the task answers with vectors, for which a form may have a place of their own
    """
    with replacing(path, check) as file:
        if path.name.endswith(".parquet"):
            from airflow_provider_hf_endpoints.inference.output import parquet  # Arrow takes its time and memory

            with parquet.rows_of(file, vectors=vectors) as rows:
                yield rows
        elif path.name.endswith((".gz", ".zst")):
            with packing(path.name, file) as packed:
                yield packed
        else:
            yield file


def require_writer(path: UPath) -> None:
    """
    :raises BatchInputError: what the form of a results file needs is not installed, or its place cannot hold a batch
    """
    if path.protocol == "hf":
        raise BatchInputError(
            f"output_path {path} is on the Hub, where each written file is a commit, so a journal and a lock cannot "
            "be kept there. Write to a disk or an object store, and upload the finished output"
        )
    what = {".parquet": "Parquet", ".zst": "zstd"}.get(path.suffix)
    if what is not None and not (can_zstd() if what == "zstd" else importlib.util.find_spec("pyarrow")):
        raise BatchInputError(f"{missing_package(f'output_path {path}', what)}, or use a path that ends in .jsonl")
