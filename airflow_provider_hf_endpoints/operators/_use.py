"""The tasks around the use of an endpoint: acquire (note how it was found), start, release. For `task_groups/`.

`acquire` starts nothing and takes a moment, so that it all but always succeeds; the teardown of whatever comes after it
then runs however that ends: a start that fails, or whose worker is killed, is released as work is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, get_args

from airflow.providers.common.compat.sdk import BaseOperator, Context

from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.readiness import DELETED
from airflow_provider_hf_endpoints.endpoints.release import AfterUse, Release, after_use
from airflow_provider_hf_endpoints.endpoints.spec import check_name
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators._base import EndpointOperator, in_airflow_terms
from airflow_provider_hf_endpoints.operators._claim import claim_of
from airflow_provider_hf_endpoints.operators._cost import measure, publish
from airflow_provider_hf_endpoints.operators._create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.endpoints import ResumeInferenceEndpointOperator

_FOUND_KEY = "hf_endpoint_acquired"

# What stops the bill is tried for more than an hour, whatever `default_args` say of other tasks: they win over an
# operator's own defaults, so whoever places the task gives it these.
RELEASE_RETRIES: dict[str, Any] = {
    "retries": 10,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}

# By what is done: the states in which it is done, and that end the wait for it.
_ARRIVED: dict[Release, tuple[str, ...]] = {
    "pause": (InferenceEndpointStatus.PAUSED,),
    "scale_to_zero": (InferenceEndpointStatus.SCALED_TO_ZERO, InferenceEndpointStatus.PAUSED),
    "delete": (DELETED,),
}


class AcquireInferenceEndpointOperator(BaseOperator):
    """Note in which state an endpoint is before it is used. Starts and changes nothing.

    Result: `{"name", "namespace", "found", "use"}`: the state, None where there is no such endpoint, and an id of this
    use, the same until a release.

    :param endpoint: the endpoint's name. (templated)
    :param must_exist: whether an endpoint that does not exist is an error.
    :param start_task_id, release_task_id: the tasks of the same use. After a clear they know how it was found before.
    """

    template_fields: Sequence[str] = ("endpoint", "namespace", "hf_endpoints_conn_id")
    ui_color = "#ffe9a8"

    def __init__(
        self,
        *,
        endpoint: str,
        must_exist: bool,
        start_task_id: str,
        release_task_id: str,
        namespace: str | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.must_exist = must_exist
        self.start_task_id = start_task_id
        self.release_task_id = release_task_id
        self.namespace = namespace
        self.hf_endpoints_conn_id = hf_endpoints_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Look, and return what was seen."""
        with in_airflow_terms():
            check_name(self.endpoint)
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                client = hook.get_conn()
                namespace = self.namespace or client.default_namespace()
                found = self._found(hook, namespace)
        before = self._unreleased(context)
        if before is not None:
            self.log.info(
                "Endpoint %s was %s before this use began.", self.endpoint, before.get("found") or "not there"
            )
            return {**before, "name": self.endpoint, "namespace": namespace}
        self.log.info("Endpoint %s/%s is %s.", namespace, self.endpoint, found or "not there")
        ti: Any = context["ti"]
        use = f"{claim_of(ti) or 'use'}-{getattr(ti, 'id', '')}"
        return {"name": self.endpoint, "namespace": namespace, "found": found, "use": use}

    def _found(self, hook: InferenceEndpointsHook, namespace: str) -> str | None:
        try:
            return hook.get_conn().get_inference_endpoint(self.endpoint, namespace=namespace).status
        except EndpointNotFoundError:
            if self.must_exist:
                raise
            return None

    def _unreleased(self, context: Context) -> dict[str, Any] | None:
        """What an earlier attempt acquired and no release has ended: the endpoint may run because of it.

        After a clear, this task's own result is gone and that of the tasks behind it is still there.
        """
        started = _pull(context, self.start_task_id, _FOUND_KEY)
        if started is None or started.get("name") != self.endpoint:
            return None
        released = _pull(context, self.release_task_id, _FOUND_KEY)
        return None if released is not None and released.get("use") == started.get("use") else dict(started)


class _Starts(Protocol):
    acquired: Any
    namespace: str | None


