"""Small JSON records that tasks keep for other tasks: in Airflow Variables, or below a path. The one place that reads
and writes either; what is in a record is for those to say who keep it.

Here: which place is meant. What a place is stands in `places.py`, the kinds of place in `paths.py` and `variables.py`,
and what is done about a place that fails in `attempts.py`. No compare-and-swap is asked for: a record has one writer,
or whoever writes last may win.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_hf_endpoints.kept.attempts import StoreError
from airflow_provider_hf_endpoints.kept.paths import PathDocument, PathRecords, folder_at
from airflow_provider_hf_endpoints.kept.places import Document, Records
from airflow_provider_hf_endpoints.kept.separate import SeparateVariables
from airflow_provider_hf_endpoints.kept.variables import VariableDocument, VariableRecords

__all__ = ["Document", "Records", "StoreError", "document_at", "records_at", "separate_records_at"]


def document_at(path: str | None, folder: Sequence[str], name: str, *, key: str, description: str) -> Document:
    """One document: `folder/name.json` below `path`, or where there is none, the Variable `key`."""
    return (
        VariableDocument(key, description) if path is None else PathDocument(folder_at(path, folder) / f"{name}.json")
    )


def records_at(
    path: str | None, folder: Sequence[str], *, key: str, description: str, most: int | None = None
) -> Records:
    """Records in `folder` below `path`, or where there is none, in the Variable `key`; `most` bounds the Variable."""
    return VariableRecords(key, description, most) if path is None else PathRecords(folder_at(path, folder))


def separate_records_at(path: str | None, folder: Sequence[str], *, key: str, description: str) -> Records:
    """The same, in a Variable `key.…` for each: no writer can put back what another one has written since."""
    return SeparateVariables(key, description) if path is None else PathRecords(folder_at(path, folder))
