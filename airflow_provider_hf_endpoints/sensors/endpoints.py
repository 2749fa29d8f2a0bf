"""The sensor that waits for an endpoint: deferred, poking or rescheduling, with one meaning of `timeout`.

What a bad end of the wait does to the endpoint is in `_end.py`, and a wait that no worker begins in `_begin.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, Context, conf

from airflow_provider_hf_endpoints._airflow import AirflowRescheduleException
from airflow_provider_hf_endpoints.endpoints.models import DELETED, EndpointSummary, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, OnScaledToZero, Wait, Wake
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink
from airflow_provider_hf_endpoints.operators.checking.arguments import (
    check_rendered,
    check_words,
    checked,
    understand_all,
)
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.dag_secrets import secrets_of_dag
from airflow_provider_hf_endpoints.operators.common.emergency import EmergencyRelease, check_policies
from airflow_provider_hf_endpoints.operators.common.keyed import KeyedOutput
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef, take_name
from airflow_provider_hf_endpoints.operators.common.retries import (
    FirstTry,
    endpoint_faults_final,
    partial_retried,
    retried,
)
from airflow_provider_hf_endpoints.operators.common.task_waits import (
    deferral,
    explain_failure,
    look_before_deferral,
    wait_here,
)
from airflow_provider_hf_endpoints.ownership import attempt_id, leave_claim, run_of
from airflow_provider_hf_endpoints.sensors._begin import begin_in_triggerer
from airflow_provider_hf_endpoints.sensors._end import BadEnd
from airflow_provider_hf_endpoints.waits import WaitSpec, conclude, deadline_after, event_of

_CONNECTION = "hf_endpoints_conn_id"
# Arguments of Airflow's own sensors, which take any value: a text would count as true.
_FLAGS = ("soft_fail", "silent_fail", "never_fail", "exponential_backoff")
_INHERITED: dict[str, Any] = {**dict.fromkeys(_FLAGS, bool), "max_wait": float | timedelta | None}
_SHORTEST_RESCHEDULE = 5.0  # seconds; every reschedule is a new process


class InferenceEndpointSensor(KnownArguments, KeyedOutput, BaseSensorOperator):
    """Waits until an endpoint is ready: `running`, and its health route answers 200.

    It ends at once, with the reason, when the endpoint failed, was deleted, or is paused and not being resumed. The
    sensor waits through temporary errors, but not if the token is refused.

    :param endpoint: the endpoint's name. (templated)
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param target_states: states that end the wait well; default `("running",)`.
    :param on_scaled_to_zero: what a scaledToZero endpoint means: `wake` it (default), `accept` it as ready, or `fail`.
    :param check_health: whether `running` needs the health route's 200; default True.
    :param hf_endpoints_conn_id: the connection.
    :param timeout: seconds (or a timedelta) of wall-clock time from the start of the task's first attempt (Airflow 3.3;
        before, and in the mode `reschedule`, of each attempt). A restart of the triggerer does not extend it. Default
        1 hour.
    :param poke_interval: seconds between looks at most; they are shorter at first. Default 30.
    :param start_from_trigger: begin to wait in the triggerer at once, without a worker before the end. Templates need
        Airflow 3.3; it costs the triggerer the whole serialized DAG for each wait. Default False.
    :param deferrable: wait in the triggerer, occupying no worker; default Airflow's `[operators] default_deferrable`.
    :param on_timeout: what happens to the endpoint if it is not ready in time: `pause`, `scale_to_zero`, `delete` or
        `none` (default, because the sensor did not start it, and others may wait for it too).
    :param on_failure: when it failed, or the wait ended with an error that no retry of this task follows.
    :param on_kill: when the task is killed while it waits. In the mode `reschedule`, a kill between two looks has no
        effect. A task that is cleared, or marked as a success, keeps the endpoint.

    If `deferrable` is False, `mode` is `poke` (default) or `reschedule`, as of every sensor.

    Without `retries`, the task has five retries within about eight minutes, for faults of Airflow.

    Its result is the endpoint's summary (`endpoints.models.EndpointSummary`). Raises `AirflowSensorTimeout` at the
    deadline and `AirflowFailException` if the endpoint cannot reach the state, because a retry of the sensor does not
    help; with `soft_fail` or `never_fail` both skip.
    """

    retries_by_default = False  # whether its retries are those of `operators.common.retries`
    lease: Mapping[str, Any] | None = None  # on the endpoint, where it came with one
    budget: Mapping[str, Any] | None = None  # the account of its use, where it came with one

    template_fields: Sequence[str] = ("endpoint", "namespace", "target_states", "hf_endpoints_conn_id")
    operator_extra_links = (InferenceEndpointLink(),)
    ui_color = "#ffe9a8"
    result_keys = EndpointSummary.keys()

    @checked
    @retried
    def __init__(
        self,
        *,
        endpoint: str,
        namespace: str | None = None,
        target_states: Sequence[str] = (InferenceEndpointStatus.RUNNING.value,),
        on_scaled_to_zero: OnScaledToZero = "wake",
        check_health: bool = True,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        timeout: float | timedelta = 3600.0,
        poke_interval: float | timedelta = LONGEST_POLL,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        on_timeout: Release = "none",
        on_failure: Release = "none",
        on_kill: Release = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, poke_interval=poke_interval, **understand_all(kwargs, _INHERITED, ()))
        for name, value in understand_all({name: getattr(self, name) for name in _FLAGS}, _INHERITED, ()).items():
            setattr(self, name, value)  # from `default_args`
        if on_scaled_to_zero not in ("wake", "accept", "fail"):
            raise ValueError(f"on_scaled_to_zero={on_scaled_to_zero!r} is not valid. Use 'wake', 'accept' or 'fail'.")
        if self.poke_interval <= 0:
            raise ValueError(f"poke_interval={poke_interval!r} is not valid. Give a positive number of seconds.")
        deadline_after(0.0, self.timeout)
        if target_states in ("", [], ()):
            raise ValueError("target_states is empty. Give at least one state to wait for, e.g. 'running'.")
        if isinstance(target_states, list | tuple):
            _check_states(target_states)
        self.endpoint = endpoint
        self.namespace = namespace
        self.target_states: Sequence[str] = [target_states] if isinstance(target_states, str) else target_states
        self.on_scaled_to_zero = on_scaled_to_zero
        self.check_health = check_health
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self.deferrable = deferrable or start_from_trigger
        self.start_from_trigger = start_from_trigger
        self.release_policies = check_policies(on_timeout, on_failure, on_kill)
        self._ending: BadEnd | None = None  # of the attempt that runs
        if start_from_trigger:
            self.start_trigger_args = begin_in_triggerer(
                {name: getattr(self, name) for name in ("endpoint", "namespace", "target_states", _CONNECTION)},
                {
                    "on_scaled_to_zero": on_scaled_to_zero,
                    "check_health": check_health,
                    "poll_interval": self.poke_interval,
                },
                timeout=self.timeout,
                execution_timeout=self.execution_timeout,
                on_kill=on_kill,
            )

    def _new_ending(self, task_instance: Any) -> BadEnd:
        """For the attempt that begins or continues now."""
        take_name(self)
        endpoint = EndpointRef(self.endpoint, self.namespace, self.hf_endpoints_conn_id)
        skips = bool(self.soft_fail or self.never_fail)
        run = None if task_instance is None else run_of(task_instance)
        self._ending = BadEnd(endpoint, self.release_policies, run, skips=skips)
        return self._ending

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; a mapped task cannot begin in the triggerer."""
        if kwargs.get("start_from_trigger"):
            raise ValueError(
                "start_from_trigger=True does not work for a mapped task: Airflow does not start mapped tasks in the "
                "triggerer. Use deferrable=True."
            )
        kwargs = understand_all(kwargs, _INHERITED, ())
        return partial_retried(super().partial(**kwargs), kwargs)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """As Airflow's; `endpoint` may be another task's result."""
        super().render_template_fields(context, jinja_env)
        take_name(self)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Wait in the way that was asked for."""
        ending = self._new_ending(context["ti"])
        final = endpoint_faults_final(self.retries_by_default)
        with final, ending.of(context["ti"]):
            check_rendered(self)
            _check_states(self.target_states)
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                InferenceEndpointLink.persist(context, self, hook, self.namespace, self.endpoint)
                ending.emergency.prepare(hook)
                ending.emergency.read_note(hook)
                if self.deferrable:
                    return self._defer_unless_over(context, hook, ending.emergency)
                if self.reschedule:
                    return self._poke_once(context, hook, ending.emergency)
                wait = self._wait_of_all_tries(context)
                FirstTry(context).keep(wait.started)
                return self._finish(event_of(wait_here(hook, wait, ending.emergency.check), self.endpoint))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        ending = self._new_ending(context["ti"])
        ending.emergency.recall_namespace(context["ti"])
        with ending.of(context["ti"]):
            ending.emergency.prepare_again()
            return self._finish(event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's; the policies count, too, where Airflow ended the wait: no method of the task is called then."""
        with self._new_ending(context["ti"]).by_airflow(next_method, context["ti"]):
            return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """End the wait, and release the endpoint where `on_kill` says so. Runs in a signal handler."""
        (self._ending or self._new_ending(None)).emergency.on_signal(act=True)

    def poke(self, context: Context) -> bool:
        """One look: whether the endpoint is ready. Raises where it can't get there."""
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            verdict = hook.get_conn().poll(self.endpoint, self._wait_spec(time.time()).goal(), namespace=self.namespace)
        if isinstance(verdict, Wait | Wake):
            return False
        conclude(event_of(verdict, self.endpoint))
        return True

    def _defer_unless_over(
        self, context: Context, hook: InferenceEndpointsHook, emergency: EmergencyRelease
    ) -> dict[str, Any] | None:
        """Look once before deferring: an endpoint that is ready, or never will be, needs no triggerer."""
        wait = self._wait_of_all_tries(context)
        verdict = look_before_deferral(hook, wait, emergency.check)
        if not isinstance(verdict, Wait | Wake):
            return self._finish(event_of(verdict, self.endpoint))
        FirstTry(context).keep(wait.started)
        # The trigger must not have to ask whose token it is: the Hub limits how often it may be asked.
        wait = replace(wait, namespace=wait.namespace or hook.get_conn().session.namespace)
        emergency.tell_namespace(context["ti"])
        on_kill, attempt = self.release_policies["on_kill"], attempt_id(context["ti"])
        if on_kill != "none" and attempt is not None:
            leave_claim(context["ti"], attempt)
            emergency.ask(context["ti"])
        emergency.check()
        return self.defer(**deferral(wait, self.hf_endpoints_conn_id, on_kill, attempt))

    def _poke_once(
        self, context: Context, hook: InferenceEndpointsHook, emergency: EmergencyRelease
    ) -> dict[str, Any] | None:
        """One look; the next is a new process, and the wait began with the attempt's first one."""
        first = context["ti"].get_first_reschedule_date(context)
        wait = self._wait_spec(first.timestamp() if first is not None else time.time())
        client = hook.get_conn()
        verdict = client.poll(self.endpoint, wait.goal(), namespace=self.namespace, check=emergency.check)
        if isinstance(verdict, Wait | Wake):
            seconds = max(verdict.seconds, min(_SHORTEST_RESCHEDULE, self.poke_interval))
            self.log.info("Waiting for endpoint %s: %s. Next look in %.0f s", self.endpoint, verdict.reason, seconds)
            raise AirflowRescheduleException(  # type: ignore[no-untyped-call]
                datetime.now(UTC) + timedelta(seconds=seconds)
            )
        return self._finish(event_of(verdict, self.endpoint))

    def _wait_of_all_tries(self, context: Context) -> WaitSpec:
        return self._wait_spec(FirstTry(context).began())

    def _wait_spec(self, started: float) -> WaitSpec:
        states = self.target_states
        return WaitSpec(
            endpoint=self.endpoint,
            namespace=self.namespace,
            started=started,
            deadline=deadline_after(started, self.timeout, self.execution_timeout),
            target_states=(states,) if isinstance(states, str) else tuple(states),
            on_scaled_to_zero=self.on_scaled_to_zero,
            check_health=self.check_health,
            poll_interval=self.poke_interval,
        )

    def _finish(self, event: dict[str, Any] | None) -> dict[str, Any] | None:
        return conclude(
            event,
            lambda reason: explain_failure(
                self.hf_endpoints_conn_id, event, reason, lambda: secrets_of_dag(self), namespace=self.namespace
            ),
        )


def _check_states(states: Iterable[object]) -> None:
    check_words("target_states", states, [*InferenceEndpointStatus, DELETED])
