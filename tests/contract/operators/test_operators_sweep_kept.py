"""What the sweeper leaves alone: what a DAG or a person keeps on purpose, and what somebody uses without a lease."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk import DAG, task

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.upkeep.sweep import KEEP_TAG
from airflow_provider_hf_endpoints.leases.notes import StartNote, StartNotes
from airflow_provider_hf_endpoints.leases.records import new_lease
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
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
    run,
    state,
)

EXAMPLES = Path(__file__).resolve().parents[3] / "example_dags"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class InRun(TaskInstance):
    """A task instance of a run of a DAG of which every run has ended."""

    def __init__(self, task_id: str = "start") -> None:
        super().__init__()
        self.dag_id, self.run_id, self.task_id = "nightly", "r1", task_id

    def get_dagrun_state(self, **_: Any) -> str:
        return "success"


def context(task_id: str = "start", **more: Any) -> Any:
    return {**new_context(), "ti": InRun(task_id), **more}


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, leases: Path) -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme") as running:
        connect(monkeypatch, running, lease_path=str(leases))
        yield running


def sweep(**changes: Any) -> dict[str, dict[str, Any]]:
    """What a sweep reports that acts and waits for no quiet, by the endpoint's name."""
    given = {"quiet": timedelta(0), "keep": (), "only_report": False, **changes}
    report = run(SweepInferenceEndpointsOperator(task_id="sweep", **given), context("sweep"))
    return {each["endpoint"]: each for each in report}


def paused(emulator: Emulator, *names: str) -> None:
    """Endpoints of somebody that are paused."""
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        for name in names:
            client.create_inference_endpoint(name, **MODEL)
            client.pause_inference_endpoint(name)


def note_of(leases: Path, name: str) -> StartNote:
    note = StartNotes(kept_at()).read("acme", name)
    assert note is not None
    return note


# What a start is for, by the DAG around it


def deploys(start: Any) -> None:
    """Nothing is behind it."""


def pauses_as_teardown(start: Any) -> None:
    PauseInferenceEndpointOperator(task_id="pause", endpoint="demo").as_teardown(setups=start)


def pauses_behind(start: Any) -> None:
    work = PauseInferenceEndpointOperator(task_id="other", endpoint="another")
    start >> work >> PauseInferenceEndpointOperator(task_id="pause", endpoint="demo")


def deletes_a_template(start: Any) -> None:
    start >> DeleteInferenceEndpointOperator(task_id="delete", endpoint="{{ params.name }}")


def pauses_its_result(start: Any) -> None:
    start >> PauseInferenceEndpointOperator(task_id="pause", endpoint=start.output)


def pauses_mapped(start: Any) -> None:
    start >> PauseInferenceEndpointOperator.partial(task_id="pause").expand(endpoint=["demo", "another"])


def releases_by_python(start: Any) -> None:
    @task
    def stop() -> None:
        """The user's own."""

    stop().as_teardown(setups=start)


def pauses_another(start: Any) -> None:
    start >> PauseInferenceEndpointOperator(task_id="pause", endpoint="another")


def pauses_beside(start: Any) -> None:
    PauseInferenceEndpointOperator(task_id="pause", endpoint="demo")


@pytest.mark.parametrize(
    ("around", "keep", "kept"),
    [
        (deploys, None, True),
        (deploys, False, False),
        (pauses_as_teardown, None, False),
        (pauses_as_teardown, True, True),
        (pauses_behind, None, False),
        (deletes_a_template, None, False),
        (pauses_its_result, None, False),
        (pauses_mapped, None, False),
        (releases_by_python, None, False),
        (pauses_another, None, True),
        (pauses_beside, None, True),
    ],
)
@pytest.mark.parametrize("way", ["create", "resume"])
def test_what_a_start_is_for(
    emulator: Emulator, leases: Path, way: str, around: Callable[[Any], None], keep: bool | None, kept: bool
) -> None:
    """For its run where something behind it stops the endpoint, else kept; and what `keep` says counts before that."""
    with DAG("nightly", schedule=None, params={"name": "demo"}):
        if way == "create":
            start: Any = create("demo", task_id="start", keep=keep)
        else:
            paused(emulator, "demo")
            start = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", keep=keep, **FAST)
        around(start)
    run(start, context())
    report = sweep()["demo"]
    assert (kept, "kept" if kept else "a run") == (note_of(leases, "demo").keep, report["started_for"])
    expected = (
        ("leave", "nightly/r1/start keeps it until it is released by hand", None, "running")
        if kept
        else ("sweep", "the run of nightly/r1/start has ended", "paused", "paused")
    )
    assert expected == (report["verdict"], report["reason"], report["done"], state(emulator))


