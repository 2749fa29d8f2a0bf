"""Acquire, start, release: the operators around the use of an endpoint, against the emulator."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_hf_endpoints import _airflow
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, InferenceEndpointTimeoutError
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.leases.records import BY_NO_USE, Lease
from airflow_provider_hf_endpoints.leases.store import store_for
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.release import NotReleasedError, ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers import _others
from tests.contract.operators_play import (
    FAST,
    TOKEN,
    TaskInstance,
    calls,
    complete,
    connect,
    connected,
    deferred,
    event_of,
    kept_at,
    moved,
    received,
    run,
    state,
)
from tests.contract.operators_play import create as create_one

GROUP = {"start_task_id": "use.start", "release_task_id": "use.release"}
MODEL: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "hardware": ["aws/us-east-1/intel-icl/x2"],
}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    with connected(monkeypatch) as emulator:
        connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/leases")
        yield emulator


@pytest.fixture
def slow(emulator: Emulator) -> Emulator:
    """The endpoint takes longer to start than any test waits."""
    emulator.behave("demo", initializing_seconds=600)
    return emulator


class Run:
    """One DAG run: the XComs of its tasks, gone with every new attempt of a task as Airflow does it."""

    def __init__(self, run_id: str = "run-1") -> None:
        self.run_id = run_id
        self.began = datetime.now(UTC)
        self.xcoms: dict[str, dict[str, Any]] = {}
        self.attempt, self.retries = 1, 0  # of the task that comes next
        self.states: dict[str, str] = {}  # of other runs

    def context(self, task_id: str, *, after: Sequence[str] = ()) -> dict[str, Any]:
        self.xcoms[task_id] = {}
        relatives = [SimpleNamespace(task_id=each) for each in after]
        task = SimpleNamespace(get_flat_relatives=lambda upstream: relatives if upstream else [])
        run = SimpleNamespace(start_date=self.began, dag_id="nightly", run_id=self.run_id)
        return {"ti": Attempt(self, task_id), "task": task, "dag_run": run}


class Attempt(TaskInstance):
    """An attempt of one of the tasks."""

    dag_id = "nightly"

    def __init__(self, run: Run, task_id: str) -> None:
        super().__init__()
        self.run, self.run_id, self.task_id = run, run.run_id, task_id
        self.try_number, self.max_tries = run.attempt, run.retries

    def get_dagrun_state(self, dag_id: str, run_id: str) -> Any:
        """As the task SDK's."""
        assert "nightly" == dag_id
        return SimpleNamespace(value=self.run.states.get(run_id, "running"))

    def xcom_push(self, key: str, value: Any) -> None:
        self.run.xcoms[self.task_id][key] = value

    def xcom_pull(self, key: str, task_ids: Any = None, **_: Any) -> Any:
        return self.run.xcoms.get(task_ids or self.task_id, {}).get(key)


class Use:
    """The tasks of one group in one run; each call is an attempt."""

    def __init__(self, run_id: str = "run-1", release: Any = None, quiet: float = 0.3, **changes: Any) -> None:
        self.quiet = quiet
        self.dag_run, self.release_policy, self.changes = Run(run_id), release, changes
        self.acquired: Any = None
        self.acquires = 0

    def acquire(self, **changes: Any) -> Any:
        operator = AcquireInferenceEndpointOperator(
            task_id="acquire", **{"endpoint": "demo", "must_exist": False, **GROUP, **self.changes, **changes}
        )
        context, self.acquires = self.dag_run.context("use.acquire"), self.acquires + 1
        context["ti"].try_number = self.acquires
        self.acquired = run(operator, context)
        return self.acquired

    def starting(self, **changes: Any) -> Any:
        return CreateInferenceEndpointOperator(
            task_id="start", name="demo", acquired=self.acquired, **{**MODEL, **FAST, **changes}
        )

    def create(self, **changes: Any) -> Any:
        return run(self.starting(**changes), self.dag_run.context("use.start"))

    def resume(self) -> Any:
        operator = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", acquired=self.acquired, **FAST)
        return run(operator, self.dag_run.context("use.start"))

    def release(self, attempt: int = 1, retries: int = 0) -> Any:
        self.dag_run.attempt, self.dag_run.retries = attempt, retries
        operator = ReleaseAcquiredOperator(
            task_id="release", acquired=self.acquired, release=self.release_policy, quiet=self.quiet, **FAST
        )
        return run(operator, self.dag_run.context("use.release"))


