"""An endpoint that somebody else deletes and creates again under the same name during a run is theirs, and stays."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.idle_trigger import IdleTrigger
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers import _replaced as replaced_module
from airflow_provider_hf_endpoints.triggers import endpoints as trigger_module
from tests.contract.operators.test_operators_use import Run, Use
from tests.contract.operators_play import (
    FAST,
    HANG,
    MODEL,
    calls,
    complete,
    connect,
    connected,
    create,
    deferred,
    moved,
    run,
    state,
)

STOPS = [PauseInferenceEndpointOperator, ScaleToZeroInferenceEndpointOperator, DeleteInferenceEndpointOperator]
LEFT = ["paused", "scaledToZero", None]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    with connected(monkeypatch) as emulator:
        connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/leases")
        yield emulator


def created_by_hand(emulator: Emulator, *, instead: bool = False) -> None:
    """A person's endpoint, in place of another one or not."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        if instead:
            client.delete_inference_endpoint("demo")
        client.create_inference_endpoint("demo", **MODEL)
    until = time.monotonic() + HANG
    while state(emulator) != "running" and time.monotonic() < until:
        time.sleep(0.02)
    assert "running" == state(emulator)


def left(emulator: Emulator) -> str | None:
    """Its state; None if there is no endpoint."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        found = [each.status for each in client.list_inference_endpoints()]
    return found[0] if found else None


def started(emulator: Emulator, how: str, use: Use) -> None:
    """A use whose run has started the endpoint."""
    if how == "resume":
        created_by_hand(emulator)
        with EndpointsClient(emulator.token, base_url=emulator.url) as client:
            client.pause_inference_endpoint("demo")
    use.acquire()
    use.create() if how == "create" else use.resume()
    assert "running" == state(emulator)


@pytest.mark.parametrize("how", ["create", "resume"])
@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete", "restore", None])
def test_a_release_leaves_what_another_has_created_since(
    emulator: Emulator, how: str, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the policy, also in another attempt; the release says whose it is, and reports no cost of it."""
    use = Use(release=policy)
    started(emulator, how, use)
    created_by_hand(emulator, instead=True)
    for attempt in (1, 2):
        use.release(attempt=attempt, retries=2)
        assert "running" == state(emulator)
        assert "somebody else deleted the endpoint that nightly/run-1/use.start started" in caplog.text
        assert "cost" not in use.dag_run.xcoms["use.release"]
    other = Use("run-2")
    assert "running" == other.acquire()["found"], "no record says that it was stopped"


@pytest.mark.parametrize("how", ["create", "resume"])
def test_a_release_stops_its_own_endpoint(emulator: Emulator, how: str) -> None:
    """Also where the start was cleared and came again, and where the note of it is lost."""
    use = Use(release="pause")
    started(emulator, how, use)
    use.release()
    assert "paused" == state(emulator)
    use.acquire()
    use.create() if how == "create" else use.resume()
    with InferenceEndpointsHook() as hook:
        StartNotes(hook.kept_at).remove("acme", "demo", before=time.time() + 1)
    use.release()
    assert "paused" == state(emulator)


