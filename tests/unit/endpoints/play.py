"""A service played by hand for the flows, and answers in the contract's shape. No HTTP, no clock."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Flow, Pause, Session
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

T = TypeVar("T")

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)

HARDWARE: dict[str, Any] = {
    "accelerator": "gpu",
    "instance_type": "nvidia-l4",
    "instance_size": "x1",
    "vendor": "aws",
    "region": "us-east-1",
}
NEEDED: dict[str, Any] = {"name": "tickets", "repository": "acme/small", "framework": "pytorch", **HARDWARE}

NOT_FOUND = errors.EndpointNotFoundError("Not Found", status=404)
UNAUTHORIZED = errors.AuthenticationError("Unauthorized", status=401)
FORBIDDEN = errors.PermissionDeniedError("Forbidden", status=403)
TIMEOUT = errors.RequestTimeoutError("no response within 30 s")
CUT = errors.ConnectionLostError("Server disconnected")


def service_error(status: int, retry_after: float | None = None) -> errors.ServiceError:
    """The service in trouble."""
    return errors.ServiceError("Service Unavailable", status=status, retry_after=retry_after)


def spec(**changes: Any) -> EndpointSpec:
    """A valid create with some arguments changed."""
    return EndpointSpec.from_arguments(**{**NEEDED, **changes})


def raw(state: str = "running", *, name: str = "tickets", created: datetime = NOW, **status: Any) -> dict[str, Any]:
    """An endpoint as the service answers it."""
    return {
        "name": name,
        "type": "authenticated",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "gpu",
            "instanceType": "nvidia-l4",
            "instanceSize": "x1",
            "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
        },
        "model": {
            "repository": "acme/small",
            "framework": "pytorch",
            "image": {"huggingface": {}},
            "revision": None,
            "task": "text-generation",
        },
        "experimentalFeatures": {},
        "notifications": {"email": False, "push": False},
        "healthRoute": "/health",
        "tags": [],
        "status": {
            "state": state,
            "message": "",
            "url": "https://tickets.example",
            "createdAt": created.isoformat(),
            "updatedAt": created.isoformat(),
            "createdBy": {"id": "1", "name": "alice"},
            "updatedBy": {"id": "1", "name": "alice"},
            "readyReplica": 0,
            "targetReplica": 0,
            **status,
        },
    }


def changed(data: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `data` with the value at the dotted `path` replaced."""
    out = copy.deepcopy(dict(data))
    at = out
    *parents, last = path.split(".")
    for key in parents:
        at = at[key]
    at[last] = value
    return out


def endpoint(state: str = "running", **status: Any) -> InferenceEndpoint:
    """A parsed endpoint in some state."""
    return InferenceEndpoint.from_raw(raw(state, **status), "acme")


class Clock:
    """A clock that moves only on request."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Play:
    """The service's part, reply by reply: JSON, an `Answer`, or an error to raise. Notes what was asked and paused."""

    def __init__(self, *replies: Any, clock: Clock | None = None, namespace: str | None = "acme") -> None:
        self.replies = list(replies)
        self.clock = clock or Clock()
        self.session = Session(namespace=namespace, now=self.clock)
        self.requests: list[Request] = []
        self.pauses: list[float] = []

    @property
    def asked(self) -> list[str]:
        """Every request as `METHOD path`."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def run(self, flow: Flow[T]) -> T:
        """Drive `flow` to its end. Pauses move the clock; running out of replies fails the test."""
        reply: Any = None
        while True:
            try:
                step = flow.throw(reply) if isinstance(reply, Exception) else flow.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.clock.forward(step.seconds)
                reply = None
                continue
            self.requests.append(step)
            assert self.replies, f"nobody expected {self.asked[-1]}"
            reply = self.replies.pop(0)
            if not isinstance(reply, Exception | Answer):
                reply = Answer(200, {}, reply)
