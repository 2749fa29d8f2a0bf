"""One attempt of a lifecycle operator, as values and two seams: what it does, and what it owes the endpoint meanwhile.

`EndpointOperator` runs every attempt in the same way. What differs is an `Action` (create, resume, update, stop …) and,
where the task may have to release the endpoint at a bad end, a `Guard`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook

Summary = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """The request is sent, and the endpoint is on its way.

    :param goal_states: where it goes
    :param began: since when the time limit counts, seconds since the epoch
    :param resumed: whether the request was a create or a resume, after which reads may lag behind
    """

    endpoint: InferenceEndpoint
    began: float
    goal_states: tuple[str, ...] = (InferenceEndpointStatus.RUNNING.value,)
    resumed: bool = False


@dataclass(frozen=True)
class Done:
    """There is nothing to wait for."""

    endpoint: InferenceEndpoint | None


@dataclass(frozen=True)
class Arrived:
    """The end of an attempt that ended well.

    :param summary: of the endpoint; None where it is gone
    :param revision: the model's
    """

    summary: Summary | None
    revision: str | None = None

    @classmethod
    def at(cls, endpoint: InferenceEndpoint | None) -> Arrived:
        """As a look shows it."""
        return cls(None) if endpoint is None else cls(endpoint.summary(), endpoint.revision)


@dataclass(frozen=True)
class Handover:
    """What a deferral stores.

    :param kwargs: arguments of `execute_complete` beside the event, JSON-native
    :param release_on_kill, claim, holder: see `InferenceEndpointTrigger`
    """

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    release_on_kill: Release = "none"
    claim: str | None = None
    holder: str | None = None


class Action(ABC):
    """What an attempt does to its endpoint."""

    def check(self) -> None:  # noqa: B027
        """Refuse bad arguments before anything is sent."""

    @abstractmethod
    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Send the request."""

    def go_on(self, hook: InferenceEndpointsHook, error: InferenceEndpointError) -> Sent:
        """After a wait that ended badly: raise the error, or try something else."""
        raise error

    def secrets(self) -> Sequence[str]:
        """What must not appear in an endpoint's log lines that are quoted."""
        return ()

    def result(self, summary: Summary | None) -> Summary | None:
        """What the task returns. Called once, when all has ended well."""
        return summary


class Guard:
    """What an attempt owes its endpoint while it runs. This one owes nothing: `starting.start.Start` does."""

    @contextmanager
    def around(self) -> Iterator[None]:
        """Around all that the attempt does, a deferral included."""
        yield

    def prepare(self, hook: InferenceEndpointsHook) -> None:
        """Before the first request."""

    def prepare_again(self) -> None:
        """After a deferral, before anything else. Raises nothing: the wait is over, and may have ended well."""

    def started(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint) -> None:
        """The request is answered: this is the endpoint."""

    def check(self) -> None:
        """Before a wait, and after every look of one that occupies the worker; may raise to end it."""

    def deadline(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, given: float | None) -> float | None:
        """When the wait ends, which the time limits end at `given`."""
        return given

    def explain(self, hook: InferenceEndpointsHook, error: InferenceEndpointError) -> InferenceEndpointError:
        """The error of a wait that ended badly, where more is known of it."""
        return error

    def handover(self) -> Handover:
        """For the deferral that begins now."""
        return Handover()

    def on_kill(self) -> None:
        """In the signal handler."""

    def ended_by_airflow(self, *, timeout: bool) -> None:
        """Airflow itself has ended the deferral, and calls no method of the task but `resume_execution`."""


@dataclass(frozen=True)
class Attempt:
    """Made when `execute`, `execute_complete` or `resume_execution` begins."""

    action: Action
    guard: Guard = field(default_factory=Guard)
