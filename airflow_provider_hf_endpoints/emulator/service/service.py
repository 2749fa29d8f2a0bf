"""The memory of the service: its endpoints, and one method for each operation on them.

It stores what `state.py` computes, and refuses what depends on several endpoints: used names, quota, capacity. No
HTTP: `control/routes.py` and `proxy.py` call it from the event loop, and `Emulator` from a test's thread, so methods
take a lock.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.service import hardware as prices
from airflow_provider_hf_endpoints.emulator.service import meter, state, validation
from airflow_provider_hf_endpoints.emulator.service.clock import Clock
from airflow_provider_hf_endpoints.emulator.service.hardware import HARDWARE, Hardware
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint, State
from airflow_provider_hf_endpoints.emulator.service.view import endpoint_json
from airflow_provider_hf_endpoints.emulator.settings import Behaviour, Settings, changed


@dataclass
class Traffic:
    """Counters of an endpoint's data plane, besides the endpoint's record."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    peak_pending: int = 0
    pending: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=10_000))


class Service:
    """The endpoints of one emulator; see the module's docstring."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.base_url = ""
        self.clock = clock
        self._lock = threading.RLock()
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._keys: dict[str, tuple[str, str]] = {}  # endpoint id -> (namespace, name)
        self._deleted: deque[Endpoint] = deque(maxlen=1000)
        self._behaviours: dict[str, Behaviour] = dict(settings.behaviours)
        self._no_capacity: set[str] = set(settings.no_capacity)
        self._quotas: dict[str, int] = dict(settings.quotas)
        self._traffic: dict[str, Traffic] = {}
        self._created = 0

    def now(self) -> float:
        return self.clock()

    # ------------------------------------------------------------------------------------------- looking

    def get(self, namespace: str, name: str) -> Endpoint:
        """The endpoint as it is now. Raises ApiError 404."""
        with self._lock:
            endpoint = self._current((namespace, name))
            if endpoint is None:
                raise ApiError(404, f"Endpoint '{name}' not found in namespace '{namespace}'")
            return endpoint

    def by_id(self, endpoint_id: str) -> Endpoint | None:
        with self._lock:
            key = self._keys.get(endpoint_id)
            return None if key is None else self._current(key)

    def all(self, namespace: str | None = None) -> list[Endpoint]:
        """All existing endpoints, oldest first."""
        with self._lock:
            keys = [key for key in self._endpoints if namespace is None or key[0] == namespace]
            found = [self._current(key) for key in keys]
            return [endpoint for endpoint in found if endpoint is not None]

    def ever(self, name: str, namespace: str | None = None) -> Endpoint | None:
        """The endpoint with this name, or the last deleted one: for its history and its meter."""
        with self._lock:
            living = [e for e in self.all(namespace) if e.name == name]
            gone = [e for e in self._deleted if e.name == name and namespace in (None, e.namespace)]
            return next(reversed([*gone, *living]), None)

    def everything(self) -> list[Endpoint]:
        with self._lock:
            living = self.all()
            return [*self._deleted, *living]

    def url(self, endpoint: Endpoint) -> str:
        return f"{self.base_url}/endpoints/{endpoint.id}"

    def json(self, endpoint: Endpoint) -> dict[str, Any]:
        return endpoint_json(endpoint, self.now(), self.url(endpoint), self.settings.quirks)

    def meter(self, endpoint: Endpoint) -> dict[str, Any]:
        traffic = self.traffic(endpoint)
        return {
            **meter.measure(endpoint, self.now()),
            "requests": traffic.requests,
            "statuses": {str(status): count for status, count in sorted(traffic.statuses.items())},
            "prompt_tokens": traffic.prompt_tokens,
            "completion_tokens": traffic.completion_tokens,
            "peak_pending": traffic.peak_pending,
        }

    def traffic(self, endpoint: Endpoint) -> Traffic:
        return self._traffic.setdefault(endpoint.id, Traffic())

    # ------------------------------------------------------------------------------------------- the control plane

    def create(self, namespace: str, body: Any, by: str) -> Endpoint:
        spec = validation.accept_spec(body, longest_name=50 if "names_of_50" in self.settings.quirks else 32)
        with self._lock:
            key = (namespace, spec["name"])
            if self._current(key) is not None:
                raise ApiError(409, f"Endpoint '{spec['name']}' already exists in namespace '{namespace}'")
            row = self._place(namespace, spec, leaving_out=None)
            now = self.now()
            self._created += 1
            digest = hashlib.sha256(f"{namespace}/{spec['name']}/{self._created}".encode()).hexdigest()
            spec["compute"] = {**spec["compute"], "id": row.id}
            endpoint = Endpoint(
                id=digest[:16],
                namespace=namespace,
                name=spec["name"],
                spec=spec,
                price_per_hour=row.price_per_hour,
                behaviour=self._behaviour(spec),
                seconds_per_minute=self.settings.seconds_per_minute,
                scale_down_window=self.settings.scale_down_window_seconds,
                created_at=now,
                created_by=by,
                updated_at=now,
                updated_by=by,
            )
            return self._keep(state.start(endpoint, now))

    def update(self, namespace: str, name: str, body: Any, by: str) -> Endpoint:
        with self._lock:
            endpoint = self.get(namespace, name)
            current: dict[str, Any] = dict(endpoint.spec)
            quirks = self.settings.quirks
            spec = validation.accept_update(current, body, engine_changes="engine_changes" in quirks)
            if endpoint.state is State.FAILED and "failed_takes_updates" not in quirks:
                raise ApiError(500, "the endpoint could not be updated")
            parked = endpoint.state is State.PAUSED or (endpoint.state is State.UPDATING and not endpoint.live)
            row = self._place(namespace, spec, leaving_out=endpoint, starts=not parked)
            spec["compute"] = {**spec["compute"], "id": row.id}
            only_tags = {**spec, "tags": None} == {**current, "tags": None}
            updated = self._do(
                lambda now: state.update(
                    endpoint,
                    now,
                    spec=spec,
                    price_per_hour=row.price_per_hour,
                    behaviour=self._behaviour(spec),
                    by=by,
                    restart=not only_tags or self.settings.tags_update_restarts,
                )
            )
            return self._keep(updated)

    def pause(self, namespace: str, name: str) -> Endpoint:
        return self._change(namespace, name, state.pause)

    def resume(self, namespace: str, name: str) -> Endpoint:
        with self._lock:
            endpoint = self.get(namespace, name)
            if endpoint.state in (State.PAUSED, State.FAILED):
                self._place(namespace, dict(endpoint.spec), leaving_out=endpoint)
            return self._change(namespace, name, state.resume)

    def scale_to_zero(self, namespace: str, name: str) -> Endpoint:
        return self._change(namespace, name, state.scale_to_zero)

    def delete(self, namespace: str, name: str) -> Endpoint:
        return self._change(namespace, name, state.delete)

    def explain(self, namespace: str, name: str) -> Endpoint:
        """The debugger agent's text: the endpoint's state and its last error line, in a sentence."""

        def explained(endpoint: Endpoint, now: float) -> Endpoint:
            errors = [line.line for line in endpoint.logs if line.level == "error"]
            last = f" Last error: {errors[-1]}" if errors else " No error in the logs."
            return replace(endpoint, agent_message=f"The endpoint is {endpoint.state.value}.{last}")

        return self._change(namespace, name, explained)

    # ------------------------------------------------------------------------------------------- the data plane

    def wake(self, endpoint: Endpoint) -> Endpoint:
        return self._change(endpoint.namespace, endpoint.name, state.wake)

    def request_begins(self, endpoint: Endpoint) -> None:
        with self._lock:
            current = self._change(endpoint.namespace, endpoint.name, state.request_begins)
            traffic = self.traffic(endpoint)
            traffic.peak_pending = max(traffic.peak_pending, current.pending)
            traffic.pending.append((self.now(), current.pending))

    def request_ends(self, endpoint: Endpoint) -> None:
        with self._lock:
            if self.by_id(endpoint.id) is None:
                return  # deleted meanwhile
            current = self._change(endpoint.namespace, endpoint.name, state.request_ends)
            self.traffic(endpoint).pending.append((self.now(), current.pending))

    def engine_failed(self, endpoint: Endpoint, error: str, lines: tuple[str, ...]) -> None:
        with self._lock:
            if self.by_id(endpoint.id) is not None:
                self._change(endpoint.namespace, endpoint.name, lambda e, now: state.fail(e, now, error, lines))

    # ------------------------------------------------------------------------------------------- hardware and quota

    def price_list(self, namespace: str | None) -> Any:
        with self._lock:
            statuses = {row.id: self._status(row) for row in HARDWARE}
            return prices.vendors(statuses, self._maximum(), self._used(namespace))

    def quota_list(self, namespace: str) -> Any:
        with self._lock:
            return prices.quotas(self._maximum(), self._used(namespace))

    def set_quota(self, instance_type: str, accelerators: int) -> None:
        self._quotas[instance_type] = accelerators

    def set_capacity(self, what: str, *, available: bool) -> None:
        """`what`: an instance type, or a hardware id such as `aws-us-east-1-nvidia-l4-x1`."""
        with self._lock:
            (self._no_capacity.discard if available else self._no_capacity.add)(what)

    def set_quirks(self, *quirks: str) -> None:
        self.settings = replace(self.settings, quirks=frozenset(quirks))

    def set_behaviour(self, name: str, **changes: Any) -> Behaviour:
        """Change how the endpoint `name` behaves, from its next transition on; it may not exist yet."""
        with self._lock:
            behaviour = changed(self._behaviours.get(name, self.settings.behaviour), changes)
            self._behaviours[name] = behaviour
            for endpoint in self.all():
                if endpoint.name == name:
                    self._keep(replace(endpoint, behaviour=self._behaviour(dict(endpoint.spec))))
            return behaviour

    # ------------------------------------------------------------------------------------------- inside

    def _behaviour(self, spec: dict[str, Any]) -> Behaviour:
        settings = replace(self.settings, behaviours=self._behaviours)
        return settings.behaviour_of(spec["name"], spec["model"].get("env") or {})

    def _current(self, key: tuple[str, str]) -> Endpoint | None:
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            return None
        now = self.now()
        if endpoint.gone_at is not None:
            if endpoint.gone_at > now:
                return endpoint
            del self._endpoints[key]
            del self._keys[endpoint.id]
            self._deleted.append(endpoint)
            return None
        return self._keep(state.advance(endpoint, now))

    def _keep(self, endpoint: Endpoint) -> Endpoint:
        key = (endpoint.namespace, endpoint.name)
        self._endpoints[key] = endpoint
        self._keys[endpoint.id] = key
        return endpoint

    def _do(self, change: Callable[[float], Endpoint]) -> Endpoint:
        try:
            return change(self.now())
        except state.Refused as refusal:
            raise ApiError(400, str(refusal)) from None

    def _change(self, namespace: str, name: str, change: Callable[[Endpoint, float], Endpoint]) -> Endpoint:
        with self._lock:
            endpoint = self.get(namespace, name)
            return self._keep(self._do(lambda now: change(endpoint, now)))

    def _place(
        self, namespace: str, spec: dict[str, Any], leaving_out: Endpoint | None, *, starts: bool = True
    ) -> Hardware:
        """The hardware for `spec`, without counting that of `leaving_out`.

        Raises ApiError if it does not exist, or parallelism is missing. If it `starts`: also without capacity or quota.
        """
        provider, compute = spec["provider"], spec["compute"]
        wanted = (
            provider["vendor"],
            provider["region"],
            compute["accelerator"],
            compute["instanceType"],
            compute["instanceSize"],
        )
        row = prices.find(*wanted)
        if row is None:
            raise ApiError(400, prices.not_found_message(*wanted))
        validation.check_parallelism(spec, row)
        running_there = leaving_out is not None and leaving_out.live and leaving_out.spec["compute"]["id"] == row.id
        if not starts:
            return row
        if self._status(row) == "not_available" and not running_there:
            raise ApiError(400, "Compute instance not available yet")
        used = self._used(namespace, leaving_out).get((row.vendor, row.instance_type), 0)
        more = row.num_accelerators * compute["scaling"]["maxReplica"]
        if used + more > self._maximum()[row.instance_type]:
            raise ApiError(409, "Quota exceeded")
        return row

    def _status(self, row: Hardware) -> str:
        return "not_available" if {row.id, row.instance_type} & self._no_capacity else row.status

    def _maximum(self) -> dict[str, int]:
        return {row.instance_type: self._quotas.get(row.instance_type, self.settings.quota) for row in HARDWARE}

    def _used(self, namespace: str | None, leaving_out: Endpoint | None = None) -> Counter[tuple[str, str]]:
        """Accelerators in use in a namespace: the maximum of each endpoint that is not paused, failed or deleted."""
        used: Counter[tuple[str, str]] = Counter()
        holding: Iterable[Endpoint] = () if namespace is None else self.all(namespace)
        for endpoint in holding:
            idle = endpoint.state in (State.PAUSED, State.FAILED) or endpoint.gone_at is not None
            if idle or (leaving_out is not None and endpoint.id == leaving_out.id):
                continue
            provider, compute = endpoint.spec["provider"], endpoint.spec["compute"]
            key = (provider["vendor"], compute["instanceType"])
            size = int(compute["instanceSize"].removeprefix("x"))
            used[key] += size * compute["scaling"]["maxReplica"]
        return used
