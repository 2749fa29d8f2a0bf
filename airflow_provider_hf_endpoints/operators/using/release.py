"""Release: the task that ends the use of an endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, get_args

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, Context

from airflow_provider_hf_endpoints._airflow import RESCHEDULES, AirflowRuntimeError
from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import (
    InferenceEndpointError,
    InvalidArgumentError,
)
from airflow_provider_hf_endpoints.endpoints.models import BILLED, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.release import (
    ALREADY_DELETED,
    RELEASED_IN,
    AfterUse,
    Release,
    after_use,
    state_after,
)
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.notes import StartNotes, start_note
from airflow_provider_hf_endpoints.leases.protocol import Shared, SwitchedOff, UndecidedError, forget, leave
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Attempt, Done, Guard, Sent, Summary
from airflow_provider_hf_endpoints.operators.common.cost_report import cost_before_delete, report_cost, tell_cost
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms
from airflow_provider_hf_endpoints.operators.common.held import is_replaced
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator
from airflow_provider_hf_endpoints.operators.using.acquired import FOUND_KEY, Acquired
from airflow_provider_hf_endpoints.operators.using.leases import LeasedEndpoint
from airflow_provider_hf_endpoints.operators.using.work import LOOK_EVERY, look_again, unfinished_work

log = logging.getLogger(__name__)

# A release is tried for more than an hour, whatever `default_args` set for other tasks. Those override an
# operator's own defaults, so the code that creates the task passes these values.
RELEASE_RETRIES: dict[str, Any] = {
    "retries": 10,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}
# The first attempts of a release leave a failed read of the leases, or of the states of the work, to the next attempt.
# Later attempts ask the service who uses the endpoint: a store that fails for minutes may fail forever, and the
# endpoint bills meanwhile.
_PATIENT_ATTEMPTS = 2


class NotReleasedError(InferenceEndpointError):
    """It is not known whether the endpoint is still used, so it was not released."""

    retryable = True


class ReleaseAcquiredOperator(EndpointOperator):
    """Release an endpoint: end the lease of this run, stop the endpoint as the policy says if it has no other holder,
    and wait until it has stopped. Intended as a teardown.

    Idempotent, so it can be retried: see `RELEASE_RETRIES`.

    :param acquired: the result of `AcquireInferenceEndpointOperator`. (templated)
    :param release: what happens to the endpoint, see `endpoints.upkeep.release.after_use`; nothing while other holders
        use it.
    :param work: the ids of the tasks that use the endpoint. The release waits until they have ended: a task may have
        skipped what Airflow waits for. The list is read when the task runs.
    :param quiet: seconds without a request after which it is released if its leases cannot be read; default 120.

    Other parameters: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = ("acquired", "hf_endpoints_conn_id")
    unskippable = True  # see `changing/unskippable.py`
    ends_use = True  # of the endpoint of its group: the cost report counts that group's batches
    reschedule = _is_sensor = True  # see `RESCHEDULES`

    @checked
    def __init__(
        self,
        *,
        acquired: Any,
        release: AfterUse | None = None,
        quiet: float = 120.0,
        work: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if release is not None and release not in get_args(AfterUse):
            raise ValueError(f"release={release!r} is not valid. Use one of {', '.join(get_args(AfterUse))}, or None.")
        self.acquired = acquired
        self.release = release
        self.quiet = quiet
        self.work = work
        self.endpoint = ""  # known when `acquired` is rendered

    @classmethod
    def get_serialized_fields(cls) -> frozenset[str]:
        """As Airflow's, and what a look at the work later needs."""
        return frozenset(super().get_serialized_fields() | RESCHEDULES)  # type: ignore[no-untyped-call]

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Release the endpoint when the work has ended; look again later where it has not."""
        if Acquired.of(self.acquired) is not None:
            with in_airflow_terms():
                self._await_work(context["ti"])
        return super().execute(context)

    def _await_work(self, task_instance: Any) -> None:
        tries = _Tries.of(task_instance)
        try:
            unfinished = unfinished_work(task_instance, self.work)
        except AirflowRuntimeError as error:
            if tries.another and tries.number <= _PATIENT_ATTEMPTS:
                raise NotReleasedError(
                    f"The endpoint is not released yet, because Airflow did not answer whether its tasks have ended: "
                    f"{error}. A retry asks again."
                ) from error
            self.log.warning("Could not read the states of the tasks that use the endpoint: %s", error)
            return
        if unfinished:
            self.log.warning(
                "The endpoint is not released yet: %s still %s it. A task has skipped what the release waits for, or "
                "somebody has marked it. Looking again in %.0f s.",
                ", ".join(unfinished),
                "uses" if len(unfinished) == 1 else "use",
                LOOK_EVERY.total_seconds(),
            )
            raise look_again()

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        acquired = Acquired.of(self.acquired)
        if acquired is None:
            return Attempt(_NothingAcquired(self.acquired))
        self.endpoint, self.namespace = acquired.name, acquired.namespace
        action = _Releasing(self._ref, acquired, self.release, self.quiet, context, began, stored is not None)
        return Attempt(action, _ToldAtTheEnd(self._ref, _Tries.of(context["ti"])))


@dataclass(frozen=True)
class _Tries:
    """The number of this attempt, from 1, and whether Airflow allows another one."""

    number: int
    another: bool

    @classmethod
    def of(cls, task_instance: Any) -> _Tries:
        """For this attempt."""
        number, most = getattr(task_instance, "try_number", 1), getattr(task_instance, "max_tries", 0)
        return cls(number, number <= most)


class _ToldAtTheEnd(Guard):
    """If a release gives up, its error has the words on which alerts are based."""

    def __init__(self, endpoint: EndpointRef, tries: _Tries) -> None:
        self._endpoint, self._tries = endpoint, tries

    @contextmanager
    def around(self) -> Iterator[None]:
        """For any failure of an attempt."""
        try:
            yield
        except (Exception, AirflowTaskTimeout) as error:
            self._tell(f"{type(error).__name__}: {error}", for_good=isinstance(error, AirflowFailException))
            raise

    def ended_by_airflow(self, *, timeout: bool) -> None:
        """While it waited for the endpoint to stop."""
        self._tell("the wait timed out" if timeout else "the wait failed", for_good=timeout)

    def _tell(self, why: str, *, for_good: bool) -> None:
        if self._tries.another and not for_good:
            log.warning("Endpoint %s is not released yet; trying again: %s", self._endpoint.name, why)
            return
        log.error(
            "Endpoint %s/%s could not be released and MAY STILL BE BILLING. Pause or delete it by hand. %s",
            self._endpoint.namespace,
            self._endpoint.name,
            why,
        )


class _NothingAcquired(Action):
    """Refuses an `acquired` that names no endpoint."""

    def __init__(self, acquired: object) -> None:
        self._acquired = acquired

    def check(self) -> None:
        """Say what to do instead."""
        raise InvalidArgumentError(
            f"acquired={self._acquired!r} is not the result of a task that acquires an endpoint, so this task "
            "releases nothing. Clear the whole group, or pause the endpoint by hand."
        )

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Never reached."""
        return Done(None)


class _Releasing(Action):
    """End the lease. If there is no other holder, apply the policy to the endpoint."""

    def __init__(
        self,
        endpoint: EndpointRef,
        acquired: Acquired,
        policy: AfterUse | None,
        quiet: float,
        context: Context,
        began: float,
        deferred: bool,
    ) -> None:
        self._endpoint, self._acquired, self._policy, self._quiet = endpoint, acquired, policy, quiet
        self._context, self._began, self._tries = context, began, _Tries.of(context["ti"])
        self._taken_for_deleted = False
        self._was_last = deferred  # a deferred release has already stopped the endpoint
        # The cost of an endpoint that was deleted before the deferral is already reported.
        self._cost_told = deferred and after_use(policy, acquired.found) == "delete"

    def check(self) -> None:
        """As for every operator."""
        check_name(self._endpoint.name, "endpoint")

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """End the lease, and stop the endpoint if there is no other holder."""
        name = self._endpoint.name
        switch_off = partial(self._switch_off, hook)
        held = LeasedEndpoint(hook, self._acquired.namespace, name, self._context["ti"], switch_off)
        mine = self._acquired.held
        try:
            if mine is None:
                raise StoreError("it was acquired without a lease")
            outcome = held.play(leave(mine, time.time, self._becomes, again=self._tries.number > 1))
        except StoreError as error:
            if mine is not None and self._tries.another and self._tries.number <= _PATIENT_ATTEMPTS:
                raise NotReleasedError(self._undecided(error, "A retry reads the leases again.")) from error
            held.did = self._release_when_quiet(hook, held, error)
        except UndecidedError as error:
            raise NotReleasedError(self._undecided(error, "")) from error
        else:
            self._was_last = isinstance(outcome, SwitchedOff)
            if isinstance(outcome, Shared):
                log.info("Endpoint %s keeps running. It is in use by %s.", name, ", ".join(outcome.by))
        endpoint = self._look(hook)
        if endpoint is None or held.did == "none":
            return Done(endpoint)
        if self._taken_for_deleted and endpoint.status in BILLED:
            raise NotReleasedError(
                f"Endpoint {name!r} is not released: the service answered 404 to the request that stops it, and then "
                f"returned it as {endpoint.status}. A retry sends the request again."
            )
        return Sent(endpoint, self._began, RELEASED_IN[held.did])

    def _undecided(self, why: Exception, then: str) -> str:
        return (
            f"Endpoint {self._endpoint.name!r} is not released, because other holders cannot be determined: {why} "
            f"{then}"
        )

    def result(self, summary: Summary | None) -> Summary | None:
        """Note the release, and report the cost."""
        self._forget(seen_gone=summary is None)
        self._context["ti"].xcom_push(key=FOUND_KEY, value=self._acquired.noted)
        self._report_cost()
        return summary

    def _becomes(self, found: str | None) -> str | None:
        return state_after(after_use(self._policy, found), found)

    def _forget(self, *, seen_gone: bool) -> None:
        """Remove the records: a read has shown the stop, so other runs no longer need them."""
        mine, endpoint = self._acquired.held, self._endpoint
        if mine is None or not self._was_last:
            return
        try:
            with InferenceEndpointsHook(endpoint.hf_endpoints_conn_id) as hook:
                LeasedEndpoint(hook, self._acquired.namespace, endpoint.name, self._context["ti"]).play(
                    forget(mine, time.time)
                )
                if seen_gone and after_use(self._policy, self._acquired.found) == "delete":
                    StartNotes(hook.kept_at).remove(self._acquired.namespace, endpoint.name, before=self._began)
        except StoreError as error:
            log.warning("Could not remove old leases of endpoint %s: %s", endpoint.name, error)

    def _switch_off(self, hook: InferenceEndpointsHook, found: str | None) -> Release | None:
        policy = after_use(self._policy, found)
        endpoint = self._endpoint
        if policy != "none" and is_replaced(hook, self._acquired.namespace, endpoint.name):
            self._cost_told = True  # the service has no cost of an endpoint that is deleted
            return None
        if self._policy == "keep":
            self._note_kept(hook)
        cost = self._cost_before_delete(hook) if policy == "delete" else None
        done = hook.get_conn().release(endpoint.name, policy, namespace=endpoint.namespace)
        log.info("Endpoint %s/%s: %s.", endpoint.namespace, endpoint.name, done)
        self._taken_for_deleted = done == ALREADY_DELETED
        tell_cost(endpoint, self._context, cost)
        return policy

    def _note_kept(self, hook: InferenceEndpointsHook) -> None:
        """The start has noted this too, if it started something."""
        note = start_note(self._context["ti"], time.time(), keep=True)
        if note is not None:
            StartNotes(hook.kept_at).write(self._acquired.namespace, self._endpoint.name, note)

    def _release_when_quiet(self, hook: InferenceEndpointsHook, held: LeasedEndpoint, why: Exception) -> Release:
        """Without leases, only the service knows whether somebody else uses the endpoint. Returns what was done."""
        name = self._endpoint.name
        if after_use(self._policy, self._acquired.found) == "none" or held.state() is None:
            return "none"
        log.warning("Could not read the leases of endpoint %s: %s", name, why)
        if held.quiet_for(self._quiet):
            return self._switch_off(hook, self._acquired.found) or "none"
        raise NotReleasedError(
            self._undecided(
                why, f"The service has seen requests in the last {self._quiet:.0f} s, so another DAG may use it. "
            )
            + "Repair the lease store (docs/reference/leases.md), or release the endpoint by hand when it is idle."
        )

    def _look(self, hook: InferenceEndpointsHook) -> InferenceEndpoint | None:
        client = hook.get_conn()
        return client.run(flows.find(client.session, self._endpoint.name, self._endpoint.namespace))

    def _cost_before_delete(self, hook: InferenceEndpointsHook) -> Cost | None:
        """Read the cost, once."""
        told, self._cost_told = self._cost_told, True
        return None if told else cost_before_delete(hook, self._endpoint, self._context)

    def _report_cost(self) -> None:
        """Report the cost, once."""
        if not self._cost_told:
            self._cost_told = True
            report_cost(self._endpoint, self._context)
