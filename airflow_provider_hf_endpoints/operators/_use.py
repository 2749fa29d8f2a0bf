"""The tasks around the use of an endpoint: acquire (note how it was found), start, release. For `task_groups/`.

`acquire` starts nothing and takes a moment, so that it all but always succeeds; the teardown of whatever comes after it
then runs however that ends: a start that fails, or whose worker is killed, is released as work is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

from airflow.providers.common.compat.sdk import BaseOperator, Context

from airflow_provider_hf_endpoints.endpoints.costs.budgets import Account, Limits
from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.release import AfterUse, Release, after_use
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import DELETED
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.protocol import Shared, leave, take
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.store import other_users, store_for
from airflow_provider_hf_endpoints.operators._base import EndpointOperator, in_airflow_terms
from airflow_provider_hf_endpoints.operators._claim import attempt_of
from airflow_provider_hf_endpoints.operators._cost import report_cost
from airflow_provider_hf_endpoints.operators._create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators._lease import Held, renew, told, user
from airflow_provider_hf_endpoints.operators._release import StartingOperator
from airflow_provider_hf_endpoints.operators.endpoints import ResumeInferenceEndpointOperator

log = logging.getLogger(__name__)

# Tasks that are none of this provider renew nothing, so a lease is to outlast them. For so long a crashed holder keeps
# the last one from switching off.
DEFAULT_LEASE = timedelta(hours=6)

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

    Result: `{"name", "namespace", "found", "use", "lease", "budget"}`: the state, None where there is no such endpoint,
    an id of this use, the same until a release, the lease that others see, and the account of the budget, None where
    there is none. A clear that runs this task again opens a new account, also for an endpoint that runs on.

    :param endpoint: the endpoint's name. (templated)
    :param must_exist: whether an endpoint that does not exist is an error.
    :param start_task_id, release_task_id: the tasks of the same use. After a clear they know how it was found before.
    :param lease: seconds (or a timedelta) for which others count this use as going on, from its start and from each
        renewal; `max_startup` is added before that.
    :param max_cost, max_runtime: limits of the whole use; its account is opened here.
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
        lease: float | timedelta = DEFAULT_LEASE,
        max_startup: float | timedelta = 0.0,
        max_cost: float | None = None,
        max_runtime: float | timedelta | None = None,
        namespace: str | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.must_exist = must_exist
        self.start_task_id = start_task_id
        self.release_task_id = release_task_id
        self.lease_seconds, self.max_startup = float(seconds_of(lease)), float(seconds_of(max_startup))
        if self.lease_seconds <= 0:
            raise ValueError(f"lease={lease!r} must be positive (seconds, or a timedelta).")
        self.limits = Limits.of(max_cost, max_runtime)
        self.namespace = namespace
        self.hf_endpoints_conn_id = hf_endpoints_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Take a lease, look, and return what was seen."""
        began = time.time()
        with in_airflow_terms():
            check_name(self.endpoint)
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                namespace = self.namespace or hook.get_conn().default_namespace()
                if self.must_exist:
                    hook.get_conn().get_inference_endpoint(self.endpoint, namespace=namespace)
                lease = self._take(hook, namespace, context)
        before = self._unreleased(context)
        if before is not None:
            lease = replace(lease, found=before.get("found"))
            self.log.info("Endpoint %s was %s before this use began.", self.endpoint, lease.found or "not there")
        else:
            self.log.info("Endpoint %s/%s is %s.", namespace, self.endpoint, lease.found or "not there")
        use = before["use"] if before is not None else f"{lease.holder}-{attempt_of(context['ti'])}"
        place = {"name": self.endpoint, "namespace": namespace}
        limits = self.limits
        account = Account(max_cost=limits.max_cost, max_runtime=limits.max_runtime, began=began)
        budget = account.stored() if limits.are_set else None
        return {**place, "found": lease.found, "use": use, "lease": lease.stored(), "budget": budget}

    def _take(self, hook: InferenceEndpointsHook, namespace: str, context: Context) -> Lease:
        mine = new_lease(_who(context), time.time(), self.lease_seconds, first=self.max_startup)
        held = Held(hook, namespace, self.endpoint)
        try:
            lease: Lease = held.play(take(mine, time.time))
        except StoreError as error:
            self.log.warning("Others can't see that endpoint %s is used here: %s", self.endpoint, error)
            return replace(mine, found=held.state())
        return lease

    def _unreleased(self, context: Context) -> dict[str, Any] | None:
        """What an earlier attempt acquired and no release has ended: the endpoint may run because of it.

        After a clear, this task's own result is gone and that of the tasks behind it is still there.
        """
        started = _pull(context, self.start_task_id, _FOUND_KEY)
        if started is None or started.get("name") != self.endpoint:
            return None
        released = _pull(context, self.release_task_id, _FOUND_KEY)
        return None if released is not None and released.get("use") == started.get("use") else dict(started)


