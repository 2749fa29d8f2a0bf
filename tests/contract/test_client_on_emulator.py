"""Both clients of the control plane against the running emulator: every method, and what goes wrong on real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tenacity

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints import creating, errors, transport
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.hardware import check_hardware, shortage
from airflow_provider_hf_endpoints.endpoints.readiness import DELETED, Failed, Goal, Ready, TimedOut
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

HANG = 20.0  # seconds after which a wait that does not end is a failure
TOKEN = "hf_test"
CPU: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "accelerator": "cpu",
    "vendor": "aws",
    "region": "us-east-1",
    "instance_type": "intel-icl",
    "instance_size": "x2",
}
GPU: dict[str, Any] = {**CPU, "accelerator": "gpu", "instance_type": "nvidia-a10g", "instance_size": "x1"}
VLLM: dict[str, Any] = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}}


class Either:
    """One of the two clients, called the same way; the asynchronous one on an event loop of its own."""

    def __init__(self, emulator: Emulator, asynchronous: bool, token: str = TOKEN, **options: Any) -> None:
        kind = AsyncEndpointsClient if asynchronous else EndpointsClient
        self.client: Any = kind(token, base_url=emulator.url, **options)
        self._runner = asyncio.Runner() if asynchronous else None

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        called = getattr(self.client, method)
        if self._runner is None:
            return called(*args, **kwargs)

        async def awaited() -> Any:
            return await called(*args, **kwargs)

        return self._runner.run(awaited())

    def close(self) -> None:
        self("close")
        if self._runner is not None:
            self._runner.close()

    def create(self, name: str = "tickets", **changes: Any) -> Any:
        return self("create_inference_endpoint", name, **{**CPU, **changes})

    def wait(self, name: str = "tickets", on_look: Any = None, **changes: Any) -> Any:
        return self("wait", name, goal(**changes), on_look=on_look)

    def running(self, name: str = "tickets", **changes: Any) -> Any:
        """A new endpoint that answers."""
        self.create(name, **changes)
        end = self.wait(name)
        assert isinstance(end, Ready), end
        return end.endpoint


def goal(**changes: Any) -> Goal:
    now = datetime.now(UTC)
    return Goal(**{"started": now, "deadline": now + timedelta(seconds=HANG), "longest_poll": 0.05, **changes})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of retries and of an uncertain create are short; what they follow from is the same."""
    monkeypatch.setattr(creating, "_CREATE_PAUSE", 0.05)
    monkeypatch.setattr(transport, "_BACKOFF", tenacity.wait_fixed(0.02))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme") as running:
        yield running


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def client(emulator: Emulator, asynchronous: bool) -> Iterator[Either]:
    made = Either(emulator, asynchronous)
    yield made
    made.close()


def asked(emulator: Emulator, method: str, path: str = "") -> int:
    """How many such requests there were, the last answer's own, which is noted a moment later, among them."""
    seen = -1
    while seen != (seen := len([each for each in emulator.requests if each.method == method and path in each.path])):
        time.sleep(0.05)
    return seen


# --- every method


def test_the_whole_life_of_an_endpoint(emulator: Emulator, client: Either) -> None:
    """Create, wait, look, pause, resume, scale to zero, wake, delete: each step is what the service then says."""
    made = client.create(env={"A": "1"}, tags=["nightly"], max_replica=2)
    assert (made.name, made.namespace, made.unapplied) == ("tickets", "acme", ())

    ready = client.wait()
    assert isinstance(ready, Ready)
    assert client("get_inference_endpoint", "tickets").status == "running"
    assert [each.live for each in client("list_inference_endpoint_replicas", "tickets")] == [True]

    assert client("pause_inference_endpoint", "tickets").status == "paused"
    assert client("pause_inference_endpoint", "tickets").status == "paused"
    resumed = client("resume_inference_endpoint", "tickets")
    assert resumed.status in ("pending", "initializing", "running")
    assert isinstance(client.wait(resumed_at=datetime.now(UTC)), Ready)
    assert client("resume_inference_endpoint", "tickets").status == "running"
    with pytest.raises(errors.BadRequestError, match="already running"):
        client("resume_inference_endpoint", "tickets", running_ok=False)

    client("scale_to_zero_inference_endpoint", "tickets")
    assert isinstance(client.wait(target_states=frozenset({"scaledToZero"})), Ready)
    assert isinstance(client.wait(), Ready)

    assert client("delete_inference_endpoint", "tickets") is True
    with pytest.raises(errors.EndpointNotFoundError):
        client("get_inference_endpoint", "tickets")
    assert client("delete_inference_endpoint", "tickets", missing_ok=True) is False


