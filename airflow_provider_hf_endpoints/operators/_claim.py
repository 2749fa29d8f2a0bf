"""Whose endpoint it is: a tag that an endpoint carries from the task that created it.

A retry, or the attempt after a clear, has nothing left of the attempt before: XComs are cleared, and a process that was
killed told nobody. By the tag it knows the endpoint as its own, so that it creates no second one and releases this one.
Tags are set at creation only: whether an update of nothing but tags restarts an endpoint is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

_PREFIX = "airflow-task-"


def claim_of(task_instance: Any) -> str | None:
    """The tag of a task in its DAG run, the same in every attempt; None outside of a run."""
    names = [getattr(task_instance, name, None) for name in ("dag_id", "run_id", "task_id")]
    if not all(isinstance(name, str) for name in names):
        return None
    place = "\0".join([*map(str, names), str(getattr(task_instance, "map_index", -1))])
    return _PREFIX + hashlib.sha256(place.encode()).hexdigest()[:16]


def with_claim(spec: EndpointSpec, claim: str | None) -> EndpointSpec:
    """`spec` with the tag."""
    return spec if claim is None else spec.model_copy(update={"tags": [*(spec.tags or ()), claim]})


def is_claimed(endpoint: InferenceEndpoint | None, claim: str | None) -> bool:
    """Whether an earlier attempt of the same task created `endpoint`."""
    return endpoint is not None and claim is not None and claim in (endpoint.tags or ())


def claims_in(tags: Iterable[str] | None) -> list[str]:
    """The tags that are claims, whoever's."""
    return [tag for tag in tags or () if tag.startswith(_PREFIX)]
