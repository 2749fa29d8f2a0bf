"""The sensor and its trigger against the emulator: one meaning in every mode, and an end for every wait."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseHook,
    TaskDeferred,
)

from airflow_provider_hf_endpoints._airflow import AirflowRescheduleException
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError
from airflow_provider_hf_endpoints.hooks import endpoints as hooks
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from tests.contract.emulator_play import loaded_once_asked
from tests.contract.operators_play import (
    FAST,
    HANG,
    TOKEN,
    calls,
    complete,
    connect,
    connected,
    create,
    deferred,
    event_of,
    fire,
    moved,
    new_context,
    received,
    run,
    state,
)

MODES = ["poke", "reschedule", "deferred"]


def sensor(mode: str = "poke", **changes: Any) -> InferenceEndpointSensor:
    """A sensor on demo that looks often."""
    how = {"deferrable": True} if mode == "deferred" else {"mode": mode, "deferrable": False}
    return InferenceEndpointSensor(
        **{"task_id": "wait", "endpoint": "demo", "poke_interval": 0.05, "timeout": HANG, **how, **changes}
    )


def watch(mode: str, **changes: Any) -> Any:
    """The result of a sensor: executed again after each reschedule, or carried through a trigger."""
    context = new_context()
    made = sensor(mode, **changes)
    if mode == "deferred":
        try:
            return run(made, context)
        except TaskDeferred as deferral:
            return complete(sensor(mode, **changes), deferral, event_of(deferral.trigger), context)
    started = datetime.now(UTC)
    while True:
        try:
            return run(made, context)
        except AirflowRescheduleException as again:
            context["ti"].first_reschedule = context["ti"].first_reschedule or started
            time.sleep(max(0.0, (again.reschedule_date - datetime.now(UTC)).total_seconds()))
            made = sensor(mode, **changes)  # a new process


def starting(emulator: Emulator, **behaviour: Any) -> None:
    """An endpoint that somebody has just created."""
    emulator.behave("demo", **behaviour)
    run(create(wait_for_completion=False))


@pytest.mark.parametrize("mode", MODES)
def test_waits_until_it_answers(emulator: Emulator, mode: str) -> None:
    """Running is not enough: the health route must say 200 ("Loading model" is a 503 while running)."""
    with loaded_once_asked(emulator, "demo"):
        starting(emulator, initializing_seconds=0.2)
        result = watch(mode)
    assert (result["name"], result["namespace"], result["state"]) == ("demo", "acme", "running")
    assert emulator.requests[-1].status == 200
    assert emulator.requests[-1].path.endswith("/health")
    assert sorted({each.status for each in emulator.requests if each.path.endswith("/health")} - {200}) == [503]


@pytest.mark.parametrize("mode", MODES)
def test_health_can_be_left_out(emulator: Emulator, mode: str) -> None:
    """A container without a health route: running is all there is."""
    starting(emulator, loading_seconds=600)
    assert watch(mode, check_health=False)["state"] == "running"
    assert not [line for line in received(emulator) if "/endpoints/" in line]


@pytest.mark.parametrize("mode", MODES)
def test_a_timeout_means_the_same_everywhere(emulator: Emulator, mode: str) -> None:
    """Wall-clock time since the start of the attempt; the error names the state."""
    starting(emulator, initializing_seconds=600)
    with pytest.raises(AirflowSensorTimeout, match=r"Not running after .* it is initializing"):
        watch(mode, timeout=0.3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unhappy", ["timeout", "failed"])
def test_soft_fail_skips(emulator: Emulator, mode: str, unhappy: str) -> None:
    """`soft_fail` makes both kinds of bad end a skip."""
    starting(emulator, **({"initializing_seconds": 600} if unhappy == "timeout" else {"fail": "no"}))
    with pytest.raises(AirflowSkipException):
        watch(mode, timeout=0.4 if unhappy == "timeout" else HANG, soft_fail=True)


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_start_ends_it_with_the_log(emulator: Emulator, mode: str) -> None:
    """The reason and the last lines of the log; a retry of the sensor alone can't help."""
    starting(emulator, fail="out of memory", logs=("allocating 90 GB",))
    with pytest.raises(AirflowFailException) as caught:
        watch(mode)
    for words in ("failed to start", "out of memory", "allocating 90 GB"):
        assert words in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_a_secret_that_the_container_prints_is_not_quoted(emulator: Emulator, mode: str) -> None:
    """The sensor was given no secrets: the endpoint's names of secrets and variables decide what to hide."""
    emulator.behave("demo", fail="bad API_KEY=plain-secret-1", logs=("API_KEY: 'plain-secret-1'", "HF_HOME=/plain"))
    secrets, env = {"API_KEY": "plain-secret-1"}, {"HF_HOME": "/plain"}
    run(create(wait_for_completion=False, secrets=secrets, env=env))
    with pytest.raises(AirflowFailException) as caught:
        watch(mode)
    for words in ("bad API_KEY=***", "API_KEY: '***'", "HF_HOME=***"):
        assert words in str(caught.value)
    assert "plain" not in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_update_ends_it(emulator: Emulator, mode: str) -> None:
    """The same for `updateFailed`."""
    run(create())
    emulator.behave("demo", fail_update="no such image")
    run(UpdateInferenceEndpointOperator(task_id="u", endpoint="demo", revision="x", wait_for_completion=False, **FAST))
    with pytest.raises(AirflowFailException, match=r"last update of the endpoint failed(.|\n)*no such image"):
        watch(mode)