@pytest.mark.parametrize("how", ["create", "resume"])
def test_a_watch_leaves_it_too(emulator: Emulator, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release of an endpoint on which no work has begun."""
    use = Use()
    started(emulator, how, use)
    created_by_hand(emulator, instead=True)
    trigger = IdleTrigger("use.acquire", "use.start", [], 1.0, "hf_endpoints_default", "pause")
    trigger.task_instance = SimpleNamespace(task_id="use.watch", dag_id="nightly", run_id="run-1", map_index=-1)  # type: ignore[assignment]
    read = "airflow_provider_hf_endpoints.operators.using.idle_trigger.read_xcom"
    monkeypatch.setattr(read, lambda *_: use.acquired)
    trigger._let_go()
    assert "running" == state(emulator)


@pytest.mark.parametrize("how", ["create", "resume"])
@pytest.mark.parametrize(("stop", "then"), zip(STOPS, LEFT, strict=True))
def test_a_teardown_leaves_what_another_has_created_since(emulator: Emulator, how: str, stop: Any, then: Any) -> None:
    """Without a group, after a start in the same run. With force, the name is all that counts."""
    began = Run()
    if how == "resume":
        created_by_hand(emulator)
        with EndpointsClient(emulator.token, base_url=emulator.url) as client:
            client.pause_inference_endpoint("demo")
    start = create() if how == "create" else ResumeInferenceEndpointOperator(task_id="a", endpoint="demo", **FAST)
    run(start, began.context("start"))
    created_by_hand(emulator, instead=True)
    run(stop(task_id="stop", endpoint="demo", **FAST), began.context("stop"))
    assert "running" == state(emulator)
    run(stop(task_id="stop", endpoint="demo", force=True, **FAST), began.context("stop"))
    assert then == left(emulator)


@pytest.mark.parametrize("how", ["create", "resume"])
@pytest.mark.parametrize(("stop", "then"), zip(STOPS, LEFT, strict=True))
def test_a_teardown_stops_what_its_run_has_started(emulator: Emulator, how: str, stop: Any, then: Any) -> None:
    """And, in any other run, whatever has the name."""
    began = Run()
    created_by_hand(emulator)
    if how == "resume":
        with EndpointsClient(emulator.token, base_url=emulator.url) as client:
            client.pause_inference_endpoint("demo")
        start: Any = ResumeInferenceEndpointOperator(task_id="a", endpoint="demo", **FAST)
    else:
        start = create(if_exists="recreate")
    run(start, began.context("start"))
    run(stop(task_id="stop", endpoint="demo", **FAST), began.context("stop"))
    assert then == left(emulator)
    created_by_hand(emulator, instead=then is not None)
    run(stop(task_id="stop", endpoint="demo", **FAST), Run("run-2").context("stop"))
    assert then == left(emulator)


@pytest.mark.parametrize("how", ["create", "resume"])
@pytest.mark.parametrize("action", ["pause", "delete"])
def test_a_sweep_leaves_what_another_has_created_since(emulator: Emulator, how: str, action: Any) -> None:
    """The run that started the endpoint has ended, or was killed; neither its note nor its lease is about this one."""
    use = Use()
    started(emulator, how, use)
    created_by_hand(emulator, instead=True)
    use.dag_run.states["run-1"] = "failed"
    sweep = SweepInferenceEndpointsOperator(
        task_id="sweep", only_report=False, action=action, quiet=timedelta(0), keep=()
    )
    (report,) = run(sweep, use.dag_run.context("sweep"))
    assert ("leave", "this provider did not start it") == (report["verdict"], report["reason"])
    assert "running" == state(emulator)


def replaced(emulator: Emulator) -> None:
    """Somebody else's endpoint has the name of the one that is starting; this one takes its time as well."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        client.delete_inference_endpoint("demo")
        client.create_inference_endpoint("demo", **MODEL)


def a_start(emulator: Emulator, how: str, **changes: Any) -> Any:
    """One that waits for its endpoint longer than a test does. It would pause its own at each bad end."""
    if how == "resume":
        created_by_hand(emulator)
        with EndpointsClient(emulator.token, base_url=emulator.url) as client:
            client.pause_inference_endpoint("demo")
    emulator.behave("demo", initializing_seconds=600)
    if how == "create":
        return create(**changes)
    return ResumeInferenceEndpointOperator(task_id="a", endpoint="demo", **FAST, **changes)


def is_left(emulator: Emulator) -> bool:
    """Whether nothing was sent to the endpoint since somebody created it."""
    return ["DELETE /demo", "POST "] == calls(emulator)[-2:]


class Store(dict[str, Any]):
    """Airflow's task state store."""

    first: Any = None  # what was set first

    def set(self, key: str, value: Any) -> None:
        self.first = self.first or value
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]


STARTS = pytest.mark.parametrize("how", ["create", "resume"])
ENDS = [None, AirflowTaskTimeout("too long"), ValueError("a fault")]
LATE = {"status": "timeout", "name": "demo", "reason": "late"}
FAILED = {"status": "failed", "name": "demo", "reason": "it failed"}


@STARTS
@pytest.mark.parametrize("end", ENDS, ids=["kill", "late", "fault"])
def test_a_start_that_ends_badly_leaves_it(emulator: Emulator, how: str, end: BaseException | None) -> None:
    """On a worker: the name alone does not say whose endpoint it is, in the signal handler neither."""
    operator = a_start(emulator, how)
    check, looks = operator._check_on, list[str]()

    def check_on() -> None:
        looks.append("look")
        if len(looks) == 2:
            replaced(emulator)
            if end is not None:
                raise end
            operator.on_kill()
        check()

    operator._check_on = check_on
    with pytest.raises(TaskKilledError if end is None else type(end)):
        run(operator, Run().context("start"))
    assert is_left(emulator)


