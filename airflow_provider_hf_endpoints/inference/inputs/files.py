"""The files that an `input_path` means, and their order: one file, a list, a pattern, or a folder. Looks at names
only; opens nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.utils import glob_translate
from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.formats import (
    CSV,
    FILES,
    JSONL,
    SUFFIXES,
    USUAL_CSV,
    CsvForm,
    FileFormat,
    InputFormat,
    format_of,
)
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import check_path, refusal, words_of_hub
from airflow_provider_hf_endpoints.inference.inputs.patterns import (
    is_hidden,
    is_left_out,
    is_pattern,
    refuse_partial,
    split,
)
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath, local_path

_PACKED = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input.

    :param name: as in errors: its name, or its path below the folder or pattern
    :param packing: `.gz`, `.zst`, or nothing
    :param start: with `end`, of unpacked JSONL: only the lines that start at these bytes, without the end
    :param end: None for the file's end
    :param csv: the form of a CSV file
    :param binary: columns of a table whose bytes the batch takes
    :param before: of an entry that is listed (`formats.FILES`): the entries before it, whose files it leaves out. Its
        `start` and `end` count files
    """

    path: UPath
    name: str
    format: FileFormat = JSONL
    packing: str = ""
    start: int = 0
    end: int | None = None
    csv: CsvForm = USUAL_CSV
    before: tuple[UPath, ...] = ()
    binary: tuple[str, ...] = ()

    @property
    def is_part(self) -> bool:
        """Whether another part of the file is read elsewhere."""
        return self.start > 0 or self.end is not None

    @property
    def after_byte(self) -> int:
        """The byte from which its lines are counted, 0 for the file's beginning."""
        return self.start if self.format is JSONL else 0

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Input:
    """The files of a batch, in the order of their rows.

    :param patterns: the folders and patterns that found the files, as patterns
    :param whole: all files of the batch, if these are only a shard's
    :param versions: size and version of each file by its path, if known; see `versions.py`
    :param columns: columns that the batch needs of a row, for formats that can skip the others; None
        for all
    """

    files: tuple[InputFile, ...]
    patterns: tuple[UPath, ...] = ()
    columns: tuple[str, ...] | None = field(default=None, kw_only=True)
    whole: tuple[InputFile, ...] = field(default=(), kw_only=True)
    versions: Mapping[str, tuple[int | None, str | None]] = field(default_factory=dict, kw_only=True)

    @property
    def names(self) -> str | list[str]:
        """The paths in the form of an identity: one text, or a list."""
        files = self.whole or self.files
        return str(files[0]) if len(files) == 1 else [str(file) for file in files]

    @property
    def is_listed(self) -> bool:
        """Whether its rows are files, see `listing.py`."""
        return self.files[0].format is FILES

    def only(self, file: InputFile) -> Input:
        """One file of these."""
        return replace(self, files=(file,))

    def would_read(self, path: UPath) -> str | None:
        """The path or pattern that would read a file at `path` in a later run, None if none would."""
        for full in (_full, _real):  # as the paths are written, and without the links of a disk
            if any(full(file.path) == full(path) and file.path.protocol == path.protocol for file in self.files):
                return str(path)
            for pattern in self.patterns:
                base, wanted = split(pattern)
                prefix = f"{full(base).rstrip('/')}/"
                inside = full(path).removeprefix(prefix)
                if pattern.protocol != path.protocol or not full(path).startswith(prefix):
                    continue
                if re.match(glob_translate(wanted), inside) and not is_left_out(inside, wanted):
                    return str(pattern)
        return None

    def refuse_output(self, *paths: UPath) -> None:
        """
        :raises BatchInputError: a later run would read one of the paths as input
        """
        for path in paths:
            reader = self.would_read(path)
            if reader is not None:
                raise BatchInputError(
                    f"output {path} is inside input_path ({reader}), so a later run would read the output as input. "
                    "Choose another folder for the output"
                )

    def __str__(self) -> str:
        first = str(self.files[0])
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more"


