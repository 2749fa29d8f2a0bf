"""One way to end a wait, with a namespace of the service to itself: every call in it is the case's.

What the cases saw is kept as a table: `pytest tests/airflow --calls` prints it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow

NAMESPACES = tuple(f"case-{number}" for number in range(60))
# Of the emulator whose clock nobody puts forward: no lease of another case is on them.
STILL = tuple(f"still-{number}" for number in range(3))
AN_HOUR = 3600.0  # seconds of the emulator's clock: longer than any test, unless the clock is put forward
# The triggerer of an Airflow before 3.3 renders no template, so this one's names are fixed.
BEGUN = "begun"


@dataclass
class Case:
    """`title` says what happens; the endpoint has the namespace's name: the emulator's behaviours go by name."""

    title: str
    namespace: str
    airflow: LocalAirflow
    emulator: Emulator
    expected: list[str] | None = None
    _before: int = field(default=0, repr=False)

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.namespace

    @property
    def conf(self) -> dict[str, str]:
        """What a run of a DAG for it is triggered with."""
        return {"endpoint": self.endpoint, "namespace": self.namespace}

    @property
    def path(self) -> str:
        """The endpoint on the control plane."""
        return f"/v2/endpoint/{self.namespace}/{self.endpoint}"

    def slow(self) -> None:
        """Its endpoint takes an hour to start."""
        self.emulator.behave(self.endpoint, initializing_seconds=AN_HOUR)

    def create(self) -> None:
        """Somebody made the endpoint before, not with a DAG; that is no call of the case."""
        with self.client() as client:
            client.create_inference_endpoint(
                self.endpoint,
                repository="HuggingFaceTB/SmolLM2-135M-Instruct",
                framework="pytorch",
                task="text-generation",
                vendor="aws",
                region="us-east-1",
                accelerator="cpu",
                instance_type="intel-icl",
                instance_size="x2",
            )
        self.begin()

    def client(self) -> EndpointsClient:
        """One of the test's own."""
        return EndpointsClient(
            self.emulator.token, base_url=self.emulator.url, hub_url=self.emulator.url, namespace=self.namespace
        )

    def begin(self) -> None:
        """What was called so far is no part of the case."""
        self._before = len(self._all_calls())

    def trigger(self, dag_id: str) -> str:
        """A run of the DAG on the case's endpoint."""
        self.airflow.wait_for_dag(dag_id)
        return self.airflow.api.trigger(dag_id, self.conf)

    def state(self) -> str:
        """Of the endpoint, by the service."""
        with self.client() as client:
            return str(client.get_inference_endpoint(self.endpoint).status)

    def looks(self) -> int:
        """How often somebody has asked the control plane for the endpoint."""
        return sum(request.method == "GET" and request.path == self.path for request in self.emulator.requests)

    def wait_for_a_look(self) -> None:
        """Wait until somebody asks again. While the task is deferred, that is its trigger."""
        seen = self.looks()
        self.airflow.wait_until(lambda: self.looks() > seen, f"the trigger looks at {self.endpoint}")

    def calls(self) -> list[str]:
        """What changed something: `create`, `pause`, `resume`, `delete` …, in the order of arrival."""
        return self._all_calls()[self._before :]

    def expect(self, *calls: str) -> None:
        """Exactly these calls have reached the service, as soon as all have."""
        self.expected = list(calls)
        self.airflow.wait_until(lambda: len(self.calls()) >= len(calls), f"{calls} reached the service")
        reached = self.calls()
        assert reached == list(calls), f"{reached} reached the service, and {list(calls)} should have"

    def _all_calls(self) -> list[str]:
        pattern = re.compile(rf"/v2/endpoint/{re.escape(self.namespace)}(/{re.escape(self.endpoint)}(/[a-z-]+)?)?")
        found = []
        # A request is recorded when it has been answered.
        for request in sorted(self.emulator.requests, key=lambda request: request.at):
            match = pattern.fullmatch(request.path.partition("?")[0])
            if match is None or request.method == "GET":
                continue
            plain = {"PUT": "update", "DELETE": "delete"}.get(request.method, "create")
            word = match[2].strip("/") if match[2] else plain
            found.append(word if request.status < 400 else f"{word} ({request.status})")
        return found


@dataclass
class Cases:
    """All cases of a session."""

    airflow: LocalAirflow
    emulator: Emulator
    seen: list[Case] = field(default_factory=list)

    def new(self, title: str, namespace: str | None = None) -> Case:
        """The next one."""
        case = Case(title, namespace or NAMESPACES[len(self.seen)], self.airflow, self.emulator)
        self.seen.append(case)
        return case

    def table(self) -> list[str]:
        """A line for each case: what happened, which calls reached the service."""
        return [
            f"| {case.title} | {' · '.join(case.calls()) or 'none'} |"
            for case in self.seen
            if case.expected is not None
        ]


def actions(emulator: Emulator, name: str) -> list[str]:
    """The calls that changed the endpoint: `create`, `pause`, `resume`, `delete` … in order."""
    done = []
    for request in emulator.requests:
        path = request.path.partition("?")[0]
        if request.method == "POST" and path.endswith((f"/{name}/pause", f"/{name}/resume", f"/{name}/scale-to-zero")):
            done.append(path.rsplit("/", 1)[1])
        elif request.method in ("PUT", "DELETE") and path.endswith(f"/{name}"):
            done.append(request.method.lower())
    return done


def state(emulator: Emulator, name: str) -> str:
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        return client.get_inference_endpoint(name).status


def creations(emulator: Emulator) -> int:
    return sum(
        each.method == "POST" and each.path == f"/v2/endpoint/{emulator.namespace}" for each in emulator.requests
    )
