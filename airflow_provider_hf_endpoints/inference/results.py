"""The results of a finished batch as rows, for programs that go on with them. Reads files only; sends nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.job.output_form import answers_vectors
from airflow_provider_hf_endpoints.inference.output.existing import results_there
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.manifest import read_manifest
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike

#: What `read_results` can give.
Form = Literal["rows", "arrow", "pandas", "polars"]
_PARQUET = ".parquet"
_JSON_IN_PARQUET = ("columns", "extra", "response")


@dataclass(frozen=True)
class Finished:
    """A finished output.

    :param manifest: what the batch says of it
    :param digest: changes with every batch that writes there
    """

    layout: OutputLayout
    manifest: Mapping[str, Any]
    digest: str

    @property
    def response_schema(self) -> Any:
        """The JSON schema of the outputs, None if there was none."""
        return self.manifest["identity"].get("response_schema")

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines of the output in the order of the input; the output of an embedding is its vector."""
        packed = self.layout.results.name.endswith(_PARQUET)
        vectors = answers_vectors(str(self.manifest["identity"].get("task", "")))
        for line in read_lines(find_input(self.layout.results)):
            row = fastjson.decode(line.raw)
            if packed:
                row = self._of_parquet(row)
            elif vectors and isinstance(row["output"], list) and len(row["output"]) == 1:
                row["output"] = row["output"][0]  # engines answer with a list of vectors, one for each text
            yield row

    def _of_parquet(self, row: dict[str, Any]) -> dict[str, Any]:
        """As a line of JSON has it: a vector as the output, and values of any type parsed."""
        vector = row.pop("embedding", None)
        for name in _JSON_IN_PARQUET:
            text = row.pop(name, None)
            row |= {} if text is None else {name: fastjson.decode(text.encode())}
        if vector is not None:
            row["output"] = vector
        elif row["output"] is not None and self.response_schema is not None:
            row["output"] = fastjson.decode(row["output"].encode())
        return row


def finished_output(path: PathLike) -> Finished:
    """The output of a batch that has ended.

    :param path: the batch's `output_path`
    :raises BatchInputError: there is no finished output
    :raises OutputConflictError: its files were changed since
    """
    layout = OutputLayout.of(path)
    manifest = read_manifest(layout)
    if manifest is None:
        raise BatchInputError(
            f"{path} contains no finished output: {layout.manifest} is missing. Run the batch to its end (for shards, "
            "the merge), or correct the path"
        )
    name = manifest.get("files", {}).get("results", layout.results.name)
    if name != layout.results.name and name.endswith(_PARQUET):
        layout = OutputLayout.of(path, "parquet")
    results_there(manifest, layout)
    return Finished(layout, manifest, hashlib.sha256(layout.manifest.read_bytes()).hexdigest()[:16])


def read_results(path: PathLike, form: Form = "rows") -> Any:
    """The results of a finished batch, in the order of its input.

    :param path: the batch's `output_path`
    :param form: `rows` for an iterator of mappings; `arrow`, `pandas` or `polars` for a table, if that library is
        installed
    :raises BatchInputError: there is no finished output, or the library is not installed
    :raises OutputConflictError: its files were changed since
    :raises ValueError: `form` is not valid
    """
    if form not in ("rows", "arrow", "pandas", "polars"):
        raise ValueError(f"form={form!r} is not valid. Use rows, arrow, pandas or polars")
    found = finished_output(path)
    if form == "rows":
        return found.rows()
    try:
        match form:
            case "arrow":
                import pyarrow as pa

                return pa.Table.from_pylist(list(found.rows()))
            case "pandas":
                import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore]

                return pd.DataFrame(list(found.rows()))
            case "polars":
                import polars as pl  # type: ignore[import-not-found, unused-ignore]

                return pl.DataFrame(list(found.rows()), infer_schema_length=None)
    except ImportError as error:
        if form == "arrow":
            raise BatchInputError(missing_package(f"read_results(form={form!r})", "Parquet")) from error
        raise BatchInputError(
            f"read_results(form={form!r}) needs the package {form}. Install it: pip install {form}"
        ) from error
