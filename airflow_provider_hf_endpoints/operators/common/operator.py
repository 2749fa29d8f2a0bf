"""What the lifecycle operators have in common: which endpoint, which connection, and how an attempt runs and waits.

One level: every lifecycle operator is an `EndpointOperator`, and what it does is an object that it has (`attempt.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, Context, conf

from airflow_provider_hf_endpoints._airflow import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import EndpointSummary, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    LONGEST_POLL,
    EndpointSnapshot,
    Goal,
    Ready,
    Wait,
    Wake,
    judge,
)
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered, checked
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.assets import announce, with_alias
from airflow_provider_hf_endpoints.operators.common.attempt import Arrived, Attempt, Done, Sent
from airflow_provider_hf_endpoints.operators.common.dag_secrets import secrets_of_dag
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms, suggesting_a_name
from airflow_provider_hf_endpoints.operators.common.held import Holders, lease_in
from airflow_provider_hf_endpoints.operators.common.keyed import KeyedOutput
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef, take_name
from airflow_provider_hf_endpoints.operators.common.retries import FirstTry, endpoint_faults_final
from airflow_provider_hf_endpoints.operators.common.task_waits import (
    deferral,
    explain_failure,
    look_before_deferral,
    wait_here,
)
from airflow_provider_hf_endpoints.waits import WaitSpec, conclude, deadline_after, event_of

DEFAULT_TIMEOUT = 3600.0  # seconds; a start took up to 18 minutes where hardware was short


class EndpointOperator(KnownArguments, KeyedOutput, BaseOperator):
    """An operator on one endpoint. Its result is the endpoint's summary (`endpoints.models.EndpointSummary`).

    :param hf_endpoints_conn_id: the connection. (templated)
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param wait_for_completion: return only when the endpoint has reached the target state; default True.
    :param deferrable: wait in the triggerer, which occupies no worker; default Airflow's
        `[operators] default_deferrable`.
    :param timeout: seconds (or a timedelta) of wall-clock time for the wait; default 1 hour.
    :param poll_interval: seconds between looks at most; they are shorter at first. Default 30.
    """

    template_fields: Sequence[str] = ("endpoint", "namespace", "hf_endpoints_conn_id")
    operator_extra_links = (InferenceEndpointLink(),)
    ui_color = "#ffe9a8"
    result_keys = EndpointSummary.keys()

    endpoint: str
    lease: Mapping[str, Any] | None = None  # on the endpoint, where it came with one
    budget: Mapping[str, Any] | None = None  # the account of its use, where it came with one
    force = False  # whether it acts on an endpoint that others hold, without asking
    _announces = False  # whether it emits an event of the endpoint's asset
    retries_by_default = False  # whether its retries are those of `retries.py`
    _one_deadline = False  # whether a retry has the time of the first try, and no more
    _attempt: Attempt | None = None  # the one that runs
    _first: FirstTry | None = None

    @checked
    def __init__(
        self,
        *,
        namespace: str | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        poll_interval: float = LONGEST_POLL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.timeout = timeout
        self.poll_interval = poll_interval
        if self._announces:
            self.outlets = with_alias(self.outlets)
        deadline_after(0.0, timeout)  # a bad limit is an error when the DAG is parsed, before anything bills
        if poll_interval <= 0:
            raise ValueError(f"poll_interval={poll_interval!r} is not valid. Give a positive number of seconds.")

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        """What this attempt does, by the operator's arguments. The one method that a lifecycle operator defines.

        :param began: seconds since the epoch
        :param stored: what the deferral has kept, after one; None at the beginning of an attempt
        """
        raise NotImplementedError

    @property
    def _ref(self) -> EndpointRef:
        return EndpointRef(self.endpoint, self.namespace, self.hf_endpoints_conn_id)

    def _holders(self, context: Context) -> Holders | None:
        """Who else may hold the endpoint; None where that is not asked."""
        return None if self.force else Holders(self._ref, context, lease_in(self.lease))

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """As Airflow's; `endpoint` may be another task's result."""
        super().render_template_fields(context, jinja_env)
        take_name(self)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Act on the endpoint, wait where that was asked for, and return its summary."""
        self._first = FirstTry(context) if self._one_deadline else None
        began = time.time() if self._first is None else self._first.began()
        take_name(self)
        attempt = self._attempt = self._begin(context, began, None)
        with endpoint_faults_final(self.retries_by_default, self._first), attempt.guard.around(), in_airflow_terms():
            check_rendered(self)
            attempt.action.check()
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                attempt.guard.prepare(hook)
                with suggesting_a_name(hook, self._ref):
                    at = attempt.action.act(hook)
                InferenceEndpointLink.persist(context, self, hook, self.namespace, self.endpoint)
                arrived = self._arrive(hook, at)
            self._announce(context, arrived)
        return attempt.action.result(arrived.summary)

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, **stored: Any
    ) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        take_name(self)
        self.namespace = self.namespace or stored.get("namespace")
        self._first = FirstTry(context) if self._one_deadline else None
        attempt = self._attempt = self._begin(context, time.time(), stored)
        with endpoint_faults_final(self.retries_by_default, self._first), attempt.guard.around(), in_airflow_terms():
            attempt.guard.prepare_again()
            arrived = self._conclude(event)
            self._announce(context, arrived)
        return attempt.action.result(arrived.summary)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's. Informs the guard if Airflow ended the wait: the trigger broke, or its time limit passed."""
        with endpoint_faults_final(self.retries_by_default):
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except (TaskDeferralError, TaskDeferralTimeout) as error:
                take_name(self)
                guard = self._begin(context, time.time(), {}).guard
                guard.ended_by_airflow(timeout=isinstance(error, TaskDeferralTimeout))
                raise

    def on_kill(self) -> None:
        """Runs in a signal handler, shortly before the process is killed."""
        if self._attempt is not None:
            self._attempt.guard.on_kill()

    def _check_on(self) -> None:
        """Called before a wait, and around every look; may raise to end the wait."""
        if self._attempt is not None:
            self._attempt.guard.check()

    def _arrive(self, hook: InferenceEndpointsHook, at: Sent | Done) -> Arrived:
        """Wait for the goal, deferred or occupying the worker; at once where the endpoint has arrived already."""
        if isinstance(at, Done):
            return Arrived.at(at.endpoint)
        assert self._attempt is not None
        guard, endpoint = self._attempt.guard, at.endpoint
        guard.started(hook, endpoint)
        limit = deadline_after(at.began, self.timeout, self.execution_timeout)
        wait = WaitSpec(
            endpoint=endpoint.name,
            namespace=endpoint.namespace,
            started=at.began,
            deadline=guard.deadline(hook, endpoint, limit),
            target_states=at.goal_states,
            resumed_at=time.time() if at.resumed else None,
            poll_interval=self.poll_interval,
        )
        if not self.wait_for_completion or _has_arrived(endpoint, wait.goal()):
            return Arrived.at(endpoint)
        self._check_on()
        if self._first is not None:
            self._first.keep(at.began)
        return self._conclude(event_of(self._wait(hook, wait, endpoint), endpoint.name))

    def _wait(self, hook: InferenceEndpointsHook, wait: WaitSpec, endpoint: InferenceEndpoint) -> End:
        """The end of the wait. A deferral only follows a look that found the endpoint on its way."""
        if not self.deferrable:
            return wait_here(hook, wait, self._check_on)
        verdict = look_before_deferral(hook, wait, self._check_on)
        if not isinstance(verdict, Wait | Wake):
            return verdict
        assert self._attempt is not None
        over = self._attempt.guard.handover()
        handed = deferral(wait, self.hf_endpoints_conn_id, over.release_on_kill, over.claim, over.holder)
        self.defer(**handed, kwargs=dict(over.kwargs) | self._namespace_learnt(endpoint))
        raise AssertionError("unreachable: defer always raises")

    def _namespace_learnt(self, endpoint: InferenceEndpoint) -> dict[str, str]:
        """For the deferral's kwargs: the task that resumes after the wait need not ask the Hub for the namespace."""
        return {"namespace": endpoint.namespace} if self.namespace is None else {}

    def _conclude(self, event: dict[str, Any] | None) -> Arrived:
        """The result of a wait. After a failure, the action may still continue."""
        assert self._attempt is not None
        attempt = self._attempt
        try:
            summary = conclude(
                event,
                lambda reason: explain_failure(
                    self.hf_endpoints_conn_id,
                    event,
                    reason,
                    lambda: [*attempt.action.secrets(), *secrets_of_dag(self)],
                    namespace=self.namespace,
                ),
            )
        except InferenceEndpointError as error:
            failure = error
        else:
            self.log.info("Endpoint %s: %s", self.endpoint, (summary or {}).get("state", "gone"))
            return Arrived(summary, (event or {}).get("revision"))
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            return self._arrive(hook, attempt.action.go_on(hook, attempt.guard.explain(hook, failure)))

    def _announce(self, context: Context, arrived: Arrived) -> None:
        """Other DAGs hear of it by the endpoint's asset."""
        summary = arrived.summary
        if self._announces and summary is not None:
            extra = {"state": summary.get("state"), "revision": arrived.revision}
            announce(context, self.outlets, summary.get("namespace"), summary.get("name"), extra)


def _has_arrived(endpoint: InferenceEndpoint, goal: Goal) -> bool:
    """Whether the answer to the action already is the goal (a health route's answer is never in it)."""
    return isinstance(judge(EndpointSnapshot(endpoint), goal, goal.started), Ready)
