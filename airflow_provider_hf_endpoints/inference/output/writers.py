"""The writers of the results file, one for each form, and their requirements."""

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
    """Takes output lines."""

    def write(self, data: bytes, /) -> Any:
        """One line, newline included."""


@contextmanager
def writing_rows(
    path: UPath, check: Callable[[], None] = lambda: None, *, vectors: bool = False
) -> Iterator[LineTarget]:
    """The results file, in the form of its name. It replaces an older one if the block ends without an error.

    Its `write` takes one line, with its newline.

    :param check: see `replacing`
    :param vectors: whether the task answers with vectors, which some forms store separately
    """
    with replacing(path, check) as file:
        if path.name.endswith(".parquet"):
            from airflow_provider_hf_endpoints.inference.output import parquet  # Arrow is slow to import and large

            with parquet.rows_of(file, vectors=vectors) as rows:
                yield rows
        elif path.name.endswith((".gz", ".zst")):
            with packing(path.name, file) as packed:
                yield packed
        else:
            yield file


def require_writer(path: UPath) -> None:
    """
    :raises BatchInputError: a package for this form is not installed, or the form does not allow a batch at this place
    """
    if path.protocol == "hf":
        raise BatchInputError(
            f"output_path {path} is on the Hub, where each written file is a commit, so a journal and a lock cannot "
            "be kept there. Write to a disk or an object store, and upload the finished output"
        )
    what = {".parquet": "Parquet", ".zst": "zstd"}.get(path.suffix)
    if what is not None and not (can_zstd() if what == "zstd" else importlib.util.find_spec("pyarrow")):
        raise BatchInputError(f"{missing_package(f'output_path {path}', what)}, or use a path that ends in .jsonl")
