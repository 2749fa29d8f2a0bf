"""Refuses output paths where no file can be written, before any row is paid for.

A path may be a link to a file: the link stays, and its target is written. Object stores are not looked at.
"""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.paths import local_path, written_path

# Characters of a name on a disk. The limit is 255, and a file gets a longer name while it is written.
_MOST_BYTES = 255 - len(".4194304.tmp.")
_ELSEWHERE = "or choose another output_path"
_EFFECTIVE = os.access in os.supports_effective_ids


def require_places(layout: OutputLayout) -> None:
    """
    :raises BatchInputError: the path of one of the files cannot be a file, or the path of a folder cannot be a folder
    """
    files = (layout.results, layout.errors, layout.manifest)
    folders = (layout.journal, layout.shards, layout.snapshot)
    for path in (*files, *folders, layout.ids):
        _require_short_name(path)
    written: dict[Path, UPath] = {}
    for path in files:
        target = written_path(path)
        if target is None:
            continue
        _require_file(path, target)
        _require_folder(target.parent, path)
        first = written.setdefault(Path(os.path.realpath(target)), path)
        if first is not path:
            raise BatchInputError(
                f"{path} and {first} are the same file, {target}, so one would replace the other. Remove a link, "
                f"{_ELSEWHERE}"
            )
    for path in folders:
        local = local_path(path)
        if local is not None:
            _require_folder(local, path)


def require_permission(layout: OutputLayout) -> None:
    """Refuse an output in folders that are closed to this user. A finished output may be in such a folder.

    :raises BatchInputError: no file can be written there
    """
    files = [written_path(path) for path in (layout.results, layout.errors, layout.manifest)]
    folders = [*(file.parent for file in files if file is not None), local_path(layout.journal)]
    for folder in folders:
        above = None if folder is None else _first_there(folder)
        if above is not None and not os.access(above, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
            raise BatchInputError(
                f"no permission to write into the folder {above}, but the output {layout.results} needs it. Let the "
                f"user of this process write there, {_ELSEWHERE}"
            )


def _first_there(folder: Path) -> Path:
    """The folder itself, or else the nearest path above it that exists."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)


def _require_short_name(path: UPath) -> None:
    target = written_path(path)
    size = 0 if target is None else len(os.fsencode(target.name))
    if target is not None and size > _MOST_BYTES:
        raise BatchInputError(
            f"output file {target.name[:40]}… has a name of {size} bytes, but the limit is {_MOST_BYTES}. Choose "
            "a shorter output_path"
        )


def _require_file(path: UPath, target: Path) -> None:
    """
    :param target: where a write to the path goes
    """
    is_link = target != local_path(path)
    name = f"{path}, a link to {target}," if is_link else str(path)
    if target.is_symlink():
        raise BatchInputError(f"{path} is a link that leads back to itself. Remove the link, {_ELSEWHERE}")
    if target.is_dir():
        raise BatchInputError(
            f"{name} is a folder, but the output needs a file there. Move the folder away, {_ELSEWHERE}"
        )
    if target.exists() and not target.is_file():
        raise BatchInputError(
            f"{name} is a device, a pipe or a socket, but the output needs a file there. Remove it, {_ELSEWHERE}"
        )
    if is_link and not target.parent.is_dir():
        raise BatchInputError(
            f"{path} is a link to {target}, but the folder {target.parent} does not exist. Create the folder, remove "
            f"the link, {_ELSEWHERE}"
        )


def _require_folder(folder: Path, output: UPath) -> None:
    """Refuse what is in the place of a folder, or of a folder above it."""
    above = _first_there(folder)
    if above.is_symlink() and not above.exists():
        raise BatchInputError(
            f"{above} is a link to {os.readlink(above)}, which does not exist, but the output {output} needs a folder "
            f"there. Create the folder, remove the link, {_ELSEWHERE}"
        )
    if not above.is_dir():
        raise BatchInputError(
            f"{above} is a file, but the output {output} needs a folder there. Move the file away, {_ELSEWHERE}"
        )
