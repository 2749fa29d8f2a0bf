"""Small JSON records that tasks keep for other tasks, in Airflow Variables or below a path. Only this folder reads and
writes them. The callers decide what a record contains.

This file chooses the place. `at.py` has the path, and what separates two services; `places.py` defines a place;
`paths.py`, `variables.py`, `separate.py` and `shared.py` are the kinds of place; `attempts.py` handles a place that
fails. No place has a compare-and-swap. A record has one writer, or the last writer wins, or (`shared.py`) each writer
reads back its change.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_hf_endpoints.kept.at import KeptAt, service_name
from airflow_provider_hf_endpoints.kept.attempts import StoreError
from airflow_provider_hf_endpoints.kept.paths import PathDocument, PathRecords, folder_at
from airflow_provider_hf_endpoints.kept.places import Document, Records
from airflow_provider_hf_endpoints.kept.separate import SeparateVariables
from airflow_provider_hf_endpoints.kept.shared import SharedVariable
from airflow_provider_hf_endpoints.kept.variables import VariableDocument

__all__ = [
    "Document",
    "KeptAt",
    "Records",
    "SharedVariable",
    "StoreError",
    "document_at",
    "records_below",
    "separate_records_at",
    "service_name",
]


def document_at(at: KeptAt, folder: Sequence[str], name: str, *, key: str, description: str) -> Document:
    """One document: `folder/name.json` below the path, or the Variable `key` if there is no path."""
    if at.path is None:
        return VariableDocument(key, description)
    return PathDocument(folder_at(at.path, folder) / f"{name}.json")


def records_below(path: str, folder: Sequence[str]) -> Records:
    """Records in `folder` below `path`, an object for each."""
    return PathRecords(folder_at(path, folder))


def separate_records_at(
    at: KeptAt, folder: Sequence[str], *, key: str, description: str, known: Sequence[str] = ()
) -> Records:
    """Records in `folder` below the path, or one Variable `key.…` for each if there is no path.

    No writer can overwrite the record of another.

    :param known: keys that are always looked for, so that Airflow 3.0 needs no list of them
    """
    return SeparateVariables(key, description, known) if at.path is None else PathRecords(folder_at(at.path, folder))
