"""The endpoint object: what it asks of the client, what its waits end with, and when it can be called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import SecretStr

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
)
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, LogEntry
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal, Ready, TimedOut
from airflow_provider_hf_endpoints.hooks.handle import SCALE_UP_TIMEOUT, EndpointHandle

TOKEN = "hf_handle_token"


def snapshot(state: str = "running", *, url: str | None = "https://x.example", **raw: Any) -> InferenceEndpoint:
    answer: dict[str, Any] = {
        "name": "e",
        "model": {"repository": "gpt2", "image": {"vLLM": {}}},
        "compute": {"scaling": {"minReplica": 1}},
        "status": {"state": state, "url": url, **raw.pop("status", {})},
    }
    return InferenceEndpoint.from_raw({**answer, **raw}, "acme")


class Service:
    """Stands in for the client: remembers what it was asked, and answers with `answer`."""

    def __init__(self, answer: object = None, log: Sequence[LogEntry] = ()) -> None:
        self.log = list(log)
        self.answer = answer if answer is not None else snapshot()
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((method, args, kwargs))
            texts = {"describe_failure": "  (its log)", "get_inference_endpoint_logs": self.log}
            return texts.get(method, self.answer)

        return call

    @property
    def goal(self) -> Goal:
        """The goal of the last wait."""
        goal = next(args[1] for method, args, _ in reversed(self.asked) if method == "wait")
        assert isinstance(goal, Goal)
        return goal


def handle(service: Service, state: InferenceEndpoint | None = None, **options: Any) -> EndpointHandle:
    client = cast(EndpointsClient, service)
    return EndpointHandle(client, state or snapshot(), token=SecretStr(TOKEN), **options)


def test_it_shows_and_has_what_the_snapshot_has() -> None:
    """Attributes are the snapshot's, known and unknown ones; the repr is huggingface_hub's and shows no token."""
    endpoint = handle(Service(), snapshot(type="authenticated"))
    assert repr(endpoint) == (
        "InferenceEndpoint(name='e', namespace='acme', repository='gpt2', status='running', url='https://x.example')"
    )
    assert (endpoint.name, endpoint.namespace, endpoint.status) == ("e", "acme", "running")
    assert endpoint.type == "authenticated"
    assert endpoint.raw["model"]["repository"] == "gpt2"
    with pytest.raises(AttributeError):
        _ = endpoint.colour


@pytest.mark.parametrize(
    ("act", "method", "kwargs"),
    [
        (lambda e: e.fetch(), "get_inference_endpoint", {}),
        (lambda e: e.pause(), "pause_inference_endpoint", {}),
        (lambda e: e.resume(), "resume_inference_endpoint", {"running_ok": True}),
        (lambda e: e.resume(running_ok=False), "resume_inference_endpoint", {"running_ok": False}),
        (lambda e: e.scale_to_zero(), "scale_to_zero_inference_endpoint", {}),
        (lambda e: e.delete(), "delete_inference_endpoint", {}),
        (lambda e: e.logs(tail=3), "get_inference_endpoint_logs", {"tail": 3}),
        (lambda e: e.replicas(), "list_inference_endpoint_replicas", {}),
    ],
)
def test_it_acts_on_its_own_endpoint(act: Callable[[EndpointHandle], Any], method: str, kwargs: dict[str, Any]) -> None:
    """Every action names the endpoint and its namespace, whatever the client's own namespace is."""
    service = Service()
    act(handle(service))
    assert service.asked == [(method, ("e",), {"namespace": "acme", **kwargs})]


def test_its_log_shows_no_secret() -> None:
    """What a task returns is stored. Lines keep their times, unless one `***` stands for several of them."""
    state = snapshot(model={"repository": "gpt2", "secrets": {"LICENCE": "***"}})
    at = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
    one = [LogEntry(line="Booting", timestamp=at), LogEntry(line="LICENCE=plain value", timestamp=at)]
    assert ["Booting", "LICENCE=***"] == [each.line for each in handle(Service(log=one), state).logs()]
    assert {at} == {each.timestamp for each in handle(Service(log=one), state).logs()}
    several = [LogEntry(line=line) for line in ('LICENCE="first', 'second" and', "the end")]
    assert ['LICENCE="***" and', "the end"] == [each.line for each in handle(Service(log=several), state).logs()]
    given = [LogEntry(line="read plain value")]
    assert ["read ***"] == [each.line for each in handle(Service(log=given), state, secrets=["plain value"]).logs()]


