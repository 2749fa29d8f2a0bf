"""What becomes of an endpoint that a task started and that did not get ready: exactly the right call, or none."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_hf_endpoints._airflow import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointTimeoutError,
    QuotaExceededError,
)
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.ownership import has_left_claim
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators_play import (
    FAST,
    HANG,
    calls,
    complete,
    context_of_a_task_in,
    create,
    deferred,
    event_of,
    new_context,
    overdue,
    run,
    state,
)
from tests.contract.signals_play import timeout_while_waiting

RELEASED = {"pause": ["POST /demo/pause"], "scale_to_zero": ["POST /demo/scale-to-zero"], "none": []}


@pytest.fixture
def slow(emulator: Emulator) -> Emulator:
    """An endpoint named demo takes longer to start than any test waits."""
    emulator.behave("demo", initializing_seconds=600)
    return emulator


def resume(**changes: Any) -> ResumeInferenceEndpointOperator:
    return ResumeInferenceEndpointOperator(**{"task_id": "resume", "endpoint": "demo", **FAST, **changes})


@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete", "none"])
def test_on_timeout(slow: Emulator, policy: str) -> None:
    """A create that is not ready in time does what `on_timeout` says, once, and raises the timeout."""
    with pytest.raises(InferenceEndpointTimeoutError, match="Not running after"):
        run(create(timeout=0.2, on_timeout=policy, on_failure="none", on_kill="none"))
    assert ["POST ", *RELEASED.get(policy, ["DELETE /demo"])] == calls(slow)


def test_what_can_not_be_scaled_to_zero_is_paused(slow: Emulator) -> None:
    """The service refuses without a scale_to_zero_timeout; the endpoint must stop billing all the same."""
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(min_replica=1, timeout=0.2, on_timeout="scale_to_zero"))
    assert calls(slow) == ["POST ", "POST /demo/scale-to-zero", "POST /demo/pause"]
    assert "paused" == state(slow)


@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete", "none"])
def test_on_failure(emulator: Emulator, policy: str) -> None:
    """A start that fails does what `on_failure` says, once, after the log was read."""
    emulator.behave("demo", fail="no memory", logs=("the last line",))
    with pytest.raises(EndpointFailedError, match="the last line"):
        run(create(on_failure=policy, on_timeout="none", on_kill="none"))
    assert ["POST ", *RELEASED.get(policy, ["DELETE /demo"])] == calls(emulator)


def test_an_unknown_policy_is_refused_when_the_dag_is_read() -> None:
    """A misspelt policy fails early, and not at the moment when the policy is needed."""
    with pytest.raises(ValueError, match=r"on_kill='stop' is not valid\. Use one of pause"):
        create(on_kill="stop")


@pytest.mark.parametrize("bad", [{"timeout": 0}, {"timeout": -1}, {"poll_interval": 0}])
def test_a_bad_limit_is_refused_when_the_dag_is_read(bad: dict[str, Any]) -> None:
    """Not when the endpoint has been created and bills."""
    with pytest.raises(ValueError, match="positive"):
        create(**bad)


def killed(operator: Any, emulator: Emulator, context: Any = None) -> BaseException:
    """Execute, with a SIGTERM in the middle of the wait, as Airflow's task runner handles it."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    main = threading.main_thread().ident
    assert main is not None

    def kill() -> None:
        seen.wait(HANG)
        signal.pthread_kill(main, signal.SIGTERM)

    seen = threading.Event()
    killer = threading.Thread(target=kill)
    try:
        killer.start()
        check, looks = operator._check_on, 0

        def check_on() -> None:
            nonlocal looks
            looks += 1
            if looks > 1:  # the first may come before the request that starts the endpoint
                seen.set()
            check()

        operator._check_on = check_on
        with pytest.raises(TaskKilledError, match="was killed") as caught:
            run(operator, context)
    finally:
        seen.set()
        killer.join()
        signal.signal(signal.SIGTERM, before)
    return caught.value


@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete", "none"])
def test_on_kill(slow: Emulator, policy: str) -> None:
    """SIGTERM in the wait does what `on_kill` says, once, and the task does not report success; nor another policy."""
    killed(create(on_kill=policy, on_failure="delete", on_timeout="delete"), slow)
    assert ["POST ", *RELEASED.get(policy, ["DELETE /demo"])] == calls(slow)


