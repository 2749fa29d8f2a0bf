"""The base that every operator and sensor has: its arguments are checked when the DAG is parsed, mapped or not.

Airflow reports missing arguments before an operator's `__init__` runs, so it would report `prompt` as missing and not
`promt` as unknown. Therefore the names are checked before Airflow's own checks. The rules are in `checking/names.py`
for names, and in `arguments.py` for values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any

from airflow_provider_hf_endpoints._airflow import BaseOperatorMeta
from airflow_provider_hf_endpoints._redact import redacting
from airflow_provider_hf_endpoints.operators.checking.arguments import checked_partial
from airflow_provider_hf_endpoints.operators.checking.mapping import called, checking, refuse_mapped
from airflow_provider_hf_endpoints.operators.checking.names import (
    arguments_of,
    refuse_unknown,
    tell_misspelt_defaults,
)

_PACKAGE = __name__.partition(".")[0]


class _ChecksNames(BaseOperatorMeta):
    """Puts the check of names before what Airflow puts before each `__init__` of this package.

    A subclass elsewhere may take names from its `**kwargs`. What it passes on is checked.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        cls = super().__new__(mcs, name, bases, namespace, **kwargs)  # type: ignore[no-untyped-call]
        if "__init__" in namespace and cls.__module__.startswith(f"{_PACKAGE}."):
            cls.__init__ = _checking(cls.__init__)
        return cls


def _checking(init: Any) -> Callable[..., None]:
    @wraps(init)
    def check(self: Any, *args: Any, **kwargs: Any) -> None:
        kind: Any = type(self)
        known = arguments_of(kind) | frozenset(kind.further_arguments)
        with redacting():
            refuse_unknown(called(kind, "", kwargs), kwargs, known, kind.arguments_inside)
        init(self, *args, **kwargs)
        if kind.__init__ is check:  # and not on the way, as a base
            tell_misspelt_defaults(self)

    check.__wrapped__ = init.__wrapped__  # Airflow knows the outermost `__init__` by this function
    return check


class KnownArguments(metaclass=_ChecksNames):
    """The first base of every operator and sensor."""

    further_arguments: Collection[str] = ()  # names that `__init__` takes from its `**kwargs`, but `partial` does not
    arguments_inside: Mapping[str, str] = {}  # names that belong into a mapping, with the argument that is this mapping

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's. Airflow makes the operator itself only when the task runs."""
        refuse_mapped(cls, "partial", kwargs)
        checked_partial(cls, kwargs)
        return checking(super().partial(**kwargs))  # type: ignore[misc]