@pytest.mark.parametrize(("release", "kept"), [("keep", True), (None, False), ("pause", False)])
def test_what_the_start_of_a_group_is_for(emulator: Emulator, leases: Path, release: Any, kept: bool) -> None:
    """For the run; with `release="keep"` it is kept, also when the run is killed before its release."""
    with DAG("nightly", schedule=None) as dag, inference_endpoint("demo", release=release):
        PauseInferenceEndpointOperator(task_id="work", endpoint="another")
    start: Any = dag.get_task("demo.start")
    assert kept is start.keep


def test_a_group_that_keeps_what_it_found_running_says_so(emulator: Emulator, leases: Path) -> None:
    """Its start had nothing to start and noted nothing; the note of a run that crashed before is there still."""
    run(create("demo", keep=False), context("crashed"))
    assert "sweep" == sweep(only_report=True)["demo"]["verdict"]
    lease = new_lease("nightly r1 g.acquire", time.time(), 600.0).stored()
    acquired = {"name": "demo", "namespace": "acme", "found": "running", "use": "u", "lease": lease, "budget": None}
    release = ReleaseAcquiredOperator(task_id="release", acquired=acquired, release="keep")
    run(release, context("g.release"))
    assert "nightly/r1/g.release keeps it until it is released by hand" == sweep()["demo"]["reason"]


