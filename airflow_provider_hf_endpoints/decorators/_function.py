"""What both decorators share: a function's arguments when it runs, and checks of the task when the DAG is parsed.

Airflow makes the operator of a mapped function when the task runs. Only the function's own arguments are mapped, so the
operator's arguments are all known before: the operator is made once when the DAG is parsed, and thrown away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from airflow.providers.common.compat.sdk import (
    AirflowException,
    Context,
    TaskDecorator,
    task_decorator_factory,
)

from airflow_provider_hf_endpoints._airflow import (
    OF_MAPPING,
    ResolveMixin,
    argument_of,
    determine_kwargs,
    mapped_arguments,
    operator_of_function,
)
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.checking.mapping import refuse_mapped


def returned_by(task: Any, context: Context) -> Any:
    """What the function of a task returns, called with its arguments and what it takes of the context."""
    arguments = determine_kwargs(task.python_callable, task.op_args, {**context, **task.op_kwargs})
    return task.python_callable(*task.op_args, **arguments)


def task_of(kind: type[Any], function: Callable[..., Any] | None, arguments: dict[str, Any]) -> TaskDecorator:
    """The decorator of an operator's class: for `@task.name`, and for `@task.name(…)`.

    :param function: the decorated function; None if the decorator is called with arguments
    """
    refuse_mapped(kind, "", arguments)
    # A function's annotation describes what it returns, which is not what the task returns.
    arguments = {"multiple_outputs": False, **arguments}
    if function is not None:
        return cast(
            TaskDecorator, _checking(task_decorator_factory(function, decorated_operator_class=kind, **arguments))
        )
    decorate: Any = task_decorator_factory(decorated_operator_class=kind, **arguments)
    return lambda given: _checking(decorate(given))  # type: ignore[return-value]


def _checking(decorated: Any) -> Any:
    function = decorated.function
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__name__} is an async function, but {decorated.operator_class.custom_operator_name} takes a "
            "plain one. Remove async: the task waits for the endpoint and sends by itself."
        )
    kind = type(decorated)
    made: Any = object.__new__(type(kind.__name__, (_Checks, kind), {}))
    made.__dict__.update(decorated.__dict__)
    return made


class _Checks:
    """Methods before those of Airflow's own class of a decorated function. `partial` and `override` keep the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As Airflow's. The result knows its keys: `result["output"]`."""
        return super().__call__(*args, **kwargs).operator.output  # type: ignore[misc]

    def expand(self, **mapped: Any) -> Any:
        """As Airflow's."""
        return _made(super().expand(**mapped))  # type: ignore[misc]

    def expand_kwargs(self, kwargs: Any, **options: Any) -> Any:
        """As Airflow's."""
        return _made(super().expand_kwargs(kwargs, **options))  # type: ignore[misc]


def _made(result: Any) -> Any:
    """Return the result of a mapped function, after its operator was made once.

    :raises ValueError: an argument of the operator is not valid
    """
    mapped = result.operator
    kind = mapped.operator_class
    refuse_mapped(
        kind, "", {name: each for name, each in mapped_arguments(mapped)[0].items() if name not in OF_MAPPING}
    )
    try:
        operator_of_function(mapped)
    except AirflowException as error:  # so that a task that runs is not retried
        raise ValueError(str(error)) from error
    _refuse_one_output(argument_of(mapped, "output_path"))
    return result


def _refuse_one_output(output_path: Any) -> None:
    """
    :raises ValueError: all mapped tasks would write the same output
    """
    if output_path is None or isinstance(output_path, ResolveMixin) or is_template(str(output_path)):
        return
    raise ValueError(
        f"output_path={str(output_path)!r} is the same for all mapped tasks, but an output has one writer, so all but "
        "the first would fail. Put the task into the path: '{{ ti.map_index }}'."
    )