def test_an_update_sends_what_changes() -> None:
    """An update names the endpoint, and holds the change and nothing else."""
    service = Service()
    handle(service).update(min_replica=2)
    [(method, (name, change), kwargs)] = service.asked
    assert (method, name, kwargs) == ("update", "e", {"namespace": "acme"})
    assert change.payload() == {"compute": {"scaling": {"minReplica": 2}}}


def test_actions_renew_the_snapshot() -> None:
    """After an action, the object shows what the service answered."""
    endpoint = handle(Service(snapshot("paused")))
    assert endpoint.pause() is endpoint
    assert endpoint.status == "paused"


def test_wait_until_ready() -> None:
    """A wait returns the refreshed object, and polls no slower than its argument."""
    service = Service(Ready(snapshot("running")))
    endpoint = handle(service, snapshot("pending"))
    assert endpoint.wait(timeout=5, refresh_every=2) is endpoint
    assert endpoint.status == "running"
    goal = service.goal
    assert goal.longest_poll == 2
    assert goal.deadline is not None
    assert (goal.deadline - goal.started).total_seconds() == 5


def test_wait_as_huggingface_hub_does_by_default() -> None:
    """Without arguments a wait has no deadline, looks every 5 s, and wakes what is scaled to zero."""
    service = Service(Ready(snapshot()))
    handle(service).wait()
    assert (service.goal.deadline, service.goal.longest_poll) == (None, 5.0)
    assert service.goal.on_scaled_to_zero == "wake"


def test_the_older_name_of_the_interval() -> None:
    """`fetch_every` works, with a warning."""
    service = Service(Ready(snapshot()))
    with pytest.warns(FutureWarning, match="refresh_every"):
        handle(service).wait(fetch_every=3)
    assert service.goal.longest_poll == 3


def test_a_wait_that_times_out_names_the_endpoint() -> None:
    """The timeout's error is huggingface_hub's, and a TimeoutError."""
    endpoint = handle(Service(TimedOut("Not running after 5 s", snapshot("initializing"))), snapshot("pending"))
    with pytest.raises(InferenceEndpointTimeoutError, match="acme/e: Not running after 5 s") as caught:
        endpoint.wait(timeout=5)
    assert isinstance(caught.value, TimeoutError)
    assert endpoint.status == "initializing"


def test_a_failed_endpoint_is_explained_by_its_log() -> None:
    """When it failed, the error ends with its log, from which the endpoint's secrets are redacted."""
    service = Service(Failed("Out of memory", snapshot("failed")))
    endpoint = handle(service, secrets=("s3cret",))
    with pytest.raises(EndpointFailedError, match=r"acme/e: Out of memory\n  \(its log\)"):
        endpoint.wait()
    method, _, kwargs = service.asked[-1]
    assert (method, kwargs) == ("describe_failure", {"secrets": ("s3cret",)})


@pytest.mark.parametrize("end", [Failed("It is paused", snapshot("paused")), Failed("It does not exist", None)])
def test_what_did_not_break_has_no_log_to_show(end: Failed) -> None:
    """A paused or deleted endpoint ends a wait without its log being asked for."""
    service = Service(end)
    with pytest.raises(EndpointFailedError, match=f"{end.reason}$"):
        handle(service).wait()
    assert [method for method, _, _ in service.asked] == ["wait"]


def test_a_wait_knows_of_the_resume() -> None:
    """After its own resume a wait sees over `paused`; after a pause it does not."""
    service = Service()
    endpoint = handle(service)
    endpoint.resume()
    service.answer = Ready(snapshot())
    endpoint.wait()
    assert service.goal.resumed_at is not None
    service.answer = snapshot("paused")
    endpoint.pause()
    service.answer = Failed("paused", snapshot("paused"))
    with pytest.raises(EndpointFailedError):
        endpoint.wait()
    assert service.goal.resumed_at is None