class CreateAcquiredOperator(CreateInferenceEndpointOperator):
    """As its base, for an endpoint that was acquired; the result tells it, too.

    :param acquired: what `AcquireInferenceEndpointOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*CreateInferenceEndpointOperator.template_fields, "acquired")

    def __init__(self, *, acquired: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.acquired = acquired

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Note the use where a later clear finds it, then start the endpoint."""
        _note(self, context)
        return _told(self, super().execute(context))

    def execute_complete(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        return _told(self, super().execute_complete(*args, **kwargs))


class ResumeAcquiredOperator(ResumeInferenceEndpointOperator):
    """As its base, for an endpoint that was acquired; the result tells it, too.

    :param acquired: what `AcquireInferenceEndpointOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*ResumeInferenceEndpointOperator.template_fields, "acquired")

    def __init__(self, *, acquired: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.acquired = acquired

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Note the use where a later clear finds it, then start the endpoint."""
        _note(self, context)
        return _told(self, super().execute(context))

    def execute_complete(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        return _told(self, super().execute_complete(*args, **kwargs))


class ReleaseAcquiredOperator(EndpointOperator):
    """End the use of an endpoint: do to it what the policy says, and wait until that is done. Made to be a teardown.

    Idempotent, so that it can be tried again: see `RELEASE_RETRIES`.

    :param acquired: what `AcquireInferenceEndpointOperator` returned. (templated)
    :param release: what becomes of the endpoint, see `endpoints.release.after_use`.

    Other parameters: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = ("acquired", "hf_endpoints_conn_id")

    def __init__(
        self,
        *,
        acquired: Any,
        release: AfterUse | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if release is not None and release not in get_args(AfterUse):
            raise ValueError(f"release={release!r}: it is one of {', '.join(get_args(AfterUse))}, or None.")
        self.acquired = acquired
        self.release = release
        self.endpoint = ""  # known when `acquired` is rendered

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Release the endpoint, note that it is, and say what it has cost."""
        return self._done(context, super().execute(context))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        self._take()
        return self._done(context, super().execute_complete(context, event))

    def _check(self) -> None:
        self._take()
        super()._check()

    def _take(self) -> None:
        if not isinstance(self.acquired, Mapping) or "name" not in self.acquired:
            raise InvalidArgumentError(
                f"acquired={self.acquired!r} is no result of acquiring an endpoint: this task releases nothing alone. "
                "Clear the whole group, or pause the endpoint by hand."
            )
        self.endpoint = self.acquired["name"]
        self.namespace = self.acquired.get("namespace")

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        policy = after_use(self.release, self.acquired.get("found"))
        done = hook.get_conn().release(self.endpoint, policy, namespace=self.namespace)
        self.log.info("Endpoint %s/%s: %s.", self.namespace, self.endpoint, done)
        endpoint = self._look(hook)
        if endpoint is None or policy == "none":
            return None if endpoint is None else endpoint.summary()
        self._goal_states = _ARRIVED[policy]
        return self._arrive(hook, endpoint, started)

    def _look(self, hook: InferenceEndpointsHook) -> InferenceEndpoint | None:
        try:
            return hook.get_conn().get_inference_endpoint(self.endpoint, namespace=self.namespace)
        except EndpointNotFoundError:
            return None

    def _done(self, context: Context, summary: dict[str, Any] | None) -> dict[str, Any] | None:
        context["ti"].xcom_push(key=_FOUND_KEY, value=dict(self.acquired))
        publish(measure(self.hf_endpoints_conn_id, self.endpoint, self.namespace, context), context)
        return summary


class EndpointReleasedOperator(BaseOperator):
    """Nothing: the scheduler itself marks it, by what is before it."""

    inherits_from_empty_operator = True
    ui_color = "#e8f7e4"

    def execute(self, context: Context) -> None:
        """Nothing to do."""


def _note(operator: _Starts, context: Context) -> None:
    if not isinstance(operator.acquired, Mapping):
        raise InvalidArgumentError(f"acquired={operator.acquired!r} is no result of acquiring an endpoint.")
    operator.namespace = operator.acquired.get("namespace") or operator.namespace
    context["ti"].xcom_push(key=_FOUND_KEY, value=dict(operator.acquired))


def _told(operator: _Starts, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if summary is None else {**summary, "use": operator.acquired.get("use")}


def _pull(context: Context, task_id: str, key: str) -> dict[str, Any] | None:
    ti: Any = context["ti"]
    value = ti.xcom_pull(task_ids=task_id, key=key, map_indexes=ti.map_index)
    return value if isinstance(value, dict) else None
