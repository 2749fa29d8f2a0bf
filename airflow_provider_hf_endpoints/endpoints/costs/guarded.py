"""Whatever makes an endpoint cost something, as flows that ask the connection's ceiling first."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_hf_endpoints.endpoints.api import creating, flows
from airflow_provider_hf_endpoints.endpoints.api.ceiling import CeilingError
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, Place
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate


def create(session: Session, spec: EndpointSpec, namespace: str | None) -> Flow[InferenceEndpoint]:
    """As `creating.create`. Raises `CeilingError` before anything is sent."""
    replicas = max(spec.max_replica or 1, spec.min_replica or 0, 1)
    yield from _check(session, spec.name, spec.place, replicas)
    return (yield from creating.create(session, spec, namespace))


def create_from_catalog(
    session: Session, namespace: str | None, choice: Mapping[str, str | None]
) -> Flow[InferenceEndpoint]:
    """As `creating.create_from_catalog`, which chooses the hardware itself: refused under a ceiling."""
    if session.ceiling.is_set:
        raise CeilingError(
            "The connection limits price or hardware, but the catalog chooses the hardware itself. Create the "
            "endpoint with hardware that you choose, or ask the owner of the connection."
        )
    return (yield from creating.create_from_catalog(session, namespace, choice))


def update(session: Session, name: str, namespace: str | None, change: EndpointUpdate) -> Flow[InferenceEndpoint]:
    """As `flows.update`. Only a change of hardware or replicas is checked."""
    touched = [
        field for field in (*Place._fields, "min_replica", "max_replica") if getattr(change, field, None) is not None
    ]
    now = None
    if session.ceiling.is_set and touched:
        now = yield from flows.get(session, name, namespace)
        place = Place(*(getattr(change, field, None) or getattr(now, field) for field in Place._fields))
        lowest = change.min_replica if change.min_replica is not None else now.min_replica
        most = change.max_replica if change.max_replica is not None else now.max_replica
        yield from _check(session, name, place, max(lowest or 0, most or 1, 1))
    return (yield from flows.update(session, name, namespace, change, current=now))


def resume(session: Session, name: str, namespace: str | None, *, running_ok: bool = True) -> Flow[InferenceEndpoint]:
    """As `flows.resume`: what was created outside of the ceiling is not started under it."""
    if session.ceiling.is_set:
        now = yield from flows.get(session, name, namespace)
        replicas = max(now.min_replica or 0, now.max_replica or 1, 1)
        yield from _check(session, name, now.place, replicas)
    return (yield from flows.resume(session, name, namespace, running_ok=running_ok))


def _check(session: Session, name: str, place: Place, replicas: int) -> Flow[None]:
    ceiling = session.ceiling
    if not ceiling.is_set:
        return
    price = None
    if ceiling.max_price_per_hour is not None:
        price = yield from metering.price_at(session, place)
    ceiling.check(name, "/".join(part or "?" for part in place), price, replicas)
