"""The release of an endpoint that is no longer needed, so that it stops billing: the policies and their one flow."""

from __future__ import annotations

from typing import Literal

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.errors import (
    BadRequestError,
    EndpointNotFoundError,
    EndpointStillThereError,
)
from airflow_provider_hf_endpoints.endpoints.models import (
    DELETED,
    NEEDS_RESUME,
    InferenceEndpoint,
    InferenceEndpointStatus,
)

Release = Literal["pause", "scale_to_zero", "delete", "none"]
# What happens to an endpoint after its use: `keep` is `none`, `restore` is the state in which it was found.
AfterUse = Literal["pause", "scale_to_zero", "delete", "keep", "restore"]

#: What `release` says of an endpoint that does not exist.
ALREADY_DELETED = "no such endpoint (deleted before, or never created)"
_TRIES = 2  # of a request that is refused with 404 although the endpoint exists

#: For each release, the states that end the wait for it.
RELEASED_IN: dict[Release, tuple[str, ...]] = {
    "pause": (InferenceEndpointStatus.PAUSED.value,),
    "scale_to_zero": (InferenceEndpointStatus.SCALED_TO_ZERO.value, InferenceEndpointStatus.PAUSED.value),
    "delete": (DELETED,),
}


def after_use(policy: AfterUse | None, found: str | None) -> Release:
    """What to do to an endpoint when its use is over.

    :param policy: None leaves one that ran before as it was, and pauses one that did not exist.
    :param found: the state before the first use, None where there was no such endpoint.
    """
    match policy:
        case "keep":
            return "none"
        case "pause" | "scale_to_zero" | "delete":
            return policy
    if found is None:
        return "delete" if policy == "restore" else "pause"
    if found in NEEDS_RESUME:
        return "pause"
    return "scale_to_zero" if found == InferenceEndpointStatus.SCALED_TO_ZERO else "none"


def state_after(done: Release, found: str | None) -> str | None:
    """The state of an endpoint after that; None if the endpoint is then deleted."""
    return found if done == "none" else None if done == "delete" else RELEASED_IN[done][0]


def unless_paused(policy: Release, found: InferenceEndpoint | None) -> Release:
    """`policy`; for an endpoint that a person has paused meanwhile, a pause in place of a scale to zero.

    At zero, any request would wake the endpoint. The pause is sent, since the read may lag behind a resume.
    """
    paused = found is not None and found.status == InferenceEndpointStatus.PAUSED
    return "pause" if paused and policy == "scale_to_zero" else policy


def release(session: Session, name: str, namespace: str | None, policy: Release) -> Flow[str]:
    """Do what `policy` says; what was done, in words for a log. An endpoint that does not exist is released.

    One 404 does not prove that: the endpoint is read again, and if it exists, the request is sent once more.

    :raises EndpointStillThereError: the service refuses with 404 what it then returns
    """
    for _ in range(_TRIES):
        try:
            return (yield from _stop(session, name, namespace, policy))
        except EndpointNotFoundError:
            if (yield from flows.find(session, name, namespace)) is None:
                return ALREADY_DELETED
    raise EndpointStillThereError(
        f"The service answers 404 to the request to stop endpoint {name!r} (release={policy!r}), and then returns the "
        "endpoint. It may still be billing. Try again, or stop it in the web UI."
    )


def _stop(session: Session, name: str, namespace: str | None, policy: Release) -> Flow[str]:
    match policy:
        case "none":
            return "left as it is"
        case "pause":
            yield from flows.pause(session, name, namespace)
            return "paused"
        case "scale_to_zero":
            try:
                yield from flows.scale_to_zero(session, name, namespace)
            except BadRequestError:  # an endpoint without a scaleToZeroTimeout cannot scale to zero
                found = yield from flows.find(session, name, namespace)
                if found is not None and found.status == InferenceEndpointStatus.SCALED_TO_ZERO:
                    return "scaled to zero, as it was"  # it can, so it was refused as there already
                yield from flows.pause(session, name, namespace)
                return "paused, because it cannot be scaled to zero"
            return "scaled to zero"
        case "delete":
            yield from flows.delete(session, name, namespace, wait=False)
            return "deleted"