@pytest.mark.parametrize("mode", MODES)
def test_paused_ends_it(emulator: Emulator, mode: str) -> None:
    """A paused endpoint never wakes by itself: the error names the pause and the operator that resumes."""
    run(create())
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    with pytest.raises(AirflowFailException, match=r"paused and is not being resumed.*ResumeInferenceEndpointOperator"):
        watch(mode)


@pytest.mark.parametrize("mode", MODES)
def test_an_endpoint_that_never_was(emulator: Emulator, mode: str) -> None:
    """A misspelt name ends it at once."""
    with pytest.raises(AirflowFailException, match="No endpoint 'demo' in namespace"):
        watch(mode)


@pytest.mark.parametrize("mode", MODES)
def test_an_endpoint_that_is_deleted_meanwhile(emulator: Emulator, mode: str) -> None:
    """Deleted while it is waited for: the wait ends with that."""
    starting(emulator, initializing_seconds=600)
    seen = len(received(emulator))
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=404, skip=2)
    with pytest.raises(AirflowFailException, match=r"No endpoint 'demo' in namespace|The endpoint does not exist"):
        watch(mode)
    assert len(received(emulator)) > seen + 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429, "retry_after": 0}, {"kind": "drop"}, {"status": 500}, {"kind": "not_json"}],
    ids=lambda fault: str(next(iter(fault.values()))),
)
def test_passing_errors_are_ridden_out(emulator: Emulator, mode: str, fault: dict[str, Any]) -> None:
    """An outage, a rate limit, a lost connection, an answer that is not JSON: the sensor looks again."""
    run(create())
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", count=2, **fault)
    assert watch(mode)["state"] == "running"
    assert [each.fault for each in emulator.requests if each.fault] == [True, True]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("token", "words"), [("hf_Wrong1", "does not accept the token"), ("hf_NoRead1", "inference.endpoints.read")]
)
def test_a_refusal_is_not_ridden_out(monkeypatch: pytest.MonkeyPatch, mode: str, token: str, words: str) -> None:
    """Neither a wrong token nor a missing permission gets better by waiting."""
    with connected(monkeypatch, tokens=(Token("hf_NoRead1", frozenset({"infer"})),)) as emulator:
        starting(emulator, initializing_seconds=600)
        connect(monkeypatch, emulator, token)
        with pytest.raises(AirflowFailException, match=words) as caught:
            watch(mode)
        assert token not in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_is_refused_in_the_middle(emulator: Emulator, mode: str) -> None:
    """The token is revoked during the wait: the wait ends."""
    starting(emulator, initializing_seconds=600)
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=401, skip=2)
    with pytest.raises(AirflowFailException, match="does not accept the token"):
        watch(mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_may_not_call(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The endpoint runs and its health route answers 401 or 403: the error names the missing permission."""
    manager = Token("hf_Manager1", frozenset({"read", "write"}))
    with connected(monkeypatch, tokens=(manager,)) as emulator:
        run(create())
        connect(monkeypatch, emulator, manager.value)
        with pytest.raises(AirflowFailException, match=r"inference\.endpoints\.infer\.write"):
            watch(mode)


@pytest.mark.parametrize("mode", MODES)
def test_scaled_to_zero_is_woken(emulator: Emulator, mode: str) -> None:
    """The default: an authorised request wakes it, and it is waited for."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    assert watch(mode)["state"] == "running"


@pytest.mark.parametrize("mode", MODES)
def test_scaled_to_zero_is_accepted(emulator: Emulator, mode: str) -> None:
    """`accept`: the first request will wake it, so it is ready as it is; nothing wakes it here."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    assert watch(mode, on_scaled_to_zero="accept")["state"] == "scaledToZero"
    assert state(emulator) == "scaledToZero"


@pytest.mark.parametrize("mode", MODES)
def test_scaled_to_zero_is_refused(emulator: Emulator, mode: str) -> None:
    """`fail`: an error, and nothing wakes it."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    with pytest.raises(AirflowFailException, match="on_scaled_to_zero='fail'"):
        watch(mode, on_scaled_to_zero="fail")
    assert state(emulator) == "scaledToZero"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("targets", "there"), [(("paused", "failed"), "paused"), ("scaledToZero", "scaledToZero")])
def test_other_target_states(emulator: Emulator, mode: str, targets: Any, there: str) -> None:
    """Any state can be waited for, one or several."""
    run(create())
    kind = PauseInferenceEndpointOperator if there == "paused" else ScaleToZeroInferenceEndpointOperator
    run(kind(task_id="x", endpoint="demo"))
    assert there == watch(mode, target_states=targets)["state"]


@pytest.mark.parametrize("mode", MODES)
def test_deletion_can_be_waited_for(emulator: Emulator, mode: str) -> None:
    """`deleted` is a separate target; it has no summary."""
    run(create())
    emulator.behave("demo", deleting_seconds=0.3)
    run(DeleteInferenceEndpointOperator(task_id="d", endpoint="demo", wait_for_completion=False))
    assert watch(mode, target_states=["deleted"]) is None


def test_reschedule_gives_the_worker_back(emulator: Emulator) -> None:
    """One look, then a date in the near future; never later than the deadline."""
    starting(emulator, initializing_seconds=600)
    now = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException) as caught:
        run(sensor("reschedule", poke_interval=30, timeout=3600))
    assert timedelta(0) < caught.value.reschedule_date - now < timedelta(seconds=60)
    context = new_context()
    context["ti"].first_reschedule = now - timedelta(seconds=3599)
    with pytest.raises(AirflowRescheduleException) as caught:
        run(sensor("reschedule", poke_interval=30, timeout=3600), context)
    assert caught.value.reschedule_date - now < timedelta(seconds=20)