def find_input(
    given: Any,
    input_format: InputFormat = "auto",
    columns: Sequence[str] | None = None,
    csv: CsvForm | None = None,
    binary: Sequence[str] = (),
) -> Input:
    """The files that an `input_path` means.

    With `files`, an entry is not opened: each of its files is a row (see `listing.py`), and nothing is listed here.
    A folder means the files in it. A path with `*`, `?` or `[…]` means the files that match (`**` includes folders).
    Both are sorted by name, without names that begin with a dot or an underscore. A list keeps its order, and
    each of its entries may be any of these.

    :param columns: columns that the batch needs
    :param csv: the form of CSV files; None for the usual form
    :param binary: columns whose bytes the batch takes
    :raises BatchInputError: there is no file, a file cannot be read or is named twice, a folder contains a file of
        unknown format, or a form of CSV is given and no file is CSV
    """
    entries = list(given) if isinstance(given, list | tuple) else [given]
    if not entries:
        raise BatchInputError("input_path is an empty list. Name at least one file")
    paths = [as_upath(entry) for entry in entries]
    if input_format == FILES.name:
        files = [InputFile(path, path.name, FILES, before=tuple(paths[:at])) for at, path in enumerate(paths)]
    else:
        files = [file for path in paths for file in _found(path, input_format, len(paths) > 1)]
    _refuse_doubled(files)
    if csv is not None:
        if not any(file.format is CSV for file in files):
            raise BatchInputError(
                f"encoding and delimiter apply only to CSV, but no input file is CSV: {files[0]}. Remove them, or set "
                "input_format"
            )
        files = [replace(file, csv=csv) for file in files]
    if binary:
        files = [replace(file, binary=tuple(binary)) for file in files]
    folders = [path for path in paths if input_format == FILES.name or not _is_file(path, files)]
    patterns = tuple(path if is_pattern(path) else path / "*" for path in folders)
    return Input(tuple(files), patterns, columns=None if columns is None else tuple(dict.fromkeys(columns)))


def _refuse_doubled(files: Sequence[InputFile]) -> None:
    """
    :raises BatchInputError: two paths mean the same file
    """
    seen: dict[object, InputFile] = {}
    for file in files:
        first = seen.setdefault(_content_of(file.path), file)
        if first is not file:
            same = "" if str(first) == str(file) else f", once as {first}"
            raise BatchInputError(
                f"input_path contains {file} twice{same}, so its rows would be sent twice. Name the file only once"
            )


def _content_of(path: UPath) -> object:
    """A value that is equal for two paths to the same file, also through links on a disk."""
    local = local_path(path)
    if local is not None:
        try:
            about = os.stat(local)
        except OSError:
            return str(path)
        return about.st_dev, about.st_ino
    return path.protocol, path.fs, _full(path)


def _is_file(path: UPath, files: Sequence[InputFile]) -> bool:
    return any(file.path is path for file in files)


def _full(path: UPath) -> str:
    """The path as its file system writes it, in whatever form it was given."""
    return str(path.fs._strip_protocol(path.path)).rstrip("/")


def _real(path: UPath) -> str:
    """The same without links, if it is on a local disk."""
    return _full(path) if local_path(path) is None else os.path.realpath(_full(path))


def _found(path: UPath, input_format: InputFormat, in_list: bool) -> list[InputFile]:
    # A cached listing of the file system's client would hide files that another machine wrote since.
    path.fs.invalidate_cache()
    try:
        return list(_of_entry(path, input_format, in_list))
    except OSError as error:
        refused = refusal(path, error)
        if refused is None:
            raise
        raise refused from None


def _of_entry(path: UPath, input_format: InputFormat, in_list: bool) -> Iterator[InputFile]:
    if is_pattern(path) and not path.exists():
        yield from _matching(path, input_format)
    elif path.is_dir():
        yield from _inside(path, input_format)
    elif in_list and not path.exists():  # a single file raises this when it is opened
        path.fs.info(path.path)  # raises the reason, if there is another one
        raise BatchInputError(f"input file {path} does not exist. {check_path(path)}")
    else:
        _refuse_stream(path)
        yield _describe(path, path.name, input_format)


def _refuse_stream(path: UPath) -> None:
    """
    :raises BatchInputError: a pipe, a socket or a device, which can be read once, or has no end. A batch reads a file
        several times
    """
    local = local_path(path)
    if local is not None and local.exists() and not local.is_file():
        raise BatchInputError(
            f"input {path} is a pipe, a socket or a device, but a batch reads its input more than once. Write the rows "
            "to a file first"
        )