def test_every_argument_is_applied(emulator: Emulator, client: Either) -> None:
    """A create with about everything comes back as it was sent: nothing is dropped, nothing coerced."""
    made = client.create(
        **{**GPU, "framework": "custom"},
        min_replica=0,
        max_replica=3,
        scale_to_zero_timeout=30,
        scaling_metric="pendingRequests",
        scaling_threshold=2.0,
        revision="main",
        custom_image=VLLM,
        tensor_parallel_size=1,
        container_args=["--max-model-len", "4096"],
        env={"A": "1"},
        secrets={"B": "s3cr3t-value"},
        type="private",
        tags=["a", "b"],
        notifications={"email": False, "push": True},
        experimental_features={"loadBalancer": "sticky"},
    )
    assert made.unapplied == ()
    assert (made.engine, made.min_replica, made.max_replica, made.scale_to_zero_timeout) == ("vLLM", 0, 3, 30)
    assert "s3cr3t-value" not in str(made.raw)


def test_what_the_service_drops_is_reported(emulator: Emulator, client: Either) -> None:
    """A setting that the engine does not know is dropped with a 200: the result says so."""
    image = {"vLLM": {**VLLM["vLLM"], "maxSequences": 8}}
    made = client.create(**{**GPU, "custom_image": image})
    assert [each.field for each in made.unapplied] == ["model.image.vLLM.maxSequences"]
    assert all(each.dropped for each in made.unapplied)


def test_updates(emulator: Emulator, client: Either) -> None:
    """What is given changes and the rest stays; parallelism sizes go into the image that runs."""
    client.running(**{**GPU, "instance_size": "x4", "custom_image": VLLM, "tensor_parallel_size": 4})
    changed = client("update_inference_endpoint", "tickets", tags=["a"], max_replica=2)
    assert (changed.tags, changed.max_replica, changed.unapplied) == (["a"], 2, ())
    assert isinstance(client.wait(), Ready)

    changed = client("update_inference_endpoint", "tickets", tensor_parallel_size=2, data_parallel_size=2)
    settings = changed.image["vLLM"]
    assert (settings["tensorParallelSize"], settings["dataParallelSize"]) == (2, 2)
    assert VLLM["vLLM"]["url"] == settings["url"]
    assert changed.max_replica == 2


def test_a_list_has_every_page(emulator: Emulator, client: Either) -> None:
    """More endpoints than a page holds are all listed, and filters are the service's."""
    for number in range(45):
        client.create(f"e-{number:02}", tags=["even" if number % 2 == 0 else "odd"])
    found = client("list_inference_endpoints")
    assert {f"e-{number:02}" for number in range(45)} == {each.name for each in found}
    assert len(found) == 45
    assert asked(emulator, "GET", "/v2/endpoint/acme") == 3
    assert len(client("list_inference_endpoints", tags="even")) == 23
    assert [each.name for each in client("list_inference_endpoints", search="07")] == ["e-07"]
    assert client("list_inference_endpoints", state=["paused", "failed"]) == []
    names = [each.name for each in client("list_inference_endpoints", sort_by="name", direction="asc", limit=7)]
    assert sorted(names) == names
    assert len(names) == 45


def test_everywhere(asynchronous: bool) -> None:
    """`*` lists the user and every organisation; one without billing is left out."""
    with Emulator(
        token=TOKEN, namespace="alice", orgs=("acme", "poor"), orgs_without_billing=frozenset({"poor"})
    ) as emulator:
        client = Either(emulator, asynchronous)
        client.create("mine")
        client.create("ours", namespace="acme")
        found = client("list_inference_endpoints", "*")
        client.close()
    assert {("alice", "mine"), ("acme", "ours")} == {(each.namespace, each.name) for each in found}


