"""What an invalid argument of create and update says: the field, its value and the fix.

The checks themselves stand with the fields, in `spec.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

# Fields whose values no error shows: they are secrets, or people put secrets there.
_UNSHOWN_FIELDS = frozenset(
    {
        "secrets",
        "container_registry_password",
        "custom_image",
        "env",
        "custom_router",
        "container_args",
        "container_command",
    }
)


def explain(error: ValidationError, arguments: Mapping[str, Any]) -> str:
    """The errors of pydantic in the words of a caller: the argument, its value unless it may be secret, the fix."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        field_name, *inside = problem["loc"] or ("",)
        path = f"{field_name}{''.join(f'[{part!r}]' for part in inside)}"
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        if str(message).startswith(str(field_name) or "-"):
            lines.append(message)
        elif inside:
            lines.append(f"{path}: {message}{_kind_inside(arguments.get(str(field_name)), inside)}")
        elif field_name in _UNSHOWN_FIELDS or field_name not in arguments:
            lines.append(f"{path}: {message}" if path else message)
        else:
            lines.append(f"{path}={arguments[str(field_name)]!r}: {message}")
    return "; ".join(lines).rstrip(".") + "."


def _kind_inside(value: Any, parts: Sequence[int | str]) -> str:
    """What kind of value a part of an argument is. The value itself may be a secret."""
    try:
        for part in parts:
            value = value[part]
    except (KeyError, IndexError, TypeError):  # the part is a step of the check, not of the value
        return ""
    todo = {bool: "Write the value in quotes", int: "Write the value in quotes", float: "Write the value in quotes"}
    todo[type(None)] = "Leave the name out"
    hint = f". {todo[type(value)]}" if type(value) in todo else ""
    return f", not {'None' if value is None else type(value).__name__}{hint}"
