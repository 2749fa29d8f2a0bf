"""What a task is mapped over, names and literals, checked when the DAG is read like the arguments of any other task.

Airflow makes the operator of a mapped task when the task runs. Without these checks a wrong literal would be found when
the endpoint bills already. What another task returns is checked then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_hf_endpoints._airflow import ResolveMixin, take_as_expanded
from airflow_provider_hf_endpoints.operators.checking.arguments import checked_partial
from airflow_provider_hf_endpoints.operators.checking.names import arguments_of, refuse_unknown
from airflow_provider_hf_endpoints.operators.checking.paths import warn_of_shared_output

_MOST = 100  # tasks that are made, to check them as a whole; behind them, values are compared with their annotations


def checking(partial: Any) -> Any:
    """What an operator's `partial` returned, with an `expand` and an `expand_kwargs` that check names and literals."""
    return extended(partial, _Checks)


def extended(partial: Any, methods: type[Any]) -> Any:
    """What an operator's `partial` returned, with methods before its own.

    Airflow names no place for such methods: the class of the object is exchanged for one that has them.
    """
    kind = type(partial)
    partial.__class__ = type(kind.__name__, (methods, kind), {"__slots__": ()})
    return partial


class _Checks:
    """Before Airflow's own class of a partial operator: the names first, and then the literals."""

    __slots__ = ()

    def expand(self, **mapped: Any) -> Any:
        """As Airflow's."""
        partial: Any = self
        refuse_mapped(partial.operator_class, "expand", mapped)
        with _refused(partial):
            for name, values in mapped.items():
                for index, value in enumerate(_elements(values)):
                    with _named(f"expand({name}=…), element {index}"):
                        checked_partial(partial.operator_class, {name: value})
        made = super().expand(**mapped)  # type: ignore[misc]
        for where, arguments in _one_by_one(mapped, made.template_fields):
            _try(made, where, arguments)
        warn_of_shared_output(partial.kwargs, mapped)
        return made

    def expand_kwargs(self, kwargs: Any, **options: Any) -> Any:
        """As Airflow's. The content of another task's result is not known when the DAG is parsed."""
        partial: Any = self
        literals = [(n, each) for n, each in enumerate(_elements(kwargs)) if isinstance(each, Mapping)]
        for index, arguments in literals:
            refuse_mapped(partial.operator_class, "expand_kwargs", arguments, f", element {index}")
        with _refused(partial):
            for index, arguments in literals:
                with _named(f"expand_kwargs(…), element {index}"):
                    checked_partial(partial.operator_class, dict(arguments))
        made = super().expand_kwargs(kwargs, **options)  # type: ignore[misc]
        for index, arguments in literals[:_MOST]:
            _try(made, f"expand_kwargs(…), element {index}", arguments)
        return made


def _elements(values: Any) -> Sequence[Any]:
    """What is mapped over, where that is known; of a mapping its items, as Airflow takes it."""
    if isinstance(values, Mapping):
        return list(values.items())
    return values if isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray) else ()


def _one_by_one(mapped: Mapping[str, Any], templated: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The arguments of tasks in which each value is once, the others being the first of theirs."""
    first = {name: next(iter(_elements(values)), values) for name, values in mapped.items()}
    if any(isinstance(value, ResolveMixin) and name not in templated for name, value in first.items()):
        return  # a task with such an argument can only be made when the value is known
    made = 0
    for name, values in mapped.items():
        for index, value in enumerate(_elements(values)):
            if made == _MOST:
                return
            made += 1
            yield f"expand({name}=…), element {index}", {**first, name: value}


def _try(mapped: Any, where: str, arguments: Mapping[str, Any]) -> None:
    """Make the task, as Airflow does when it runs."""
    with _named(where):
        mapped.unmap(dict(arguments))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """An error says where the literal stands."""
    try:
        yield
    except (ValueError, TypeError, AirflowException) as error:  # the last by a sensor of Airflow 3.0
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}") from error


@contextmanager
def _refused(partial: Any) -> Iterator[None]:
    """Airflow warns that a task is never mapped, where its literals are refused: that would be beside the point."""
    try:
        yield
    except (ValueError, TypeError):
        take_as_expanded(partial)
        raise


def refuse_mapped(kind: Any, method: str, given: Mapping[str, Any], where: str = "") -> None:
    """Refuse the names of a mapped task's arguments that the operator does not take.

    :raises TypeError: with the nearest name
    """
    refuse_unknown(called(kind, f".{method}", given) + where, given, arguments_of(kind), kind.arguments_inside)


def called(kind: type[Any], method: str, given: Mapping[str, Any]) -> str:
    """How an error names the call that was given the arguments."""
    task_id = given.get("task_id")
    return f"{kind.__name__}{method}({f'task_id={task_id!r}' if isinstance(task_id, str) else '…'})"