def test_whose_token_it_is(emulator: Emulator, client: Either) -> None:
    """The user, asked once however often a namespace is needed."""
    assert client("default_namespace") == "acme"
    client("list_inference_endpoints")
    assert client("whoami").name == "acme"
    assert asked(emulator, "GET", "whoami") == 1


def test_logs_and_metrics(emulator: Emulator, client: Either) -> None:
    """What the container printed, oldest first, and the graphs, are there for a running endpoint."""
    emulator.behave("tickets", logs=("one", "two", "three"))
    client.running()
    lines = [entry.line for entry in client("get_inference_endpoint_logs", "tickets")]
    assert [line for line in lines if line in ("one", "two", "three")] == ["one", "two", "three"]
    assert lines[-2:] == [entry.line for entry in client("get_inference_endpoint_logs", "tickets", tail=2)]
    start = datetime.now(UTC) - timedelta(minutes=1)
    for which in ("replica-running", "pending-request"):
        assert client("get_inference_endpoint_metric", "tickets", which, start=start).start is not None
    client("debug_inference_endpoint", "tickets")


def test_logs_without_log_search(asynchronous: bool) -> None:
    """A deployment that answers 501 has the text log; a filter that it can't serve is an error."""
    with Emulator(token=TOKEN, namespace="acme", log_search=False, logs=("one", "two")) as emulator:
        client = Either(emulator, asynchronous)
        client.running()
        lines = [entry.line for entry in client("get_inference_endpoint_logs", "tickets")]
        with pytest.raises(errors.ServiceError, match="501"):
            client("get_inference_endpoint_logs", "tickets", level="ERROR")
        client.close()
    assert any("two" in line for line in lines)


def test_hardware_and_quotas(emulator: Emulator, client: Either) -> None:
    """Every instance has a price, and the namespace's quota counts what runs."""
    offered = client("list_inference_endpoints_hardware")
    assert all(each.price_per_hour is not None and each.max_accelerators is not None for each in offered)
    wanted = EndpointSpec.from_arguments(name="tickets", **GPU)
    assert check_hardware(wanted, offered).path == "aws/us-east-1/nvidia-a10g/x1"
    public = client("list_inference_endpoints_hardware", with_quota=False)
    assert {each.path for each in offered} == {each.path for each in public}
    assert any(each.instance_type == "nvidia-a10g" for each in client("list_inference_endpoints_quotas"))


def test_preflight_says_what_is_short(emulator: Emulator, client: Either) -> None:
    """No capacity and a used-up quota are in the hardware list before anything is created."""
    emulator.set_capacity("nvidia-a10g", available=False)
    offered = client("list_inference_endpoints_hardware")
    wanted = EndpointSpec.from_arguments(name="tickets", **GPU)
    assert "not available" in str(shortage(check_hardware(wanted, offered), offered))
    unknown = EndpointSpec.from_arguments(name="tickets", **{**GPU, "instance_type": "nvidia-l44"})
    with pytest.raises(errors.InvalidArgumentError, match="nvidia-l4/x1"):
        check_hardware(unknown, offered)


def test_the_catalog(emulator: Emulator, client: Either) -> None:
    """Models with recipes; an endpoint from a model, and one from a recipe."""
    models = client("list_inference_catalog", limit=3)
    assert models
    assert all(each.recipes for each in models)
    made = client("create_inference_endpoint_from_catalog", models[0].repo_id, name="by-model")
    assert ("by-model", models[0].repo_id) == (made.name, made.repository)
    recipe = models[0].recipes[0].id
    assert client("create_inference_endpoint_from_catalog", recipe_id=recipe, name="by-recipe").name == "by-recipe"


# --- refusals


def test_a_wrong_token(emulator: Emulator, asynchronous: bool) -> None:
    """401 is said as such, with what to check and without the token, whatever was asked."""
    client = Either(emulator, asynchronous, token="hf_WrongWrongWrong123", namespace="acme")
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("whoami", ()),
        ("list_inference_endpoints", ()),
        ("get_inference_endpoint", ("tickets",)),
        ("pause_inference_endpoint", ("tickets",)),
        ("delete_inference_endpoint", ("tickets",)),
        ("wait", ("tickets", goal())),
        ("poll", ("tickets", goal())),
    ]
    for method, args in calls:
        with pytest.raises(errors.AuthenticationError, match="password") as caught:
            client(method, *args)
        assert "WrongWrong" not in str(caught.value)
    client.close()


