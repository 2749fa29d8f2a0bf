"""Small JSON records that tasks keep for other tasks: in Airflow Variables, or below a path. The one place that reads
and writes either; what is in a record is for those to say who keep it.

Here: which place is meant. What a place is stands in `places.py`, the kinds of place in `paths.py`, `variables.py`,
`separate.py` and `shared.py`, and what is done about a place that fails in `attempts.py`. No compare-and-swap is asked
for: a record has one writer, or the last writer may win, or (`shared.py`) writers read back what they have written.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_hf_endpoints.kept.attempts import StoreError
from airflow_provider_hf_endpoints.kept.paths import PathDocument, PathRecords, folder_at
from airflow_provider_hf_endpoints.kept.places import Document, Records
from airflow_provider_hf_endpoints.kept.separate import SeparateVariables
from airflow_provider_hf_endpoints.kept.shared import SharedVariable
from airflow_provider_hf_endpoints.kept.variables import VariableDocument

__all__ = ["Document", "Records", "SharedVariable", "StoreError", "document_at", "records_below", "separate_records_at"]


def document_at(path: str | None, folder: Sequence[str], name: str, *, key: str, description: str) -> Document:
    """One document: `folder/name.json` below `path`, or where there is none, the Variable `key`."""
    return (
        VariableDocument(key, description) if path is None else PathDocument(folder_at(path, folder) / f"{name}.json")
    )


def records_below(path: str, folder: Sequence[str]) -> Records:
    """Records in `folder` below `path`, an object for each."""
    return PathRecords(folder_at(path, folder))


def separate_records_at(
    path: str | None, folder: Sequence[str], *, key: str, description: str, known: Sequence[str] = ()
) -> Records:
    """Records in `folder` below `path`, or where there is none, in a Variable `key.…` for each: no writer can put back
    what another one has written since.

    :param known: keys that are always looked for, so that Airflow 3.0 needs no list of them
    """
    return SeparateVariables(key, description, known) if path is None else PathRecords(folder_at(path, folder))