def test_on_kill_before_the_create_is_answered(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while the create is under way is made good as soon as it is known that the endpoint is there."""
    operator = create(wait_for_completion=False)
    original = EndpointsClient.create

    def interrupted(*arguments: Any, **options: Any) -> Any:
        operator.on_kill()
        return original(*arguments, **options)

    monkeypatch.setattr(EndpointsClient, "create", interrupted)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


def test_on_kill_before_the_create_is_sent(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is killed while it still looks around starts nothing any more."""
    operator = create()
    original = EndpointsClient.list_inference_endpoints_hardware

    def interrupted(*arguments: Any, **options: Any) -> Any:
        operator.on_kill()
        return original(*arguments, **options)

    monkeypatch.setattr(EndpointsClient, "list_inference_endpoints_hardware", interrupted)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert calls(emulator) == []


def test_on_kill_at_the_deferral(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes after the last look at it: the wait is not handed over for an endpoint that is paused now."""
    operator = create(deferrable=True)
    original = operator.defer

    def interrupted(**options: Any) -> Any:
        operator.on_kill()
        return original(**options)

    monkeypatch.setattr(operator, "defer", interrupted)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert calls(slow) == ["POST ", "POST /demo/pause"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_killed_task_does_not_defer_or_succeed(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    """After the signal Airflow lets `execute` continue; it must not hand the wait to a triggerer."""
    operator = create(deferrable=deferrable)
    original = operator._arrive

    def interrupted(*arguments: Any, **options: Any) -> Any:
        operator.on_kill()
        return original(*arguments, **options)

    monkeypatch.setattr(operator, "_arrive", interrupted)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"run-1": {"task": "failed"}}, ["POST ", "POST /demo/pause"]),
        ({}, ["POST ", "POST /demo/pause"]),  # the run was deleted
        ({"run-1": {"task": "running"}}, ["POST "]),
        ({"run-1": {"task": "restarting"}}, ["POST "]),  # cleared: the next attempt takes the endpoint up
        ({"run-1": {"task": "success"}}, ["POST "]),  # the DAG goes on with the endpoint
        (None, ["POST "]),  # Airflow does not say: most probably the wait is still wanted
    ],
)
def test_marked_while_it_still_runs(slow: Emulator, states: dict[str, Any] | None, expected: list[str]) -> None:
    """Airflow silently refuses the deferral of a task that was marked: its state is read before."""
    with pytest.raises(TaskDeferred if expected == ["POST "] else TaskKilledError):
        run(create(deferrable=True), context_of_a_task_in(states))
    assert expected == calls(slow)


def test_on_kill_looks_no_connection_up(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a signal handler the lookup could wait for a lock that the interrupted code holds."""
    operator = create()
    original = operator.on_kill

    def handler() -> None:
        monkeypatch.setattr(InferenceEndpointsHook, "get_connection", None)
        original()

    monkeypatch.setattr(operator, "on_kill", handler)
    killed(operator, slow)
    assert calls(slow) == ["POST ", "POST /demo/pause"]


def test_a_release_that_fails_is_tried_again_and_said(slow: Emulator) -> None:
    """The handler's try has met an outage; the end of `execute` tries again."""
    operator = create(timeout=HANG)
    slow.add_fault("/pause$", method="POST", status=403, count=1)
    killed(operator, slow)
    assert calls(slow) == ["POST ", "POST /demo/pause", "POST /demo/pause"]
    assert state(slow) == "paused"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug"), AirflowFailException("no")])
def test_an_unforeseen_error_releases_too(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the error was: what the task started is stopped, and the task raises this error."""
    operator = create()

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(operator, "_arrive", broken)
    with pytest.raises(type(error)) as caught:
        run(operator)
    assert error is caught.value
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


def test_a_reused_endpoint_is_left_alone(emulator: Emulator) -> None:
    """An endpoint that ran when the task came is somebody's: no failure, timeout or kill of this task stops it."""
    run(create())
    emulator.add_fault("/endpoints/", status=503)  # the model stops answering
    before = len(calls(emulator))
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(timeout=0.2))
    killed(create(), emulator)
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.2))
    assert calls(emulator)[before:] == ["POST /demo/resume"]
    assert state(emulator) == "running"


