"""Where a case's rows lie and how a path leads to them: odd names, links, folders, patterns, lists; and what happens to
them between two runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upath import UPath

from tests.hostile.cases import Case, Row
from tests.hostile.tables import input_of

#: Names of files, without their suffix; those from the fourth on are a local disk's alone.
NAMES = ["in", "in put", "ünï", "e\u0301", "in#1", "in%20", "in[1]", "a?b", "~x", "-x", "x.tar", "$HOME"]
NAMES += ["a&b=c", "{n}", "'q\"", "x" * 120]
_REMOTE = 3


def name_of(case: Case) -> str:
    """The name of a case's files."""
    return NAMES[case.name % (_REMOTE if case.remote or case.remote_input else len(NAMES))]


def numbered(rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Each row with its number."""
    return list(enumerate(rows))


def put(case: Case, folder: Path) -> tuple[Any, list[Path]]:
    """Write the input below a folder.

    :return: the job's `input_path`, and the files that hold the rows
    """
    suffix = case.input_format.replace("openai", "jsonl")
    folder = folder / "in" / NAMES[case.folder]
    folder.mkdir(parents=True)
    rows, name = numbered(case.rows), f"{name_of(case)}.{suffix}"
    if case.layout in ("file", "link", "linked folder"):
        home = folder / "data"
        home.mkdir()
        file = home / name
        file.write_bytes(input_of(case, rows))
        match case.layout:
            case "file":
                return file, [file]
            case "link":
                link = folder / f"link to {name}"
                link.symlink_to(file)
                return link, [file]
            case _:
                (folder / "link").symlink_to(home)
                return folder / "link", [file]
    half = len(rows) // 2
    parts = [part for part in (rows[:half], rows[half:]) if part]
    home = folder / name_of(case)
    home.mkdir()
    files = [home / f"part-{number}.{suffix}" for number in range(len(parts))]
    for path, part in zip(files, parts, strict=True):
        path.write_bytes(input_of(case, part))
    (home / "_SUCCESS").write_bytes(b"")
    (home / ".part-0.jsonl.crc").write_bytes(b"crc")
    if case.layout == "list":
        return files, files
    # A folder whose own name has signs of a pattern can only be named as a folder.
    plain = case.layout == "folder" or any(sign in str(home) for sign in "*?[")
    return (home if plain else f"{home}/part-*"), files


def can_change(case: Case) -> bool:
    """Whether a case's rows may be others in its second run: its file is one whose lines can be written again."""
    return case.input_format == "jsonl" and case.layout == "file" and not case.remote_input


def changed(case: Case) -> list[Row]:
    """The rows of the second run."""
    if case.change is None or not can_change(case):
        return case.rows
    match case.change:
        case "append":
            return [*case.rows, Row()]
        case "edit":
            return [Row(question="edited"), *case.rows[1:]]
        case _:
            return case.rows


def change(case: Case, files: Sequence[Path], remote: str | None) -> None:
    """Let happen to the input what happens to it between two runs."""
    if case.change is None:
        return
    if changed(case) != case.rows:
        files[0].write_bytes(input_of(case, numbered(changed(case))))
    for file in files:
        os.utime(file, ns=(1, 1))
    if remote is not None:
        UPath(remote).write_bytes(UPath(remote).read_bytes())
