"""The formats of input files, each with its properties. To add a format, add it here.

A format is a name in `InputFormat`, a line of `_FORMATS`, and a file in `readers/` (see `read.Reader`).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Literal, get_args

#: A job may give `auto`, which means the format in each file's name, or a format.
InputFormat = Literal["auto", "jsonl", "csv", "parquet", "openai-batch", "files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """The properties of a format.

    :param suffixes: the suffixes of such files, in lower case, without the suffix of a packing
    :param reader: name of its module in `readers/`; imported with the first such file, because a library
        may load slowly
    :param unit: the word for a row of such a file
    :param may_be_packed: whether `.gz` and `.zst` are unpacked
    :param splits: whether a range of an unpacked file can be read alone: of bytes, because each line is a row, or
        of the files of a folder
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    unit: str = "line"
    may_be_packed: bool = True
    splits: bool = False


@dataclass(frozen=True, slots=True)
class CsvForm:
    """The form of a CSV file.

    :param encoding: None for UTF-8, with or without a byte order mark
    :param delimiter: one character between two values, None for the one of the file's name: a tab for `.tsv`, else a
        comma
    """

    encoding: str | None = None
    delimiter: str | None = None

    @classmethod
    def of(cls, encoding: str | None, delimiter: str | None) -> CsvForm:
        """The form that a job gives.

        :raises ValueError: the encoding is unknown, or the delimiter is not valid
        """
        try:
            "".encode(encoding or "utf-8")  # refuses a codec that is not for text
            name = codecs.lookup(encoding or "utf-8").name
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"encoding={encoding!r} is unknown. Use a name such as utf-8, cp1252 or utf-16") from None
        if delimiter is not None and not (isinstance(delimiter, str) and re.fullmatch(r'[^"\r\n]', delimiter)):
            raise ValueError(
                f"delimiter={delimiter!r} is not valid. Use one character, such as ';' or a tab, but no quote or line "
                "break"
            )
        return cls(None if name == "utf-8" else name, delimiter)


USUAL_CSV = CsvForm()
JSONL = FileFormat(name="jsonl", suffixes=(".jsonl", ".ndjson", ".json"), reader="jsonl", splits=True)
CSV = FileFormat(name="csv", suffixes=(".csv", ".tsv"), reader="csv_table")
#: Not the content of files: each file is a row. `listing.py` has the rows.
FILES = FileFormat(name="files", suffixes=(), reader="listed", unit="file", may_be_packed=False, splits=True)
_FORMATS = (
    JSONL,
    CSV,
    FileFormat(name="parquet", suffixes=(".parquet",), reader="parquet", unit="row", may_be_packed=False),
)
_BY_NAME = {each.name: each for each in _FORMATS}
_BY_SUFFIX = {suffix: each for each in _FORMATS for suffix in each.suffixes}
NAMES = tuple(_BY_NAME)
SUFFIXES = tuple(_BY_SUFFIX)


def format_of(suffix: str, input_format: InputFormat) -> FileFormat | None:
    """The format of a file: the one that the job gives, else the one of the file's suffix; None if the suffix is
    unknown.

    :raises ValueError: the job gives an unknown format
    """
    match input_format:
        case "auto":
            return _BY_SUFFIX.get(suffix)
        case "openai-batch":  # a form of requests, as lines of JSON
            return JSONL
        case FILES.name:
            return FILES
        case name if name in _BY_NAME:
            return _BY_NAME[name]
        case _:
            raise ValueError(
                f"input_format={input_format!r} is not valid. Use one of {', '.join(get_args(InputFormat))}"
            )
