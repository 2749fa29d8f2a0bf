"""Why a file is not a valid input: its file system refuses it, or its first bytes do not match its name. Such a file,
read as lines, would give rows of garbage, which would be sent and paid for."""

from __future__ import annotations

import errno
import io
import re
from typing import IO, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.formats import NAMES
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_HUB_TOKEN = "the token comes from the connection in the path (hf://conn_id@datasets/…), or from the default connection"

_UNPACK = "Rename it to end in {}, or unpack it"
_DOWNLOAD = "Download the file again: a page of a login or an error came in its place"
_PACK_AGAIN = "Unpack it, or pack it with gzip"
_CONVERT = f"Convert it to a format that a batch reads ({', '.join(NAMES)})"
_UTF8 = "Write it as UTF-8"
#: By the first bytes of a file, longer ones first: its kind, and what to do.
_KINDS = (
    (b"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK.format(".zst")),
    (b"PAR1", "a Parquet file", 'Rename it to end in .parquet, or set input_format="parquet"'),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"ARROW1", "an Arrow file", _CONVERT),
    (b"BZh", "packed with bzip2", _PACK_AGAIN),
    (b"\xfd7zXZ\x00", "packed with xz", _PACK_AGAIN),
    (b"ORC", "an ORC file", _CONVERT),
    (b"\x1f\x8b", "packed with gzip", _UNPACK.format(".gz")),
    (b"\x04\x22\x4d\x18", "packed with LZ4", _PACK_AGAIN),
    (b"\xff\x06\x00\x00sNaPpY", "packed with Snappy", _PACK_AGAIN),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _CONVERT),
    (b"Rar!", "a RAR archive", _CONVERT),
    (b"FEA1", "a Feather file", _CONVERT),
    (b"\xff\xff\xff\xff", "an Arrow stream", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _CONVERT),
)
#: The same for texts, ignoring case.
_TEXTS = (
    (b"%pdf", "a PDF", _CONVERT),
    (b"version https://git-lfs", "a pointer of Git LFS", "Fetch the file itself, with: git lfs pull"),
    (b"<!doctype html", "a page in HTML", _DOWNLOAD),
    (b"<html", "a page in HTML", _DOWNLOAD),
    (b"<?xml", "XML", _CONVERT),
)
#: Bytes that no text contains.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
#: Texts in other encodings. Marks of four bytes come first, because two of them begin like marks of two bytes.
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xef\xbb\xbf", "UTF-8"),
)
_TAR_AT = 257
_FIRST_BYTES = 512
_NO_PATH = frozenset({errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def check_path(path: UPath) -> str:
    """What to do if a path does not exist."""
    local = ". The path must be valid on the machine where the task runs" if local_path(path) is not None else ""
    return f"Check input_path{local}"


def refusal(path: UPath, error: OSError) -> BatchInputError | None:
    """The error as an input error; None if another try may help, for example after a broken connection."""
    match error:
        case FileNotFoundError():
            return BatchInputError(f"input file {path} does not exist{words_of_hub(path, error)}. {check_path(path)}")
        case IsADirectoryError():
            return BatchInputError(f"input {path} is a folder, not a file")
        case PermissionError():
            return BatchInputError(f"no permission to read input file {path}: {error}")
        case OSError() if error.errno in _NO_PATH:
            return BatchInputError(f"input {path} cannot be a file: {error.strerror}. Check the path")
    # huggingface_hub's errors contain the response. This room does not import them.
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
    """What the Hub's client says besides that the path does not exist."""
    if path.protocol != "hf":
        return ""
    if "repository not found" in str(error):
        return f": the repository does not exist, or the token may not see it; {_HUB_TOKEN}"
    return ": the revision does not exist in this repository" if "revision not found" in str(error) else ""


def refuse_other_kinds(file: object, format_name: str, content: IO[bytes], *, encoding: str | None = None) -> None:
    """Refuse a file that is not lines of text.

    :param content: the file's unpacked bytes, at their beginning; the position does not change
    :param encoding: of the text, by Python's name; None for UTF-8
    :raises BatchInputError: the file is something else
    """
    head = cast("io.BufferedReader", content).peek(_FIRST_BYTES)[:_FIRST_BYTES]
    if (kind := kind_of(head)) is not None:
        outer = getattr(file, "packing", "") if kind[0].startswith("packed with") else ""
        advice = f"The file is packed twice, the second time as {outer}. Unpack it" if outer else kind[1]
        raise BatchInputError(f"input file {file} is {kind[0]}, not {format_name.upper()}. {advice}")
    found = encoding_of(head)
    if found is None or (encoding or "utf-8").startswith(found[:6].lower()):
        return
    if encoding is not None:
        raise BatchInputError(
            f"input file {file} is text in {found}, as its first bytes say, not in {encoding}. Set "
            f'encoding="{found.lower()}"'
        )
    advice = _UTF8 + (f', or set encoding="{found.lower()}"' if format_name == "csv" else "")
    raise BatchInputError(f"input file {file} is text in {found}, not in UTF-8. {advice}")


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file without rows contains, by its first bytes, and what to do with it; None if unknown."""
    # A table may have a column whose name begins so, such as ORCID.
    for beginning, kind, advice in _KINDS if _is_binary(head) else ():
        if head.startswith(beginning):
            return kind, advice
    for beginning, kind, advice in _TEXTS:
        if head[: len(beginning)].lower() == beginning:
            return kind, advice
    if head[_TAR_AT:].startswith(b"ustar"):
        return "a tar archive", "Unpack it, and give the folder or the files"
    return None


def _is_binary(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.end < len(head) - 4:  # a character may be cut at the end
            return True
    return _CONTROL.search(head) is not None


def encoding_of(head: bytes) -> str | None:
    """The encoding of a text by its byte order mark, or by zeros in every second byte; None if unknown."""
    for beginning, encoding in _ENCODINGS:
        if head.startswith(beginning):
            return encoding
    match [byte == 0 for byte in head[:4]]:
        case [False, True, True, True]:
            return "UTF-32-LE"
        case [True, True, True, False]:
            return "UTF-32-BE"
        case [False, True, False, True]:
            return "UTF-16-LE"
        case [True, False, True, False]:
            return "UTF-16-BE"
    return None