def test_a_token_that_may_only_read(asynchronous: bool) -> None:
    """403 names the scope that is missing; reading works."""
    reader = Token("hf_reader", permissions=frozenset({"read"}))
    with Emulator(token=TOKEN, namespace="acme", tokens=(reader,)) as emulator:
        client = Either(emulator, asynchronous, token="hf_reader")
        assert client("list_inference_endpoints") == []
        with pytest.raises(errors.PermissionDeniedError, match=r"lacks inference\.endpoints\.write"):
            client.create()
        assert client("whoami").permissions() == {"inference.endpoints.read"}
        client.close()


@pytest.mark.parametrize("to_zero", [False, True], ids=["running", "scaled-to-zero"])
def test_a_token_that_may_manage_and_not_call(asynchronous: bool, to_zero: bool) -> None:
    """Waiting for such an endpoint would never end: the missing permission is named, asleep or running."""
    manager = Token("hf_manager", permissions=frozenset({"read", "write"}))
    with Emulator(token=TOKEN, namespace="acme", tokens=(manager,)) as emulator:
        owner = Either(emulator, asynchronous)
        owner.running()
        client = Either(emulator, asynchronous, token="hf_manager")
        if to_zero:
            client("scale_to_zero_inference_endpoint", "tickets")
            assert isinstance(client.wait(target_states=frozenset({"scaledToZero"})), Ready)
        end = client.wait()
        owner.close()
        client.close()
    assert isinstance(end, Failed)
    assert "inference.endpoints.infer.write" in end.reason


def test_no_payment_method(asynchronous: bool) -> None:
    """403 with words about payment is no token problem, and says who has to act."""
    with Emulator(token=TOKEN, namespace="acme", can_pay=False) as emulator:
        client = Either(emulator, asynchronous)
        with pytest.raises(errors.PaymentRequiredError, match="payment method") as caught:
            client.create()
        client.close()
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("x" * 33, {}, "33"),
        ("Tickets", {}, "lower-case"),
        ("tickets", {"scale_to_zero_timeout": 5}, "scale_to_zero_timeout=5"),
        ("tickets", {"type": "secret"}, "authenticated"),
    ],
)
def test_bad_arguments_send_nothing(
    emulator: Emulator, client: Either, name: str, changes: dict[str, Any], words: str
) -> None:
    """A name of 33 characters, five idle minutes, a type that is none: refused before any request."""
    with pytest.raises(errors.InvalidArgumentError, match=words):
        client.create(name, **changes)
    assert emulator.requests == []


def test_an_unknown_instance_type(emulator: Emulator, client: Either) -> None:
    """The service's own words name the hardware; trying again won't help."""
    with pytest.raises(errors.BadRequestError, match=r"c6i.*not found") as caught:
        client.create(instance_type="c6i", instance_size="medium")
    assert not caught.value.retryable


def test_no_capacity(emulator: Emulator, client: Either) -> None:
    """400 'not available yet' is its own error, with another choice as advice."""
    emulator.set_capacity("nvidia-a10g", available=False)
    with pytest.raises(errors.NoCapacityError, match="another instance type"):
        client.create(**GPU)
    assert asked(emulator, "POST") == 1


def test_a_duplicate_name_and_a_used_up_quota(emulator: Emulator, client: Either) -> None:
    """Both are 409: told apart by words, and by a look at the name."""
    client.create()
    with pytest.raises(errors.NameTakenError):
        client.create()
    emulator.set_quota("nvidia-a10g", 0)
    with pytest.raises(errors.QuotaExceededError):
        client.create("other", **GPU)


