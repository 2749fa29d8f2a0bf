"""The record of one endpoint: its data, replicas and history. Values only; their changes are in `state.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.emulator.settings import Behaviour
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpointStatus

State = InferenceEndpointStatus  # the one definition of the API's states

STARTING = frozenset({State.PENDING, State.INITIALIZING})
SERVING = frozenset({State.RUNNING, State.UPDATING, State.UPDATE_FAILED})

DEFAULT_THRESHOLD = 1.5  # pending requests per replica


@dataclass(frozen=True)
class Replica:
    """One copy of the container: billed from `started_at` until `stopped_at`."""

    id: str
    version: int
    price_per_hour: float
    started_at: float
    ready_at: float
    stopped_at: float | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Step:
    """A transition that will happen at a known moment."""

    at: float
    state: State
    error: str | None = None


@dataclass(frozen=True)
class Moment:
    """A line of the endpoint's history."""

    at: float
    state: str
    message: str


@dataclass(frozen=True)
class LogLine:
    """A line that a container wrote."""

    at: float
    line: str
    level: str | None
    replica_id: str
    stream: str = "stdout"


@dataclass(frozen=True)
class Endpoint:
    """All data of one endpoint. `spec` is the accepted specification as the API's JSON; never changed in place."""

    id: str
    namespace: str
    name: str
    spec: Mapping[str, Any]
    price_per_hour: float
    behaviour: Behaviour
    seconds_per_minute: float
    scale_down_window: float  # service seconds
    created_at: float
    created_by: str
    updated_at: float
    updated_by: str
    state: State = State.PENDING
    message: str = ""
    error: str | None = None
    agent_message: str | None = None
    plan: tuple[Step, ...] = ()
    replicas: tuple[Replica, ...] = ()
    version: int = 1
    starts: int = 0
    answers_at: float | None = None  # when the health route first answers 200
    pending: int = 0  # requests in flight
    used_at: float | None = None
    over_since: float | None = None
    under_since: float | None = None
    history: tuple[Moment, ...] = ()
    logs: tuple[LogLine, ...] = ()
    gone_at: float | None = None  # set by DELETE: when GET starts to answer 404

    @property
    def live(self) -> tuple[Replica, ...]:
        return tuple(r for r in self.replicas if r.stopped_at is None)

    @property
    def min_replica(self) -> int:
        return int(self.spec["compute"]["scaling"]["minReplica"])

    @property
    def max_replica(self) -> int:
        return int(self.spec["compute"]["scaling"]["maxReplica"])

    @property
    def idle_seconds(self) -> float | None:
        """Seconds without a request until it scales to zero; None: never."""
        minutes = self.spec["compute"]["scaling"].get("scaleToZeroTimeout")
        return None if minutes is None or self.min_replica > 0 else minutes * self.seconds_per_minute

    @property
    def threshold(self) -> float:
        measure = self.spec["compute"]["scaling"].get("measure") or {}
        return float(measure.get("pendingRequests") or DEFAULT_THRESHOLD)

    @property
    def target_replica(self) -> int:
        if self.state in SERVING or self.state is State.INITIALIZING:
            return len(self.live)
        return max(self.min_replica, 1) if self.state in (State.PENDING, State.FAILED) else 0

    def ready_replica(self, now: float) -> int:
        if self.state not in SERVING:
            return 0
        return sum(r.ready_at <= now for r in self.live)

    def service_seconds(self, seconds: float) -> float:
        """`seconds` of the service on the emulator's clock."""
        return seconds * self.seconds_per_minute / 60.0
