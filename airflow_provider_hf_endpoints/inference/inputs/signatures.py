"""What a file is when its first bytes say that it is not the text which its name promises.

Read as lines, such a file gives rows of garbage, some of which are sent and paid.
"""

from __future__ import annotations

import io
from typing import IO, cast

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile

_UNPACK = "Give it a name that ends in {}, or unpack it"
_CONVERT = "Convert it to JSON Lines, CSV or Parquet"
_UTF8 = "Write it as UTF-8"
#: By what a file begins with, longer ones first: what it is, and what to do.
_KINDS = (
    (b"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK.format(".zst")),
    (b"PAR1", "a Parquet file", 'Give it a name that ends in .parquet, or set input_format="parquet"'),
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


def refuse_other_kinds(file: InputFile, content: IO[bytes], *, text: bool = True) -> None:
    """Refuse what cannot be read as lines of text.

    :param content: the file's bytes, unpacked, at their beginning; they stay there
    :param text: refuse other encodings than UTF-8 too
    :raises BatchInputError: the file is something else
    """
    head = cast("io.BufferedReader", content).peek(_FIRST_BYTES)[:_FIRST_BYTES]
    for beginning, kind, advice in _KINDS:
        if head.startswith(beginning):
            raise BatchInputError(f"input file {file} is {kind}, not {file.format.name.upper()}. {advice}")
    for beginning, encoding in _ENCODINGS:
        if text and head.startswith(beginning):
            advice = _UTF8 + (f', or set encoding="{encoding.lower()}"' if file.format.name == "csv" else "")
            raise BatchInputError(f"input file {file} is text in {encoding}, not in UTF-8. {advice}")
