"""Paths with `*`, `?` and `[…]`: where the pattern in them begins, and which names are left out.

Looks at names only; the search is in `files.py` and `listing.py`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError

_MAGIC = "*?["


def is_pattern(path: UPath) -> bool:
    """Whether a path contains the characters of a pattern."""
    return any(sign in path.path for sign in _MAGIC)


def plain_start(wanted: str) -> str:
    """The part of a pattern before its first special character."""
    return wanted[: min((place for sign in _MAGIC if (place := wanted.find(sign)) >= 0), default=len(wanted))]


def refuse_partial(pattern: UPath, wanted: str) -> None:
    """
    :raises BatchInputError: `**` is not a whole part of the pattern
    """
    if any("**" in part and part != "**" for part in wanted.split("/")):
        raise BatchInputError(
            f"input pattern {pattern} is not valid: ** must be a whole part of it, such as in/**/*.jsonl"
        )


def split(pattern: UPath) -> tuple[UPath, str]:
    """The folder above the first special character of a pattern, and the pattern from there on."""
    parts = PurePosixPath(pattern.path).parts
    plain = next(number for number, part in enumerate(parts) if any(sign in part for sign in _MAGIC))
    base = pattern
    for _ in parts[plain:]:
        base = base.parent
    return base, "/".join(parts[plain:])


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot or an underscore."""
    return name.startswith((".", "_"))


def is_left_out(name: str, wanted: str) -> bool:
    """Whether to skip a name: hidden files and files in hidden folders, unless the pattern asks for hidden names."""
    *folders, file = name.split("/")
    last = wanted.rpartition("/")[2]
    if any(is_hidden(folder) for folder in folders):
        return True
    return is_hidden(file) and not (is_hidden(last) and fnmatchcase(file, last))