def test_created_used_and_paused(emulator: Emulator) -> None:
    """By default what did not exist is paused; the start's result has what the work needs."""
    use = Use()
    assert use.acquire()["found"] is None
    started = use.create()
    assert (started["name"], started["namespace"], started["state"]) == ("demo", "acme", "running")
    assert started["url"].startswith("http")
    assert use.release()["state"] == "paused"
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


@pytest.mark.parametrize(
    ("found", "policy", "left"),
    [
        ("running", None, "running"),
        ("running", "restore", "running"),
        ("running", "pause", "paused"),
        ("running", "scale_to_zero", "scaledToZero"),
        ("paused", None, "paused"),
        ("paused", "keep", "running"),
        ("paused", "scale_to_zero", "scaledToZero"),
        ("scaledToZero", None, "scaledToZero"),
        ("scaledToZero", "restore", "scaledToZero"),
    ],
)
def test_what_is_left_of_an_endpoint_that_was_there(emulator: Emulator, found: str, policy: Any, left: str) -> None:
    """Back to how it was, or as the policy says."""
    run(create_one())
    bring(emulator, found)
    use = Use(release=policy)
    assert use.acquire()["found"] == found
    assert use.resume()["state"] == "running"
    use.release()
    assert state(emulator) == left


def bring(emulator: Emulator, wanted: str) -> None:
    """The endpoint as somebody left it."""
    from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient

    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        if wanted == "paused":
            client.pause_inference_endpoint("demo")
        elif wanted == "scaledToZero":
            client.scale_to_zero_inference_endpoint("demo")
    assert state(emulator) == wanted


@pytest.mark.parametrize("policy", ["delete", "restore"])
def test_what_did_not_exist_is_gone_again(emulator: Emulator, policy: Any) -> None:
    """Where that is asked for, by its name or as the state in which it was found."""
    use = Use(release=policy)
    use.acquire()
    use.create()
    assert use.release() is None
    assert calls(emulator) == ["POST ", "DELETE /demo"]
    # It was measured while it could still be asked.
    assert use.dag_run.xcoms["use.release"]["cost"]["usd"] > 0


def test_a_clear_does_not_forget_how_the_endpoint_was_found(emulator: Emulator) -> None:
    """It runs because of the first attempt; the second one still pauses it."""
    use = Use()
    first = use.acquire()
    use.create()
    second = use.acquire()
    assert (first["found"], first["use"]) == (second["found"], second["use"])
    use.create()
    use.release()
    assert state(emulator) == "paused"


@pytest.mark.parametrize("elsewhere", ["namespace", "connection"])
def test_a_clear_forgets_an_endpoint_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elsewhere: str) -> None:
    """The DAG's author has named another namespace or service since: the endpoint there ran before, and stays."""
    with connected(monkeypatch, orgs=("other",)) as first, connected(monkeypatch) as second:
        connect(monkeypatch, first, lease_path=f"file://{tmp_path}/leases")
        use = Use()
        use.acquire()
        use.create()
        if elsewhere == "namespace":
            use.changes = {"namespace": "other"}
            theirs = first
        else:
            connect(monkeypatch, second, lease_path=f"file://{tmp_path}/others")
            theirs = second
        run(create_one(namespace=use.changes.get("namespace")))
        assert "running" == use.acquire()["found"]
        use.create()
        use.release()
        assert not [each for each in calls_of(theirs, use.changes.get("namespace", "acme")) if "pause" in each]


