"""Checks values other than text by the annotation of their argument: a number in place of a list, None in place of a
name. Python accepts them silently, and the mistake would be found when the endpoint already bills.

The result of another task is accepted if the argument is rendered: its value is known later.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin

from airflow_provider_hf_endpoints._airflow import ResolveMixin

_APART = frozenset({"secrets", "container_registry_password"})  # see `secrets.py`
_UNITS = {
    "max_cost": "a number of USD",
    "max_error_rate": "a share of the rows from 0 to 1, such as 0.2",
    "poll_interval": "a number of seconds",
    "price_above": "a number of USD an hour",
    "request_timeout": "a number of seconds",
    "scale_to_zero_timeout": "a whole number of minutes",
}
_SHOWN = (Real, timedelta, PurePath, type(None))
_LIMITS = frozenset({"startup_timeout", "timeout", "max_startup"})  # of waits, which need some time
_LONGEST = timedelta(days=36525)  # a moment that lies further ahead is none of Python's, and a deferral needs one
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)
_CALLED = {
    type(None): "None",
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    timedelta: "a timedelta",
    str: "a string",
}


def is_template(value: object) -> bool:
    """Whether Airflow would render a text, or look up the result of another task."""
    return isinstance(value, ResolveMixin) or (isinstance(value, str) and ("{{" in value or "{%" in value))


def alternatives(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, one by one."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from alternatives(each)
    else:
        yield annotation


def check_kind(name: str, value: object, annotation: Any, *, templated: bool) -> None:
    """Refuse a value that the annotation does not allow.

    :param templated: whether Airflow renders the argument
    :raises ValueError: with the argument, the value and what it may be
    """
    if name in _APART:
        return
    if isinstance(value, ResolveMixin):
        if not templated:
            raise ValueError(
                f"{name} is the result of another task, but {name} is not a template field, so Airflow does not look "
                "it up. Give a value."
            )
        return
    if name == "endpoint" and isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return  # the result of another task, if this task is mapped over it
    kinds = [*alternatives(annotation)]
    if timedelta in kinds:
        refuse_too_long(name, value)
    if not any(_fits(value, kind) for kind in kinds):
        name, value, kinds = _wrong_part(name, value, kinds)
        # Not for values that may be secrets.
        shown = f"={value!r}" if isinstance(value, _SHOWN) else f" is {_a(type(value).__name__)}, which"
        raise ValueError(f"{name}{shown} is not valid. Give {_allowed(name, value, kinds)}.")


def _wrong_part(name: str, value: Any, kinds: list[Any]) -> tuple[str, Any, list[Any]]:
    """Of a list with a wrong element, this element, with its name and what it may be; any other value itself."""
    lists = [kind for kind in kinds if get_origin(kind) in LISTS and _fits([], kind)]
    if not lists or not isinstance(value, list | tuple):
        return name, value, kinds
    elements = tuple(each for kind in lists for each in get_args(kind))
    number, wrong = next(((i, each) for i, each in enumerate(value) if not _is_element(each, elements)), (None, None))
    if number is None:
        return name, value, kinds  # each element may be in some list, but not in the same
    return f"{name}[{number}]", wrong, [each for kind in elements if kind is not ... for each in alternatives(kind)]


def _allowed(name: str, value: object, kinds: Sequence[Any]) -> str:
    if name == "endpoint" and hasattr(type(value), "__enter__") and not isinstance(value, PurePath):
        return "the endpoint of the group: `with inference_endpoint(…) as endpoint:`"
    numbers = [number_of(name, kinds)] if float in kinds or int in kinds else []
    others = [_called(kind) for kind in kinds if not (numbers and kind in (int, float, timedelta))]
    *some, last = dict.fromkeys([*numbers, *others])
    return f"{', '.join(some)} or {last}" if some else last


def number_of(name: str, kinds: Sequence[Any]) -> str:
    """What a number of the argument is called, with its unit."""
    if timedelta in kinds:
        return "a number of seconds, or a timedelta"
    return _UNITS.get(name, "a finite number" if float in kinds else "an integer")


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if kind in (Any, object):
        return True
    if kind is None or kind is type(None):
        return value is None
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool) and _is_finite(value)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(kind))
    if origin in LISTS or kind in LISTS:
        return isinstance(value, list | tuple) and all(_is_element(each, get_args(kind)) for each in value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return isinstance(value, kind)
    wanted = kind if origin is None else origin
    return isinstance(value, wanted) if isinstance(wanted, type) else True


def refuse_too_long(name: str, value: object) -> None:
    """Refuse a time after which there is no date; the run would find that when the endpoint bills.

    :param value: seconds, or a timedelta
    """
    longest: Any = _LONGEST if isinstance(value, timedelta) else _LONGEST.total_seconds()
    timed = isinstance(value, Real | timedelta) and not isinstance(value, bool)
    if timed and name in _LIMITS and value <= type(longest)(0):
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        raise ValueError(
            f"{name}={value!r}: A time limit of {seconds:g} seconds is not valid. Give a positive number of "
            "seconds, or a timedelta."
        )
    if timed and value != math.inf and value > longest:
        raise ValueError(f"{name}={value!r} is not valid. Give at most {_LONGEST.days} days, or leave {name} out.")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is no float
        return False


def _is_element(value: object, kinds: tuple[Any, ...]) -> bool:
    wanted = [each for kind in kinds for each in alternatives(kind) if kind is not ...]
    return isinstance(value, ResolveMixin) or not wanted or any(_fits(value, each) for each in wanted)


def _one_of(words: Sequence[str]) -> str:
    return f"one of {', '.join(words)}" if len(words) > 1 else words[0]


def _called(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return _one_of([repr(word) for word in get_args(kind)])
    if origin in LISTS or kind in LISTS:
        return "a list"
    if kind is None:
        return "None"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of([repr(str(member.value)) for member in kind])
    if kind in _CALLED:
        return _CALLED[kind]
    wanted = kind if origin is None else origin
    return "a mapping" if wanted in MAPPINGS else _a(str(getattr(wanted, "__name__", wanted)))
