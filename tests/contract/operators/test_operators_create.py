"""Create against the emulator: what it makes, takes, refuses and says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
    NoCapacityError,
    QuotaExceededError,
)
from airflow_provider_hf_endpoints.operators.common import secrets as _secrets
from airflow_provider_hf_endpoints.operators.endpoints import (
    FromConnection,
    FromVariable,
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from tests.contract.operators_play import (
    TOKEN,
    VLLM,
    calls,
    complete,
    connect,
    connected,
    create,
    deferred,
    event_of,
    new_context,
    received,
    run,
    run_deferred,
    state,
)

SECRET = "s3cr3t-value-of-the-user"


def test_creates_waits_and_returns_a_summary(emulator: Emulator) -> None:
    """The result is small enough for XCom, and the endpoint runs when it is there."""
    context = new_context()
    result = run(create(), context)
    assert result == {
        "name": "demo",
        "namespace": "acme",
        "state": "running",
        "url": emulator.endpoint("demo")["status"]["url"],
    }
    assert context["ti"].xcoms == {"hf_endpoint_link": f"{emulator.url}/acme/endpoints/demo"}


def test_sends_defaults_that_do_not_bill_for_ever(emulator: Emulator) -> None:
    """Without a word about scaling, the endpoint goes to zero after 15 idle minutes."""
    run(create())
    scaling = emulator.endpoint("demo")["compute"]["scaling"]
    assert (scaling["minReplica"], scaling["scaleToZeroTimeout"]) == (0, 15)


def test_what_never_scales_down_is_said(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """A kept replica is allowed, and the log says that it bills until somebody stops it; once."""
    run(create(min_replica=1))
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len([line for line in said if "never scales to zero" in line]) == 1
    assert emulator.endpoint("demo")["compute"]["scaling"]["minReplica"] == 1


def test_templated_numbers_come_as_text(emulator: Emulator) -> None:
    """Jinja renders text: "2" is two replicas."""
    run(create(min_replica="1", max_replica="2"))
    scaling = emulator.endpoint("demo")["compute"]["scaling"]
    assert (scaling["minReplica"], scaling["maxReplica"]) == (1, 2)


def test_every_option_reaches_the_service(emulator: Emulator) -> None:
    """An option without a separate parameter is sent like the others."""
    run(create(env={"A": "1"}, tags=["t"], type="protected", revision="main", wait_for_completion=False))
    made = emulator.endpoint("demo")
    assert (
        made["model"]["env"],
        made["tags"],
        made["type"],
        made["model"]["revision"],
    ) == ({"A": "1"}, ["t"], "authenticated", "main")


def test_does_not_wait_when_told_so(emulator: Emulator) -> None:
    """`wait_for_completion=False` returns what the create answered."""
    emulator.behave("demo", pending_seconds=600)
    assert run(create(wait_for_completion=False))["state"] == "pending"


def test_defers_with_names_only(emulator: Emulator) -> None:
    """What Airflow stores of a deferral is JSON, holds no secret, and remembers whose the endpoint is."""
    deferral = deferred(create(deferrable=True, secrets={"KEY": SECRET}))
    stored = json.dumps([deferral.trigger.serialize(), deferral.kwargs])
    assert "demo" in stored
    assert SECRET not in stored
    assert TOKEN not in stored
    assert deferral.kwargs == {"started_here": True, "namespace": "acme"}


def test_deferred_ends_as_on_a_worker(emulator: Emulator) -> None:
    """The wait in the triggerer gives the same result."""
    assert run_deferred(create(deferrable=True))["state"] == "running"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"status": "timeout", "name": "demo", "reason": "late"}, InferenceEndpointTimeoutError),
        ({"status": "failed", "name": "demo", "reason": "gone", "endpoint": None}, EndpointFailedError),
        ({"status": "error", "name": "demo", "reason": "refused", "retryable": False}, AirflowFailException),
        ({"status": "error", "name": "demo", "reason": "outage", "retryable": True}, InferenceEndpointError),
        ({"status": "error", "name": "demo", "reason": "of an older version"}, InferenceEndpointError),
        ({"status": "of a newer version", "name": "demo"}, InferenceEndpointError),
        (None, InferenceEndpointError),
    ],
)
def test_every_unhappy_event_is_an_error_and_releases(emulator: Emulator, event: Any, error: type[Exception]) -> None:
    """Whatever the trigger found, the task fails with its reason, and what the task started is paused."""
    operator = create(deferrable=True)
    deferral = deferred(operator)
    with pytest.raises(error) as caught:
        complete(operator, deferral, event)
    assert (event or {"reason": "no event"}).get("reason", "") in str(caught.value)
    assert state(emulator) == "paused"


def test_a_ready_event_is_the_result(emulator: Emulator) -> None:
    """The endpoint's summary comes out of the event as it is."""
    operator = create(deferrable=True)
    deferral = deferred(operator)
    summary = {"name": "demo", "namespace": "acme", "state": "running", "url": "https://x"}
    assert summary == complete(operator, deferral, {"status": "ready", "name": "demo", "endpoint": summary})
    assert state(emulator) != "paused"


