"""Why a file can be no input: its file system refuses it, or its first bytes say that it is not the text which its name
promises. Read as lines, such a file gives rows of garbage, some of which are sent and paid."""

from __future__ import annotations

import io
from typing import IO, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError

_HUB_TOKEN = "the token comes from the connection in the path (hf://conn_id@datasets/…), or from the default connection"

_UNPACK = "Rename it to end in {}, or unpack it"
_CONVERT = "Convert it to JSON Lines, CSV or Parquet"
_UTF8 = "Write it as UTF-8"
#: By what a file begins with, longer ones first: what it is, and what to do.
_KINDS = (
    (b"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK.format(".zst")),
    (b"PAR1", "a Parquet file", 'Rename it to end in .parquet, or set input_format="parquet"'),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"ARROW1", "an Arrow file", _CONVERT),
    (b"%PDF", "a PDF", _CONVERT),
    (b"BZh", "packed with bzip2", "Unpack it, or pack it with gzip"),
    (b"\xfd7zXZ\x00", "packed with xz", "Unpack it, or pack it with gzip"),
    (b"ORC", "an ORC file", _CONVERT),
    (b"\x1f\x8b", "packed with gzip", _UNPACK.format(".gz")),
)
#: Texts in other encodings; those of four bytes first, since two of them begin like those of two.
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_FIRST_BYTES = 16


def refusal(path: UPath, error: OSError) -> BatchInputError | None:
    """The error in words of an input; None for one that another try may not meet, such as a broken connection."""
    match error:
        case FileNotFoundError():
            return BatchInputError(f"input file {path} does not exist{words_of_hub(path, error)}")
        case IsADirectoryError():
            return BatchInputError(f"input {path} is a folder, not a file")
        case PermissionError():
            return BatchInputError(f"no permission to read input file {path}: {error}")
    # huggingface_hub's errors, which this room does not import, carry the answer.
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return BatchInputError(f"cannot read input {path}: the Hub does not accept the token (401); {_HUB_TOKEN}")
    if status == 403:
        return BatchInputError(
            f"cannot read input {path}: the token lacks the permission, or its owner has not accepted the terms of "
            f"the gated repository (403); {_HUB_TOKEN}"
        )
    return None


def words_of_hub(path: UPath, error: FileNotFoundError) -> str:
    """What the Hub's client says besides that the path is not there."""
    if path.protocol != "hf":
        return ""
    if "repository not found" in str(error):
        return f": the repository does not exist, or the token may not see it; {_HUB_TOKEN}"
    return ": the revision does not exist in this repository" if "revision not found" in str(error) else ""


def refuse_other_kinds(file: object, format_name: str, content: IO[bytes], *, text: bool = True) -> None:
    """Refuse what cannot be read as lines of text.

    :param content: the file's bytes, unpacked, at their beginning; they stay there
    :param text: refuse other encodings than UTF-8 too
    :raises BatchInputError: the file is something else
    """
    head = cast("io.BufferedReader", content).peek(_FIRST_BYTES)[:_FIRST_BYTES]
    for beginning, kind, advice in _KINDS:
        if head.startswith(beginning):
            raise BatchInputError(f"input file {file} is {kind}, not {format_name.upper()}. {advice}")
    for beginning, encoding in _ENCODINGS:
        if text and head.startswith(beginning):
            advice = _UTF8 + (f', or set encoding="{encoding.lower()}"' if format_name == "csv" else "")
            raise BatchInputError(f"input file {file} is text in {encoding}, not in UTF-8. {advice}")
