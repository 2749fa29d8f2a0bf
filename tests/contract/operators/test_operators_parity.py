"""One table: which task waits, where it waits, how the wait ends, and the policy for it. Every cell sends the same.

A worker, a trigger and Airflow itself learn of an end in different ways. The service sees no difference.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.operators.common.emergency import EmergencyRelease
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers import endpoints as trigger_module
from tests.contract.operators_play import (
    FAST,
    HANG,
    calls,
    complete,
    create,
    deferred,
    event_of,
    moved,
    new_context,
    overdue,
    run,
    state,
)
from tests.contract.signals_play import kill_while_waiting, looks_at, timeout_while_waiting

SENT = {
    "pause": ["POST /demo/pause"],
    "scale_to_zero": ["POST /demo/scale-to-zero"],
    "delete": ["DELETE /demo"],
    "none": [],
}
STARTS = ("POST ", "POST /demo/resume")
POLICIES = ("on_timeout", "on_failure", "on_kill")


class Cell:
    """One cell: a new operator for each process that the task has."""

    def __init__(self, kind: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.kind, self.emulator, self.monkeypatch, self.given = kind, emulator, monkeypatch, given
        self.context = new_context()
        ti = self.context["ti"]
        ti.id, ti.dag_id, ti.run_id = "attempt-1", "nightly", "run-1"

    def make(self, **more: Any) -> Any:
        given = {**self.given, **more}
        match self.kind:
            case "create":
                return create(**given)
            case "resume":
                return ResumeInferenceEndpointOperator(task_id="resume", endpoint="demo", **FAST, **given)
            case _:
                return InferenceEndpointSensor(task_id="wait", endpoint="demo", poke_interval=0.05, **given)

    def defer(self, **more: Any) -> TaskDeferred:
        return deferred(self.make(deferrable=True, **more), self.context)

    def complete(self, deferral: TaskDeferred, event: Any, **more: Any) -> Any:
        return complete(self.make(deferrable=True, **more), deferral, event, self.context)

    def here(self, **more: Any) -> Any:
        """Wait on a worker."""
        return run(self.make(deferrable=False, **more), self.context)

    def too_late_in_the_triggerer(self, **limits: Any) -> Any:
        try:
            deferral = self.defer(**limits)
        except pytest.fail.Exception:
            raise AssertionError("it has not deferred") from None
        return self.complete(deferral, event_of(overdue(deferral.trigger)), **limits)

    # The ends

    def timeout_on_worker(self) -> None:
        self.here(timeout=0.3)

    def timeout_deferred(self) -> None:
        self.too_late_in_the_triggerer(timeout=HANG)

    def execution_timeout_on_worker(self) -> None:
        operator = self.make(deferrable=False)
        try:
            with timeout_while_waiting(self.emulator):
                run(operator, self.context)
        finally:
            operator.on_kill()  # Airflow calls it then

    def execution_timeout_deferred(self) -> None:
        self.too_late_in_the_triggerer(execution_timeout=timedelta(seconds=HANG))

    def failure_on_worker(self) -> None:
        self.here()

    def failure_deferred(self) -> None:
        deferral = self.defer()
        self.complete(deferral, event_of(deferral.trigger))

    def kill_on_worker(self) -> None:
        operator = self.make(deferrable=False)
        with kill_while_waiting(operator, self.emulator):
            run(operator, self.context)

    def kill_deferred(self) -> None:
        """The trigger hears of it."""
        trigger = moved(self.defer().trigger)
        trigger.task_instance = SimpleNamespace(task_id="task", map_index=-1)

        async def is_over(*_: object) -> bool:
            return True

        self.monkeypatch.setattr(trigger_module, "task_is_over", is_over)

        async def wait_and_kill() -> None:
            waits, looks = asyncio.ensure_future(anext(aiter(trigger.run()))), looks_at(self.emulator)
            async with asyncio.timeout(HANG):
                while looks_at(self.emulator) <= looks:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                waits.cancel()  # before on_kill, as Airflow's triggerer does
                with contextlib.suppress(asyncio.CancelledError):
                    await waits
                await trigger.on_kill()

        asyncio.run(wait_and_kill())
        raise TaskKilledError("the trigger raises nothing that a task would see")

    def kill_after_the_deferral(self) -> None:
        """In the process that takes up the event; to look the connection up now could take longer than it has."""
        deferral = self.defer()
        operator = self.make(deferrable=True)
        name = "_finish" if self.kind == "sensor" else "_conclude"
        go_on = getattr(operator, name)

        def killed(event: Any) -> Any:
            self.monkeypatch.delenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT")
            operator.on_kill()
            return go_on(event)

        self.monkeypatch.setattr(operator, name, killed)
        complete(operator, deferral, {"status": "ready", "name": "demo", "endpoint": None}, self.context)

    def timeout_by_airflow(self) -> None:
        self.defer()
        self.make(deferrable=True).resume_execution("__fail__", {"error": "Trigger timeout"}, self.context)

    def failure_by_airflow(self) -> None:
        self.defer()
        self.make(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, self.context)


ENDS: dict[str, Callable[[Cell], None]] = {
    "timeout on worker": Cell.timeout_on_worker,
    "timeout deferred": Cell.timeout_deferred,
    "timeout of the execution on worker": Cell.execution_timeout_on_worker,
    "timeout of the execution deferred": Cell.execution_timeout_deferred,
    "timeout by Airflow": Cell.timeout_by_airflow,
    "failure on worker": Cell.failure_on_worker,
    "failure deferred": Cell.failure_deferred,
    "failure by Airflow": Cell.failure_by_airflow,
    "kill on worker": Cell.kill_on_worker,
    "kill deferred": Cell.kill_deferred,
    "kill after the deferral": Cell.kill_after_the_deferral,
}


@pytest.mark.parametrize("policy", SENT)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["create", "resume", "sensor"])
def test_every_end_does_what_its_policy_says(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: str, end: str, policy: str
) -> None:
    """Once, and no other policy counts: those are set to what would be seen."""
    fails = end in ("failure on worker", "failure deferred")
    emulator.behave("demo", initializing_seconds=0.3 if fails else 600, fail="no memory" if fails else None)
    if kind != "create":
        run(create(wait_for_completion=False))
    if kind == "resume":
        run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    before = len(calls(emulator))
    own = f"on_{end.partition(' ')[0]}"
    other = "pause" if policy == "delete" else "delete"
    given = {name: policy if name == own else other for name in POLICIES}
    cell = Cell(kind, emulator, monkeypatch, **given)
    with pytest.raises((Exception, AirflowTaskTimeout)) as ended:  # which, is for other tests to hold
        ENDS[end](cell)
    assert not isinstance(ended.value, AssertionError), ended.value
    assert SENT[policy] == [each for each in calls(emulator)[before:] if each not in STARTS]


def a_cell_at_zero(
    kind: str, end: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> tuple[Cell, int]:
    """A start of an endpoint that others have scaled to zero, and how many calls have arrived before."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="zero", endpoint="demo", **FAST))
    fails = end in ("failure on worker", "failure deferred")
    emulator.behave("demo", initializing_seconds=0.3 if fails else 600, fail="no memory" if fails else None)
    return Cell(kind, emulator, monkeypatch, **given), len(calls(emulator))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["create", "resume"])
