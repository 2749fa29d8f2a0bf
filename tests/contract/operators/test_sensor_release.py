"""What a sensor's bad end does to the endpoint: nothing, unless its policies say so; then exactly one call."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_hf_endpoints._airflow import AirflowRescheduleException
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.ownership import CLAIM_KEY, has_left_claim, leave_claim
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.waits import WaitBrokenError
from tests.contract.operators.test_operators_sensor import MODES, sensor, starting, watch
from tests.contract.operators_play import (
    FAST,
    HANG,
    calls,
    context_of_a_task_in,
    create,
    new_context,
    run,
)

DONE = {"pause": ["POST /demo/pause"], "scale_to_zero": ["POST /demo/scale-to-zero"], "delete": ["DELETE /demo"]}
POLICIES = ["pause", "scale_to_zero", "delete", "none"]


@pytest.fixture
def slow(emulator: Emulator) -> Emulator:
    """Somebody has just created an endpoint that takes longer to start than any test waits."""
    starting(emulator, initializing_seconds=600)
    return emulator


def done(emulator: Emulator) -> list[str]:
    """What was done to the endpoint after its creation."""
    return calls(emulator)[1:]


def others(why: str, policy: str = "delete") -> dict[str, str]:
    """The other policies, set to something that would be seen."""
    return {name: policy for name in ("on_kill", "on_timeout", "on_failure") if name != why}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
def test_on_timeout(slow: Emulator, mode: str, policy: str) -> None:
    """At the deadline the endpoint is what `on_timeout` says, in every mode, and no other policy counts."""
    with pytest.raises(AirflowSensorTimeout):
        watch(mode, timeout=0.3, on_timeout=policy, **others("on_timeout"))
    assert DONE.get(policy, []) == done(slow)


@pytest.mark.parametrize("mode", MODES)
def test_on_failure(emulator: Emulator, mode: str) -> None:
    """An endpoint that failed is what `on_failure` says, after its log was read for the error."""
    starting(emulator, fail="no memory", logs=("the last line",))
    with pytest.raises(AirflowFailException, match="the last line"):
        watch(mode, on_failure="delete", **others("on_failure", "pause"))
    assert done(emulator) == ["DELETE /demo"]


@pytest.mark.parametrize("mode", MODES)
def test_a_skip_is_a_bad_end_too(slow: Emulator, mode: str) -> None:
    """`soft_fail` changes the end of the task, not what happens to the endpoint."""
    with pytest.raises(AirflowSkipException):
        watch(mode, timeout=0.3, soft_fail=True, on_timeout="pause")
    assert done(slow) == ["POST /demo/pause"]


@pytest.mark.parametrize("mode", MODES)
def test_a_good_end_touches_nothing(emulator: Emulator, mode: str) -> None:
    """The policies are for bad ends only."""
    starting(emulator)
    watch(mode, on_timeout="delete", on_failure="delete", on_kill="delete")
    assert done(emulator) == []


@pytest.mark.parametrize(("max_tries", "released"), [(0, ["POST /demo/pause"]), (1, [])])
def test_an_error_that_a_retry_follows_leaves_the_endpoint(
    slow: Emulator, monkeypatch: pytest.MonkeyPatch, max_tries: int, released: list[str]
) -> None:
    """The retry waits for the endpoint as it is; a paused one would be its end."""

    def broken(_: Any) -> None:
        raise WaitBrokenError("a bad moment")

    context = new_context()
    context["ti"].try_number, context["ti"].max_tries = 1, max_tries
    made = sensor("deferred", on_failure="pause")
    monkeypatch.setattr(made, "_finish", broken)
    with pytest.raises(WaitBrokenError, match="a bad moment"):
        made.execute_complete(context, {"status": "ready"})
    assert released == done(slow)


class Interrupted(InferenceEndpointSensor):
    """Killed in the middle of its first look."""

    def _wait_spec(self, started: float) -> Any:
        self.on_kill()
        return super()._wait_spec(started)


@pytest.mark.parametrize("how", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}])
@pytest.mark.parametrize("policy", POLICIES)
def test_on_kill_on_a_worker(slow: Emulator, how: dict[str, Any], policy: str) -> None:
    """On SIGTERM `on_kill` is applied once, and the task neither waits again nor succeeds nor is skipped."""
    made = Interrupted(
        task_id="wait",
        endpoint="demo",
        poke_interval=0.05,
        timeout=HANG,
        soft_fail=True,
        on_kill=policy,  # type: ignore[arg-type]
        **{"deferrable": False, **how},
        **others("on_kill"),  # type: ignore[arg-type]
    )
    with pytest.raises(TaskKilledError, match="was killed"):
        run(made)
    assert DONE.get(policy, []) == done(slow)


@pytest.mark.parametrize("policy", POLICIES)
def test_marked_before_it_has_deferred(slow: Emulator, policy: str) -> None:
    """The process would hear of it too late: Airflow refuses the deferral, and no trigger comes to be."""
    states = {"run-1": {"task": "failed"}}
    with pytest.raises(TaskDeferred if policy == "none" else TaskKilledError):
        run(sensor("deferred", on_kill=policy, **others("on_kill")), context_of_a_task_in(states))
    assert DONE.get(policy, []) == done(slow)


@pytest.mark.parametrize(("error", "policy"), [("Trigger timeout", "on_timeout"), ("Trigger failure", "on_failure")])
def test_a_deferral_that_airflow_ends(slow: Emulator, error: str, policy: str) -> None:
    """Airflow calls no method of the task then but the one that is ours."""
    made = sensor("deferred", **{policy: "pause"}, **others(policy))
    context = new_context()
    leave_claim(context["ti"], "attempt-1")
    with pytest.raises(Exception, match=error):
        made.resume_execution("__fail__", {"error": error}, context)
    assert done(slow) == ["POST /demo/pause"]
    assert not has_left_claim(context["ti"])


def test_an_event_that_ends_badly_releases_once(slow: Emulator) -> None:
    """If Airflow resumes the task in order, `resume_execution` adds nothing."""
    event = {"status": "timeout", "name": "demo", "reason": "late"}
    made = sensor("deferred", on_timeout="pause", on_failure="delete")
    with pytest.raises(AirflowSensorTimeout, match="late"):
        made.resume_execution("execute_complete", {"event": event}, new_context())
    assert done(slow) == ["POST /demo/pause"]


def test_what_the_trigger_is_given(slow: Emulator) -> None:
    """The trigger acts on a kill only where the sensor does, and knows the attempt that it waits for."""
    context = new_context()
    context["ti"].id = "attempt-1"
    with pytest.raises(TaskDeferred) as caught:
        run(sensor("deferred", on_kill="scale_to_zero"), context)
    assert (
        caught.value.trigger.serialize()[1].items()
        >= {
            "release_on_kill": "scale_to_zero",
            "claim": "attempt-1",
        }.items()
    )
    assert context["ti"].xcoms[CLAIM_KEY] == "attempt-1"

    context = new_context()
    context["ti"].id = "attempt-2"
    with pytest.raises(TaskDeferred) as caught:
        run(sensor("deferred"), context)
    assert {"release_on_kill", "claim"}.isdisjoint(caught.value.trigger.serialize()[1])
    assert CLAIM_KEY not in context["ti"].xcoms


def test_a_reschedule_is_no_end(slow: Emulator) -> None:
    """Between two looks nothing is released."""
    with pytest.raises(AirflowRescheduleException):
        run(sensor("reschedule", on_failure="delete", on_timeout="delete", on_kill="delete"))
    assert done(slow) == []


@pytest.mark.parametrize("why", ["on_kill", "on_timeout", "on_failure"])
def test_an_unknown_policy_is_refused_when_the_dag_is_read(why: str) -> None:
    """A misspelt policy fails early, and not at the moment when the policy is needed."""
    with pytest.raises(ValueError, match=f"{why}='stop' is not valid. Use one of pause"):
        sensor("deferred", **{why: "stop"})


def test_begun_in_the_triggerer(emulator: Emulator) -> None:
    """`start_from_trigger`: the DAG configures the trigger, because no attempt exists yet."""
    kwargs = InferenceEndpointSensor(
        task_id="wait", endpoint="demo", start_from_trigger=True, on_kill="pause", on_timeout="delete"
    ).start_trigger_args
    assert kwargs is not None
    assert kwargs.trigger_kwargs is not None
    assert kwargs.trigger_kwargs["release_on_kill"] == "pause"
    assert "claim" not in kwargs.trigger_kwargs


def test_others_may_wait_for_it_too(emulator: Emulator) -> None:
    """By default a sensor stops nothing, whatever its end."""
    starting(emulator, initializing_seconds=600)
    with pytest.raises(AirflowSensorTimeout):
        watch("deferred", timeout=0.3)
    run(create(wait_for_completion=False, **FAST))
    assert done(emulator) == []
