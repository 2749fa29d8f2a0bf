"""Checks the settings of an endpoint in a DAG, when the DAG is parsed.

So a run does not begin with a create or an update that the service would refuse.

Templates and results of other tasks are checked with all other settings when the task runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template

# Each of these is checked against another setting, which may be a template.
_IN_PAIRS = frozenset({"domain", "path", "vendor", "region", "scaling_threshold", "container_registry_username"})
_BOUNDS = ("min_replica", "max_replica")


def check_settings(given: Mapping[str, Any]) -> None:
    """Check every setting of an endpoint with a known value.

    :raises InvalidArgumentError: the first that the service would refuse, with the fix
    """
    known = {
        name: value
        for name, value in given.items()
        if name in EndpointUpdate.model_fields and name not in _IN_PAIRS and value is not None and is_known(value)
    }
    for name, value in known.items():
        EndpointUpdate.from_arguments(**{name: value})
    EndpointUpdate.from_arguments(**{name: known[name] for name in _BOUNDS if name in known})


def check_names(given: Mapping[str, Any]) -> None:
    """Check that each is a setting of an endpoint.

    :raises InvalidArgumentError: with the nearest one
    """
    for name in given:
        if name not in EndpointUpdate.model_fields:
            EndpointUpdate.from_arguments(**{str(name): None})


def is_known(value: object) -> bool:
    """Whether the value contains nothing that is rendered when the task runs."""
    if is_template(value):
        return False
    if isinstance(value, Mapping):
        return all(map(is_known, value)) and all(map(is_known, value.values()))
    return all(map(is_known, value)) if isinstance(value, list | tuple) else True