def test_what_was_at_zero_is_at_zero_after_every_end(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: str, end: str
) -> None:
    """A start that wakes an endpoint has started it. A pause in place of the scale to zero would keep the requests of
    other users out, and a killed wait must not wake the endpoint again.
    """
    cell, before = a_cell_at_zero(kind, end, emulator, monkeypatch)
    with pytest.raises((Exception, AirflowTaskTimeout)) as ended:
        ENDS[end](cell)
    assert not isinstance(ended.value, AssertionError), ended.value
    assert SENT["scale_to_zero"] == [each for each in calls(emulator)[before:] if each not in STARTS]
    assert state(emulator) == "scaledToZero"


def test_a_request_that_a_kill_interrupts_keeps_nothing_awake(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's signal handler returns to the code that it has interrupted: the wake-up call is sent after all."""
    cell, _ = a_cell_at_zero("create", "kill on worker", emulator, monkeypatch)
    operator, original, calling = cell.make(deferrable=False), EndpointsClient._send, list[str]()

    def send(client: EndpointsClient, request: Any) -> Any:
        if request.base == "absolute" and not calling:
            calling.append(request.path)
            operator.on_kill()
        return original(client, request)

    monkeypatch.setattr(EndpointsClient, "_send", send)
    with pytest.raises(TaskKilledError):
        run(operator, cell.context)
    assert "scaledToZero" == state(emulator)


def test_what_a_person_pauses_while_it_wakes_stays_paused(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails. Back at zero, the endpoint would wake for any request, against the person's will."""
    cell, _ = a_cell_at_zero("create", "kill on worker", emulator, monkeypatch)
    original = EmergencyRelease.check

    def check(emergency: EmergencyRelease) -> None:
        original(emergency)
        if state(emulator) == "initializing":
            run(PauseInferenceEndpointOperator(task_id="person", endpoint="demo", force=True, **FAST))

    monkeypatch.setattr(EmergencyRelease, "check", check)
    with pytest.raises(AirflowFailException, match="paused"):
        cell.here()
    assert "paused" == state(emulator)


def test_what_a_person_pauses_before_the_task_is_marked_stays_paused(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as on a worker: the trigger hears that the task was ended, and finds the endpoint paused."""
    cell, _ = a_cell_at_zero("create", "kill deferred", emulator, monkeypatch)
    trigger = moved(cell.defer().trigger)
    trigger.task_instance = SimpleNamespace(task_id="task", map_index=-1, dag_id="nightly", run_id="run-1")

    async def is_over(*_: object) -> bool:
        return True

    monkeypatch.setattr(trigger_module, "task_is_over", is_over)
    run(PauseInferenceEndpointOperator(task_id="person", endpoint="demo", force=True, **FAST))
    asyncio.run(trigger.on_kill())
    assert "paused" == state(emulator)


@pytest.mark.parametrize("policy", ["delete", "none", "scale_to_zero"])
@pytest.mark.parametrize("kind", ["create", "resume"])
def test_what_was_at_zero_takes_the_other_policies_as_they_are(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: str, policy: str
) -> None:
    """Only `pause` means the state from before."""
    cell, before = a_cell_at_zero(kind, "kill on worker", emulator, monkeypatch, on_kill=policy)
    with pytest.raises(TaskKilledError):
        cell.kill_on_worker()
    assert SENT[policy] == [each for each in calls(emulator)[before:] if each not in STARTS]
