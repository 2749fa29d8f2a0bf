"""Small JSON documents that a batch stores beside an output. They may have been damaged since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import OutputConflictError
from airflow_provider_hf_endpoints.inference.stores.paths import local_path


def read_document(path: UPath, *, lenient: bool = False) -> dict[str, Any] | None:
    """The object in a document; None if there is no document.

    :param lenient: whether a damaged document also gives None, because it will be thrown away
    :raises OutputConflictError: the file contains something else
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        words = f"contains {type(found).__name__}, but an object is expected"
    except (ValueError, RecursionError) as error:
        found, words = None, f"is not JSON ({error})"
    if isinstance(found, dict):
        return found
    if lenient:
        return None
    raise damaged(path, words)


def encoded(document: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """A document as bytes. A path that is not UTF-8 is a text with lone surrogates, which JSON must
    escape."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace")


def damaged(path: UPath, words: str) -> OutputConflictError:
    """The error of a document that cannot be used."""
    return OutputConflictError(
        f"{path} {words}, so another program changed it. Restore the file, choose another output_path, "
        'or set on_existing="overwrite" to send all rows again'
    )


def size_of(path: UPath) -> int | None:
    """The size of a file in bytes; None if its storage does not say.

    :raises FileNotFoundError: the file does not exist
    """
    if local_path(path) is None:
        path.fs.invalidate_cache()  # a cached listing would hide what another machine wrote
    size = path.fs.info(path.path).get("size")
    return None if size is None else int(size)