def test_a_deployment_that_finds_its_endpoint_running_keeps_it(emulator: Emulator) -> None:
    """The run that started the endpoint has finished; a DAG that keeps the endpoint sets `keep`."""
    run(create("demo", keep=False), context("crashed"))
    run(ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", **FAST), context())
    assert "nightly/r1/start keeps it until it is released by hand" == sweep()["demo"]["reason"]


def test_what_is_kept_can_be_swept_by_its_name(emulator: Emulator) -> None:
    """`names` is somebody who says otherwise."""
    run(create("demo", keep=True), context())
    assert "leave" == sweep(idle=timedelta(microseconds=1))["demo"]["verdict"]
    assert ("paused", "paused") == (sweep(names=["demo"])["demo"]["done"], state(emulator))


# What a person says


def test_a_person_keeps_an_endpoint_by_a_tag_of_the_endpoint(emulator: Emulator) -> None:
    """Set on the page of the endpoint, or when it is created; whatever else is known of the endpoint."""
    run(create("demo", keep=False, tags=[KEEP_TAG]), context())
    report = sweep(names=["demo"])["demo"]
    assert ("leave", f"it has the tag {KEEP_TAG}", "running") == (report["verdict"], report["reason"], state(emulator))


@pytest.mark.parametrize("keep", ["other-*, de*", "acme/demo", ["demo"]])
def test_a_person_keeps_an_endpoint_by_its_name(emulator: Emulator, keep: Any) -> None:
    """The argument, which is by default the Variable `hf_endpoints_keep`: one text."""
    run(create("demo", keep=False), context())
    report = sweep(keep=keep, names=["demo"])["demo"]
    assert ("leave", "running") == (report["verdict"], state(emulator))
    assert "it matches keep" in report["reason"]


def test_the_variable_is_asked_by_default(emulator: Emulator) -> None:
    """So that it is edited in Airflow's UI, and seen among the rendered fields of the sweep."""
    asked = []

    def get(key: str, default: str) -> str:
        asked.append(key)
        return "demo"

    operator = SweepInferenceEndpointsOperator(task_id="sweep")
    operator.render_template_fields(context("sweep", var={"value": SimpleNamespace(get=get)}))
    assert (["hf_endpoints_keep"], "demo") == (asked, operator.keep)


# Who uses the endpoint


def test_what_somebody_uses_without_a_lease_is_left(emulator: Emulator) -> None:
    """A fallback has just answered; its run ended long ago. Afterwards it is quiet, and swept."""
    run(create("demo", keep=False), context())
    httpx.post(url_of(emulator), json={"inputs": "hello"}, headers=HEADERS, trust_env=False).raise_for_status()
    report = sweep(quiet=timedelta(seconds=HANG))["demo"]
    assert ("leave", None, "running") == (report["verdict"], report["done"], state(emulator))
    assert report["reason"].startswith("it was used at ")
    assert report["reason"].endswith("though the run of nightly/r1/start has ended")
    time.sleep(1.1)
    assert "paused" == sweep(quiet=timedelta(seconds=1))["demo"]["done"]


def test_a_request_that_takes_long_is_a_use(emulator: Emulator) -> None:
    """The last use began before `quiet`, and is not over: the metric of pending requests tells."""
    run(create("demo", keep=False), context())
    emulator.behave("demo", latency_seconds=5.0)
    given: dict[str, Any] = {"json": {"inputs": "x"}, "headers": HEADERS, "timeout": HANG, "trust_env": False}
    call = threading.Thread(target=httpx.post, args=(url_of(emulator),), kwargs=given)
    call.start()
    try:
        report = until(lambda: sweep(quiet=timedelta(seconds=1), only_report=True)["demo"], "in flight")
        assert "leave" == report["verdict"]
    finally:
        call.join(timeout=HANG)


def test_a_metric_that_the_service_does_not_tell_keeps_nothing_running(emulator: Emulator) -> None:
    """It bills, and its run has ended: the last use has to do."""
    run(create("demo", keep=False), context())
    emulator.add_fault(path="/metrics/pending-request", status=404)
    report = until(lambda: sweep(quiet=timedelta(milliseconds=1))["demo"], "the run of nightly/r1/start has ended")
    assert ("paused", "paused") == (report["done"], state(emulator))


def until(look: Callable[[], dict[str, Any]], words: str) -> dict[str, Any]:
    deadline = time.monotonic() + HANG
    while words not in (report := look())["reason"]:
        assert time.monotonic() < deadline, report
        time.sleep(0.05)
    return report


def url_of(emulator: Emulator) -> str:
    return str(emulator.endpoint("demo")["status"]["url"])


# The examples


def test_the_examples_of_the_fallback_and_of_the_sweeper_live_together(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hour the sweeper finds a fallback whose run has ended, idle or not, and leaves it to the DAG's next run."""
    monkeypatch.setenv("HF_ENDPOINTS_EXAMPLE_FALLBACK", "fallback")
    paused(emulator, "fallback", "left-over")
    failing, sweeping = example("example_when_endpoint_fails"), example("example_sweep_endpoints")
    resume = failing.dag.get_task("resume_fallback")
    resume.deferrable, resume.poll_interval = False, 0.05
    run(resume, context("resume_fallback"))
    run(ResumeInferenceEndpointOperator(task_id="start", endpoint="left-over", keep=False, **FAST), context())
    two_hours_pass(emulator, monkeypatch)
    report = hourly(sweeping)
    assert ("leave", "nightly/r1/resume_fallback keeps it until it is released by hand") == (
        report["fallback"]["verdict"],
        report["fallback"]["reason"],
    )
    assert ("running", "paused") == (state(emulator, "fallback"), state(emulator, "left-over"))
    run(failing.dag.get_task("pause_fallback"), context("pause_fallback"))
    assert "paused" == state(emulator, "fallback")
    assert {} == hourly(sweeping)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"played_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hourly(sweeping: ModuleType) -> dict[str, dict[str, Any]]:
    """One run of the example, its templates rendered."""
    operator = sweeping.dag.get_task("sweep").prepare_for_execution()
    var = {"value": SimpleNamespace(get=lambda key, default: default)}
    rendered = context("sweep", var=var, params={"only_report": False})
    operator.render_template_fields(rendered)
    return {each["endpoint"]: each for each in run(operator, rendered)}


def two_hours_pass(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the sweeper, not for the service, which would scale to zero meanwhile."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz or UTC) + timedelta(hours=2)

    monkeypatch.setattr("airflow_provider_hf_endpoints.operators.sweep.datetime", Later)
