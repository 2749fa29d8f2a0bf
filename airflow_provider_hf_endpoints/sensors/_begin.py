"""What Airflow is given to begin a sensor's wait in the triggerer, without a worker before the end.

Airflow stores it with the DAG, long before the wait begins: it has no moments, and what is a template is rendered by
the triggerer, where Airflow can do that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from airflow.triggers.base import StartTriggerArgs

from airflow_provider_hf_endpoints._airflow import TRIGGERS_RENDER
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.operators.common.task_waits import BACKSTOP
from airflow_provider_hf_endpoints.waits import deadline_after

_TRIGGER = "airflow_provider_hf_endpoints.triggers.endpoints.InferenceEndpointTrigger"


def begin_in_triggerer(
    named: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    timeout: float,
    execution_timeout: timedelta | None,
    on_kill: Release,
) -> StartTriggerArgs:
    """The trigger of one sensor, a new one for each: Airflow's class attribute is shared by all of them.

    :param named: arguments of the sensor that may be templates, by the trigger's names
    :param settings: those that may not
    :param timeout: seconds
    :raises ValueError: this Airflow cannot begin this wait there.
    """
    named = {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}
    _check(named)
    limit = timedelta(seconds=timeout) + BACKSTOP
    # Airflow cuts the limit of a deferral to the execution_timeout.
    airflow_limit = min(limit, execution_timeout or limit)
    return StartTriggerArgs(
        trigger_cls=_TRIGGER,
        trigger_kwargs={name: value for name, value in named.items() if value is not None}
        | dict(settings)
        | {
            "seconds": deadline_after(0.0, timeout, execution_timeout),
            "airflow_seconds": airflow_limit.total_seconds(),
        }
        | _unless_none(on_kill),
        next_method="execute_complete",
        timeout=limit,
    )


def _unless_none(on_kill: Release) -> dict[str, Any]:
    """No claim: there is no worker to leave one, and the task's state has to do."""
    return {} if on_kill == "none" else {"release_on_kill": on_kill}


def _check(named: Mapping[str, Any]) -> None:
    """Refuse what would only fail when the task runs."""
    for name, value in named.items():
        for text in _texts(value):
            if not isinstance(text, str):
                raise ValueError(
                    f"start_from_trigger=True: {name} is the result of another task, which the triggerer cannot read. "
                    'Use deferrable=True, or a template such as "{{ params.name }}".'
                )
            if ("{{" in text or "{%" in text) and not TRIGGERS_RENDER:
                raise ValueError(
                    f"start_from_trigger=True: {name}={text!r} is a template, which the triggerer renders only on "
                    "Airflow 3.3 and later. Use deferrable=True, or a fixed value."
                )


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield value
