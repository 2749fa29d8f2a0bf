"""Deferrals that Airflow's scheduler can follow: none of an endpoint that runs, and no event in the first seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers import _settle
from airflow_provider_hf_endpoints.triggers import endpoints as trigger_module
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from tests.contract.operators_play import FAST, HANG, calls, create, deferred, moved, run

PAUSE = "AIRFLOW__HF_ENDPOINTS__MIN_DEFERRAL_SECONDS"


def resume(**changes: Any) -> ResumeInferenceEndpointOperator:
    return ResumeInferenceEndpointOperator(**{"task_id": "task", "endpoint": "demo", **FAST, **changes})


def sensor(**changes: Any) -> InferenceEndpointSensor:
    return InferenceEndpointSensor(task_id="task", endpoint="demo", poke_interval=0.05, **changes)


@pytest.mark.parametrize("make", [create, resume, sensor])
def test_an_endpoint_that_runs_is_not_deferred_for(emulator: Emulator, make: Any) -> None:
    """A deferral that is over at once meets a race of Airflow's: the look before it asks the health route, too."""
    run(create())
    result = run(make(deferrable=True))
    assert result is not None
    assert "running" == result["state"]


def test_an_endpoint_that_is_paused_is_not_deferred_for(emulator: Emulator) -> None:
    """The same of any other state that is reached."""
    run(create())
    run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    result = run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", deferrable=True, **FAST))
    assert result is not None
    assert "paused" == result["state"]


@pytest.mark.parametrize("make", [create, resume, sensor])
def test_an_endpoint_that_does_not_answer_yet_is_deferred_for(emulator: Emulator, make: Any) -> None:
    """`running` alone is not ready."""
    emulator.behave("demo", loading_seconds=600)
    run(create(wait_for_completion=False))
    emulator.advance(1)
    assert deferred(make(deferrable=True)).trigger.wait.endpoint == "demo"


@pytest.mark.parametrize("again", [False, True])
def test_no_event_in_the_first_seconds(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """Ready at once, in the first triggerer or in another one that took the wait over: the event comes later."""
    run(create())
    monkeypatch.setenv(PAUSE, "1")
    began = time.time()
    trigger = InferenceEndpointTrigger("demo", started=began - 100, deferred_at=began)
    assert began + 1 <= asyncio.run(_moment_of_event(moved(trigger) if again else trigger))


async def _moment_of_event(trigger: InferenceEndpointTrigger) -> float:
    async with asyncio.timeout(HANG):
        await anext(aiter(trigger.run()))
    return time.time()


def test_a_deferral_tells_its_trigger_when_it_began(emulator: Emulator) -> None:
    """Not when the task began: a create may take minutes before the deferral."""
    emulator.behave("demo", initializing_seconds=600)
    before = time.time()
    kwargs = deferred(create(deferrable=True)).trigger.serialize()[1]
    assert before <= kwargs["started"] <= kwargs["deferred_at"] <= time.time()


def test_a_kill_in_the_first_seconds_acts_at_once(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger knows already that the endpoint is ready, and no task waits for the event any more."""
    run(create())
    monkeypatch.setenv(PAUSE, "3600")
    trigger = InferenceEndpointTrigger("demo", started=time.time(), namespace="acme", release_on_kill="pause")
    trigger.task_instance = cast(Any, SimpleNamespace(task_id="task", map_index=-1))
    settling = asyncio.Event()

    async def is_over(*_: object) -> bool:
        return True

    async def settle(*given: Any) -> None:
        settling.set()
        await original(*given)

    original = _settle.settle
    monkeypatch.setattr(trigger_module, "task_is_over", is_over)
    monkeypatch.setattr(trigger_module, "settle", settle)

    async def kill() -> None:
        waits = asyncio.ensure_future(anext(aiter(trigger.run())))
        async with asyncio.timeout(HANG):
            await settling.wait()
            waits.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waits
            await trigger.on_kill()

    asyncio.run(kill())
    assert "POST /demo/pause" in calls(emulator)
