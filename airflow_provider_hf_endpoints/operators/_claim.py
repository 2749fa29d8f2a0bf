"""Whose endpoint it is: a tag that an endpoint carries from the task that created it, and a note of a resume.

A retry, or the attempt after a clear, has nothing left of the attempt before: XComs are cleared, and a process that was
killed told nobody. By the tag it knows the endpoint as its own, so that it creates no second one and releases this one.
Tags are set at creation only: whether an update of nothing but tags restarts an endpoint is not known. So a resume is
noted in Airflow's task state store, which outlives an attempt; Airflow has one from 3.3 on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

log = logging.getLogger(__name__)

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


def attempt_of(task_instance: Any) -> str | None:
    """The id of an attempt: another one for every retry and every clear."""
    attempt = getattr(task_instance, "id", None)
    return None if attempt is None else str(attempt)


class Resumes:
    """What a task notes of the endpoint that it resumes: before the request is sent, until it is done with it.

    Without a task state store nothing is noted: an attempt that was killed after its resume then leaves an endpoint
    that its retry takes for somebody else's. A store that does not answer is no reason to fail either.
    """

    _KEY = "hf_endpoint_resumed"

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def of(cls, context: Any) -> Resumes:
        """Those of the task that `context` is of."""
        return cls(None if context is None else context.get("task_state_store"))

    def note(self, endpoint: InferenceEndpoint) -> None:
        """The task is about to resume `endpoint`."""
        self._ask("set", self._KEY, _place(endpoint))

    def noted(self, endpoint: InferenceEndpoint) -> bool:
        """Whether an earlier attempt was about to resume it, and has not ended it since."""
        return bool(self._ask("get", self._KEY) == _place(endpoint))

    def forget(self) -> None:
        """It is released, or the DAG's."""
        if self._ask("get", self._KEY) is not None:
            self._ask("delete", self._KEY)

    def _ask(self, what: str, *arguments: str) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, what)(*arguments)
        except AirflowRuntimeError as error:
            log.warning("Airflow's task state store does not answer (%s): %s", what, error)
            return None


def _place(endpoint: InferenceEndpoint) -> str:
    return f"{endpoint.namespace}/{endpoint.name}"