def test_a_resumed_endpoint_is_released(emulator: Emulator) -> None:
    """An endpoint that this task resumed goes back to where it was, for Create and Resume alike."""
    run(create())
    emulator.behave("demo", initializing_seconds=600)
    for operator in (create(timeout=0.2), resume(timeout=0.2)):
        run(PauseInferenceEndpointOperator(task_id="x", endpoint="demo"))
        before = len(calls(emulator))
        with pytest.raises(InferenceEndpointTimeoutError):
            run(operator)
        assert calls(emulator)[before:] == ["POST /demo/resume", "POST /demo/pause"]


@pytest.mark.parametrize("kind", ["create", "resume"])
def test_a_resume_that_is_refused_makes_nothing_ours(emulator: Emulator, kind: str) -> None:
    """Where the service refuses the resume, the paused endpoint is not this task's to delete."""
    run(create())
    run(PauseInferenceEndpointOperator(task_id="x", endpoint="demo"))
    emulator.set_quota("intel-icl", 0)
    before = len(calls(emulator))
    with pytest.raises(QuotaExceededError):
        run((create if kind == "create" else resume)(on_failure="delete"))
    assert calls(emulator)[before:] == ["POST /demo/resume"]
    assert state(emulator) == "paused"


def test_somebody_elses_endpoint_is_left_alone(emulator: Emulator) -> None:
    """A create that the service refuses because the name is taken, or the quota used up, releases nothing."""
    emulator.set_quota("intel-icl", 0)
    with pytest.raises(QuotaExceededError):
        run(create(preflight=False, on_failure="delete"))
    assert calls(emulator) == ["POST "]


@pytest.mark.parametrize("policy", ["pause", "delete"])
def test_the_release_survives_a_deferral(slow: Emulator, policy: str) -> None:
    """Another process completes the task: it knows from the deferral that the endpoint is this task's."""
    deferral = deferred(create(deferrable=True, timeout=HANG, on_timeout=policy))
    kwargs = json.loads(json.dumps(deferral.kwargs))
    event = event_of(overdue(deferral.trigger))
    assert event["status"] == "timeout"
    other = create(deferrable=True, timeout=HANG, on_timeout=policy)
    with pytest.raises(InferenceEndpointTimeoutError):
        getattr(other, deferral.method_name)(new_context(), event, **kwargs)
    assert ["POST ", *RELEASED.get(policy, ["DELETE /demo"])] == calls(slow)


def test_a_deferral_of_a_reused_endpoint_releases_nothing(emulator: Emulator) -> None:
    """The other way round: an endpoint that was running keeps running if the deferred wait fails."""
    run(create())
    emulator.add_fault("/endpoints/", status=503)
    deferral = deferred(create(deferrable=True, timeout=HANG))
    assert deferral.kwargs == {"namespace": "acme"}
    with pytest.raises(InferenceEndpointTimeoutError):
        complete(create(deferrable=True), deferral, event_of(overdue(deferral.trigger)))
    assert calls(emulator) == ["POST "]


@pytest.mark.parametrize(
    ("error", "raised", "policies"),
    [
        ("Trigger failure", TaskDeferralError, {"on_failure": "delete"}),
        ("Trigger timeout", TaskDeferralTimeout, {"on_timeout": "delete"}),
    ],
)
def test_a_deferral_that_airflow_ends_releases(
    slow: Emulator, error: str, raised: type[Exception], policies: dict[str, str]
) -> None:
    """A trigger that broke, or that Airflow timed out, brings no event and no kwargs: released still."""
    context = new_context()
    deferred(create(deferrable=True), context)
    with pytest.raises(raised):
        create(deferrable=True, **policies).resume_execution("__fail__", {"error": error}, context)
    assert calls(slow) == ["POST ", "DELETE /demo"]
    assert not has_left_claim(context["ti"])  # the trigger, where Airflow takes it away late, does it no second time


