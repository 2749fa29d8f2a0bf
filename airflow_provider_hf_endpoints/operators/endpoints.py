"""The lifecycle operators: create, update, pause, resume, scale to zero and delete an endpoint.

Thin: what is sent is decided in `endpoints/`, what a look means in `endpoints/waiting/readiness.py`. Create has its own
file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.errors import BadRequestError, EndpointNotFoundError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import DELETED
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators._base import EndpointOperator
from airflow_provider_hf_endpoints.operators._budget import Starts
from airflow_provider_hf_endpoints.operators._cost import report_cost
from airflow_provider_hf_endpoints.operators._create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators._plan import NEEDS_RESUME
from airflow_provider_hf_endpoints.operators._release import StartingOperator
from airflow_provider_hf_endpoints.operators._secrets import (
    FromConnection,
    FromVariable,
    Secret,
    mask_all,
    refuse_inline,
    refuse_shown,
    reveal_all,
)

__all__ = [
    "CreateInferenceEndpointOperator",
    "DeleteInferenceEndpointOperator",
    "FromConnection",
    "FromVariable",
    "PauseInferenceEndpointOperator",
    "ResumeInferenceEndpointOperator",
    "ScaleToZeroInferenceEndpointOperator",
    "UpdateInferenceEndpointOperator",
]

# Releasing an endpoint is what stops the bill, so it is tried more than once where the DAG says nothing else.
_RELEASE_RETRIES = 5
_RELEASE_RETRY_DELAY = timedelta(seconds=30)

_STOPPED = frozenset({InferenceEndpointStatus.PAUSED, InferenceEndpointStatus.SCALED_TO_ZERO})


class ResumeInferenceEndpointOperator(StartingOperator):
    """Resume a paused endpoint and wait until it answers. One that runs already is fine; one at zero is woken.

    :param endpoint: the endpoint's name. (templated)

    Other parameters: see `StartingOperator`. Result: `{"name", "namespace", "state", "url"}`.
    """

    def __init__(self, *, endpoint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        client = hook.get_conn()
        before = client.get_inference_endpoint(self.endpoint, namespace=self.namespace)
        self._take_up(before)
        if before.status in NEEDS_RESUME:
            self._budget.check(client, Starts.again(before))
        with self._starting(resumed=before) if before.status in NEEDS_RESUME else nullcontext():
            endpoint = client.resume_inference_endpoint(self.endpoint, namespace=self.namespace)
        self.log.info("Resumed endpoint %s/%s: it is %s.", endpoint.namespace, endpoint.name, endpoint.status)
        return self._arrive(hook, endpoint, started, resumed=True)


class UpdateInferenceEndpointOperator(EndpointOperator):
    """Change an endpoint's hardware, replicas, model or settings, and wait until it answers with them.

    An endpoint that is paused or at zero stays there: the change shows when it starts again.

    :param endpoint: the endpoint's name. (templated)
    :param changes: what to change, by the names and with the meaning of `endpoints.spec.EndpointUpdate`
        (`instance_type`, `instance_size`, `accelerator`, `min_replica`, `max_replica`, `scale_to_zero_timeout`,
        `repository`, `revision`, `custom_image`, `env`, …). Each is also an argument of its own, but for `partial` and
        `expand`, which take `changes`. (templated)
    :param secrets, container_registry_password: values, `FromConnection(…)` or `FromVariable(…)`; never rendered.

    Other parameters: see `EndpointOperator`. Result: `{"name", "namespace", "state", "url"}`.
    """

    template_fields: Sequence[str] = (*EndpointOperator.template_fields, "changes")
    _announces = True

    def __init__(
        self,
        *,
        endpoint: str,
        changes: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        container_registry_password: Secret | None = None,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in EndpointUpdate.model_fields}
        super().__init__(**kwargs)
        if own and changes is not None:  # alone, `changes` may be another task's result, which is not known yet
            if doubled := sorted(set(own) & set(changes)):
                raise ValueError(f"{', '.join(doubled)}: given as an argument and in `changes` too.")
            own = {**changes, **own}
        self.endpoint = endpoint
        self.changes: Mapping[str, Any] = own if own or changes is None else changes
        if isinstance(self.changes, Mapping):
            refuse_inline(self.changes.get("custom_image"))
        self._secrets = secrets
        self._password = container_registry_password

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; secrets only as references."""
        refuse_shown(kwargs)
        return super().partial(**kwargs)

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        revealed = reveal_all(self._secrets, self._password)
        change = EndpointUpdate.from_arguments(**{**self.changes, **revealed})
        if change.min_replica:
            self.log.warning(
                "Endpoint %s keeps min_replica=%s: it never scales down, and bills until somebody stops it.",
                self.endpoint,
                change.min_replica,
            )
        endpoint = hook.get_conn().update(self.endpoint, change, namespace=self.namespace)
        self.log.info("Updated endpoint %s/%s: it is %s.", endpoint.namespace, endpoint.name, endpoint.status)
        if endpoint.status in _STOPPED:
            self._revision = endpoint.revision
            return endpoint.summary()
        return self._arrive(hook, endpoint, started)

    def _secret_values(self) -> Sequence[str]:
        return mask_all(reveal_all(self._secrets, self._password))