def test_two_services_have_endpoints_of_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one place of records: a use of the one keeps the other neither running, nor does it stop it."""
    with connected(monkeypatch) as first, connected(monkeypatch) as second:
        uses = []
        for number, emulator in enumerate((first, second)):
            connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/leases")
            use = Use(f"run-{number}")
            use.acquire()
            use.create()
            uses.append(use)
        connect(monkeypatch, first, lease_path=f"file://{tmp_path}/leases")
        uses[0].release()
        assert ("paused", "running") == (state(first), state(second))
        assert StartNotes(kept_at()).read("acme", "demo", run=("nightly", "run-0")) is not None
        connect(monkeypatch, second, lease_path=f"file://{tmp_path}/leases")
        uses[1].release()
        assert "paused" == state(second)


def calls_of(emulator: Emulator, namespace: str) -> list[str]:
    """What was asked of the endpoint in one namespace."""
    return [each for each in received(emulator) if f"/{namespace}/demo" in each]


def test_a_note_of_an_older_version_counts(emulator: Emulator) -> None:
    """It has only the name: an upgrade in the middle of a use does not forget how the endpoint was found."""
    use = Use()
    use.acquire()
    use.create()
    note = use.dag_run.xcoms["use.start"]["hf_endpoint_acquired"]
    use.dag_run.xcoms["use.start"]["hf_endpoint_acquired"] = {name: note[name] for name in ("name", "found", "use")}
    assert use.acquire()["found"] is None
    use.create()
    use.release()
    assert "paused" == state(emulator)


def test_a_clear_after_the_release_is_a_new_use(emulator: Emulator) -> None:
    """The endpoint is found as the release left it."""
    use = Use(release="keep")
    use.acquire()
    use.create()
    use.release()
    assert use.acquire()["found"] == "running"


def test_a_retry_of_a_killed_start_takes_up_and_releases(emulator: Emulator) -> None:
    """The start was killed after its create: nothing is known of it but that it was acquired."""
    emulator.behave("demo", initializing_seconds=0.3)
    use = Use()
    use.acquire()
    use.create(wait_for_completion=False)
    use.release()
    assert (state(emulator), calls(emulator)) == ("paused", ["POST ", "POST /demo/pause"])


def test_a_release_without_a_start_is_fine(emulator: Emulator) -> None:
    """The start failed before it created anything: there is nothing to release, and nothing to complain of."""
    use = Use()
    use.acquire()
    assert use.release() is None


def test_a_release_can_be_repeated(emulator: Emulator) -> None:
    """Its retry, or a clear of it alone."""
    use = Use()
    use.acquire()
    use.create()
    use.release()
    use.release()
    assert state(emulator) == "paused"


def test_an_endpoint_that_must_exist_and_does_not(emulator: Emulator) -> None:
    """The first task fails, and says how the endpoint would be created."""
    with pytest.raises(AirflowFailException, match="To create the endpoint, give inference_endpoint") as caught:
        Use(must_exist=True).acquire()
    assert isinstance(caught.value.__cause__, EndpointNotFoundError)


def test_a_release_that_knows_nothing_says_what_to_do() -> None:
    """Somebody marked `acquire` as a success: its result is not there."""
    with pytest.raises(AirflowFailException, match="Clear the whole group, or pause the endpoint by hand"):
        run(ReleaseAcquiredOperator(task_id="release", acquired=None), Run().context("use.release"))


def test_what_start_returns_names_the_endpoint_of_a_mapped_task(emulator: Emulator) -> None:
    """Airflow renders a mapped task past the operator's own method: the mapping is still there when it executes."""
    emulator.set_quirks("toolkit_chats")
    use = Use()
    use.acquire()
    endpoint = use.create()
    ask = InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs="hello")
    assert run(ask)["output"]
    assert run(InferenceEndpointSensor(task_id="wait", endpoint=endpoint, poke_interval=0.05))["name"] == "demo"


# Shared endpoints


def records(tmp_path: Path) -> list[dict[str, Any]]:
    """What lies in the store: of each holder its lease, and the renewals beside it."""
    return [json.loads(file.read_text()) for file in (tmp_path / "leases" / kept_at().key("acme")).rglob("*.json")]


def leases(tmp_path: Path) -> list[Lease]:
    """The leases that others see."""
    return store_for(kept_at(), "acme", "demo").read()


def shared(found: str = "paused", **changes: Any) -> tuple[Use, Use]:
    """Two runs that use the endpoint at the same time."""
    first, second = Use("run-1", **changes), Use("run-2", **changes)
    for use in (first, second):
        use.acquire()
        use.resume()
    return first, second


def test_the_first_to_end_does_not_pause_it_under_the_second(emulator: Emulator, tmp_path: Path) -> None:
    """The last one does, though it found it running: because of the first."""
    run(create_one())
    bring(emulator, "paused")
    first, second = shared()
    first.release()
    assert state(emulator) == "running"
    second.release()
    assert (state(emulator), records(tmp_path)) == ("paused", [])


