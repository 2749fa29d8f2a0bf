"""Update, Pause, Resume, ScaleToZero and Delete against the emulator: idempotent, patient, and clear when they fail."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError, InferenceEndpointTimeoutError
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    FromVariable,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from tests.contract.operators_play import FAST, TOKEN, calls, create, received, run, run_deferred, state

RELEASING = [
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    DeleteInferenceEndpointOperator,
]


@pytest.fixture
def demo(emulator: Emulator) -> Emulator:
    """An endpoint named demo runs."""
    run(create())
    return emulator


def op(kind: type[Any], **changes: Any) -> Any:
    return kind(**{"task_id": "task", "endpoint": "demo", **FAST, **changes})


def gone(emulator: Emulator) -> bool:
    try:
        emulator.endpoint("demo")
    except KeyError:
        return True
    return False


@pytest.mark.parametrize("start", ["running", "paused", "scaledToZero", "pending", "failed"])
def test_pause_from_any_state(emulator: Emulator, start: str) -> None:
    """Whatever the endpoint did: it is paused afterwards, and the result has this state."""
    begin(emulator, start)
    assert run(op(PauseInferenceEndpointOperator))["state"] == "paused"
    assert run(op(PauseInferenceEndpointOperator))["state"] == "paused"
    assert state(emulator) == "paused"


def begin(emulator: Emulator, wanted: str) -> None:
    """An endpoint in a state."""
    match wanted:
        case "pending":
            emulator.behave("demo", pending_seconds=600)
            run(create(wait_for_completion=False))
        case "failed":
            emulator.behave("demo", fail="no", fail_starts=1)
            with pytest.raises(EndpointFailedError):
                run(create(on_failure="none"))
        case "updateFailed":
            run(create())
            emulator.behave("demo", fail_update="bad image")
            with pytest.raises(EndpointFailedError):
                run(op(UpdateInferenceEndpointOperator, revision="x"))
        case _:
            run(create())
    match wanted:
        case "paused":
            run(op(PauseInferenceEndpointOperator))
        case "scaledToZero":
            run(op(ScaleToZeroInferenceEndpointOperator))
    assert wanted == state(emulator)


@pytest.mark.parametrize(("start", "end"), [("running", "scaledToZero"), ("scaledToZero", "scaledToZero")])
def test_scale_to_zero(emulator: Emulator, start: str, end: str) -> None:
    """Once or twice, the endpoint is at zero; the second time nothing is asked for."""
    begin(emulator, start)
    before = len(calls(emulator))
    assert end == run(op(ScaleToZeroInferenceEndpointOperator))["state"]
    assert ([] if start == end else ["POST /demo/scale-to-zero"]) == calls(emulator)[before:]


def test_scale_to_zero_leaves_a_paused_endpoint(emulator: Emulator) -> None:
    """Paused bills nothing either, and a teardown must not fail over it."""
    begin(emulator, "paused")
    assert run(op(ScaleToZeroInferenceEndpointOperator))["state"] == "paused"


def test_scale_to_zero_without_a_timeout_is_told_what_to_do(emulator: Emulator) -> None:
    """The service's refusal comes with what would help, and no retry."""
    run(create(min_replica=1))
    with pytest.raises(AirflowFailException, match=r"cannot be scaled to zero.*or pause it"):
        run(op(ScaleToZeroInferenceEndpointOperator))


@pytest.mark.parametrize("start", ["running", "paused", "failed", "scaledToZero", "pending"])
def test_delete_waits_until_it_is_gone(emulator: Emulator, start: str) -> None:
    """The service answers 200 for a moment after a DELETE: the task ends when it says 404."""
    begin(emulator, start)
    emulator.behave("demo", deleting_seconds=0.4)
    assert run(op(DeleteInferenceEndpointOperator)) is None
    assert gone(emulator)
    assert received(emulator)[-1] == "GET /v2/endpoint/acme/demo"
    assert emulator.requests[-1].status == 404


def test_delete_deferred(demo: Emulator) -> None:
    """The same wait in the triggerer."""
    demo.behave("demo", deleting_seconds=0.4)
    assert run_deferred(op(DeleteInferenceEndpointOperator, deferrable=True)) is None
    assert gone(demo)


def test_delete_that_never_ends_is_a_timeout(demo: Emulator) -> None:
    """An endpoint that stays there is not called deleted."""
    demo.behave("demo", deleting_seconds=600)
    with pytest.raises(InferenceEndpointTimeoutError, match="still exists"):
        run(op(DeleteInferenceEndpointOperator, timeout=0.3))


def test_delete_does_not_wait_when_told_so(demo: Emulator) -> None:
    """`wait_for_completion=False` ends with the service's answer."""
    demo.behave("demo", deleting_seconds=600)
    assert run(op(DeleteInferenceEndpointOperator, wait_for_completion=False)) is None