@STARTS
@pytest.mark.parametrize("event", [LATE, FAILED], ids=["late", "failed"])
def test_a_start_that_ends_badly_after_a_deferral_leaves_it(
    emulator: Emulator, how: str, event: dict[str, Any]
) -> None:
    """Another process: the note beside the leases says which endpoint the run has started."""
    context = Run().context("start")
    deferral = deferred(a_start(emulator, how, deferrable=True), context)
    replaced(emulator)
    again = create if how == "create" else partial(ResumeInferenceEndpointOperator, task_id="a", endpoint="demo")
    with pytest.raises(Exception, match=event["reason"]):
        complete(again(deferrable=True), deferral, event, context)
    assert is_left(emulator)


@STARTS
def test_a_start_whose_wait_airflow_ends_leaves_it(emulator: Emulator, how: str) -> None:
    """Airflow drops what the deferral has stored."""
    context = Run().context("start")
    operator = a_start(emulator, how, deferrable=True)
    deferred(operator, context)
    replaced(emulator)
    with pytest.raises(Exception, match="Trigger timeout"):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert is_left(emulator)


@STARTS
@pytest.mark.parametrize("whose", ["the start", "a sensor behind it"])
def test_a_kill_in_the_triggerer_leaves_it(
    emulator: Emulator, how: str, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger reads the note of its run. It pauses the run's own endpoint."""
    began = Run()
    operator = a_start(emulator, how, deferrable=True)
    deferral = deferred(operator, began.context("start"))
    if whose != "the start":
        waits = InferenceEndpointSensor(
            task_id="wait", endpoint="demo", namespace="acme", deferrable=True, on_kill="pause"
        )
        deferral = deferred(waits, began.context("wait"))

    async def is_over(*_: object) -> bool:
        return True

    monkeypatch.setattr(trigger_module, "task_is_over", is_over)
    ended = SimpleNamespace(task_id="start", dag_id="nightly", run_id="run-1", map_index=-1)
    for each in ("own", "another"):
        trigger = moved(deferral.trigger)
        trigger.namespace = "acme"
        if each == "another":
            replaced(emulator)
        asyncio.run(trigger._release_if_over(ended))
        assert ("POST /demo/pause" == calls(emulator)[-1]) == (each == "own")
    assert is_left(emulator)


@pytest.mark.parametrize("trouble", [AirflowException("the API server is away"), KeyError("hf"), None], ids=str)
def test_a_kill_in_the_triggerer_releases_although_the_note_cannot_be_read(
    emulator: Emulator, trouble: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that fails, or that does not end (None), must not prevent the release."""
    deferral = deferred(a_start(emulator, "create", deferrable=True), Run().context("start"))
    goes_on = threading.Event()

    def read(*_: object, **run: object) -> None:
        if trouble is not None:
            raise trouble
        goes_on.wait(60)

    async def is_over(*_: object) -> bool:
        goes_on.clear()
        return True

    monkeypatch.setattr(trigger_module, "task_is_over", is_over)
    monkeypatch.setattr(StartNotes, "read", read)
    monkeypatch.setattr(replaced_module, "_LOOK", 0.2)
    trigger = moved(deferral.trigger)
    trigger.namespace = "acme"

    async def end() -> None:
        ended = SimpleNamespace(task_id="start", dag_id="nightly", run_id="run-1", map_index=-1)
        try:
            await trigger._release_if_over(ended)
        finally:
            goes_on.set()  # the thread of the read outlives the event loop otherwise

    asyncio.run(end())
    assert "POST /demo/pause" in calls(emulator)


def test_a_sensor_behind_the_start_leaves_it(emulator: Emulator) -> None:
    """Its policies are about the endpoint that the run has started."""
    began = Run()
    run(a_start(emulator, "create", wait_for_completion=False), began.context("start"))
    context = began.context("wait")
    given: dict[str, Any] = {"endpoint": "demo", "namespace": "acme", "deferrable": True, "on_timeout": "pause"}
    deferral = deferred(InferenceEndpointSensor(task_id="wait", **given), context)
    replaced(emulator)
    with pytest.raises(Exception, match="late"):
        complete(InferenceEndpointSensor(task_id="wait", **given), deferral, LATE, context)
    assert is_left(emulator)


def test_a_retry_takes_up_no_other_endpoint(emulator: Emulator) -> None:
    """An attempt that was killed after its resume has noted which endpoint it was."""
    store = Store()
    context = Run().context("start") | {"task_state_store": store}
    run(a_start(emulator, "resume", wait_for_completion=False), context)
    store["hf_endpoint_resumed"] = store.first
    replaced(emulator)
    deferral = deferred(ResumeInferenceEndpointOperator(task_id="a", endpoint="demo", deferrable=True), context)
    assert "started_here" not in (deferral.kwargs or {})