def _inside(folder: UPath, input_format: InputFormat) -> Iterator[InputFile]:
    found = sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=lambda path: path.name)
    for path in found:
        _refuse_broken_link(path)
    files = [_known(path, path.name, input_format) for path in found if path.is_file()]
    if not files:
        raise BatchInputError(
            f"input folder {folder} contains no input file. Subfolders, and names that start with '.' or '_', are not "
            f"read. Give a pattern such as {folder / '**' / '*.jsonl'}"
        )
    yield from files


def _matching(pattern: UPath, input_format: InputFormat) -> Iterator[InputFile]:
    base, wanted = split(pattern)
    refuse_partial(pattern, wanted)
    names = sorted(name for name in _search(base, wanted) if not is_left_out(name, wanted))
    for name in names:
        _refuse_broken_link(base / name)
    if not names:
        raise BatchInputError(f"input pattern {pattern} matches no file{_why_not(base)}")
    for name in names:
        yield _known(base / name, name, input_format)


def _search(base: UPath, wanted: str) -> list[str]:
    """The files below a folder that match, by their paths from there. Broken links are among them."""
    local = local_path(base)
    if local is not None:
        return list(_search_disk(local, wanted))
    prefix = f"{_full(base)}/"
    try:
        found = base.fs.glob(prefix + wanted, detail=True)
    except FileNotFoundError:
        return []
    return [key.removeprefix(prefix) for key, about in found.items() if about["type"] == "file"]


def _search_disk(base: Path, wanted: str) -> Iterator[str]:
    """The same on a local disk. fsspec's search passes over links, and over folders that are closed to this user.

    Links to folders are followed, except for `**`, which could go in a circle.

    :raises PermissionError: the pattern leads into a closed folder
    """
    *folders, _ = wanted.split("/")
    anywhere = "**" in folders or wanted == "**"
    matches = re.compile(glob_translate(wanted)).match

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise error

    for folder, names, files in os.walk(base, onerror=refuse, followlinks=not anywhere):
        os.stat(f"{folder}/.")  # the names in a folder may be readable without the files
        inside = Path(folder).relative_to(base).parts
        for name in files:
            found = "/".join((*inside, name))
            # Neither a pipe nor a device; a broken link is refused later.
            if matches(found) and (os.path.isfile(f"{folder}/{name}") or os.path.islink(f"{folder}/{name}")):
                yield found
        here = folders[len(inside) : len(inside) + 1]
        names[:] = [
            name
            for name in names
            if not is_hidden(name) and (anywhere or any(fnmatchcase(name, each) for each in here))
        ]


def _refuse_broken_link(path: UPath) -> None:
    """
    :raises BatchInputError: the link leads to no file, so rows would be missing
    """
    local = local_path(path)
    if local is not None and local.is_symlink() and not local.exists():
        raise BatchInputError(
            f"input file {path} is a link to {os.readlink(local)}, which does not exist, so its rows would be left "
            "out. Restore the file, or remove the link"
        )


def _why_not(folder: UPath) -> str:
    """The reason for an empty folder, if the Hub gives one."""
    try:
        folder.fs.info(folder.path)
    except FileNotFoundError as error:
        return words_of_hub(folder, error)
    return ""


def _known(path: UPath, name: str, input_format: InputFormat) -> InputFile:
    """A file that was found, and not given, so its name must show its format."""
    if format_of(_suffix(name)[0], input_format) is None:
        raise BatchInputError(
            f"input file {path} has no known suffix ({', '.join(SUFFIXES)}, optionally compressed). Narrow the "
            "pattern, or set input_format"
        )
    return _describe(path, name, input_format)


def _describe(path: UPath, name: str, input_format: InputFormat) -> InputFile:
    suffix, packing = _suffix(name)
    kind = format_of(suffix, input_format) or JSONL
    if packing and not kind.may_be_packed:
        raise BatchInputError(
            f"input file {path}: {kind.name.capitalize()} is already compressed internally. Unpack the outer {packing}"
        )
    return InputFile(path, name, kind, packing)


def _suffix(name: str) -> tuple[str, str]:
    """The suffix of the format, and the suffix of the packing."""
    lower = name.lower()
    packing = next((each for each in _PACKED if lower.endswith(each)), "")
    return PurePosixPath(lower.removesuffix(packing)).suffix, packing
