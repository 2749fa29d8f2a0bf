"""The secrets that the tasks of a DAG give to endpoints: no task of the DAG quotes them, whichever was given them.

A sensor behind a create, or a resume, quotes the log of a container that may print what the create has given to it,
also without the names by which `endpoints.concealing` finds it. They are looked up only where something is quoted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_hf_endpoints._airflow import mapped_arguments
from airflow_provider_hf_endpoints.operators.common.secrets import Secret, SecretArguments
from airflow_provider_hf_endpoints.operators.common.task_waits import LOOKUP_ERRORS

log = logging.getLogger(__name__)


def secrets_of_dag(task: Any) -> list[str]:
    """Every value that another task of `task`'s DAG gives to an endpoint, masked in the task's log from now on.

    A value that cannot be looked up is left out, with a warning. It may belong to another endpoint. The names of the
    endpoint's secrets still hide it.
    """
    dag = task.get_dag()
    values: list[str] = []
    for other in () if dag is None else dag.tasks:
        for each in () if other.task_id == task.task_id else _of(other):
            try:
                values += each.values()
            except LOOKUP_ERRORS as error:
                log.warning("Could not read a secret of this DAG; logs are redacted by its name only: %s", error)
    return values


def _of(operator: Any) -> Iterator[SecretArguments]:
    own = getattr(operator, "_secrets", None)
    if isinstance(own, SecretArguments):
        yield own
        return
    for arguments in mapped_arguments(operator):
        secrets, password = arguments.get("secrets"), arguments.get("container_registry_password")
        if isinstance(secrets, Mapping):
            yield from (SecretArguments({name: secret}) for name, secret in secrets.items() if _is_secret(secret))
        if _is_secret(password):
            yield SecretArguments(None, password)


def _is_secret(value: object) -> bool:
    """Not what another task returns, nor a template: `expand` refuses these where secrets would be in them."""
    return isinstance(value, Secret)
