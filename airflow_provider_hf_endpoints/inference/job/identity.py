"""The identity of a job, by which a later run recognises it: its digest, and how two identities differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = 3  # of the journal; it is part of every identity, and of the manifest


def digest(identity: Mapping[str, Any]) -> str:
    """A short name of an identity."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


#: Size and version of each input file. They may change although the rows are the same.
VERSIONS = ("inputs",)
#: What the input was, and how its text is read. An unfinished batch continues if these changed: the file was mended.
CONTENT = (*VERSIONS, "encoding", "delimiter")


#: Mappings whose order does not matter: requests are made in a fixed order.
IN_ANY_ORDER = ("parameters", "row_parameters")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], but_for: Sequence[str] = ()) -> list[str]:
    """How two identities differ, in words.

    :param but_for: names that may differ
    """
    old, new = json.loads(json.dumps(old, default=str)), json.loads(json.dumps(new, default=str))
    names = [name for name in dict.fromkeys([*old, *new]) if name != "inputs" and name not in but_for]
    # As text: 1, 1.0 and true are equal in Python, but different requests.
    changed = [name for name in names if _text(name, old.get(name)) != _text(name, new.get(name))]
    found = [_difference(name, old.get(name), new.get(name)) for name in changed]
    if "inputs" not in but_for:
        found += _changed_files(old.get("inputs"), new.get("inputs"))
    return found


def _text(name: str, value: Any) -> str:
    """Equal for equal requests. The order of a schema's properties matters, because the answer follows it."""
    return json.dumps(dict(sorted(value.items())) if name in IN_ANY_ORDER and isinstance(value, dict) else value)


def _changed_files(old: Any, new: Any) -> list[str]:
    """Files in both identities that have changed. Earlier releases stored no files."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return []
    changed = [path for path in old if path in new and old[path] != new[path]]
    return [f"input file {path} was {_version(old[path])}, and is now {_version(new[path])}" for path in changed[:3]]


def _version(known: Any) -> str:
    match known:
        case [size, mark]:
            return f"{size} bytes (version {mark})"
        case _:  # somebody has changed the stored identity
            return repr(known)


def _difference(name: str, old: Any, new: Any) -> str:
    if name != "input_path" or not (isinstance(old, list) or isinstance(new, list)):
        return f"{name} was {old!r}, and is now {new!r}"
    before, after = ([value] if isinstance(value, str) else value or [] for value in (old, new))
    gone, added = _but(before, after), _but(after, before)
    if not gone and not added:
        return "input_path contains the same files in another order"
    parts = [
        f"{words} {_some(files)}" for words, files in (("no longer contains", gone), ("also contains", added)) if files
    ]
    return f"input_path {' and '.join(parts)}"


def _but(these: Sequence[Any], those: Sequence[Any]) -> list[Any]:
    others = set(map(repr, those))
    return [each for each in these if repr(each) not in others]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
