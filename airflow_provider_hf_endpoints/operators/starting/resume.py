"""The operator that resumes an endpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.models import NEEDS_RESUME, PARKED
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Attempt, Done, Sent, Summary
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator
from airflow_provider_hf_endpoints.operators.common.retries import partial_retried, retried
from airflow_provider_hf_endpoints.operators.starting.budget import Starts
from airflow_provider_hf_endpoints.operators.starting.start import Start, StartTerms
from airflow_provider_hf_endpoints.operators.using.acquired import namespace_of

log = logging.getLogger(__name__)


class ResumeInferenceEndpointOperator(EndpointOperator):
    """Resume a paused endpoint and wait until it answers. A running one is left as it is; one at zero is woken.

    If an endpoint that it has started or woken does not become ready, it is released. One that ran before is left
    alone.

    :param endpoint: the endpoint's name. (templated)
    :param on_timeout: see `CreateInferenceEndpointOperator`.
    :param on_failure: see `CreateInferenceEndpointOperator`.
    :param on_kill: see `CreateInferenceEndpointOperator`.
    :param max_cost: see `CreateInferenceEndpointOperator`.
    :param max_runtime: see `CreateInferenceEndpointOperator`.
    :param keep: see `CreateInferenceEndpointOperator`.
    :param acquired: set by `inference_endpoint(…)`: the result of its task `acquire`. (templated)

    Retries: see `CreateInferenceEndpointOperator`. Other parameters, and the result: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = (*EndpointOperator.template_fields, "acquired")
    _announces = True
    _one_deadline = True

    @checked
    @retried
    def __init__(
        self,
        *,
        endpoint: str,
        on_timeout: Release = "pause",
        on_failure: Release = "pause",
        on_kill: Release = "pause",
        max_cost: float | None = None,
        max_runtime: float | timedelta | None = None,
        keep: bool | None = None,
        acquired: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.max_cost = max_cost
        self.max_runtime = max_runtime
        self.keep = keep
        self.acquired = acquired
        policies = {"on_timeout": on_timeout, "on_failure": on_failure, "on_kill": on_kill}
        self._terms = StartTerms.of(policies, max_cost, max_runtime, acquired, keep)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's, with the default retries of a start."""
        return partial_retried(super().partial(**kwargs), kwargs)

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        self.namespace = namespace_of(self.acquired) or self.namespace
        start = Start(self._terms, self._ref, context, self.acquired, stored, self)
        return Attempt(_Resuming(self._ref, start, began), start)


class _Resuming(Action):
    """Resume the endpoint. The start owns the endpoint if it has started it."""

    def __init__(self, endpoint: EndpointRef, start: Start, began: float) -> None:
        self._endpoint, self._start, self._began = endpoint, start, began

    def check(self) -> None:
        """As for every operator."""
        check_name(self._endpoint.name, "endpoint")

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Resume."""
        client, name, namespace = hook.get_conn(), self._endpoint.name, self._endpoint.namespace
        before = self._start.as_left(hook, client.get_inference_endpoint(name, namespace=namespace))
        self._start.take_up(hook, before)
        starts = before.status in NEEDS_RESUME | PARKED
        if starts:
            self._start.budget.check(client, Starts.again(before))
        with self._start.starting(hook, resumed=before) if starts else nullcontext():
            endpoint = client.resume_inference_endpoint(name, namespace=namespace)
        text = "Resumed endpoint %s/%s (status: %s)." if starts else "Endpoint %s/%s needs no resume (status: %s)."
        log.info(text, endpoint.namespace, endpoint.name, endpoint.status)
        return Sent(endpoint, self._began, resumed=True)

    def result(self, summary: Summary | None) -> Summary | None:
        """In a group, with what downstream tasks need."""
        return self._start.result(summary)