@pytest.mark.parametrize("deferrable", [False, True])
def test_failed_start_tells_the_reason_without_secrets(emulator: Emulator, deferrable: bool) -> None:
    """Message, errorMessage and last log lines are in the error, and what was given as a secret is nowhere in it."""
    emulator.behave(
        "demo", fail=f"exit 1 after reading {SECRET}", logs=("Booting", f"KEY={SECRET}", f"hf token {TOKEN}")
    )
    operator = create(deferrable=deferrable, secrets={"KEY": SECRET})
    with pytest.raises(EndpointFailedError) as caught:
        run_deferred(operator) if deferrable else run(operator)
    text = str(caught.value)
    for words in ("Endpoint failed to start", "exit 1 after reading", "Booting", "KEY=***"):
        assert words in text
    assert SECRET not in text
    assert TOKEN not in text
    assert state(emulator) == "paused"


def test_a_lost_secret_hides_the_log(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the secrets can't be looked up again, the log that may show them is not quoted."""
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", json.dumps({"conn_type": "generic", "password": SECRET}))
    emulator.behave("demo", fail=f"bad {SECRET}", logs=(SECRET,))
    operator = create(deferrable=True, secrets={"KEY": FromConnection("vault")})
    deferral = deferred(operator)
    event = event_of(deferral.trigger)
    monkeypatch.delenv("AIRFLOW_CONN_VAULT")
    with pytest.raises(EndpointFailedError, match="not shown") as caught:
        complete(operator, deferral, event)
    assert SECRET not in str(caught.value)
    assert state(emulator) == "paused"


def test_secrets_are_looked_up_when_the_task_runs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """References to connections and variables are resolved at run time, masked, sent, and shown nowhere."""
    masked: list[str] = []
    monkeypatch.setattr(_secrets, "mask_secret", masked.append)
    operator = create(
        secrets={
            "PLAIN": "plain-value",
            "CONNECTION": FromConnection("vault"),
            "LOGIN": FromConnection("vault", field="login"),
            "EXTRA": FromConnection("vault", field="token"),
            "VARIABLE": FromVariable("key"),
        },
        custom_image={"url": "registry.acme/x"},
        framework="custom",
        container_registry_username="robot",
        container_registry_password=FromVariable("registry"),
    )
    vault = {
        "conn_type": "generic",
        "login": "from-login",
        "password": "from-password",
        "extra": {"token": "from-extra"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", json.dumps(vault))
    monkeypatch.setenv("AIRFLOW_VAR_KEY", "from-variable")
    monkeypatch.setenv("AIRFLOW_VAR_REGISTRY", "from-registry")
    run(operator)
    values = {"plain-value", "from-login", "from-password", "from-extra", "from-variable", "from-registry"}
    assert values <= set(masked)
    assert {"PLAIN", "CONNECTION", "LOGIN", "EXTRA", "VARIABLE"} == set(emulator.endpoint("demo")["model"]["secrets"])
    shown = repr(operator) + repr([getattr(operator, field) for field in operator.template_fields])
    assert not [value for value in values if value in shown]


@pytest.mark.parametrize("secret", ["", None, 5, "{{ var.value.key }}"])
def test_a_secret_that_can_be_none_is_refused_when_the_dag_is_read(secret: Any) -> None:
    """An empty secret, one of another type, and a template, which would reach the container as it is written."""
    with pytest.raises(InvalidArgumentError, match="KEY"):
        create(secrets={"KEY": secret})


@pytest.mark.parametrize("secret", [FromConnection("vault", field="nothing"), FromVariable("empty")])
def test_a_secret_that_is_none_is_refused_before_anything_is_sent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, secret: Any
) -> None:
    """A reference to nothing names its place and creates nothing."""
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", json.dumps({"conn_type": "generic", "password": "x"}))
    monkeypatch.setenv("AIRFLOW_VAR_EMPTY", "")
    with pytest.raises(AirflowFailException, match=r"KEY|vault|empty"):
        run(create(secrets={"KEY": secret}))
    assert received(emulator) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a" * 33}, "at most 32 characters, and this one has 33"),
        ({"name": "Demo"}, "lower-case"),
        ({"name": ""}, "name is '' after rendering"),
        ({"scale_to_zero_timeout": 5}, "between 15 and 2880 minutes"),
        ({"min_replica": 3, "max_replica": 2}, "min_replica=3 is greater than max_replica=2"),
        ({"repository": ""}, "repository"),
    ],
)
def test_bad_arguments_are_refused_before_any_request(emulator: Emulator, changes: dict[str, Any], words: str) -> None:
    """If a rendered value is one that the service would refuse, the task fails at once, without retries."""
    operator = create(**dict.fromkeys(changes, "{{ params.x }}"))
    for name, rendered in changes.items():
        setattr(operator, name, rendered)
    with pytest.raises(AirflowFailException, match=words):
        run(operator)
    assert received(emulator) == []