def kill_deferred(monkeypatch: pytest.MonkeyPatch, use: Use, between: Any = None) -> None:
    """Start, deferred; then a person marks the start as failed, and the trigger hears of it.

    :param between: called when the trigger has acted on the endpoint, before it looks once more
    """
    deferral = deferred(use.starting(deferrable=True), use.dag_run.context("use.start"))
    kill(monkeypatch, use.dag_run, deferral, between)


def kill(monkeypatch: pytest.MonkeyPatch, dag_run: Run, deferral: Any, between: Any = None) -> None:
    """A person marks a deferred start of that run as failed."""
    trigger = moved(deferral.trigger)
    trigger.task_instance = Attempt(dag_run, "use.start")
    states = {dag_run.run_id: {"use.start": "failed"}}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: states)
    monkeypatch.setattr(f"{_airflow.__name__}.XCom.get_one", lambda **_: trigger.serialize()[1].get("claim"))
    released = AsyncEndpointsClient.release

    async def release(*arguments: Any, **options: Any) -> str:
        done = await released(*arguments, **options)
        if between is not None:
            await asyncio.to_thread(between)
        return done

    monkeypatch.setattr(AsyncEndpointsClient, "release", release)
    asyncio.run(trigger.on_kill())


def test_a_start_that_is_killed_alone_pauses(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other run uses the endpoint, so the trigger need not wait for the release."""
    use = Use()
    use.acquire()
    kill_deferred(monkeypatch, use)
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def test_a_start_that_is_killed_does_not_pause_under_another(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second came while the first waited: the trigger sees its lease, and the last one out still pauses."""
    first, second = Use("run-1"), Use("run-2")
    first.acquire()
    second.acquire()
    kill_deferred(monkeypatch, first)
    assert ["POST "] == calls(slow)
    first.release()
    assert ["POST "] == calls(slow)
    second.release()
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def test_who_comes_in_while_a_killed_start_is_paused_has_it_resumed(
    slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a lease is left: the order of the steps makes up for what no lock holds."""
    first, second = Use("run-1"), Use("run-2")
    first.acquire()
    kill_deferred(monkeypatch, first, between=second.acquire)
    assert ["POST ", "POST /demo/pause", "POST /demo/resume"] == calls(slow)


def unread(tmp_path: Path) -> None:
    """From now on the leases of the endpoint cannot be read."""
    (tmp_path / "leases" / kept_at().key("acme") / "demo" / "other.json").write_text('{"half')


@pytest.mark.parametrize(("run_state", "stops"), [("running", False), ("failed", True)])
def test_a_start_that_is_killed_while_the_leases_cannot_be_read(
    slow: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_state: str, stops: bool
) -> None:
    """Its release follows, and answers for the endpoint; after `dagrun_timeout` none does, and the trigger decides."""
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", lambda *_: run_state)
    use = Use()
    use.acquire()
    unread(tmp_path)
    kill_deferred(monkeypatch, use)
    assert (["POST /demo/pause"] if stops else []) == calls(slow)[1:]


def test_leases_that_are_not_read_in_time_count_as_unread(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs must not take the time in which the endpoint can be paused."""
    hangs = threading.Event()

    def hang(*_: Any) -> list[Lease]:
        hangs.wait(60)
        return []

    monkeypatch.setattr(_others, "other_leases", hang)
    monkeypatch.setattr(_others, "_LOOK", 0.2)
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", lambda *_: "failed")
    use = Use()
    use.acquire()
    try:
        kill_deferred(monkeypatch, use, between=hangs.set)
    finally:
        hangs.set()
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def start_alone(**changes: Any) -> tuple[Run, Any]:
    """A create without a group in its own run, deferred."""
    dag_run = Run("alone")
    return dag_run, deferred(create_one(task_id="start", deferrable=True, **changes), dag_run.context("use.start"))


@pytest.mark.parametrize("readable", [True, False])
def test_a_start_without_a_group_that_is_killed_leaves_the_endpoint_to_others(
    slow: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, readable: bool
) -> None:
    """The last of them pauses it, though it found the endpoint running. If nothing is known of others, it pauses."""
    dag_run, deferral = start_alone()
    other = Use("run-2")
    other.acquire()
    if not readable:
        unread(tmp_path)
    kill(monkeypatch, dag_run, deferral)
    if readable:
        assert ["POST "] == calls(slow)
        other.release()
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def test_a_start_without_a_group_that_is_too_late_leaves_the_endpoint_to_others(slow: Emulator) -> None:
    """A live lease keeps the endpoint, whichever bad end a start has; the last holder pauses it."""
    other = Use("run-2")
    other.acquire()
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create_one(timeout=0.5))
    assert ["POST "] == calls(slow)
    other.release()
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def test_a_start_on_a_worker_without_a_group_that_is_killed_leaves_it_to_others(slow: Emulator) -> None:
    """They were there when it began. Its process still lives for a moment, and notes for them how to leave it."""
    other = Use("run-2")
    other.acquire()
    operator = create_one()
    interrupted(operator)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert ["POST "] == calls(slow)
    other.release()
    assert ["POST ", "POST /demo/pause"] == calls(slow)


def test_the_next_choice_of_hardware_knows_the_others_too(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first choice failed to start while it was deferred; the wait for the second is another deferral."""
    emulator.behave("demo", fail="no memory")
    first, second = Use("run-1"), Use("run-2")
    hardware = {"hardware": ["aws/us-east-1/intel-icl/x2", "aws/us-east-1/intel-icl/x4"], "deferrable": True}
    first.acquire()
    alone = deferred(first.starting(**hardware), first.dag_run.context("use.start"))
    kwargs = alone.trigger.serialize()[1]
    assert ("pause", first.acquired["lease"]["holder"]) == (kwargs["release_on_kill"], kwargs["holder"])
    event = event_of(alone.trigger)
    second.acquire()
    with pytest.raises(TaskDeferred) as caught:
        complete(first.starting(**hardware), alone, event, first.dag_run.context("use.start"))
    kill(monkeypatch, first.dag_run, caught.value)
    assert ["POST ", "DELETE /demo", "POST "] == calls(emulator)


def test_a_start_whose_acquire_left_nothing_starts_nothing(emulator: Emulator) -> None:
    """Alone it would start an endpoint that no release belongs to. No retry brings the result back."""
    use = Use()
    use.acquire()
    operator = use.starting()
    operator.acquired = None  # as rendered, where the result of `acquire` is gone
    with pytest.raises(AirflowFailException, match="Clear the whole group"):
        run(operator, use.dag_run.context("use.start"))
    assert calls(emulator) == []


def test_a_start_on_a_worker_that_is_killed_leaves_it_to_others(slow: Emulator) -> None:
    """A signal handler can't ask who else is there: that was asked before."""
    first, second = Use("run-1"), Use("run-2")
    second.acquire()
    first.acquire()
    operator = first.starting(deferrable=False)
    interrupted(operator)
    with pytest.raises(TaskKilledError):
        run(operator, first.dag_run.context("use.start"))
    assert ["POST "] == calls(slow)


def interrupted(operator: Any) -> None:
    """SIGTERM arrives when the endpoint has been created."""
    original = operator._arrive

    def arrive(*arguments: Any, **options: Any) -> Any:
        operator.on_kill()
        return original(*arguments, **options)

    operator._arrive = arrive


def test_a_crashed_holder_holds_nobody_up_for_longer_than_its_lease(emulator: Emulator, tmp_path: Path) -> None:
    """It never leaves; once its lease has expired the other one switches off."""
    run(create_one())
    bring(emulator, "paused")
    crashed, other = shared()
    (lease,) = [each for each in leases(tmp_path) if each.holder == crashed.acquired["lease"]["holder"]]
    assert 21_600 == pytest.approx(lease.expires - time.time(), abs=60)
    store_for(kept_at(), "acme", "demo").renew(replace(lease, expires=time.time() - 61))
    other.release()
    assert (state(emulator), records(tmp_path)) == ("paused", [])


def test_work_renews_the_lease(emulator: Emulator, tmp_path: Path) -> None:
    """From the call on for as long as it was taken."""
    emulator.set_quirks("toolkit_chats")
    use = Use(lease=1000.0)
    use.acquire()
    endpoint = use.create()
    for file in (tmp_path / "leases" / kept_at().key("acme")).rglob("*.json"):
        file.unlink()
    run(InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs="hello"))
    (lease,) = leases(tmp_path)
    assert 1000 == pytest.approx(lease.expires - time.time(), abs=60)
    assert lease.found is None


def test_work_that_takes_long_renews_it_again(emulator: Emulator, tmp_path: Path) -> None:
    """Four times in the time of the lease, while one call is under way."""
    emulator.set_quirks("toolkit_chats")
    emulator.behave("demo", latency_seconds=1.0)
    use = Use(lease=0.4)
    use.acquire()
    endpoint = use.create()
    began = time.time()
    run(InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs="hello"))
    (lease,) = [each for each in leases(tmp_path) if each.who != BY_NO_USE]
    assert lease.expires > began + 0.4 + 0.5


