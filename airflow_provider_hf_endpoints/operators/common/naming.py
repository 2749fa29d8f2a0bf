"""Which endpoint is meant: by its own name, or by another task's result.

`endpoint=create.output` is the natural way to chain tasks; what a lifecycle operator returns has name and namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_hf_endpoints._airflow import argument_of
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template


@dataclass(frozen=True)
class EndpointRef:
    """An endpoint by its names, and the connection to ask for it. Made when all is rendered.

    :param namespace: default the connection's, else the token's user
    """

    name: str
    namespace: str | None
    hf_endpoints_conn_id: str


def may_mean(task: Any, name: str, namespace: str | None) -> bool:
    """Whether the `endpoint` of a task in the DAG may be that one. What a template says is not known here."""
    given = argument_of(task, "endpoint")
    starter = getattr(given, "operator", None)  # of another task's result
    named = given if starter is None else getattr(starter, "endpoint", None)
    place = argument_of(task if starter is None else starter, "namespace")
    return _may_be(named, name) and _may_be(place, namespace)


def _may_be(said: object, wanted: str | None) -> bool:
    """Whether an argument may mean this value. One that is not given is a default that is not known here."""
    known = isinstance(said, str) and wanted is not None and not is_template(said) and not is_template(wanted)
    return not known or said == wanted


class _NamesEndpoint(Protocol):
    endpoint: str
    namespace: str | None
    lease: Mapping[str, Any] | None
    budget: Mapping[str, Any] | None


def take_name(operator: _NamesEndpoint) -> None:
    """Replace a task's result by its name and its namespace. Keep the rest of the result.

    The operator's own namespace, which may be that of `default_args`, is for endpoints that are given by their name.

    Called after rendering, and again before execution, because Airflow does not call this method for a mapped task.
    """
    named: object = operator.endpoint
    if isinstance(named, Mapping) and isinstance(named.get("name"), str):
        operator.endpoint = named["name"]
        operator.namespace = named.get("namespace") or operator.namespace
        operator.lease = named.get("lease")
        operator.budget = named.get("budget")