def test_unknown_hardware_names_the_nearest(emulator: Emulator) -> None:
    """A misspelt instance is refused with choices that exist, and nothing is created."""
    with pytest.raises(AirflowFailException, match=r"intel-icl/x9.*Nearest: aws/us-east-1/intel-icl/x\d \(available"):
        run(create(instance_size="x9"))
    assert calls(emulator) == []


def test_without_preflight_the_service_says_it(emulator: Emulator) -> None:
    """`preflight=False` asks for no hardware list; the service's own refusal is final too."""
    with pytest.raises(AirflowFailException, match=r"does not accept the request: .*intel-icl.*not found"):
        run(create(instance_size="x9", preflight=False))
    assert not [line for line in received(emulator) if "/provider" in line]


def test_a_hardware_list_that_does_not_come_is_no_obstacle(emulator: Emulator) -> None:
    """The check before the create is a service to the user: without an answer the create continues."""
    emulator.add_fault("/v2/provider", status=403)
    assert run(create())["state"] == "running"


def test_no_capacity_is_said_before_the_create(emulator: Emulator) -> None:
    """Unavailable hardware is an error that a retry may mend. The error names available hardware, and nothing is
    created.
    """
    emulator.set_capacity("intel-icl", available=False)
    with pytest.raises(NoCapacityError, match=r"not available at the moment\. Available: aws") as caught:
        run(create())
    assert caught.value.retryable
    assert calls(emulator) == []


def test_used_up_quota_is_said_before_the_create(emulator: Emulator) -> None:
    """The same for the quota, under its own name."""
    emulator.set_quota("intel-icl", 0)
    with pytest.raises(QuotaExceededError, match="quota for intel-icl is used up"):
        run(create())
    assert calls(emulator) == []


@pytest.mark.parametrize(
    ("settings", "token", "words"),
    [
        ({}, "hf_Wrong1", "does not accept the token"),
        (
            {"tokens": (Token("hf_Reader1", frozenset({"read"})),)},
            "hf_Reader1",
            "add the permission inference.endpoints.write",
        ),
        ({"can_pay": False}, TOKEN, "payment method"),
    ],
)
def test_what_needs_a_person_fails_for_good(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], token: str, words: str
) -> None:
    """A wrong token, a missing permission, a missing payment method: no retry, and no token in the text."""
    with connected(monkeypatch, **settings) as emulator:
        connect(monkeypatch, emulator, token)
        with pytest.raises(AirflowFailException, match=words) as caught:
            run(create())
        assert token not in str(caught.value)
        assert [call for call in calls(emulator) if call.endswith("/pause")] == []


def test_a_create_whose_answer_is_lost_makes_one_endpoint(emulator: Emulator) -> None:
    """The connection drops after the create was done: the endpoint is found again, and waited for."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", kind="drop", after=True, count=1)
    assert run(create())["state"] == "running"
    assert calls(emulator) == ["POST "]


def test_a_lost_create_that_fails_is_released_too(emulator: Emulator) -> None:
    """What was created by a request whose answer was lost is this task's all the same."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", kind="drop", after=True, count=1)
    emulator.behave("demo", fail="out of memory")
    with pytest.raises(EndpointFailedError):
        run(create())
    assert state(emulator) == "paused"


