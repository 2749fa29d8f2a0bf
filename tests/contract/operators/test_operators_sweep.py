"""The sweeper on the running emulator: what it finds, what it leaves alone, and what really reaches the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.leases.holders import holder_name, run_of_holder
from airflow_provider_hf_endpoints.leases.notes import StartNote, StartNotes
from airflow_provider_hf_endpoints.leases.records import new_lease
from airflow_provider_hf_endpoints.leases.store import store_for
from airflow_provider_hf_endpoints.operators.endpoints import ResumeInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from tests.contract.operators_play import (
    FAST,
    HANG,
    MODEL,
    TOKEN,
    TaskInstance,
    connect,
    create,
    kept_at,
    new_context,
    received,
    run,
    state,
)

RUN: dict[str, Any] = {"dag_id": "nightly", "run_id": "r1", "task_id": "create"}


class InRun(TaskInstance):
    """A task instance of a run, on an Airflow that knows the states of runs."""

    def __init__(self, **states: str) -> None:
        super().__init__()
        self.dag_id, self.run_id, self.task_id = RUN.values()
        self.states = states

    def get_dagrun_state(self, *, dag_id: str, run_id: str) -> str:
        assert dag_id == "nightly"
        if run_id not in self.states:
            raise AirflowRuntimeError(ErrorResponse(detail={"status_code": 404}))
        return self.states[run_id]


class WithDags(InRun):
    """The same on an Airflow that also tells which DAGs are switched off (3.3)."""

    def get_dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=dag_id == "nightly")


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, leases: Path) -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme") as running:
        connect(monkeypatch, running, lease_path=str(leases))
        yield running


def started(name: str, **changes: Any) -> None:
    """An endpoint that a task of the run r1 has created, for that run."""
    run(create(name, **{"keep": False, **changes}), {**new_context(), "ti": InRun()})


def sweep(ti: Any = None, **changes: Any) -> dict[str, dict[str, Any]]:
    """What a sweep reports, by the endpoint's name. It does not wait for quiet: nothing here is older than the test."""
    given = {"quiet": timedelta(0), "keep": (), **changes}
    operator = SweepInferenceEndpointsOperator(task_id="sweep", **given)
    report = run(operator, {**new_context(), "ti": ti or InRun(r1="success")})
    return {each["endpoint"]: each for each in report}


