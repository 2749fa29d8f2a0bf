"""An endpoint that somebody else deletes and creates again under the same name during a run is theirs, and stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.idle_trigger import IdleTrigger
from tests.contract.operators_play import FAST, HANG, MODEL, connect, connected, create, run, state
from tests.contract.test_operators_use import Run, Use

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
        StartNotes(hook.lease_path).remove("acme", "demo", before=time.time() + 1)
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
