"""The operators that stop an endpoint's bill: pause, scale to zero, delete. They also report the run's share of the
bill.

They are made to be teardowns: idempotent, and with 5 retries by default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import BadRequestError, EndpointNotFoundError
from airflow_provider_hf_endpoints.endpoints.models import PARKED, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.release import RELEASED_IN
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.recent_changes import note_lately
from airflow_provider_hf_endpoints.leases.removal import forget_deleted
from airflow_provider_hf_endpoints.operators.changing.unended import skip_if_nothing_is_left
from airflow_provider_hf_endpoints.operators.changing.unskippable import UnskippableTeardown
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Attempt, Done, Sent, Summary
from airflow_provider_hf_endpoints.operators.common.cost_report import cost_before_delete, report_cost, tell_cost
from airflow_provider_hf_endpoints.operators.common.held import Holders
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator

log = logging.getLogger(__name__)

# Stopping an endpoint is what stops the bill, so it is tried more than once where the DAG says nothing else. Arguments
# of each operator's own, because Airflow reads the defaults of named arguments for `partial`, too.
_RETRIES = 5
_RETRY_DELAY = timedelta(seconds=30)


class PauseInferenceEndpointOperator(UnskippableTeardown, EndpointOperator):
    """Pause an endpoint: nothing is billed, and only a resume starts it again. It is made to be a teardown:

    `PauseInferenceEndpointOperator(…).as_teardown(setups=create)` pauses the endpoint whatever the result of the work.
    The log and the XCom `cost` have minutes, price and dollars since the run began, as `endpoints.costs.cost.Cost`.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success. Default False: a misspelt name would leave
        the right endpoint running.
    :param force: whether to pause it although other runs hold a lease on it. Default False: it keeps running for them,
        and the last holder pauses it.

    Other parameters, and the result: see `EndpointOperator`.
    """

    stops_endpoint = True  # what starts the endpoint before it, starts it for the run: see `starting/intent.py`

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        missing_ok: bool = False,
        force: bool = False,
        retries: int | None = _RETRIES,
        retry_delay: timedelta | float = _RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.endpoint = endpoint
        self.missing_ok = missing_ok
        self.force = force

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        return Attempt(_Stopping(_PAUSE, self._ref, context, began, self.missing_ok, self._holders(context)))


class ScaleToZeroInferenceEndpointOperator(UnskippableTeardown, EndpointOperator):
    """Scale an endpoint to zero: nothing is billed, and any authorised request starts it again.

    An endpoint that is paused stays paused, which bills nothing either.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success; default False.
    :param force: whether to scale it to zero although other runs hold a lease on it. Default False: it keeps running
        for them, and the last holder scales it to zero.

    Other parameters, and the result: see `EndpointOperator`.
    """

    stops_endpoint = True  # what starts the endpoint before it, starts it for the run: see `starting/intent.py`

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        missing_ok: bool = False,
        force: bool = False,
        retries: int | None = _RETRIES,
        retry_delay: timedelta | float = _RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.endpoint = endpoint
        self.missing_ok = missing_ok
        self.force = force

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        return Attempt(_Stopping(_SCALE_TO_ZERO, self._ref, context, began, self.missing_ok, self._holders(context)))


class DeleteInferenceEndpointOperator(UnskippableTeardown, EndpointOperator):
    """Delete an endpoint and wait until it is really gone, with its configuration, logs and metrics.

    :param endpoint: the endpoint's name. (templated)
    :param missing_ok: whether an endpoint that does not exist is a success; default True.
    :param force: whether to delete it although other runs hold a lease on it. Default False: the task fails, and a
        retry checks again.

    Other parameters: see `EndpointOperator`. Result: None.
    """

    stops_endpoint = True  # what starts the endpoint before it, starts it for the run: see `starting/intent.py`
    result_keys = ()

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        missing_ok: bool = True,
        force: bool = False,
        retries: int | None = _RETRIES,
        retry_delay: timedelta | float = _RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.endpoint = endpoint
        self.missing_ok = missing_ok
        self.force = force

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        return Attempt(_Stopping(_DELETE, self._ref, context, began, self.missing_ok, self._holders(context)))


def _pause(client: EndpointsClient, endpoint: EndpointRef) -> InferenceEndpoint:
    return client.pause_inference_endpoint(endpoint.name, namespace=endpoint.namespace)


def _scale_to_zero(client: EndpointsClient, endpoint: EndpointRef) -> InferenceEndpoint:
    before = client.run(flows.get(client.session, endpoint.name, endpoint.namespace))
    if before.status in PARKED:
        return before
    try:
        return client.scale_to_zero_inference_endpoint(endpoint.name, namespace=endpoint.namespace)
    except BadRequestError as error:
        if "cannot be scaled to zero" not in error.message:
            raise
        raise error.with_advice(
            "Allow the endpoint to scale to zero (UpdateInferenceEndpointOperator: min_replica=0, "
            "scale_to_zero_timeout=15), or pause it (PauseInferenceEndpointOperator)."
        ) from error


def _delete(client: EndpointsClient, endpoint: EndpointRef) -> InferenceEndpoint:
    before = client.run(flows.get(client.session, endpoint.name, endpoint.namespace))
    client.delete_inference_endpoint(endpoint.name, namespace=endpoint.namespace, missing_ok=True, wait=False)
    return before


@dataclass(frozen=True)
class _Stop:
    """One way to stop an endpoint's bill.

    :param gone: whether there is no endpoint afterwards, of which its cost could be asked
    """

    send: Callable[[EndpointsClient, EndpointRef], InferenceEndpoint]
    did: str
    goal_states: tuple[str, ...]
    gone: bool = False


_PAUSE = _Stop(_pause, "paused", RELEASED_IN["pause"])
_SCALE_TO_ZERO = _Stop(_scale_to_zero, "scaled to zero", RELEASED_IN["scale_to_zero"])
_DELETE = _Stop(_delete, "deletion asked for", RELEASED_IN["delete"], gone=True)


class _Stopping(Action):
    """Stop the bill, and say what the DAG run's share of it was."""

    def __init__(
        self,
        stop: _Stop,
        endpoint: EndpointRef,
        context: Context,
        began: float,
        missing_ok: bool,
        holders: Holders | None,
    ) -> None:
        self._stop, self._endpoint, self._context, self._began = stop, endpoint, context, began
        self._missing_ok, self._holders = missing_ok, holders
        # None also where the endpoint was missing: its records may belong to an endpoint that was just created.
        self._namespace = endpoint.namespace
        self._is_ours = True

    def check(self) -> None:
        """As of every operator."""
        check_name(self._endpoint.name, "endpoint")

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Send the request; under others that use the endpoint only where that was asked for."""
        stop, holders = self._stop, self._holders
        skip_if_nothing_is_left(hook, self._endpoint, self._context)
        try:
            if holders is not None and holders.is_anothers(hook):
                self._is_ours = False
                return Done(self._look(hook))
            if holders is not None and stop.gone:
                holders.refuse(hook, "deleted")
            elif holders is not None and holders.left_to_them(hook, stop.goal_states[0]):
                return Done(self._look(hook))
            cost = cost_before_delete(hook, self._endpoint, self._context) if stop.gone else None
            endpoint = stop.send(hook.get_conn(), self._endpoint)
        except EndpointNotFoundError:
            if not self._missing_ok:
                raise
            log.warning("Endpoint %s does not exist; missing_ok=True accepts that.", self._endpoint.name)
            self._namespace = None
            return Done(None)
        log.info("Endpoint %s/%s: %s; it is %s.", endpoint.namespace, endpoint.name, self._stop.did, endpoint.status)
        # Behind the request, which no lease store may delay: a start meanwhile must not trust a read that lags.
        state = None if stop.gone else stop.goal_states[0]
        note_lately(hook.kept_at, endpoint.namespace, endpoint.name, state)
        self._namespace = endpoint.namespace
        tell_cost(self._endpoint, self._context, cost)
        return Sent(endpoint, self._began, self._stop.goal_states)

    def result(self, summary: Summary | None) -> Summary | None:
        """Say what the endpoint has cost."""
        if self._stop.gone:
            self._forget(seen_gone=summary is None)
            return None
        if self._is_ours:  # else the service would report the cost of another one
            report_cost(self._endpoint, self._context)
        return summary

    def _look(self, hook: InferenceEndpointsHook) -> InferenceEndpoint:
        return hook.get_conn().get_inference_endpoint(self._endpoint.name, namespace=self._endpoint.namespace)

    def _forget(self, *, seen_gone: bool) -> None:
        """Remove the records of an endpoint that this task has deleted."""
        if not seen_gone or self._namespace is None:
            return
        with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
            forget_deleted(hook.kept_at, self._namespace, self._endpoint.name, self._began)
