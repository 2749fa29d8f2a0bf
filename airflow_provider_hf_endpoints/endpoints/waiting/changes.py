"""What a look at an endpoint means for somebody who watches it: which state it shows, and whether that is news.

The counterpart of `readiness.py` for watches, which have no end and no deadline. No I/O and no clock here either.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from airflow_provider_hf_endpoints.endpoints.models import (
    BROKEN,
    DELETED,
    EndpointSummary,
    InferenceEndpoint,
    InferenceEndpointStatus,
)
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import EndpointSnapshot, why_broken

_RUNNING = InferenceEndpointStatus.RUNNING.value
# Running by the API while the model does not answer yet.
_NOT_YET = InferenceEndpointStatus.INITIALIZING.value

# What can be watched for: the service's states, and that there is no endpoint of the name.
WATCHABLE = (*(state.value for state in InferenceEndpointStatus), DELETED)


@dataclass(frozen=True)
class Watch:
    """What somebody watches for.

    :param states: the states whose beginning is news.
    :param check_health: whether `running` begins with the health route's first 200 only.
    :param fire_on_start: whether a state that is there at the first look is news, where nothing was seen before it.
    """

    states: frozenset[str]
    check_health: bool = True
    fire_on_start: bool = False

    def needs_health(self, last: str | None) -> bool:
        """Whether the next look has to ask a running endpoint for its health: only while `running` would be news."""
        return self.check_health and _RUNNING in self.states and last != _RUNNING


def state_in(snapshot: EndpointSnapshot, watch: Watch, last: str | None) -> str:
    """The state that the look shows, after `last` (None at the first look)."""
    endpoint = snapshot.endpoint
    if endpoint is None:
        return DELETED
    if endpoint.status == _RUNNING and watch.needs_health(last):
        return _RUNNING if snapshot.health is not None and snapshot.health.ok else _NOT_YET
    return str(endpoint.status)


def is_news(state: str, last: str | None, watch: Watch) -> bool:
    """Whether `state` has begun since `last` and is watched for."""
    if state not in watch.states:
        return False
    return watch.fire_on_start if last is None else state != last


def news(
    state: str, endpoint: InferenceEndpoint | None, name: str, namespace: str | None, last: str | None
) -> dict[str, Any]:
    """The event: small, JSON-native, without the service's messages, which may repeat what a container printed.

    :param state: what `state_in` made of the look: the service may say `running` while the model does not answer yet.
    """
    told = {**dict.fromkeys(each.name for each in fields(EndpointSummary)), "name": name, "namespace": namespace}
    revision = None
    reason = None
    if endpoint is not None:
        told, revision = endpoint.summary(), endpoint.revision
        reason = why_broken(endpoint, quote=False) if endpoint.status in BROKEN else None
    return {**told, "state": state, "revision": revision, "previous_state": last, "reason": reason}