def test_a_dry_run_reports_and_touches_nothing(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """The default: the endpoint of a run that has ended, with its price, and that it would be swept."""
    caplog.set_level("INFO")
    started("left-over")
    report = sweep()["left-over"]
    assert ("sweep", "the run of nightly/r1/create has ended", None) == (
        report["verdict"],
        report["reason"],
        report["done"],
    )
    assert report["usd_per_hour"] > 0
    assert "would be swept" in caplog.text
    assert state(emulator, "left-over") == "running"


@pytest.mark.parametrize(
    ("action", "expected"), [("pause", "paused"), ("scale_to_zero", "scaledToZero"), ("delete", None)]
)
def test_it_switches_off_what_is_left_over(emulator: Emulator, leases: Path, action: str, expected: str | None) -> None:
    """And leaves alone what a run still needs; as a text, a template's `False` acts, too."""
    started("left-over")
    started("busy")
    note = StartNote("nightly", "r2", "create", time.time())
    StartNotes(kept_at()).write("acme", "busy", note)
    report = sweep(InRun(r1="failed", r2="running"), only_report="False", action=action)
    assert (report["left-over"]["verdict"], report["busy"]["verdict"]) == ("sweep", "leave")
    assert report["busy"]["reason"] == "the run of nightly/r2/create is still active"
    assert state(emulator, "busy") == "running"
    if expected is None:
        wait_until(emulator, "left-over", lambda: "left-over" not in states(emulator))
    assert states(emulator).get("left-over") == expected


def test_a_resume_is_known_by_its_note(emulator: Emulator) -> None:
    """No tag says that the provider resumed an endpoint."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("old", **MODEL)
        client.pause_inference_endpoint("old")
    resume = ResumeInferenceEndpointOperator(task_id="create", endpoint="old", keep=False, **FAST)
    run(resume, {**new_context(), "ti": InRun()})
    assert sweep()["old"]["verdict"] == "sweep"
    assert sweep(InRun(r1="running"))["old"]["verdict"] == "leave"


@pytest.mark.parametrize(("parked", "expected"), [("scale_to_zero", "scaledToZero"), ("pause", "paused")])
def test_it_puts_back_what_was_at_zero(emulator: Emulator, parked: str, expected: str) -> None:
    """Requests of other users woke it before the run, and would not wake a paused one."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("old", **MODEL)
        wait_until(emulator, "old", lambda: state(emulator, "old") == "running")
        getattr(client, f"{parked}_inference_endpoint")("old")
    resume = ResumeInferenceEndpointOperator(task_id="create", endpoint="old", keep=False, **FAST)
    run(resume, {**new_context(), "ti": InRun()})
    assert sweep(only_report=False)["old"]["verdict"] == "sweep"
    assert expected == state(emulator, "old")


def test_what_others_have_started_is_left_alone(emulator: Emulator) -> None:
    """Whatever the rule says, unless it is asked for by its name; a tag of the user's own changes nothing."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("theirs", tags=["airflow"], min_replica=1, **MODEL)
    emulator.advance(3600)
    assert sweep(idle=timedelta(minutes=5), older_than=timedelta(minutes=5))["theirs"]["verdict"] == "leave"
    assert sweep(names=["theirs"], only_report=False)["theirs"]["done"] == "paused"
    assert state(emulator, "theirs") == "paused"


def test_patterns_and_namespaces_that_come_as_one_text(emulator: Emulator) -> None:
    """As a template becomes, of a parameter say: no letter of it is a name."""
    for name in ("nightly-1", "other-1"):
        started(name)
    operator = SweepInferenceEndpointsOperator(
        task_id="sweep", quiet=timedelta(0), keep=(), names="{{ params.names }}", namespaces="{{ params.spaces }}"
    )
    context = {**new_context(), "ti": InRun(r1="success"), "params": {"names": "nightly-*, x-*", "spaces": "acme"}}
    operator.render_template_fields(context)  # type: ignore[arg-type]
    verdicts = {each["endpoint"]: each["verdict"] for each in run(operator, context)}
    assert {"nightly-1": "sweep", "other-1": "leave"} == verdicts


def test_a_live_lease_protects_and_an_expired_one_does_not(emulator: Emulator, leases: Path) -> None:
    """Somebody else's run may use the endpoint that this run has started."""
    started("shared")
    store = store_for(kept_at(), "acme", "shared")
    store.write(new_lease("other/r9/group", time.time(), 600.0))
    assert sweep()["shared"]["reason"] == "in use by other/r9/group"
    store.write(new_lease("other/r9/group", time.time() - 7200, 600.0))
    unknown = InRun()  # this Airflow knows nothing of the run
    assert sweep(unknown)["shared"]["reason"] == "its last lease has expired"


def test_who_begins_to_use_it_meanwhile_gets_it_back(
    emulator: Emulator, leases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use takes its lease between the verdict and the look after the pause: the sweeper resumes the endpoint."""
    started("left-over")
    release = EndpointsClient.release

    def release_late(self: EndpointsClient, name: str, policy: Any, **given: Any) -> str:
        done = release(self, name, policy, **given)
        store_for(kept_at(), "acme", name).write(new_lease("nightly r9 use.acquire", time.time(), 600.0))
        return done

    monkeypatch.setattr(EndpointsClient, "release", release_late)
    report = sweep(only_report=False)["left-over"]
    assert "paused, and resumed, because nightly r9 use.acquire began to use it meanwhile" == report["done"]
    assert state(emulator, "left-over") != "paused"


def test_a_live_lease_of_a_run_that_has_ended_protects_nobody(emulator: Emulator, leases: Path) -> None:
    """Airflow skips the release of a run that `dagrun_timeout` ends: its lease would hold for hours more."""
    started("forgotten")
    store_for(kept_at(), "acme", "forgotten").write(new_lease("nightly r1 use.acquire", time.time(), 21600.0))
    assert sweep()["forgotten"]["reason"] == "the run of nightly/r1/create has ended"
    assert sweep(InRun(r1="running"))["forgotten"]["reason"] == "in use by nightly r1 use.acquire"


def test_a_run_of_a_dag_that_is_switched_off_is_told(emulator: Emulator, leases: Path) -> None:
    """Its release waits and the endpoint bills: by the note of the start, and by the lease of a use."""
    started("noted")
    started("held")
    store_for(kept_at(), "acme", "held").write(new_lease("nightly r1 use.acquire", time.time(), 21600.0))
    report = sweep(WithDags(r1="running"))
    said = "The DAG nightly is paused, so Airflow does not start the release"
    for name in ("noted", "held"):
        assert ("leave", True) == (report[name]["verdict"], said in report[name]["reason"])
    assert said not in sweep(InRun(r1="running"))["held"]["reason"]


@pytest.mark.parametrize("use", [("d", "r 1", "g.acquire", None), ("d", "r 1", "g.acquire", -1), ("d", "r 1", "t", 3)])
def test_whose_a_lease_is_can_be_read_back(use: tuple[str, str, str, int | None]) -> None:
    """A person may name a run with any text, spaces included; a text that is not such a name belongs to no run."""
    assert run_of_holder(holder_name(*use)) == ("d", "r 1")
    assert run_of_holder("other/r9/group") is None


@pytest.mark.parametrize(("found", "verdict"), [("running", "leave"), ("paused", "sweep")])
def test_what_a_crashed_use_has_found_running_is_left_running(
    emulator: Emulator, leases: Path, found: str, verdict: str
) -> None:
    """It runs for another use; an endpoint that the use has resumed runs for no use."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("theirs", **MODEL)
    lease = replace(new_lease("nightly r7 use.acquire", time.time() - 7200, 600.0), found=found)
    store_for(kept_at(), "acme", "theirs").write(lease)
    assert sweep()["theirs"]["verdict"] == verdict


def test_a_note_of_an_earlier_start_says_nothing(emulator: Emulator, leases: Path) -> None:
    """The task's run ended long ago; who resumed the endpoint today noted nothing, and may be a person."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("mine", **MODEL)
    StartNotes(kept_at()).write("acme", "mine", StartNote(**RUN, at=time.time() - 86_400))
    wait_until(emulator, "mine", lambda: states(emulator)["mine"] == "running")
    assert sweep()["mine"]["reason"] == "this provider did not start it"


def states(emulator: Emulator) -> dict[str, str]:
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        return {each.name: each.status for each in client.list_inference_endpoints()}


def wait_until(emulator: Emulator, name: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline, f"{name}: {states(emulator)}"
        time.sleep(0.02)


def test_one_failure_keeps_nobody_else_running(emulator: Emulator) -> None:
    """The others are switched off first; then the task fails, and names the one that may still bill."""
    for name in ("one", "stuck", "two"):
        started(name)
    emulator.add_fault(path="/stuck/pause", status=403)
    with pytest.raises(AirflowFailException, match=r"MAY STILL BE BILLING: acme/stuck: "):
        sweep(only_report=False)
    assert ["paused", "running", "paused"] == [state(emulator, name) for name in ("one", "stuck", "two")]


def test_every_page_and_nothing_that_costs_nothing(emulator: Emulator) -> None:
    """25 endpoints are two pages; paused ones are not in the report."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        for number in range(25):
            client.create_inference_endpoint(f"e{number}", **MODEL)
            if number % 5 == 0:
                client.pause_inference_endpoint(f"e{number}")
    report = sweep(names=["e*1*"])
    assert 20 == len(report)
    assert {name for name, each in report.items() if each["verdict"] == "sweep"} == {
        name for name in (f"e{number}" for number in range(25) if number % 5) if "1" in name
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"action": "none"}, "action='none'"),
        ({"idle": timedelta(0)}, "idle="),
        ({"quiet": timedelta(-1)}, "quiet="),
    ],
)
def test_bad_arguments_are_told_when_the_dag_is_read(arguments: dict[str, Any], words: str) -> None:
    """With their name and value."""
    with pytest.raises(ValueError, match=words):
        SweepInferenceEndpointsOperator(task_id="sweep", **arguments)


def test_names_that_mean_everything_are_refused(emulator: Emulator) -> None:
    """They may come from a template, so they are looked at when the task runs."""
    with pytest.raises(AirflowFailException, match="matches every endpoint"):
        sweep(names=["*"])


def test_a_note_is_no_reason_to_fail(emulator: Emulator, leases: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint is started all the same where the note can't be written."""
    leases.write_text("a file where a folder should be")
    started("noted")
    assert "cannot be written" in caplog.text
    assert state(emulator, "noted") == "running"
    assert SimpleNamespace(**sweep(InRun())["noted"]).verdict == "leave"


def test_what_is_left_alone_costs_no_request(emulator: Emulator) -> None:
    """For an endpoint that no run owns, or that no name asks for, the sweep reads neither replicas nor other data."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.create_inference_endpoint("theirs", **MODEL)
    started("ours")
    before = len(received(emulator))
    assert sweep()["theirs"]["reason"] == "this provider did not start it"
    named = sweep(names=["other-*"])
    assert {"its name does not match"} == {each["reason"] for each in named.values()}
    asked = received(emulator)[before:]
    assert ["GET /v2/endpoint/acme/ours/replica"] == [each for each in asked if "replica" in each]
    assert not [each for each in asked if "/theirs" in each]