def test_reschedule_counts_from_the_first_look(emulator: Emulator) -> None:
    """A new process continues with the same deadline."""
    starting(emulator, initializing_seconds=600)
    context = new_context()
    context["ti"].first_reschedule = datetime.now(UTC) - timedelta(seconds=61)
    with pytest.raises(AirflowSensorTimeout, match=r"after 6[12] s"):
        run(sensor("reschedule", timeout=60), context)


def test_a_look_after_the_deadline_still_counts(emulator: Emulator) -> None:
    """The endpoint became ready between two looks: this is not a timeout."""
    run(create())
    context = new_context()
    context["ti"].first_reschedule = datetime.now(UTC) - timedelta(hours=2)
    assert run(sensor("reschedule", timeout=60), context)["state"] == "running"


def test_poke_is_one_look(emulator: Emulator) -> None:
    """Who drives `poke` themselves get true, false, or the error."""
    starting(emulator, initializing_seconds=600)
    assert sensor().poke(new_context()) is False
    emulator.advance(601)
    assert sensor().poke(new_context()) is True
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    with pytest.raises(EndpointFailedError, match="paused"):
        sensor().poke(new_context())


def test_ready_at_once_does_not_defer(emulator: Emulator) -> None:
    """A look before the deferral spares the triggerer."""
    run(create())
    assert run(sensor("deferred"))["state"] == "running"


def test_execution_timeout_bounds_a_deferral(emulator: Emulator) -> None:
    """Airflow ignores `execution_timeout` while a task is deferred: the deadline in the trigger holds it."""
    starting(emulator, initializing_seconds=600)
    before = time.time()
    deferral = deferred(sensor("deferred", timeout=3600, execution_timeout=timedelta(seconds=60)))
    deadline = deferral.trigger.serialize()[1]["deadline"]
    assert before + 60 <= deadline <= time.time() + 60
    assert deferral.timeout is not None
    assert timedelta(seconds=60) < deferral.timeout < timedelta(seconds=600)


def test_a_trigger_made_again_keeps_its_deadline(emulator: Emulator) -> None:
    """The triggerer is restarted after the deadline: the second trigger ends at once, with a timeout."""
    starting(emulator, initializing_seconds=600)
    trigger = InferenceEndpointTrigger(
        endpoint="demo", started=time.time() - 100, deadline=time.time() - 40, poll_interval=600
    )
    looks = len(calls(emulator, "GET"))
    event = event_of(trigger)
    assert event["status"] == "timeout"
    assert "after 100 s" in event["reason"] or "after 101 s" in event["reason"]
    assert looks + 1 == len(calls(emulator, "GET"))