class _Acquired(StartingOperator):
    """A start of an endpoint that was acquired; the result tells it, too. Stands before the operator that starts it.

    :param acquired: what `AcquireInferenceEndpointOperator` returned. (templated)
    """

    namespace: str | None
    release_policies: dict[str, Release]
    acquired: Any = None

    def __init__(self, *, acquired: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.acquired = acquired

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Note the use where a later clear finds it, then start the endpoint."""
        if not isinstance(self.acquired, Mapping):
            raise InvalidArgumentError(f"acquired={self.acquired!r} is no result of acquiring an endpoint.")
        self.namespace = self.acquired.get("namespace") or self.namespace
        context["ti"].xcom_push(key=_FOUND_KEY, value=dict(self.acquired))
        return self._told(super().execute(context))

    def execute_complete(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        return self._told(super().execute_complete(*args, **kwargs))

    def _shared_budget(self) -> Mapping[str, Any] | None:
        return self.acquired.get("budget") if isinstance(self.acquired, Mapping) else None

    def _told(self, summary: dict[str, Any] | None) -> dict[str, Any] | None:
        account = self._budget.account  # with what choices of hardware have cost that are gone
        budget = None if account is None else account.stored()
        return _told({**self.acquired, "budget": budget}, self.hf_endpoints_conn_id, summary)

    def _prepare(self, hook: InferenceEndpointsHook) -> None:
        """Before every start, that of the next choice of hardware too: a kill is not to stop it under others.

        The release asks for them anyway.
        """
        super()._prepare(hook)
        lease = Lease.of(self.acquired.get("lease"))
        if lease is None:
            return
        self._holder = lease.holder
        # Asked now: a signal handler can't.
        if other_users(hook.lease_path, self.acquired["namespace"], self.acquired["name"], lease.holder):
            self.release_policies = {**self.release_policies, "on_kill": "none"}


class CreateAcquiredOperator(_Acquired, CreateInferenceEndpointOperator):
    """Create an endpoint that was acquired, or take up the one that is there."""

    template_fields: Sequence[str] = (*CreateInferenceEndpointOperator.template_fields, "acquired")


class ResumeAcquiredOperator(_Acquired, ResumeInferenceEndpointOperator):
    """Resume an endpoint that was acquired."""

    template_fields: Sequence[str] = (*ResumeInferenceEndpointOperator.template_fields, "acquired")


class ReleaseAcquiredOperator(EndpointOperator):
    """End the use of an endpoint: do to it what the policy says, and wait until that is done. Made to be a teardown.

    Idempotent, so that it can be tried again: see `RELEASE_RETRIES`.

    :param acquired: what `AcquireInferenceEndpointOperator` returned. (templated)
    :param release: what becomes of the endpoint, see `endpoints.release.after_use`; nothing while others use it.
    :param quiet: seconds without a request after which it is released, where nobody can say who uses it; default 120.

    Other parameters: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = ("acquired", "hf_endpoints_conn_id")

    def __init__(
        self,
        *,
        acquired: Any,
        release: AfterUse | None = None,
        quiet: float = 120.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if release is not None and release not in get_args(AfterUse):
            raise ValueError(f"release={release!r}: it is one of {', '.join(get_args(AfterUse))}, or None.")
        self.acquired = acquired
        self.release = release
        self.quiet = quiet
        self._did: Release = "none"
        self._context: Context | None = None
        self.endpoint = ""  # known when `acquired` is rendered

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Release the endpoint, note that it is, and say what it has cost."""
        self._context = context
        return self._done(context, super().execute(context))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Take up what the trigger found."""
        self._take()
        deleted = after_use(self.release, self.acquired.get("found")) == "delete"
        self._context = None if deleted else context  # what was deleted has been told already
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
        self._did = "none"
        held = Held(hook, str(self.namespace), self.endpoint, lambda found: self._switch_off(hook, found))
        mine = Lease.of(self.acquired.get("lease"))
        try:
            if mine is None:
                raise StoreError("acquired without a lease")
            outcome = held.play(leave(mine, time.time))
        except StoreError as error:
            self._release_when_quiet(hook, held, error)
        else:
            if isinstance(outcome, Shared):
                self.log.info("Endpoint %s is left as it is: %s still use it.", self.endpoint, ", ".join(outcome.by))
        endpoint = self._look(hook)
        if endpoint is None or self._did == "none":
            return None if endpoint is None else endpoint.summary()
        self._goal_states = _ARRIVED[self._did]
        return self._arrive(hook, endpoint, started)

    def _switch_off(self, hook: InferenceEndpointsHook, found: str | None) -> None:
        policy = after_use(self.release, found)
        if policy == "delete":
            self._report_cost()  # while it still can be asked
        done = hook.get_conn().release(self.endpoint, policy, namespace=self.namespace)
        self.log.info("Endpoint %s/%s: %s.", self.namespace, self.endpoint, done)
        self._did = policy

    def _release_when_quiet(self, hook: InferenceEndpointsHook, held: Held, why: Exception) -> None:
        """Without leases only the service knows whether somebody else uses the endpoint."""
        if after_use(self.release, self.acquired.get("found")) == "none" or held.state() is None:
            return
        self.log.warning("Who else uses endpoint %s can't be read: %s", self.endpoint, why)
        if held.quiet_for(self.quiet):
            self._switch_off(hook, self.acquired.get("found"))
        else:
            self.log.warning("Endpoint %s is LEFT RUNNING: it is used while this use is over.", self.endpoint)

    def _look(self, hook: InferenceEndpointsHook) -> InferenceEndpoint | None:
        try:
            return hook.get_conn().get_inference_endpoint(self.endpoint, namespace=self.namespace)
        except EndpointNotFoundError:
            return None

    def _done(self, context: Context, summary: dict[str, Any] | None) -> dict[str, Any] | None:
        context["ti"].xcom_push(key=_FOUND_KEY, value=dict(self.acquired))
        self._report_cost()
        return summary

    def _report_cost(self) -> None:
        """Once."""
        context, self._context = self._context, None
        if context is not None:
            report_cost(self.hf_endpoints_conn_id, self.endpoint, self.namespace, context)


class EndpointReleasedOperator(BaseOperator):
    """Nothing: the scheduler itself marks it, by what is before it."""

    inherits_from_empty_operator = True
    ui_color = "#e8f7e4"

    def execute(self, context: Context) -> None:
        """Nothing to do."""


def _told(acquired: Mapping[str, Any], conn_id: str, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result of a start, with what the tasks behind need; from now on the lease counts without the start's time."""
    if summary is None:
        return None
    lease = Lease.of(acquired.get("lease"))
    if lease is not None:
        with InferenceEndpointsHook(conn_id) as hook:
            try:
                renew(store_for(hook.lease_path, acquired["namespace"], acquired["name"]), lease)
            except StoreError as error:
                log.warning("The lease on endpoint %s can't be renewed: %s", acquired["name"], error)
    return {**summary, **told(acquired)}


def _who(context: Context) -> str:
    ti: Any = context["ti"]
    dag_id, run_id, task_id = (str(getattr(ti, name, "")) for name in ("dag_id", "run_id", "task_id"))
    return user(dag_id, run_id, task_id, getattr(ti, "map_index", None))


def _pull(context: Context, task_id: str, key: str) -> dict[str, Any] | None:
    ti: Any = context["ti"]
    value = ti.xcom_pull(task_ids=task_id, key=key, map_indexes=ti.map_index)
    return value if isinstance(value, dict) else None
