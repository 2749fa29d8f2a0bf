"""A release in an emergency asks the Hub nothing: the namespace is known before anything is started.

In each test whoami answers no more from the moment at which the start is sent, and the endpoint is paused all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_hf_endpoints._airflow import TaskDeferralTimeout
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.operators.common.emergency import EmergencyRelease
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.triggers import endpoints as trigger_module
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from tests.contract.operators.test_operators_release import killed
from tests.contract.operators.test_operators_sensor import sensor
from tests.contract.operators_play import (
    FAST,
    HANG,
    TOKEN,
    calls,
    complete,
    connected,
    create,
    deferred,
    moved,
    new_context,
    run,
)

Fault = dict[str, Any]
REFUSED: Fault = {"path": "/api/whoami-v2", "status": 429, "body": {"error": "rate limited"}, "retry_after": 60}
HANGS: Fault = {"path": "/api/whoami-v2", "delay_seconds": HANG}
BAD_HUBS = pytest.mark.parametrize("fault", [REFUSED, HANGS], ids=["429", "hangs"])


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An endpoint named demo takes longer to start than any test waits."""
    with connected(monkeypatch) as running:
        running.behave("demo", initializing_seconds=600)
        yield running


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> Any:
    """`ends(fault)`: from the next start on whoami does what the fault says."""

    def arm(fault: Fault) -> None:
        for name in ("create", "resume_inference_endpoint"):
            monkeypatch.setattr(EndpointsClient, name, _armed(getattr(EndpointsClient, name), emulator, fault))

    return arm


def _armed(original: Any, emulator: Emulator, fault: Fault) -> Any:
    def start(*arguments: Any, **options: Any) -> Any:
        emulator.add_fault(**fault)
        return original(*arguments, **options)

    return start


def resume(emulator: Emulator, **changes: Any) -> ResumeInferenceEndpointOperator:
    """A resume of an endpoint that another run has created and paused."""
    run(create(wait_for_completion=False))
    run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    return ResumeInferenceEndpointOperator(**{"task_id": "resume", "endpoint": "demo", **FAST, **changes})


@BAD_HUBS
@pytest.mark.parametrize("starts", ["create", "resume"])
def test_a_kill_on_a_worker(emulator: Emulator, ends: Any, fault: Fault, starts: str) -> None:
    """SIGTERM in the wait: the pause is sent within the 4 s that a worker has."""
    operator = create() if starts == "create" else resume(emulator)
    ends(fault)
    killed(operator, emulator)
    assert calls(emulator)[-1] == "POST /demo/pause"


@BAD_HUBS
def test_a_kill_of_a_sensor(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """A sensor that acts on a kill has learnt the namespace by its first look."""
    run(create(wait_for_completion=False))
    made = sensor("poke", on_kill="pause", timeout=HANG)
    original, killed_at = EmergencyRelease.check, list[str]()

    def check(emergency: EmergencyRelease) -> None:
        if not killed_at:
            killed_at.append("the first look")
            emulator.add_fault(**fault)
            made.on_kill()
        original(emergency)

    monkeypatch.setattr(EmergencyRelease, "check", check)
    with pytest.raises(TaskKilledError):
        run(made)
    assert calls(emulator)[1:] == ["POST /demo/pause"]


@BAD_HUBS
def test_a_wait_that_ends_badly_after_a_deferral(emulator: Emulator, ends: Any, fault: Fault) -> None:
    """Another process takes up the event, with its own client: the deferral has brought the namespace along."""
    ends(fault)
    deferral = deferred(create(deferrable=True))
    with pytest.raises(InferenceEndpointError, match="late"):
        complete(create(deferrable=True), deferral, {"status": "timeout", "name": "demo", "reason": "late"})
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


@BAD_HUBS
def test_a_wait_that_airflow_ends(emulator: Emulator, ends: Any, fault: Fault) -> None:
    """Airflow drops the kwargs of such a deferral: the namespace is in XCom."""
    ends(fault)
    context = new_context()
    context["ti"].id = "attempt-1"
    deferred(create(deferrable=True), context)
    with pytest.raises(TaskDeferralTimeout):
        create(deferrable=True).resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


@BAD_HUBS
def test_a_sensor_that_airflow_ends(emulator: Emulator, fault: Fault) -> None:
    """The same of a sensor, by its event and by Airflow's own limit."""
    run(create(wait_for_completion=False))
    context = new_context()
    made = sensor("deferred", on_timeout="pause")
    deferred(made, context)
    emulator.add_fault(**fault)
    event = {"status": "timeout", "name": "demo", "reason": "late"}
    with pytest.raises(AirflowSensorTimeout, match="late"):
        sensor("deferred", on_timeout="pause").resume_execution("execute_complete", {"event": event}, context)
    with pytest.raises(Exception, match="Trigger timeout"):
        sensor("deferred", on_timeout="pause").resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert calls(emulator)[1:] == ["POST /demo/pause", "POST /demo/pause"]


@BAD_HUBS
@pytest.mark.parametrize("begun", ["by a sensor", "in the triggerer"])
def test_a_kill_in_the_triggerer(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: Fault, begun: str) -> None:
    """The trigger has the namespace from the sensor, or from its own looks."""
    run(create(wait_for_completion=False))
    if begun == "by a sensor":
        trigger = moved(deferred(sensor("deferred", on_kill="pause")).trigger)
    else:
        trigger = InferenceEndpointTrigger("demo", started=0.0, release_on_kill="pause", poll_interval=0.05)
    trigger.task_instance = SimpleNamespace(task_id="task", map_index=-1)

    async def is_over(*_: object) -> bool:
        return True

    monkeypatch.setattr(trigger_module, "task_is_over", is_over)

    async def wait_and_kill() -> None:
        waits = asyncio.ensure_future(anext(aiter(trigger.run())))
        async with asyncio.timeout(HANG):
            while not (trigger._poller and trigger._poller.client and _looked(emulator)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            emulator.add_fault(**fault)
            await trigger.on_kill()
        waits.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waits

    asyncio.run(wait_and_kill())
    assert "POST /demo/pause" in calls(emulator)


def _looked(emulator: Emulator) -> bool:
    return any("/v2/endpoint/" in request.path and request.method == "GET" for request in list(emulator.requests)[2:])


def test_the_token_is_no_part_of_what_is_left(emulator: Emulator) -> None:
    """What a deferral leaves in XCom and in its kwargs is the namespace alone."""
    context = new_context()
    deferral = deferred(create(deferrable=True), context)
    assert TOKEN not in f"{context['ti'].xcoms} {deferral.kwargs} {deferral.trigger.serialize()}"