def into(emulator: Emulator, wanted: str, **changes: Any) -> None:
    """An endpoint in a state, made by somebody else."""
    match wanted:
        case "failed":
            emulator.behave("demo", fail="once", fail_starts=1)
            with pytest.raises(EndpointFailedError):
                run(create(on_failure="none", **changes))
        case "running":
            run(create(**changes))
        case "paused":
            run(create(**changes))
            run(PauseInferenceEndpointOperator(task_id="x", endpoint="demo"))
        case "scaledToZero":
            run(create(**changes))
            run(ScaleToZeroInferenceEndpointOperator(task_id="x", endpoint="demo"))
    assert wanted == state(emulator)


def since(emulator: Emulator, before: int) -> list[str]:
    """The calls after the first so many."""
    return calls(emulator)[before:]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("running", []),
        ("paused", ["POST /demo/resume"]),
        ("failed", ["POST /demo/resume"]),
        ("scaledToZero", []),
    ],
)
@pytest.mark.parametrize("if_exists", ["reuse", "update"])
def test_takes_the_same_endpoint_and_brings_it_up(
    emulator: Emulator, there: str, expected: list[str], if_exists: str
) -> None:
    """The same endpoint is never created again or changed: it is resumed, woken, or taken as it is."""
    into(emulator, there)
    before = len(calls(emulator))
    assert run(create(if_exists=if_exists))["state"] == "running"
    assert expected == since(emulator, before)


def test_a_failed_start_quotes_no_more_of_a_server_than_a_person_reads(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error nor in the task's log: no colours, no NUL, and no message of a megabyte."""
    emulator.behave("demo", fail="\x1b[2J\x00boom " + "x" * 1_000_000, logs=("\x1b[31mred\x1b[0m", "y" * 1_000_000))
    with pytest.raises(EndpointFailedError) as caught:
        run(create())
    quoted = str(caught.value) + caplog.text
    assert "boom" in quoted
    assert "  red\n" in quoted
    assert not any(each in quoted for each in "\x1b\x00")
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("if_exists", ["reuse", "update"])
def test_a_create_that_does_not_wait_sends_the_start_that_it_notes(emulator: Emulator, if_exists: str) -> None:
    """The task has no wait, whose requests would wake the endpoint, so the task sends a resume."""
    into(emulator, "scaledToZero")
    before = len(calls(emulator))
    assert run(create(if_exists=if_exists, wait_for_completion=False))["state"] != "scaledToZero"
    assert ["POST /demo/resume"] == since(emulator, before)


@pytest.mark.parametrize("there", ["running", "paused", "scaledToZero"])
def test_fail_refuses_any_endpoint_of_the_name(emulator: Emulator, there: str) -> None:
    """`if_exists="fail"` touches nothing and fails without retries."""
    into(emulator, there)
    before = len(calls(emulator))
    with pytest.raises(AirflowFailException, match=f"already exists \\({there}\\)"):
        run(create(if_exists="fail"))
    assert since(emulator, before) == []
    assert there == state(emulator)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repository": "gpt2-large"}, "repository: wanted 'gpt2-large', found 'gpt2'"),
        ({"instance_size": "x4"}, "instance_size: wanted 'x4', found 'x2'"),
        ({"instance_type": "intel-spr"}, "instance_type: wanted 'intel-spr', found 'intel-icl'"),
        ({"custom_image": VLLM}, "engine: wanted 'vLLM', found 'huggingface'"),
    ],
)
@pytest.mark.parametrize("there", ["running", "paused"])
def test_reuse_refuses_another_endpoint_and_names_the_differences(
    emulator: Emulator, there: str, changes: dict[str, Any], words: str
) -> None:
    """An endpoint of another model, engine or hardware is not this DAG's: nothing is done to it."""
    into(emulator, there)
    before = len(calls(emulator))
    with pytest.raises(AirflowFailException) as caught:
        run(create(**changes))
    assert words in str(caught.value)
    assert since(emulator, before) == []
    assert there == state(emulator)