@pytest.mark.parametrize("arguments", [{"timeout": -1}, {"refresh_every": 0}, {"refresh_every": -2}])
def test_waits_that_make_no_sense(arguments: dict[str, Any]) -> None:
    """Negative times are refused by name, before anything is asked."""
    service = Service()
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        handle(service).wait(**arguments)
    assert service.asked == []


@pytest.mark.parametrize(
    ("state", "todo"),
    [
        (snapshot("paused"), r"endpoint\.resume\(\)"),
        (snapshot("failed"), r"endpoint\.logs\(\)"),
        (snapshot("pending", url=None), r"endpoint\.wait\(\)"),
        (snapshot("initializing"), r"endpoint\.wait\(\)"),
        (snapshot("updating"), r"endpoint\.wait\(\)"),
        (snapshot("running", url=None), r"endpoint\.wait\(\)"),
    ],
)
def test_an_endpoint_that_is_not_deployed(state: InferenceEndpoint, todo: str) -> None:
    """Calls are refused with what to do next, by state; a URL alone means nothing."""
    endpoint = handle(Service(), state)
    with pytest.raises(InferenceEndpointError, match=rf"acme/e is not deployed: it was {state.status}.*{todo}"):
        _ = endpoint.client
    with pytest.raises(InferenceEndpointError, match=todo):
        _ = endpoint.async_client


@pytest.mark.parametrize(
    "state",
    [
        snapshot("running"),
        snapshot("scaledToZero"),
        snapshot("updateFailed"),
        snapshot("updating", status={"readyReplica": 1}),
        snapshot("somethingNew"),
    ],
)
def test_an_endpoint_that_can_be_called(state: InferenceEndpoint) -> None:
    """What may answer is called: also while an update rolls, and in a state that is newer than this package."""
    assert handle(Service(), state).client.url == "https://x.example"


def test_calls_wait_for_what_may_be_asleep() -> None:
    """Only where an endpoint may be scaled to zero does a call let the proxy hold it until a replica is there."""
    asleep = handle(Service(), snapshot("scaledToZero")).client
    sleepy = handle(Service(), snapshot(compute={"scaling": {"minReplica": 0}})).client
    awake = handle(Service(), snapshot()).client
    assert [each._scale_up_timeout for each in (asleep, sleepy, awake)] == [SCALE_UP_TIMEOUT, SCALE_UP_TIMEOUT, None]


def test_an_engine_that_is_not_known() -> None:
    """The engine is passed on; one that is newer than this package is found out by asking."""
    assert handle(Service(), snapshot()).client._engine == "vLLM"
    newer = snapshot(model={"repository": "gpt2", "image": {"brandNew": {}}})
    assert handle(Service(), newer).client._engine is None


def test_one_client_for_as_long_as_the_target_is_the_same() -> None:
    """`client` is made again only when the endpoint's address or engine changes; no repr shows the token."""
    service = Service(snapshot(url="https://y.example"))
    endpoint = handle(service)
    first = endpoint.client
    assert endpoint.client is first
    assert TOKEN not in repr(first)
    assert endpoint.fetch().client is not first
    assert endpoint.client.url == "https://y.example"
    endpoint.close()


def test_one_asynchronous_client_for_each_loop() -> None:
    """In one event loop it is the same client; another loop gets another, because its sockets belong to a loop."""
    endpoint = handle(Service())

    async def main() -> object:
        client = endpoint.async_client
        assert endpoint.async_client is client
        await client.close()
        return client

    assert asyncio.run(main()) is not asyncio.run(main())
    assert endpoint.async_client is not endpoint.async_client


def test_secrets_are_told_to_the_log() -> None:
    """Values of an endpoint's secrets are handed to the masker: those at its creation and new ones."""
    told: list[str] = []
    endpoint = handle(Service(), secrets=("one",), conceal=told.append)
    endpoint.update(secrets={"KEY": "two"})
    assert told == ["one", "two"]
