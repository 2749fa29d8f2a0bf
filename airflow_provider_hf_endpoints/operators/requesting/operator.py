"""An operator that sends requests gets an endpoint that answers: look, wait in the triggerer or here, then continue."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Context, conf

from airflow_provider_hf_endpoints._redact import hiding
from airflow_provider_hf_endpoints.endpoints.concealing import conceal
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, Ready, Wait, Wake
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered, checked
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.dag_secrets import secrets_of_dag
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError, in_airflow_terms
from airflow_provider_hf_endpoints.operators.common.keyed import KeyedOutput
from airflow_provider_hf_endpoints.operators.common.naming import take_name
from airflow_provider_hf_endpoints.operators.common.task_waits import deferral, explain_failure, wait_here
from airflow_provider_hf_endpoints.operators.requesting.served import not_served, why_not_served
from airflow_provider_hf_endpoints.operators.requesting.target import EndpointTarget, target_of
from airflow_provider_hf_endpoints.operators.using.leases import renewing
from airflow_provider_hf_endpoints.waits import WaitSpec, conclude, deadline_after, event_of


class RequestingOperator(KnownArguments, KeyedOutput, BaseOperator):
    """An operator that sends requests to an endpoint. If the endpoint is starting or scaled to zero, the operator waits
    for it first.

    :param endpoint: the endpoint's name. (templated)
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param hf_endpoints_conn_id: the connection. (templated)
    :param startup_timeout: seconds (or a timedelta) to wait for an endpoint that is starting, updating, or woken from
        zero; default 1 hour. A paused, failed or missing endpoint is an error at once.
    :param deferrable: wait for the start in the triggerer, occupying no worker; default Airflow's
        `[operators] default_deferrable`. The requests themselves are sent by the worker.
    :param poll_interval: seconds between looks at most; default 30.
    """

    template_fields: Sequence[str] = ("endpoint", "namespace", "hf_endpoints_conn_id")
    operator_extra_links = (InferenceEndpointLink(),)
    ui_color = "#ffe9a8"

    lease: Mapping[str, Any] | None = None  # on the endpoint, where it came with one
    budget: Mapping[str, Any] | None = None  # the account of its use, where it came with one

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        namespace: str | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        startup_timeout: float | timedelta = 3600.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = LONGEST_POLL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.namespace = namespace
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self.startup_timeout = startup_timeout
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self._killed = False
        deadline_after(0.0, startup_timeout)
        if poll_interval <= 0:
            raise ValueError(f"poll_interval={poll_interval!r} is not valid. Give a positive number of seconds.")

    def render_template(
        self, content: Any, context: Context, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """As Airflow's, but that a text keeps the newline at its end: Jinja drops one, also from `"stop": ["\\n"]`."""
        rendered = super().render_template(content, context, jinja_env, seen_oids)
        if isinstance(content, str) and content.endswith("\n") and isinstance(rendered, str):
            return rendered if rendered.endswith("\n") else f"{rendered}\n"
        return rendered

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """As Airflow's; `endpoint` may be another task's result."""
        super().render_template_fields(context, jinja_env)
        take_name(self)

    def execute(self, context: Context) -> Any:
        """Check the input, wait until the endpoint answers, then send."""
        self._killed = False
        take_name(self)
        with in_airflow_terms():
            check_rendered(self)
            check_name(self.endpoint, "endpoint")
            self._check()
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                InferenceEndpointLink.persist(context, self, hook, self.namespace, self.endpoint)
                return self._send_to(context, hook, self._ready_endpoint(hook))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """The endpoint answers, or never will: send, or fail with the reason."""
        take_name(self)
        with in_airflow_terms():
            self._conclude(event)
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                endpoint = hook.get_conn().get_inference_endpoint(self.endpoint, namespace=self.namespace)
                return self._send_to(context, hook, endpoint)

    def on_kill(self) -> None:
        """End the wait for the endpoint. Runs in a signal handler: only a flag."""
        self._killed = True

    def _check_on(self) -> None:
        if self._killed:
            raise TaskKilledError.while_waiting(self.endpoint)

    def _check(self) -> None:
        """Refuse bad input before the endpoint is started or billed. Overridden where there is something to check."""

    def _send(self, context: Context, target: EndpointTarget) -> Any:
        raise NotImplementedError

    def _announce(self, context: Context, endpoint: InferenceEndpoint, result: Any) -> None:
        """Called after all requests. Overridden to notify other DAGs."""

    def _ready_endpoint(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        started = time.time()
        client = hook.get_conn()
        wait = WaitSpec(
            endpoint=self.endpoint,
            namespace=self.namespace,
            started=started,
            deadline=deadline_after(started, self.startup_timeout, self.execution_timeout),
            poll_interval=self.poll_interval,
        )
        end = client.poll(self.endpoint, wait.goal(), namespace=self.namespace)
        if isinstance(end, Wait | Wake):
            self.log.info("Endpoint %s is not ready yet: %s", self.endpoint, end.reason)
            self._check_on()
            if self.deferrable:
                self.defer(**deferral(wait, self.hf_endpoints_conn_id))
            end = wait_here(hook, wait, self._check_on)
        self._conclude(event_of(end, self.endpoint))
        assert isinstance(end, Ready)
        assert end.endpoint is not None
        return end.endpoint

    def _conclude(self, event: dict[str, Any] | None) -> None:
        """Raise where the wait ended badly."""
        conclude(
            event,
            lambda reason: explain_failure(
                self.hf_endpoints_conn_id, event, reason, lambda: secrets_of_dag(self), namespace=self.namespace
            ),
        )

    def _why_not_served(self, hook: InferenceEndpointsHook, error: Exception) -> str | None:
        """Of a task that is not served: what the endpoint was created with, where the endpoint is still there."""
        if not_served(error) is None:
            return None
        try:
            endpoint = hook.get_conn().get_inference_endpoint(self.endpoint, namespace=self.namespace)
        except InferenceEndpointError as trouble:
            self.log.warning("Could not read the settings of endpoint %s: %s", self.endpoint, trouble)
            return None
        return why_not_served(error, endpoint, str(getattr(self, "task", "")))

    def _send_to(self, context: Context, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint) -> Any:
        target = target_of(hook, endpoint, self.budget)
        try:
            # An engine that fails may answer with what its container was given.
            with renewing(hook, self), hiding(lambda text: conceal(text, endpoint)):
                result = self._send(context, target)
        except (InferenceError, BatchAborted) as error:
            if why := self._why_not_served(hook, error):
                raise AirflowFailException(why) from error
            named = error.of_token(hook.token_source)
            if isinstance(named, BatchAborted) or named.retryable:
                raise named from error.__cause__
            raise AirflowFailException(str(named)) from error
        self._announce(context, endpoint, result)
        return result