class _ReleaseOperator(EndpointOperator):
    """Stops an endpoint's bill, and says what the DAG run's share of it was.

    Fit to be a teardown: idempotent, and tried again (5 retries) unless told otherwise. The log and the XCom `cost`
    have minutes, price and dollars since the run began, as `endpoints.costs.Cost`.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        missing_ok: bool,
        # Named, because Airflow reads the defaults of named arguments for `partial`, too.
        retries: int | None = _RELEASE_RETRIES,
        retry_delay: timedelta | float = _RELEASE_RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.endpoint = endpoint
        self.missing_ok = missing_ok

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Release the endpoint, then say what it has cost."""
        summary = super().execute(context)
        self._report_cost(context)
        return summary

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Take up what the trigger found, then say what the endpoint has cost."""
        summary = super().execute_complete(context, event)
        self._report_cost(context)
        return summary

    def _report_cost(self, context: Context) -> None:
        report_cost(self.hf_endpoints_conn_id, self.endpoint, self.namespace, context)

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        try:
            endpoint = self._release(hook)
        except EndpointNotFoundError:
            if not self.missing_ok:
                raise
            self.log.warning("There is no endpoint %s to release; missing_ok says that is fine.", self.endpoint)
            return None
        self.log.info("Endpoint %s/%s: %s; it is %s.", endpoint.namespace, endpoint.name, self._did, endpoint.status)
        return self._arrive(hook, endpoint, started)

    _did: str

    def _release(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        raise NotImplementedError


class PauseInferenceEndpointOperator(_ReleaseOperator):
    """Pause an endpoint: nothing is billed, and only a resume starts it again. The natural teardown:

    `PauseInferenceEndpointOperator(…).as_teardown(setups=create)` pauses whatever happened to the work between.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success. Default False: a misspelt name would leave
        the right endpoint running.

    Other parameters: see `EndpointOperator`. Result: `{"name", "namespace", "state", "url"}`.
    """

    _goal_states = (InferenceEndpointStatus.PAUSED.value,)
    _did = "paused"

    def __init__(self, *, endpoint: str, missing_ok: bool = False, **kwargs: Any) -> None:
        super().__init__(endpoint=endpoint, missing_ok=missing_ok, **kwargs)

    def _release(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        return hook.get_conn().pause_inference_endpoint(self.endpoint, namespace=self.namespace)


class ScaleToZeroInferenceEndpointOperator(_ReleaseOperator):
    """Scale an endpoint to zero: nothing is billed, and any authorised request starts it again.

    An endpoint that is paused stays paused, which bills nothing either.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success; default False.

    Other parameters: see `EndpointOperator`. Result: `{"name", "namespace", "state", "url"}`.
    """

    _goal_states = (InferenceEndpointStatus.SCALED_TO_ZERO.value, InferenceEndpointStatus.PAUSED.value)
    _did = "scaled to zero"

    def __init__(self, *, endpoint: str, missing_ok: bool = False, **kwargs: Any) -> None:
        super().__init__(endpoint=endpoint, missing_ok=missing_ok, **kwargs)

    def _release(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        client = hook.get_conn()
        endpoint = client.get_inference_endpoint(self.endpoint, namespace=self.namespace)
        if endpoint.status in _STOPPED:
            return endpoint
        try:
            return client.scale_to_zero_inference_endpoint(self.endpoint, namespace=self.namespace)
        except BadRequestError as error:
            if "cannot be scaled to zero" not in error.message:
                raise
            raise BadRequestError(
                error.message,
                method=error.method,
                path=error.path,
                status=error.status,
                code=error.code,
                advice="Give the endpoint a scale_to_zero_timeout (and min_replica=0), or pause it instead.",
            ) from error


class DeleteInferenceEndpointOperator(_ReleaseOperator):
    """Delete an endpoint and wait until it is really gone, with its configuration, logs and metrics.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success; default True.

    Other parameters: see `EndpointOperator`. Result: None.
    """

    _goal_states = (DELETED,)
    _did = "deletion asked for"

    def __init__(self, *, endpoint: str, missing_ok: bool = True, **kwargs: Any) -> None:
        super().__init__(endpoint=endpoint, missing_ok=missing_ok, **kwargs)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Say what the endpoint has cost while it still can be asked, then delete it."""
        report_cost(self.hf_endpoints_conn_id, self.endpoint, self.namespace, context)
        return super().execute(context)

    def _report_cost(self, context: Context) -> None:
        """Told already."""

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        super()._act(hook, started)
        return None

    def _release(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        client = hook.get_conn()
        endpoint = client.get_inference_endpoint(self.endpoint, namespace=self.namespace)
        client.delete_inference_endpoint(self.endpoint, namespace=self.namespace, missing_ok=True, wait=False)
        return endpoint