def test_without_a_store_a_quiet_endpoint_is_released(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The leases cannot be read, and the service reports no use."""
    (tmp_path / "no-folder").touch()
    connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/no-folder")
    use = Use()
    use.acquire()
    use.create()
    use.release()
    assert state(emulator) == "paused"


def test_without_a_store_an_endpoint_that_is_used_is_left_and_the_release_fails(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody sends requests after the work was over: pausing it would fail theirs. It is not green either."""
    (tmp_path / "no-folder").touch()
    connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/no-folder")
    use = Use(quiet=1.0)
    use.acquire()
    url = use.create()["url"]
    stop = threading.Event()

    def somebody_else() -> None:
        while not stop.wait(0.1):
            httpx.post(url, json={"inputs": "x"}, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)

    thread = threading.Thread(target=somebody_else)
    thread.start()
    try:
        with pytest.raises(NotReleasedError, match=r"cannot be determined: .* Repair the lease store"):
            use.release()
    finally:
        stop.set()
        thread.join()
    assert state(emulator) == "running"
    assert "demo could not be released and MAY STILL BE BILLING" in caplog.text


def test_a_release_that_cannot_read_the_leases_fails_and_its_retry_releases(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One record that can't be read may be anybody's. The own one is marked as left all the same."""
    use = Use()
    use.acquire()
    use.create()
    other = tmp_path / "leases" / kept_at().key("acme") / "demo" / "other.json"
    other.write_text('{"half')
    with pytest.raises(NotReleasedError, match=r"other\.json cannot be read"):
        use.release(retries=10)
    assert "running" == state(emulator)
    assert json.loads((other.parent / f"{use.acquired['lease']['holder']}.json").read_text())["left"] is True
    assert "trying again" in caplog.text
    assert "MAY STILL BE BILLING" not in caplog.text
    other.unlink()
    use.release(attempt=2, retries=10)
    assert "paused" == state(emulator)


def test_a_release_that_the_service_refuses_is_told_by_the_words_to_alert_on(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """And its lease blocks no other run: the next one to leave tries to stop the endpoint again."""
    first, second = Use("run-1"), Use("run-2")
    first.acquire()
    first.create()
    second.acquire()
    emulator.add_fault("/v2/endpoint/acme/demo/pause", method="POST", status=403)
    second.release()
    with pytest.raises(AirflowFailException):
        first.release(retries=10)
    assert "acme/demo could not be released and MAY STILL BE BILLING" in caplog.text
    emulator.clear_faults()
    third = Use("run-3")
    third.acquire()
    third.release()
    assert "paused" == state(emulator)


def test_a_lease_whose_run_has_ended_holds_nobody_up(emulator: Emulator, tmp_path: Path) -> None:
    """Its worker was killed by SIGKILL, and its lease lasts six more hours."""
    run(create_one())
    bring(emulator, "paused")
    _, other = shared()
    other.dag_run.states["run-1"] = "failed"
    other.release()
    assert (state(emulator), records(tmp_path)) == ("paused", [])


def test_a_newcomer_s_endpoint_is_resumed_without_a_look(emulator: Emulator) -> None:
    """Of a pause of a moment ago a read may not know yet, also of one that an attempt before has sent."""
    first, second = Use("run-1", release="pause"), Use("run-2")
    first.acquire()
    first.create()
    second.acquire()
    before = len(calls(emulator))
    first.release(attempt=2, retries=3)
    assert calls(emulator)[before:] == ["POST /demo/resume"]
    assert "running" == state(emulator)