def test_a_409_that_says_nothing_is_looked_up(emulator: Emulator, client: Either) -> None:
    """A body without words: no endpoint has the name, so it is the quota; one has it, so it is the name."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", status=409, body={"error": "Conflict"})
    with pytest.raises(errors.QuotaExceededError, match="not the name"):
        client.create()
    emulator.clear_faults()
    client.create()
    emulator.add_fault("/v2/endpoint/acme$", method="POST", status=409, body={"error": "Conflict"})
    with pytest.raises(errors.NameTakenError):
        client.create()


# --- faults on the way


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        ({"kind": "drop", "after": True}, 1),
        ({"kind": "drop"}, 2),
        ({"status": 503, "after": True}, 1),
        ({"status": 503}, 2),
        ({"kind": "not_json", "after": True}, 1),
        ({"kind": "not_json"}, 2),
        ({"kind": "cut"}, 1),
    ],
    ids=str,
)
def test_an_uncertain_create_makes_exactly_one_endpoint(
    emulator: Emulator, client: Either, fault: dict[str, Any], posts: int
) -> None:
    """Whether the request whose answer was lost had arrived or not, there is one endpoint, and no POST too many."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", count=1, **fault)
    assert client.create().name == "tickets"
    assert [each.name for each in client("list_inference_endpoints")] == ["tickets"]
    assert posts == asked(emulator, "POST")


def test_an_uncertain_create_of_somebody_elses_name(
    emulator: Emulator, client: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost and the name was taken before: a taken name, not a success."""
    client.create()
    monkeypatch.setattr(creating, "_CLOCK_SLACK", -HANG)  # as if that had been longer ago than a test may take
    emulator.add_fault("/v2/endpoint/acme$", method="POST", count=1, kind="drop")
    with pytest.raises(errors.NameTakenError):
        client.create()


def test_a_request_that_is_not_answered_ends(emulator: Emulator, asynchronous: bool) -> None:
    """The time limit holds on every request, and says how long it was."""
    emulator.add_fault("/v2/endpoint", delay_seconds=HANG)
    client = Either(emulator, asynchronous, timeout=0.2, retry_budget=0, namespace="acme")
    with pytest.raises(errors.RequestTimeoutError, match=r"0\.2 s"):
        client("get_inference_endpoint", "tickets")
    client.close()


def test_a_503_with_retry_after(emulator: Emulator, client: Either, caplog: pytest.LogCaptureFixture) -> None:
    """The service is asked again when it said, not earlier, and the answer is the endpoint."""
    caplog.set_level("INFO")
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=1, status=503, retry_after=1)
    assert client("get_inference_endpoint", "tickets").name == "tickets"
    assert "again in 1.0 s" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [{"kind": "drop"}, {"kind": "cut"}, {"kind": "not_json"}, {"status": 429}, {"status": 502, "body": "<html>"}],
    ids=str,
)
def test_a_passing_fault_is_tried_again(emulator: Emulator, client: Either, fault: dict[str, Any]) -> None:
    """Reading is safe to repeat, whatever went wrong on the way."""
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=2, **fault)
    assert client("get_inference_endpoint", "tickets").name == "tickets"


def test_an_answer_that_is_no_json(emulator: Emulator, asynchronous: bool) -> None:
    """A page of HTML with status 200 is a typed error that says to check the host, after a bounded time."""
    emulator.add_fault("/v2/endpoint", kind="not_json")
    client = Either(emulator, asynchronous, retry_budget=0.1, namespace="acme")
    with pytest.raises(errors.InvalidAnswerError, match="host"):
        client("get_inference_endpoint", "tickets")
    client.close()


def test_nobody_listens(asynchronous: bool) -> None:
    """A host where nothing is says so: unreachable, not a timeout."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        client = Either(emulator, asynchronous, retry_budget=0.1, namespace="acme")
    with pytest.raises(errors.ServiceUnreachableError, match="host"):
        client("get_inference_endpoint", "tickets")
    client.close()


# --- waiting


def test_running_is_not_ready(emulator: Emulator, client: Either) -> None:
    """The model loads after the state says `running`: ready is the health route's 200."""
    emulator.behave("tickets", loading_seconds=0.3)
    reasons: list[str] = []
    client.create()
    assert isinstance(client.wait(on_look=reasons.append), Ready)
    assert any("answers 503" in reason for reason in reasons)


def test_a_wait_rides_out_faults(emulator: Emulator, client: Either) -> None:
    """Transient errors while polling do not end a wait."""
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=1, status=503, retry_after=0)
    emulator.add_fault("/tickets$", method="GET", count=1, kind="drop")
    emulator.add_fault("/tickets$", method="GET", count=1, kind="not_json")
    assert isinstance(client.wait(), Ready)


