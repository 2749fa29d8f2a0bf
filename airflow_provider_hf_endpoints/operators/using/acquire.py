"""Acquire: the task that begins the use of an endpoint. It notes the endpoint's state and takes a lease on it.

`acquire` starts nothing and takes only a moment, so it nearly always succeeds. Airflow then runs the teardown of the
following tasks, whatever their result: a start that fails, or whose worker is killed, is released like work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, Context

from airflow_provider_hf_endpoints._airflow import pull_xcom
from airflow_provider_hf_endpoints.endpoints.costs.budgets import Account, Limits
from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.holders import holder_name
from airflow_provider_hf_endpoints.leases.protocol import take
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.runs import origin_of
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered, checked
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms
from airflow_provider_hf_endpoints.operators.common.retries import retried
from airflow_provider_hf_endpoints.operators.using.acquired import FOUND_KEY
from airflow_provider_hf_endpoints.operators.using.delays import refuse_work_that_is_held_back
from airflow_provider_hf_endpoints.operators.using.leases import LeasedEndpoint
from airflow_provider_hf_endpoints.ownership import attempt_id

# Tasks of other providers renew nothing, so a lease must last longer than they take. If a holder crashes, the endpoint
# may run until the lease expires.
DEFAULT_LEASE = timedelta(hours=6)


class AcquireInferenceEndpointOperator(KnownArguments, BaseOperator):
    """Take a lease on an endpoint, and record its state before the run. Starts and changes nothing.

    Result: `{"name", "namespace", "service", "found", "use", "lease", "budget"}`. `service` is the URL of the control
    plane. `found` is the state, None without an endpoint.
    `use` is an id of this use, the same until a release. `lease` is the lease that others see, and `budget` the
    account, None without a limit. A clear that runs this task again opens a new account, even for a running endpoint.

    :param endpoint: the endpoint's name. (templated)
    :param must_exist: whether an endpoint that does not exist is an error.
    :param start_task_id: the start of the same use. After a clear, it still knows the state before the first run.
    :param release_task_id: the release of the same use, which also knows that state.
    :param lease: seconds (or a timedelta) for which the lease lasts, from its start and from each renewal;
        `max_startup` is added before that.
    :param max_cost: USD that the whole use may cost; its account is opened here.
    :param max_runtime: seconds (or a timedelta) that the whole use may take.
    """

    template_fields: Sequence[str] = ("endpoint", "namespace", "hf_endpoints_conn_id")
    ui_color = "#ffe9a8"

    @retried
    @checked
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
            raise ValueError(f"lease={lease!r} is not valid. Give a positive number of seconds, or a timedelta.")
        self.limits = Limits.of(max_cost, max_runtime)
        self.namespace = namespace
        self.hf_endpoints_conn_id = hf_endpoints_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Take a lease, look at the endpoint, and return the result."""
        began = time.time()
        with in_airflow_terms():
            check_rendered(self)
            check_name(self.endpoint, "endpoint")
            refuse_work_that_is_held_back(self, [self.release_task_id], context.get("logical_date"), context.get("ti"))
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                namespace = self.namespace or hook.get_conn().default_namespace()
                if self.must_exist:
                    self._check_existence(hook, namespace)
                lease = self._take(hook, namespace, context)
                place = {"name": self.endpoint, "namespace": namespace, "service": hook.service_url}
        before = self._unreleased(context, place)
        if before is not None:
            lease = replace(lease, found=before.get("found"))
        found = lease.found or "not created yet"
        if before is not None:
            self.log.info("Endpoint %s was %s before this run acquired it.", self.endpoint, found)
        else:
            self.log.info("Endpoint %s/%s is %s.", namespace, self.endpoint, found)
        use = before["use"] if before is not None else f"{lease.holder}-{attempt_id(context['ti'])}"
        limits = self.limits
        account = Account(max_cost=limits.max_cost, max_runtime=limits.max_runtime, began=began)
        budget = account.stored() if limits.are_set else None
        return {**place, "found": lease.found, "use": use, "lease": lease.stored(), "budget": budget}

    def _check_existence(self, hook: InferenceEndpointsHook, namespace: str) -> None:
        try:
            hook.get_conn().get_inference_endpoint(self.endpoint, namespace=namespace)
        except EndpointNotFoundError as error:
            advice = f"{error.advice} To create the endpoint, give inference_endpoint(…) a repository and hardware."
            raise error.with_advice(advice) from error.__cause__

    def _take(self, hook: InferenceEndpointsHook, namespace: str, context: Context) -> Lease:
        origin, seconds = origin_of(hook.kept_at), self.lease_seconds
        mine = new_lease(_who(context), time.time(), seconds, first=self.max_startup, origin=origin)
        held = LeasedEndpoint(hook, namespace, self.endpoint, context["ti"])
        try:
            lease: Lease = held.play(take(mine, time.time))
        except StoreError as error:
            self.log.warning(
                "Could not write the lease of endpoint %s; other DAGs may pause it: %s", self.endpoint, error
            )
            return replace(mine, found=held.state())
        return lease

    def _unreleased(self, context: Context, place: Mapping[str, str]) -> dict[str, Any] | None:
        """The note of an earlier attempt without a release since: the endpoint may run because of it.

        A note about another endpoint does not count: the DAG's author may have changed the name, the namespace or the
        connection in between. A note of an older version has only the name.

        After a clear, this task's own result is deleted, and those of downstream tasks still exist. In a first attempt
        there are none, and Airflow would log an error for every missing XCom.
        """
        if (getattr(context["ti"], "try_number", None) or 1) <= 1:
            return None
        started = _pull(context, self.start_task_id, FOUND_KEY)
        if started is None or any(started.get(name) not in (None, value) for name, value in place.items()):
            return None
        released = _pull(context, self.release_task_id, FOUND_KEY)
        return None if released is not None and released.get("use") == started.get("use") else dict(started)


def _who(context: Context) -> str:
    ti: Any = context["ti"]
    dag_id, run_id, task_id = (str(getattr(ti, name, "")) for name in ("dag_id", "run_id", "task_id"))
    return holder_name(dag_id, run_id, task_id, getattr(ti, "map_index", None))


def _pull(context: Context, task_id: str, key: str) -> dict[str, Any] | None:
    value = pull_xcom(context["ti"], task_id, key)
    return value if isinstance(value, dict) else None
