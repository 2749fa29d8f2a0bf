"""Conveniences (costs, XComs, metrics, records, links, asset events) neither fail nor delay an action.

Each is made to fail, and to hang: the request that stops or starts the endpoint still arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.leases.records import new_lease
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator
from tests.contract.operators_play import FAST, HANG, TaskInstance, calls, connected, create, new_context, run

PLACES = "airflow_provider_hf_endpoints.operators.common"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        run(create(scale_to_zero_timeout=15))
        yield running


class Held:
    """Something that a task calls: it fails, or hangs until it is let go."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs, self.go = hangs, threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        if self.hangs:
            assert self.go.wait(HANG)
        raise ConnectionError("nobody is there")


class Asset:
    """The outlet events of a task, of which none can be made."""

    def __init__(self, call: Held) -> None:
        self._call = call

    def __getitem__(self, key: AssetAlias) -> Any:
        self._call()


def released(**changes: Any) -> Any:
    lease = new_lease("nightly r1 use.acquire", time.time(), 600.0).stored()
    acquired = {"name": "demo", "namespace": "acme", "found": "paused", "use": "u", "lease": lease, "budget": None}
    return ReleaseAcquiredOperator(task_id="release", acquired=acquired, **FAST, **changes)


ACTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "pause": (lambda: PauseInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST), "POST /demo/pause"),
    "scale to zero": (
        lambda: ScaleToZeroInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST),
        "POST /demo/scale-to-zero",
    ),
    "delete": (lambda: DeleteInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST), "DELETE /demo"),
    "release by pause": (lambda: released(release="pause"), "POST /demo/pause"),
    "release by delete": (lambda: released(release="delete"), "DELETE /demo"),
    "resume": (lambda: ResumeInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST), "POST /demo/resume"),
}


def context_with(call: Held, what: str, monkeypatch: pytest.MonkeyPatch, operator: Any) -> Any:
    """The context of a task in a run, with one of its conveniences replaced."""
    ti = TaskInstance()
    context = {**new_context(), "ti": ti, "task": SimpleNamespace(get_flat_relatives=lambda **_: [], task_group=None)}
    context["task"].iter_mapped_task_groups = lambda: iter(())
    context["dag_run"] = SimpleNamespace(start_date=datetime.now(UTC), dag_id="nightly", run_id="r1")
    match what:
        case "XCom":
            push = ti.xcom_push

            def convenient(key: str, value: Any) -> None:
                # Whose endpoint it is and how it was found are no convenience.
                call() if key in ("cost", "hf_endpoint_link") else push(key, value)

            ti.xcom_push = convenient  # type: ignore[method-assign]
        case "results of batches":
            ti.xcom_pull = call  # type: ignore[method-assign]
            batch = SimpleNamespace(operator_class=SimpleNamespace(reports_rows=True), task_group=None, task_id="b")
            batch.iter_mapped_task_groups = context["task"].iter_mapped_task_groups
            context["task"].get_flat_relatives = lambda **_: [batch]
        case "metrics":
            monkeypatch.setattr(f"{PLACES}.metrics.Stats", SimpleNamespace(gauge=call, incr=call))
        case "records of costs":
            monkeypatch.setattr(f"{PLACES}.cost_report.CostRecords", lambda _: SimpleNamespace(write=call))
        case "asset events":
            context["outlet_events"] = Asset(call)
    return context


CONVENIENCES = ("XCom", "results of batches", "metrics", "records of costs", "asset events")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", CONVENIENCES)
def test_a_convenience_that_fails_fails_no_action(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, action: str, what: str
) -> None:
    """The task succeeds, and has sent its request once."""
    make, request = ACTIONS[action]
    operator, before = make(), calls(emulator)
    run(operator, context_with(Held(hangs=False), what, monkeypatch, operator))
    assert [request] == calls(emulator)[len(before) :]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", CONVENIENCES)
def test_a_convenience_that_hangs_holds_no_action_up(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, action: str, what: str
) -> None:
    """Its request has arrived while the task hangs, or the task does not ask for that at all."""
    make, request = ACTIONS[action]
    operator, before, call = make(), calls(emulator), Held(hangs=True)
    context = context_with(call, what, monkeypatch, operator)
    task = threading.Thread(target=run, args=(operator, context), daemon=True)
    task.start()
    try:
        deadline = time.monotonic() + HANG
        while calls(emulator)[len(before) :] != [request]:
            assert time.monotonic() < deadline, calls(emulator)[len(before) :]
            time.sleep(0.02)
    finally:
        call.go.set()
        task.join(HANG)
    assert not task.is_alive()


@pytest.mark.parametrize("action", ["delete", "release by delete"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"delay_seconds": 2 * HANG}], ids=str)
def test_a_cost_that_is_not_told_holds_no_delete_up(emulator: Emulator, action: str, fault: dict[str, Any]) -> None:
    """It is read before the delete, because it is unknown afterwards: for seconds, and not for longer."""
    make, request = ACTIONS[action]
    operator, before = make(), calls(emulator)
    emulator.add_fault(path=r"/replica|/metrics/|/v2/provider", **fault)
    context = new_context() | {"dag_run": SimpleNamespace(start_date=datetime.now(UTC), dag_id="d", run_id="r")}
    task = threading.Thread(target=run, args=(operator, context), daemon=True)
    task.start()
    deadline = time.monotonic() + HANG
    while calls(emulator, "DELETE") != [request]:
        assert time.monotonic() < deadline, calls(emulator)[len(before) :]
        time.sleep(0.02)
    emulator.clear_faults()
    task.join(HANG)
    assert not task.is_alive()
