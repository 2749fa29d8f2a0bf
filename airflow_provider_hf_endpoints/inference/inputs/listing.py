"""The files that an entry of `input_path` means, for `input_format="files"`: listed while the batch runs, some at a
time.

The order is that of the paths as text, in which a folder stands as `name/`. S3 lists in this order, so no list is
kept there. On a disk, the names of one folder are in memory; on other stores, what the store says about one folder.
No file is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.utils import glob_translate
from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import check_path, refusal
from airflow_provider_hf_endpoints.inference.inputs.patterns import (
    is_hidden,
    is_left_out,
    is_pattern,
    plain_start,
    refuse_partial,
    split,
)
from airflow_provider_hf_endpoints.inference.stores.marks import Version, of_disk, version_at, version_in
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_UNKNOWN = Version(None, None)


class Listed(NamedTuple):
    """A file.

    :param path: as text
    :param name: its path below the folder or the pattern's beginning
    """

    path: str
    name: str
    version: Version


def list_files(entry: InputFile) -> Iterator[Listed]:
    """The files of an entry, without those of the entries before it.

    :raises BatchInputError: the folder does not exist or may not be read, or a pattern is not valid
    """
    try:
        yield from _listed(entry)
    except OSError as error:
        refused = refusal(entry.path, error)
        if refused is None:
            raise
        raise refused from None


def _listed(entry: InputFile) -> Iterator[Listed]:
    path = entry.path
    listed_before = [_member(each) for each in entry.before]
    base, wanted = _parts(path)
    if base is None:
        found: Iterator[tuple[str, Version]] = iter([("", version_at(path))])
        here, prefix = path.name, str(path)
    else:
        found, here, prefix = _below(base, wanted), "", f"{str(base).rstrip('/')}/"
    for name, version in found:
        if not any(is_member(prefix + name) for is_member in listed_before):
            yield Listed(prefix + name, name or here, version)


def _parts(path: UPath) -> tuple[UPath | None, str]:
    """The folder of an entry, and the pattern below it; no folder for a single file.

    :raises BatchInputError: the pattern is not valid, or there is neither file nor folder on a disk
    """
    if is_pattern(path) and not path.exists():
        base, wanted = split(path)
        refuse_partial(path, wanted)
        return base, wanted
    if path.is_file():
        return None, ""
    if local_path(path) is not None and not path.is_dir():
        raise BatchInputError(f"input folder {path} does not exist. {check_path(path)}")
    return path, "*"


def _member(path: UPath) -> Callable[[str], bool]:
    """Whether a path, as text, is of an entry."""
    base, wanted = _parts(path)
    if base is None:
        return lambda name: name == str(path)
    prefix, matches = f"{str(base).rstrip('/')}/", _matcher(wanted)
    return lambda name: name.startswith(prefix) and matches(name[len(prefix) :])


def _matcher(wanted: str) -> Callable[[str], bool]:
    if wanted == "*":  # a folder: the usual case, of a million names
        return lambda name: "/" not in name and not is_hidden(name)
    match = re.compile(glob_translate(wanted)).match
    return lambda name: match(name) is not None and not is_left_out(name, wanted)


def _below(base: UPath, wanted: str) -> Iterator[tuple[str, Version]]:
    local = local_path(base)
    if local is not None:
        return ((name, _on_disk(f"{local}/{name}")) for name in _search_disk(local, wanted))
    if hasattr(base.fs, "call_s3"):
        return _search_s3(base, wanted)
    base.fs.invalidate_cache()  # a cached listing would hide files that another machine wrote since
    return _search_store(base, wanted)


def _follows(inside: str, wanted: str) -> bool:
    """Whether files that match can be in a folder, or below it.

    :param inside: its path from the pattern's beginning, without a slash at its end
    """
    folders = wanted.split("/")[:-1]
    if is_hidden(inside.rpartition("/")[2]):
        return False
    if "**" in folders or wanted == "**":
        return True
    depth = inside.count("/")
    return depth < len(folders) and fnmatchcase(inside.rpartition("/")[2], folders[depth])


# ------------------------------------------------------------------------------------------- a disk


def _on_disk(path: str) -> Version:
    try:
        return of_disk(os.stat(path))
    except OSError:
        return _UNKNOWN  # a link that leads nowhere, or a file that was deleted: its read says why


def _search_disk(base: Path, wanted: str, inside: str = "") -> Iterator[str]:
    matches = _matcher(wanted)
    anywhere = "**" in wanted.split("/")[:-1] or wanted == "**"
    folder = base / inside
    os.stat(f"{folder}/.")  # the names in a folder may be readable without the files
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            # Links to folders are followed, except for `**`, which could go in a circle.
            if entry.is_dir(follow_symlinks=not anywhere):
                if _follows(inside + entry.name, wanted):
                    names.append(f"{entry.name}/")
            elif (entry.is_file() or _is_broken(entry)) and matches(inside + entry.name):
                names.append(entry.name)
    names.sort(reverse=True)
    while names:
        name = names.pop()
        if name.endswith("/"):
            yield from _search_disk(base, wanted, inside + name)
        else:
            yield inside + name


def _is_broken(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to nothing. Its row is an error, so that no file is missing silently."""
    return entry.is_symlink() and not os.path.exists(entry.path)


# ------------------------------------------------------------------------------------------- stores


def _search_s3(base: UPath, wanted: str, inside: str = "") -> Iterator[tuple[str, Version]]:
    """S3 lists keys by their names, a thousand at a time."""
    fs, matches = base.fs, _matcher(wanted)
    whole = "**" in wanted.split("/")[:-1] or wanted == "**"
    bucket, key, _ = fs.split_path(base.path)
    start = f"{key.rstrip('/')}/" if key else ""
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": start + (inside or plain_start(wanted))}
    if not whole:
        asked["Delimiter"] = "/"
    token = None
    while token is None or token:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        page = fs.call_s3("list_objects_v2", **asked, **more)
        files = [(each["Key"][len(start) :], each) for each in page.get("Contents", ())]
        folders = [(each["Prefix"][len(start) :], None) for each in page.get("CommonPrefixes", ())]
        for name, about in sorted([*files, *folders], key=lambda each: each[0]):
            if about is None:
                if _follows(name.rstrip("/"), wanted):
                    yield from _search_s3(base, wanted, name)
            elif not name.endswith("/") and matches(name):  # a key `folder/` is no file
                yield name, Version(int(about["Size"]), about["ETag"])
        token = page.get("NextContinuationToken", "")


def _search_store(base: UPath, wanted: str, inside: str = "") -> Iterator[tuple[str, Version]]:
    """Any other store, a folder at a time."""
    fs, matches = base.fs, _matcher(wanted)
    folder = f"{base.path.rstrip('/')}/{inside}".rstrip("/")
    try:
        entries: list[Mapping[str, Any]] = fs.ls(folder, detail=True)
    except FileNotFoundError:
        return  # most stores have no folders, so an empty one does not exist
    found = []
    for about in entries:
        name = inside + about["name"].rstrip("/").rpartition("/")[2]
        if about["type"] == "directory":
            if _follows(name, wanted):
                found.append((f"{name}/", _UNKNOWN))
        elif matches(name):
            found.append((name, version_in(about)))
    found.sort()
    for name, version in found:
        if name.endswith("/"):
            yield from _search_store(base, wanted, name)
        else:
            yield name, version