def test_delete_can_be_repeated(demo: Emulator) -> None:
    """Gone is what was wanted: the default is success."""
    run(op(DeleteInferenceEndpointOperator))
    assert run(op(DeleteInferenceEndpointOperator)) is None


@pytest.mark.parametrize("kind", RELEASING)
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_missing_endpoint(emulator: Emulator, kind: type[Any], deferrable: bool) -> None:
    """Success or error by choice; by default only Delete takes it for success."""
    assert run(op(kind, missing_ok=True, deferrable=deferrable)) is None
    with pytest.raises(AirflowFailException, match="No endpoint 'demo' in namespace 'acme'"):
        run(op(kind, missing_ok=False, deferrable=deferrable))
    if kind is DeleteInferenceEndpointOperator:
        assert run(op(kind)) is None
    else:
        with pytest.raises(AirflowFailException):
            run(op(kind))


@pytest.mark.parametrize("kind", [*RELEASING, ResumeInferenceEndpointOperator, UpdateInferenceEndpointOperator])
def test_a_bad_name_is_refused_before_any_request(emulator: Emulator, kind: type[Any]) -> None:
    """For an unrendered or misspelt name no request is sent."""
    with pytest.raises(AirflowFailException, match="lower-case"):
        run(op(kind, endpoint="{{ not rendered }}"))
    assert received(emulator) == []


@pytest.mark.parametrize("kind", RELEASING)
def test_releasing_is_tried_more_often(kind: type[Any]) -> None:
    """A pause that fails costs money: 5 retries unless the task or the DAG says otherwise."""
    assert (5, timedelta(seconds=30)) == (op(kind).retries, op(kind).retry_delay)
    assert op(kind, retries=1).retries == 1
    assert op(kind, default_args={"retries": 2}).retries == 2
    with DAG("d", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(minutes=1)}):
        inherited = op(kind)
    assert (3, timedelta(minutes=1)) == (inherited.retries, inherited.retry_delay)


@pytest.mark.parametrize("kind", RELEASING)
def test_releasing_is_fit_to_be_a_teardown(kind: type[Any]) -> None:
    """`as_teardown` takes them, with the create as their setup."""
    with DAG("d", schedule=None):
        setup = create()
        teardown = op(kind).as_teardown(setups=setup)
        setup >> teardown
    assert teardown.is_teardown
    assert setup.is_setup


def test_pause_rides_out_an_outage(demo: Emulator) -> None:
    """Pausing twice does no harm, so a 503 is tried again at once, before the task's retries."""
    demo.add_fault("/pause$", method="POST", status=503, count=1)
    assert run(op(PauseInferenceEndpointOperator))["state"] == "paused"