@pytest.mark.parametrize("there", ["running", "paused", "failed", "scaledToZero"])
def test_update_changes_what_differs_and_brings_it_up(emulator: Emulator, there: str) -> None:
    """Other hardware and another model are sent to the endpoint that is there, which then runs with them."""
    emulator.set_quirks("failed_takes_updates")
    into(emulator, there)
    before = len(calls(emulator))
    assert run(create(if_exists="update", instance_size="x4", repository="gpt2-large"))["state"] == "running"
    assert since(emulator, before)[0] == "PUT /demo"
    if there == "paused":  # a resume while it is updating would be answered "already running", and start nothing
        assert since(emulator, before) == ["PUT /demo", "POST /demo/resume"]
        assert emulator.states("demo")[-5:] == ["updating", "paused", "pending", "initializing", "running"]
    assert not [call for call in since(emulator, before) if call in ("POST ", "DELETE /demo")]
    made = emulator.endpoint("demo")
    assert (made["compute"]["instanceSize"], made["model"]["repository"]) == ("x4", "gpt2-large")


def test_a_failed_endpoint_that_takes_no_update_is_to_be_recreated(emulator: Emulator) -> None:
    """One report has a 500 for it (April 2026): one PUT, no minute of retries, and what can be done instead."""
    into(emulator, "failed")
    before = len(calls(emulator))
    with pytest.raises(AirflowFailException, match="if_exists='recreate'"):
        run(create(if_exists="update", instance_size="x4"))
    assert since(emulator, before) == ["PUT /demo"]


def test_whether_the_engine_can_be_changed_is_the_services_to_say(emulator: Emulator) -> None:
    """Reports conflict: a refusal says what can be done instead, and an update that is taken runs the other engine."""
    into(emulator, "running")
    with pytest.raises(AirflowFailException, match="if_exists='recreate'"):
        run(create(if_exists="update", custom_image=VLLM))
    emulator.set_quirks("engine_changes")
    assert run(create(if_exists="update", custom_image=VLLM))["state"] == "running"
    assert list(emulator.endpoint("demo")["model"]["image"]) == ["vLLM"]


@pytest.mark.parametrize("there", ["running", "paused", "failed", "scaledToZero"])
def test_recreate_replaces_any_endpoint(emulator: Emulator, there: str) -> None:
    """The old one is deleted, is really gone, and the new one is what was asked for."""
    into(emulator, there)
    emulator.behave("demo", deleting_seconds=0.2, fail=None)
    before = len(calls(emulator))
    assert run(create(if_exists="recreate", custom_image=VLLM))["state"] == "running"
    assert since(emulator, before) == ["DELETE /demo", "POST "]
    assert list(emulator.endpoint("demo")["model"]["image"]) == ["vLLM"]


@pytest.mark.parametrize("changes", [{"instance_size": "x9"}, {"instance_type": "intel-spr"}])
def test_recreate_deletes_nothing_that_it_can_not_replace(emulator: Emulator, changes: dict[str, Any]) -> None:
    """Unknown or unavailable hardware is found before the endpoint is deleted."""
    into(emulator, "running")
    emulator.set_capacity("intel-spr", available=False)
    before = len(calls(emulator))
    with pytest.raises((AirflowFailException, NoCapacityError)):
        run(create(if_exists="recreate", **changes))
    assert since(emulator, before) == []


def test_recreate_counts_on_the_quota_that_the_deletion_frees(emulator: Emulator) -> None:
    """The endpoint's own share of the quota does not stand in the way of its replacement."""
    into(emulator, "running")
    emulator.set_quota("intel-icl", 2)  # what the endpoint itself takes
    assert run(create(if_exists="recreate"))["state"] == "running"


def test_a_name_that_is_taken_in_between_is_reused(emulator: Emulator) -> None:
    """Two tasks create the same endpoint: the later one takes it, and does not own it."""
    into(emulator, "running")
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=404, count=1)
    operator = create()
    assert run(operator)["state"] == "running"
    assert calls(emulator) == ["POST ", "POST "]
    operator.on_kill()
    assert state(emulator) == "running"


def test_a_name_that_is_taken_in_between_is_refused_when_told_so(emulator: Emulator) -> None:
    """`if_exists="fail"` means it in a race too, and touches nothing that is somebody else's."""
    into(emulator, "running")
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=404, count=1)
    with pytest.raises(AirflowFailException):
        run(create(if_exists="fail"))
    assert state(emulator) == "running"


def test_the_catalog_is_not_touched(emulator: Emulator) -> None:
    """A create sends requests to the control plane, whoami and the endpoint only."""
    run(create())
    assert {"v2", "api", "endpoints"} == {line.split("/")[1] for line in received(emulator)}
    assert not [line for line in received(emulator) if "catalog" in line]
