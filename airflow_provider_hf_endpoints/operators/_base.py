"""What the lifecycle operators have in common: which endpoint, which connection, and how they wait."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Context, conf

from airflow_provider_hf_endpoints.endpoints.errors import ApiError, InferenceEndpointError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, Goal, Ready, Snapshot, judge
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink
from airflow_provider_hf_endpoints.operators._assets import announce, with_alias
from airflow_provider_hf_endpoints.operators._named import take_name
from airflow_provider_hf_endpoints.operators._waiting import deferral, explain_failure, wait_here
from airflow_provider_hf_endpoints.waits import WaitBrokenError, WaitSpec, conclude, deadline_after, event_of

DEFAULT_TIMEOUT = 3600.0  # seconds; a start took up to 18 minutes where hardware was short


class TaskKilledError(InferenceEndpointError):
    """The task was told to end while it waited."""

    retryable = True


class EndpointOperator(BaseOperator):
    """An operator on one endpoint.

    :param hf_endpoints_conn_id: the connection. (templated)
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param wait_for_completion: return only when the endpoint has arrived where the operator sends it; default True.
    :param deferrable: wait in the triggerer, holding no worker; default Airflow's `[operators] default_deferrable`.
    :param timeout: seconds (or a timedelta) of wall-clock time for the wait; default 1 hour.
    :param poll_interval: seconds between looks at most; they are shorter at first. Default 30.
    """

    template_fields: Sequence[str] = ("endpoint", "namespace", "hf_endpoints_conn_id")
    operator_extra_links = (InferenceEndpointLink(),)
    ui_color = "#ffe9a8"

    endpoint: str
    lease: Mapping[str, Any] | None = None  # on the endpoint, where it came with one
    budget: Mapping[str, Any] | None = None  # the account of its use, where it came with one
    _attempt: str | None = None  # by which a trigger knows whose wait it is, where it may act on the endpoint
    _holder: str | None = None  # of a lease on the endpoint, where it came with one
    _goal_states: tuple[str, ...] = ("running",)
    _announces = False  # whether it emits an event of the endpoint's asset
    _revision: str | None = None  # the model's, of the endpoint that was last heard of

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
        deadline_after(0.0, timeout)  # a bad limit is told when the DAG is read, not when the endpoint bills already
        if poll_interval <= 0:
            raise ValueError(f"poll_interval={poll_interval!r} must be positive (seconds).")

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """As Airflow's; `endpoint` may be another task's result."""
        super().render_template_fields(context, jinja_env)
        take_name(self)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Act on the endpoint, wait where that was asked for, and return its summary."""
        started = time.time()
        take_name(self)
        with in_airflow_terms():
            self._check()
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                InferenceEndpointLink.persist(context, self, hook, self.namespace, self.endpoint)
                self._prepare(hook)
                return self._announced(context, self._act(hook, started))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        take_name(self)
        with in_airflow_terms():
            return self._announced(context, self._conclude(event))

    def _announced(self, context: Context, summary: dict[str, Any] | None) -> dict[str, Any] | None:
        """`summary`, of which other DAGs hear by the endpoint's asset."""
        if self._announces and summary is not None:
            extra = {"state": summary.get("state"), "revision": self._revision}
            announce(context, self.outlets, summary.get("namespace"), summary.get("name"), extra)
        return summary

    def _check(self) -> None:
        """Refuse bad arguments before anything is sent."""
        check_name(self.endpoint)

    def _prepare(self, hook: InferenceEndpointsHook) -> None:
        """Called before the first action. Overridden where something must be at hand later."""

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        raise NotImplementedError

    def _arrive(
        self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, started: float, *, resumed: bool = False
    ) -> dict[str, Any] | None:
        """Wait for the goal, deferred or holding the worker; at once where the endpoint has arrived already."""
        self._revision = endpoint.revision
        wait = WaitSpec(
            endpoint=endpoint.name,
            namespace=endpoint.namespace,
            started=started,
            deadline=self._deadline(hook, endpoint, deadline_after(started, self.timeout, self.execution_timeout)),
            target_states=self._goal_states,
            resumed_at=started if resumed else None,
            poll_interval=self.poll_interval,
        )
        if not self.wait_for_completion or _has_arrived(endpoint, wait.goal()):
            return endpoint.summary()
        self._check_on()
        if self.deferrable:
            on_kill = self._release_on_kill()
            handed_over = deferral(wait, self.hf_endpoints_conn_id, on_kill, self._attempt, self._holder)
            return self.defer(**handed_over, kwargs=self._deferral_kwargs())
        end = wait_here(hook, wait, self._check_on)
        return self._conclude(event_of(end, endpoint.name))

    def _deadline(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, given: float | None) -> float | None:
        """When the wait ends. Overridden where more than the time limits has a say."""
        return given

    def _deferral_kwargs(self) -> dict[str, Any]:
        """What `execute_complete` is told beside the event."""
        return {}

    def _release_on_kill(self) -> Release:
        """What the trigger does about the endpoint when the task is ended while it is deferred."""
        return "none"

    def _check_on(self) -> None:
        """Called before a wait and after every look of one that holds the worker; may raise to end it."""

    def _conclude(self, event: dict[str, Any] | None) -> dict[str, Any] | None:
        summary = conclude(
            event, lambda reason: explain_failure(self.hf_endpoints_conn_id, event, reason, self._secret_values)
        )
        self._revision = (event or {}).get("revision", self._revision)
        self.log.info("Endpoint %s: %s", self.endpoint, (summary or {}).get("state", "gone"))
        return summary

    def _secret_values(self) -> Sequence[str]:
        """What must not appear in an endpoint's log lines that this operator quotes."""
        return ()


def _has_arrived(endpoint: InferenceEndpoint, goal: Goal) -> bool:
    """Whether the answer to the action already is the goal (a health route's answer is never in it)."""
    return isinstance(judge(Snapshot(endpoint), goal, goal.started), Ready)


@contextmanager
def in_airflow_terms() -> Iterator[None]:
    """What a retry can't mend fails the task for good; the rest is left to the task's retries.

    No error is ever raised from itself: such a chain has no end, and what renders a traceback may follow it for ever
    (structlog did, on Airflow 3.0).
    """
    try:
        yield
    except (ApiError, InvalidArgumentError, WaitBrokenError) as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error