@pytest.mark.parametrize("start", ["running", "paused", "failed", "scaledToZero"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_resume(emulator: Emulator, start: str, deferrable: bool) -> None:
    """From any of these states the endpoint answers in the end; a running endpoint is not an error."""
    begin(emulator, start)
    operator = op(ResumeInferenceEndpointOperator, deferrable=deferrable)
    result = run_deferred(operator) if deferrable else run(operator)
    assert result["state"] == "running"


def test_resume_of_a_missing_endpoint(emulator: Emulator) -> None:
    """There is nothing to wait for, and no retry."""
    with pytest.raises(AirflowFailException, match="No endpoint 'demo' in namespace 'acme'"):
        run(op(ResumeInferenceEndpointOperator))


def test_resume_sees_over_a_service_that_still_says_paused(emulator: Emulator) -> None:
    """For a moment after a resume, reads may show the old state: the wait does not take it for the end."""
    begin(emulator, "paused")
    old = emulator.endpoint("demo")
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=200, body=old, skip=1, count=2)
    assert run(op(ResumeInferenceEndpointOperator))["state"] == "running"


@pytest.mark.parametrize("deferrable", [False, True])
def test_update(demo: Emulator, deferrable: bool) -> None:
    """Only what is given changes, and the endpoint answers afterwards."""
    operator = op(UpdateInferenceEndpointOperator, max_replica=3, deferrable=deferrable)
    before = demo.endpoint("demo")
    result = run_deferred(operator) if deferrable else run(operator)
    assert result["state"] == "running"
    after = demo.endpoint("demo")
    assert after["compute"]["scaling"]["maxReplica"] == 3
    assert before["model"] == after["model"]
    assert before["compute"]["instanceSize"] == after["compute"]["instanceSize"]


def test_update_takes_changes_as_one_argument_too(demo: Emulator) -> None:
    """`changes` is what mapping and templates use; single arguments are added to it."""
    run(op(UpdateInferenceEndpointOperator, changes={"max_replica": 2, "tags": ["a"]}, scale_to_zero_timeout=30))
    after = demo.endpoint("demo")
    assert (after["compute"]["scaling"]["maxReplica"], after["compute"]["scaling"]["scaleToZeroTimeout"]) == (2, 30)
    assert after["tags"] == ["a"]


def test_update_refuses_a_change_given_twice() -> None:
    """Which one was meant can't be known."""
    with pytest.raises(ValueError, match="max_replica: given both as an argument and in `changes`"):
        op(UpdateInferenceEndpointOperator, changes={"max_replica": 2}, max_replica=3)


def test_update_with_secrets_shows_none(demo: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are looked up when the task runs; they are in no template field and in no error."""
    monkeypatch.setenv("AIRFLOW_VAR_KEY", "very-secret-value")
    demo.behave("demo", fail_update="bad key very-secret-value")
    operator = op(UpdateInferenceEndpointOperator, secrets={"KEY": FromVariable("key")})
    with pytest.raises(EndpointFailedError, match=r"bad key \*\*\*") as caught:
        run(operator)
    shown = repr(operator) + json.dumps([getattr(operator, field) for field in operator.template_fields])
    assert "very-secret-value" not in shown + str(caught.value)
    assert {"KEY"} == set(demo.endpoint("demo")["model"]["secrets"])


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("start", ["paused", "scaledToZero"])
def test_update_of_a_stopped_endpoint_does_not_start_it(emulator: Emulator, start: str, deferrable: bool) -> None:
    """The change shows when it starts again. It passes through `updating` and comes back to where it was; nothing that
    would start it is sent (andimarafioti/s2s-endpoint, March 2026)."""
    begin(emulator, start)
    emulator.behave("demo", updating_seconds=1.0)
    before = len(emulator.requests)
    operator = op(UpdateInferenceEndpointOperator, instance_size="x4", deferrable=deferrable)
    assert start == (run_deferred(operator) if deferrable else run(operator))["state"]
    assert emulator.states("demo")[-2:] == ["updating", start]
    assert {"GET", "PUT"} == {each.method for each in emulator.requests[before:]}
    assert [] == [each.path for each in emulator.requests[before:] if each.path.startswith("/endpoints/")]


def test_an_update_that_gives_a_replica_that_always_runs_starts_what_is_at_zero(emulator: Emulator) -> None:
    """The wait continues until it answers (s2s-endpoint wakes endpoints in this way)."""
    begin(emulator, "scaledToZero")
    assert run(op(UpdateInferenceEndpointOperator, min_replica=1))["state"] == "running"


@pytest.mark.parametrize("start", ["updateFailed", "failed"])
def test_update_mends_what_failed(emulator: Emulator, start: str) -> None:
    """A broken endpoint is updated to something that works, and runs."""
    emulator.set_quirks("failed_takes_updates")
    begin(emulator, start)
    emulator.behave("demo", fail_update=None, fail=None)
    assert run(op(UpdateInferenceEndpointOperator, revision="main"))["state"] == "running"


@pytest.mark.parametrize("deferrable", [False, True])
def test_update_that_fails_tells_why(demo: Emulator, deferrable: bool) -> None:
    """`updateFailed` carries the service's message and the last log lines; the task does not stop the old version."""
    demo.behave("demo", fail_update="image not found", logs=(f"pulling with {TOKEN}",))
    operator = op(UpdateInferenceEndpointOperator, revision="x", deferrable=deferrable)
    with pytest.raises(EndpointFailedError) as caught:
        run_deferred(operator) if deferrable else run(operator)
    for words in ("last update of the endpoint failed", "image not found", "Last", "pulling with ***"):
        assert words in str(caught.value)
    assert state(demo) == "updateFailed"


def test_update_refuses_an_unknown_setting(demo: Emulator) -> None:
    """When the DAG is read; of another task's result, before anything is sent."""
    before = len(calls(demo))
    with pytest.raises(ValueError, match="Unknown argument 'no_such_setting'"):
        op(UpdateInferenceEndpointOperator, changes={"no_such_setting": 1})
    operator = op(UpdateInferenceEndpointOperator, changes={"max_replica": 1})
    operator.changes = {"no_such_setting": 1}
    with pytest.raises(AirflowFailException, match="Unknown argument 'no_such_setting'"):
        run(operator)
    assert before == len(calls(demo))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Nothing to update"),
        ({"scale_to_zero_timeout": "{{ 5 }}"}, "between 15 and 2880"),
        ({"region": "eu-west-1"}, "vendor and region belong together"),
    ],
)
def test_update_refuses_what_makes_no_sense(demo: Emulator, changes: dict[str, Any], words: str) -> None:
    """Before anything is sent, and without retries."""
    before = len(calls(demo))
    operator = op(UpdateInferenceEndpointOperator, **changes)
    operator.render_template_fields({})
    with pytest.raises(AirflowFailException, match=words):
        run(operator)
    assert before == len(calls(demo))
