"""Asking the service what an endpoint has cost: the requests, and what of them may fail. The sum is `cost.py`'s."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TypeVar

from airflow_provider_hf_endpoints.endpoints.api import flows, readings
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost, price_of, weigh
from airflow_provider_hf_endpoints.endpoints.errors import ApiError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, Place

log = logging.getLogger(__name__)

T = TypeVar("T")


def cost(session: Session, name: str, namespace: str | None, *, start: datetime, stop: datetime | None) -> Flow[Cost]:
    """What an endpoint cost between `start` and `stop` (default now).

    What is not available (replicas, metric, prices) makes the figure coarser and is said in `Cost.source`. A `start`
    before the endpoint's creation counts from its creation.

    :raises EndpointNotFoundError: the endpoint does not exist
    :raises CostUnknownError: neither replicas nor metric are available, and the endpoint has stopped
    """
    for label, moment in (("start", start), ("stop", stop)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidArgumentError(f"{label}={moment!r} has no time zone. Give a datetime with a time zone.")
    endpoint = yield from flows.get(session, name, namespace)
    stop = stop or session.now()
    if endpoint.created_at is not None:
        start = max(start, endpoint.created_at)
    start = min(start, stop)
    place = (endpoint.name, endpoint.namespace)
    replicas = yield from _or_none(readings.replicas(session, *place))
    metrics = yield from _or_none(readings.metric(session, *place, "replica-running", start=start, stop=stop))
    per_hour = yield from price(session, endpoint)
    return weigh(endpoint, start, stop, price_per_hour=per_hour, replicas=replicas, metrics=metrics)


def price(session: Session, endpoint: InferenceEndpoint) -> Flow[float | None]:
    """USD per replica and hour; None where it is not available."""
    return (yield from price_at(session, endpoint.place))


def price_at(session: Session, place: Place) -> Flow[float | None]:
    """The same of an instance. Asked once per client, not again where the service does not list it."""
    if place not in session.prices:
        offered = yield from _or_none(readings.hardware(session, None, with_quota=False))
        if offered is None:
            return None
        session.prices[place] = price_of(place, offered)
    return session.prices[place]


def _or_none(flow: Flow[T]) -> Flow[T | None]:
    try:
        return (yield from flow)
    except ApiError as error:
        log.warning("The cost is incomplete; this part is missing: %s", error)
        return None