@pytest.mark.parametrize("twice", [False, True])
def test_a_trigger_fires_exactly_once_and_changes_nothing(emulator: Emulator, twice: bool) -> None:
    """It may run in two triggerers at a time; neither creates, resumes or pauses anything."""
    starting(emulator, initializing_seconds=0.3)
    trigger = InferenceEndpointTrigger(endpoint="demo", started=time.time(), poll_interval=0.05)
    before = calls(emulator)

    async def both() -> list[Any]:
        return list(await asyncio.gather(*(fire(moved(trigger)) for _ in range(1 + twice))))

    for events in asyncio.run(both()):
        assert [event["status"] for event in events] == ["ready"]
    assert before == calls(emulator)


def test_a_trigger_knows_that_it_fired(emulator: Emulator) -> None:
    """`_fired` is set before the event is handed out: what Airflow does to the trigger after that is not a kill."""
    run(create())
    trigger = InferenceEndpointTrigger(endpoint="demo", started=time.time())

    async def first() -> bool:
        async for _ in trigger.run():
            return trigger._fired
        return False

    assert not trigger._fired
    assert asyncio.run(first())


def test_a_trigger_leaves_the_event_loop_to_others(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the connection is looked up and the service is slow to answer, other triggers run on."""
    starting(emulator)
    emulator.add_fault("/v2/endpoint/acme", method="GET", delay_seconds=0.2, count=3)
    ticks: list[str] = []
    now = "before"

    async def slow_lookup(conn_id: str, hook: Any = None) -> Any:
        nonlocal now
        now = "lookup"
        while ticks.count("lookup") < 2:  # noqa: ASYNC110 (the ticker is what may be held up)
            await asyncio.sleep(0.005)
        now = "polling"
        return await asyncio.to_thread(BaseHook.get_connection, conn_id)

    async def tick() -> None:
        while True:
            ticks.append(now)
            await asyncio.sleep(0.005)

    async def both() -> list[dict[str, Any]]:
        ticker = asyncio.create_task(tick())
        try:
            return await fire(InferenceEndpointTrigger(endpoint="demo", started=time.time(), poll_interval=0.05))
        finally:
            ticker.cancel()

    monkeypatch.setattr(hooks, "get_async_connection", slow_lookup)
    events = asyncio.run(both())
    assert [event["status"] for event in events] == ["ready"]
    assert ticks.count("polling") >= 5


def test_events_hold_no_secret(emulator: Emulator) -> None:
    """Events are stored and logged: what a container printed is not in them; the worker asks for it."""
    starting(emulator, fail=f"401 for {TOKEN}")
    event = event_of(InferenceEndpointTrigger(endpoint="demo", started=time.time(), poll_interval=0.05))
    assert event["status"] == "failed"
    assert TOKEN not in json.dumps(event)
    assert "401" not in event["reason"]


@pytest.mark.parametrize(
    ("conn_id", "words"),
    [("hf_endpoints_default", "does not accept the token"), ("missing", "connection 'missing' does not exist")],
)
def test_errors_of_the_wait_are_events(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, conn_id: str, words: str
) -> None:
    """A refused token or a missing connection ends the wait with an event: an error would skip the task's clean-up."""
    connect(monkeypatch, emulator, "hf_Wrong1")
    trigger = InferenceEndpointTrigger(endpoint="demo", started=time.time(), hf_endpoints_conn_id=conn_id)
    event = event_of(trigger)
    assert (event["status"], event["retryable"]) == ("error", False)
    assert words in event["reason"]
    assert "hf_Wrong1" not in event["reason"]


def test_an_unforeseen_error_is_an_event_too(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug, or a failure of the triggerer, reaches the task, which may retry."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    trigger = InferenceEndpointTrigger(endpoint="demo", started=time.time(), deadline=time.time() - 1)
    monkeypatch.setattr("airflow_provider_hf_endpoints.endpoints.poller.EndpointPoller.wait", broken)
    (event,) = asyncio.run(fire(trigger))
    assert (event["status"], event["retryable"]) == ("error", True)
    assert "ZeroDivisionError: a bug" in event["reason"]


def test_the_link_is_there_while_it_waits(emulator: Emulator) -> None:
    """The page of the endpoint can be opened from the task before the wait is over."""
    starting(emulator, initializing_seconds=600)
    context = new_context()
    deferred(sensor("deferred"), context)
    assert {"hf_endpoint_link": f"{emulator.url}/acme/endpoints/demo"} == context["ti"].xcoms