def test_a_failed_start_says_why(emulator: Emulator, client: Either) -> None:
    """The reason has the service's words, and the last log lines are there, without secrets."""
    emulator.behave("tickets", fail="CUDA out of memory", logs=("loading with s3cr3t-value", "torch.cuda.OutOfMemory"))
    client.create()
    end = client.wait()
    assert isinstance(end, Failed)
    assert "CUDA out of memory" in end.reason
    said = client("describe_failure", end.endpoint, secrets=("s3cr3t-value",))
    assert "torch.cuda.OutOfMemory" in said
    assert "loading with ***" in said


def test_a_failed_update_says_why(emulator: Emulator, client: Either) -> None:
    """updateFailed ends a wait as `failed` does."""
    emulator.behave("tickets", fail_update="no such image")
    client.running()
    client("update_inference_endpoint", "tickets", env={"A": "2"})
    end = client.wait()
    assert isinstance(end, Failed)
    assert "no such image" in end.reason


def test_an_endpoint_deleted_while_it_is_waited_for(emulator: Emulator, client: Either) -> None:
    """The wait ends with an error that says so, not at its deadline."""
    emulator.behave("tickets", initializing_seconds=HANG)
    other = EndpointsClient(TOKEN, base_url=emulator.url)
    client.create()
    end = client.wait(on_look=lambda _: other.delete_inference_endpoint("tickets", missing_ok=True, wait=False))
    other.close()
    assert isinstance(end, Failed)
    assert "deleted" in end.reason


def test_an_endpoint_paused_while_it_is_waited_for(emulator: Emulator, client: Either) -> None:
    """Nobody resumes it, so the wait ends and names the pause."""
    emulator.behave("tickets", initializing_seconds=HANG)
    other = EndpointsClient(TOKEN, base_url=emulator.url)
    client.create()
    end = client.wait(on_look=lambda _: other.pause_inference_endpoint("tickets"))
    other.close()
    assert isinstance(end, Failed)
    assert "paused" in end.reason


def test_a_wait_ends_at_its_deadline(emulator: Emulator, client: Either) -> None:
    """A start that takes longer than allowed is a timeout that says what it was doing."""
    emulator.behave("tickets", initializing_seconds=HANG)
    client.create()
    end = client.wait(deadline=datetime.now(UTC) + timedelta(seconds=0.3))
    assert isinstance(end, TimedOut)
    assert "initializing" in end.reason


def test_an_endpoint_at_zero_is_woken_accepted_or_refused(emulator: Emulator, client: Either) -> None:
    """By choice; only waking starts it."""
    client.running()
    client("scale_to_zero_inference_endpoint", "tickets")
    asleep = frozenset({"scaledToZero"})
    assert isinstance(client.wait(target_states=asleep), Ready)
    assert isinstance(client.wait(on_scaled_to_zero="accept"), Ready)
    assert isinstance(client.wait(on_scaled_to_zero="fail"), Failed)
    assert client("get_inference_endpoint", "tickets").status == "scaledToZero"
    assert isinstance(client.wait(), Ready)
    assert client("get_inference_endpoint", "tickets").status == "running"


def test_a_slow_delete_is_waited_for(emulator: Emulator, client: Either) -> None:
    """GET answers for a while after the DELETE: gone means 404."""
    emulator.behave("tickets", deleting_seconds=0.7)
    client.create()
    assert client("delete_inference_endpoint", "tickets") is True
    with pytest.raises(errors.EndpointNotFoundError):
        client("get_inference_endpoint", "tickets")
    # One look before the DELETE and the last 404 are always there; in between it was still to be seen.
    assert asked(emulator, "GET", "/tickets") >= 4


def test_a_deletion_is_waited_for_by_others(emulator: Emulator, client: Either) -> None:
    """Who waits for `deleted` is ready at the 404."""
    emulator.behave("tickets", deleting_seconds=0.2)
    client.create()
    client("delete_inference_endpoint", "tickets", wait=False)
    assert isinstance(client.wait(target_states=frozenset({DELETED})), Ready)


def test_a_delete_that_does_not_end(emulator: Emulator, client: Either) -> None:
    """An endpoint that stays is said to be still there."""
    emulator.behave("tickets", deleting_seconds=HANG)
    client.create()
    with pytest.raises(errors.InferenceEndpointTimeoutError, match="still there"):
        client("delete_inference_endpoint", "tickets", timeout=0.3)