@pytest.mark.parametrize("error", ["Trigger failure", "Trigger timeout"])
def test_a_deferral_that_airflow_ends_leaves_a_reused_endpoint(emulator: Emulator, error: str) -> None:
    """The same for an endpoint that ran already: nothing is done to it."""
    run(create())
    emulator.add_fault("/endpoints/", status=503)
    context = new_context()
    deferred(create(deferrable=True), context)
    with pytest.raises((TaskDeferralError, TaskDeferralTimeout)):
        create(deferrable=True).resume_execution("__fail__", {"error": error}, context)
    assert calls(emulator) == ["POST "]


def test_a_lost_connection_does_not_hide_the_error(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the connection is gone, the log says this, and the task fails with the original reason."""
    operator = create(deferrable=True)
    deferral = deferred(operator)
    monkeypatch.delenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT")
    monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
    event = {"status": "timeout", "name": "demo", "reason": "late"}
    with pytest.raises(InferenceEndpointTimeoutError, match="late"):
        complete(create(deferrable=True), deferral, event)


class _NoXCom:
    """A backend of XCom that is down."""

    def xcom_push(self, key: str, value: Any) -> None:
        raise OSError(f"no room for {key} of {value}")


def _without_xcom() -> Any:
    context = new_context()
    context["ti"].xcom_push = _NoXCom().xcom_push
    return context


@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete", "none"])
@pytest.mark.parametrize("kind", ["create", "resume", "sensor"])
def test_an_execution_timeout_on_a_worker(slow: Emulator, kind: str, policy: str) -> None:
    """`on_timeout` is done, as after a deferral, and not given up soon; Airflow's `on_kill` adds nothing."""
    if kind != "create":
        run(create(wait_for_completion=False))
    if kind == "resume":
        run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    before = calls(slow)
    policies = {"on_timeout": policy, "on_failure": "none", "on_kill": "delete" if policy == "none" else "none"}
    common: dict[str, Any] = {"deferrable": False, **policies}
    kinds: dict[str, Any] = {
        "create": lambda: create(**common),
        "resume": lambda: resume(**common),
        "sensor": lambda: InferenceEndpointSensor(task_id="wait", endpoint="demo", poke_interval=0.05, **common),
    }
    operator = kinds[kind]()
    slow.add_fault("/(pause|scale-to-zero)$", method="POST", status=503, count=3)
    with pytest.raises(AirflowTaskTimeout), timeout_while_waiting(slow):
        run(operator)
    operator.on_kill()
    sent = [each for each in calls(slow)[len(before) :] if each not in ("POST ", "POST /demo/resume")]
    assert set(RELEASED.get(policy, ["DELETE /demo"])) == set(sent)
    if policy == "pause":
        assert "paused" == state(slow)


def test_a_kill_after_a_deferral_looks_no_connection_up(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in `execute_complete` finds what a release needs prepared, as in `execute`."""
    operator = create(deferrable=True, on_kill="pause")
    context = new_context()
    deferral = deferred(operator, context)
    look_up = operator._conclude

    def killed(event: Any) -> Any:
        monkeypatch.delenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT")
        operator.on_kill()
        return look_up(event)

    monkeypatch.setattr(operator, "_conclude", killed)
    with pytest.raises(TaskKilledError):
        complete(operator, deferral, {"status": "ready", "name": "demo", "endpoint": None}, context)
    assert calls(slow) == ["POST ", "POST /demo/pause"]


def test_a_claim_that_can_not_be_left_releases(slow: Emulator) -> None:
    """In this case no trigger exists, and no other process would know that the endpoint was started."""
    with pytest.raises(OSError, match="no room"):
        run(create(deferrable=True), _without_xcom())
    assert calls(slow) == ["POST ", "POST /demo/pause"]


def test_a_link_that_can_not_be_stored_stops_no_release(emulator: Emulator) -> None:
    """Nor a start: what people only look at comes after what costs money, and fails nothing."""
    assert "running" == run(create(), _without_xcom())["state"]
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
    assert "paused" == run(pause, _without_xcom())["state"]


def test_an_asset_event_that_can_not_be_made_releases_nothing(emulator: Emulator) -> None:
    """What has arrived stays, whatever Airflow's events raise."""
    broken: Any = {**new_context(), "outlet_events": object()}
    assert "running" == run(create(), broken)["state"]
    assert calls(emulator) == ["POST "]
