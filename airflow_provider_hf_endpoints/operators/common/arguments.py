"""Arguments that an operator takes through `**kwargs` and that Airflow nevertheless has to know by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., None])


def also_takes(names: Iterable[str]) -> Callable[[F], F]:
    """Have the signature of an `__init__` that ends in `**kwargs` say that it takes `names` too.

    Airflow reads it for `default_args`, and refuses in `partial` and `expand` what is not in it.
    """

    def mark(init: F) -> F:
        signature = inspect.signature(init)
        *known, rest = signature.parameters.values()
        extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
        init.__signature__ = signature.replace(parameters=[*known, *extra, rest])  # type: ignore[attr-defined]
        return init

    return mark
