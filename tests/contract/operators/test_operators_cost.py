"""The tasks that release an endpoint say what the DAG run's share of its bill was, against the emulator's meter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task_group

from airflow_provider_hf_endpoints import kept
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.hooks.cost_ledger import Entry, Figures, Ledger
from airflow_provider_hf_endpoints.hooks.cost_records import CostRecords
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import KeptAt
from airflow_provider_hf_endpoints.operators.common.cost_report import report_cost, work_of
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.clock import owned_clock
from tests.contract.operators_play import FAST, TaskInstance, connect, connected, create, new_context, run
from tests.variables import OldVariables, Variables

RELEASES = (PauseInferenceEndpointOperator, ScaleToZeroInferenceEndpointOperator, DeleteInferenceEndpointOperator)


class Reporting(TaskInstance):
    """A task instance whose neighbours have returned something."""

    def __init__(self, **results: Any) -> None:
        super().__init__()
        self.results = results

    def xcom_pull(self, key: str = "return_value", task_ids: Any = None, **_: Any) -> Any:
        return [self.results[task_id] for task_id in task_ids or ()]


def context_of(task: Any, ti: TaskInstance, began: datetime | None) -> Any:
    return {
        **new_context(),
        "ti": ti,
        "task": task,
        "dag_run": SimpleNamespace(start_date=began, dag_id="costs", run_id="r:1"),
    }


@pytest.mark.parametrize("kind", RELEASES)
def test_a_release_tells_the_cost(kind: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Minutes, price and dollars are in the log and the XCom, with the rows of the batch before; within 3 %."""
    caplog.set_level("INFO")
    clock = owned_clock(monkeypatch)
    began = datetime.fromtimestamp(clock(), UTC) - timedelta(seconds=5)
    with connected(monkeypatch, seconds_per_minute=60.0, clock=clock) as emulator:
        run(create(scale_to_zero_timeout=15))
        clock.advance(60.0)
        with DAG("costs"):
            work = BatchInferenceOperator(
                task_id="work", endpoint="demo", task="text-generation", prompt="{t}", input_path="i", output_path="o"
            )
            release = kind(task_id="release", endpoint="demo", **FAST)
            work >> release
        report = {"rows": 500, "prompt_tokens": 700, "completion_tokens": 300}
        ti = Reporting(work=report)
        meter_before = emulator.meter("demo")
        run(release, context_of(release, ti, began))
        cost = ti.xcoms["cost"]
        billed = meter_before if kind is DeleteInferenceEndpointOperator else emulator.meter("demo")
    assert billed["usd"] > 0
    assert cost["usd"] == pytest.approx(billed["usd"], rel=0.03)
    assert (500, 1000, "replica lifetimes") == (cost["rows"], cost["tokens"], cost["source"])
    assert "Cost of this run: acme/demo" in caplog.text


def test_a_cost_that_cannot_be_told_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoint is paused, which is what counts; the log says what is missing."""
    with connected(monkeypatch) as emulator:
        run(create())
        pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
        ti = TaskInstance()
        emulator.add_fault(path="/v2/endpoint/acme/demo$", method="GET", status=403)
        run(pause, context_of(pause, ti, datetime.now(UTC)))
        assert emulator.history("demo")[-1]["state"] == "paused"
    assert "cost" not in ti.xcoms
    assert "Could not read the cost of endpoint demo" in caplog.text


def test_a_cost_of_what_is_not_there_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that was refused has created nothing, and a warning about a 404 would suggest a second fault."""
    caplog.set_level("INFO")
    with connected(monkeypatch):
        delete = DeleteInferenceEndpointOperator(task_id="delete", endpoint="demo", **FAST)
        run(delete, context_of(delete, TaskInstance(), datetime.now(UTC)))
    assert "Endpoint demo does not exist, so the service has no cost of it to report" in caplog.text
    assert "Could not read the cost" not in caplog.text


class Mute(TaskInstance):
    """On an Airflow whose XComs can be neither read nor written."""

    def xcom_push(self, key: str, value: Any) -> None:
        if key == "cost":
            raise ConnectionError("no backend")

    def xcom_pull(self, key: str = "return_value", **_: Any) -> Any:
        raise ConnectionError("no backend")


def test_a_release_that_is_done_is_not_repeated_for_its_xcom(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither results that can't be read nor a cost that can't be left fail the task; what is known is in the log."""
    caplog.set_level("INFO")
    with connected(monkeypatch) as emulator:
        run(create())
        with DAG("costs"):
            given = {"endpoint": "demo", "task": "text-generation", "prompt": "{t}", "output_path": "o"}
            work = BatchInferenceOperator.partial(task_id="work", **given).expand(input_path=["i"])
            pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
            work >> pause
        run(pause, context_of(pause, Mute(), datetime.now(UTC)))
        assert emulator.history("demo")[-1]["state"] == "paused"
    for words in (
        "Could not count the rows and tokens",
        "Cost of this run: acme/demo",
        "Could not store the cost in XCom",
    ):
        assert words in caplog.text


class Stored(TaskInstance):
    """A task instance that pulls as Airflow does: all map indexes of each task, or those that are asked for."""

    def __init__(self, results: dict[tuple[str, int], Any], map_index: int = -1) -> None:
        super().__init__()
        self.results, self.map_index = results, map_index

    def xcom_pull(self, key: str = "return_value", task_ids: Any = None, map_indexes: Any = None, **_: Any) -> Any:
        found = self.results.items()
        return [value for (task, at), value in found if task in task_ids and map_indexes in (None, at)]


def batch(task_id: str = "work", **changes: Any) -> Any:
    given = {"endpoint": "demo", "task": "text-generation", "prompt": "{t}", "input_path": "i", "output_path": "o"}
    return BatchInferenceOperator(task_id=task_id, **{**given, **changes})


def rows_told(monkeypatch: pytest.MonkeyPatch, release: Any, ti: Stored) -> int | None:
    """The rows over which `release` spreads the cost of its endpoint."""
    with connected(monkeypatch) as emulator:
        run(create())
        assert emulator.endpoint("demo")
        report_cost(EndpointRef("demo", "acme", "hf_endpoints_default"), context_of(release, ti, datetime.now(UTC)))
    rows: int | None = ti.xcoms["cost"]["rows"]
    return rows


@pytest.mark.parametrize(("map_index", "expected"), [(0, 10), (1, 1000)])
def test_a_mapped_group_counts_the_rows_of_its_own_index(
    monkeypatch: pytest.MonkeyPatch, map_index: int, expected: int
) -> None:
    """10 rows on one endpoint and 1,000 on another are not 1,010 on each; nor does a batch before the group count."""
    with DAG("costs") as dag:

        @task_group
        def per_model(name: str) -> None:
            with inference_endpoint(name):
                batch()

        batch("before") >> per_model.expand(name=["demo", "other"])
    release = next(task for task in dag.tasks if task.task_id.endswith("release"))
    work = next(task.task_id for task in dag.tasks if task.task_id.endswith("work"))
    results = {(work, 0): {"rows": 10}, (work, 1): {"rows": 1000}, ("before", -1): {"rows": 7}}
    assert expected == rows_told(monkeypatch, release, Stored(results, map_index))


def test_each_group_counts_its_own_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two groups in a row the second counts nothing of the first; all shards of a mapped batch count."""
    with DAG("costs") as dag:
        with inference_endpoint("other") as first:
            batch()
        with inference_endpoint("demo") as second:
            given = {"endpoint": "demo", "task": "text-generation", "prompt": "{t}", "output_path": "o"}
            BatchInferenceOperator.partial(task_id="work", **given).expand(input_path=["i", "j"])
        first >> second
    results = {("other.work", -1): {"rows": 7}, ("demo.work", 0): {"rows": 20}, ("demo.work", 1): {"rows": 22}}
    assert {"other.work", "demo.work", "demo.release"} <= set(dag.task_ids)
    assert 42 == rows_told(monkeypatch, dag.get_task("demo.release"), Stored(results))


def test_a_batch_counts_for_the_use_whose_endpoint_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the group, in a mapped group inside of it, and in the group of another endpoint."""
    with DAG("costs") as dag:
        with inference_endpoint("demo") as demo:
            batch("inside")

            @task_group
            def per_file(path: str) -> None:
                batch("each")

            per_file.expand(path=["a", "b"])
            with inference_endpoint("other"):
                batch("own", endpoint="other")
                batch("of_the_outer", endpoint=demo)
        batch("outside", endpoint=demo)
    results: dict[tuple[str, int], Any] = {
        ("demo.inside", -1): {"rows": 1},
        ("demo.per_file.each", 0): {"rows": 10},
        ("demo.per_file.each", 1): {"rows": 20},
        ("demo.other.own", -1): {"rows": 500},
        ("demo.other.of_the_outer", -1): {"rows": 100},
        ("outside", -1): {"rows": 1000},
    }
    assert results.keys() == {*((each, index) for each, index in results if each in dag.task_ids)}
    assert 1131 == rows_told(monkeypatch, dag.get_task("demo.release"), Stored(results))


def test_a_pause_counts_the_batches_of_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two endpoints in one DAG: by name, or by whose result they take."""
    with DAG("costs") as dag:
        first, second = (create(name, task_id=f"create_{name}") for name in ("demo", "other"))
        pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo")
        batches = [
            batch("named"),
            batch("taken", endpoint=first.output),
            batch("template", endpoint="{{ params.endpoint }}"),
            batch("named_other", endpoint="other"),
            batch("taken_other", endpoint=second.output),
        ]
        batches >> pause
    results = {(each.task_id, -1): {"rows": 10**number} for number, each in enumerate(batches)}
    assert len(results) == len(set(dag.task_ids) - {"create_demo", "create_other", "pause"})
    assert 111 == rows_told(monkeypatch, pause, Stored(results))


def test_a_pause_counts_no_batch_of_a_namesake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two namespaces may each have an endpoint of that name."""
    with DAG("costs", schedule=None) as dag:
        mapped: Any = BatchInferenceOperator.partial(
            task_id="mapped", endpoint="demo", namespace="globex", task="text-generation", prompt="{text}"
        )
        taken = create(task_id="create_namesake", namespace="globex").output
        batches = [
            batch("own", namespace="acme"),
            batch("default"),
            batch("template", namespace="{{ params.namespace }}"),
            batch("of_a_namesake", namespace="globex"),
            batch("taken", endpoint=taken),
            mapped.expand_kwargs([{"input_path": "in.jsonl", "output_path": "out.jsonl"}]),
        ]
        batches >> PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", namespace="acme")
    results = {(each.task_id, -1): {"rows": 10**number} for number, each in enumerate(batches)}
    assert 111 == rows_told(monkeypatch, dag.get_task("pause"), Stored(results))


def test_no_run_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a DAG run there is no beginning from which to count."""
    with connected(monkeypatch):
        run(create())
        ti = TaskInstance()
        pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
        run(pause, context_of(pause, ti, None))
    assert "cost" not in ti.xcoms


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], (0, 0)),
        ([{"rows": 2, "prompt_tokens": 3, "completion_tokens": 4}], (2, 7)),
        ([[{"rows": 1}, {"rows": 2, "prompt_tokens": 1}], {"rows": 3}], (6, 1)),
        ([None, "text", 5, {"rows": None}], (0, 0)),
    ],
)
def test_work_is_summed_over_batches(results: list[Any], expected: tuple[int, int]) -> None:
    """Mapped batches have lists of reports; a value that is not a report counts nothing."""
    assert expected == work_of(results)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    stand_in = Variables()
    monkeypatch.setattr(kept.variables, "Variable", stand_in)
    monkeypatch.setattr(kept.variables, "_SETTLE", 0.01)
    return stand_in


@contextmanager
def costs_in(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """A service whose costs are kept on a path or in Variables."""
    with connected(monkeypatch, seconds_per_minute=60.0) as emulator:
        connect(monkeypatch, emulator, **({"lease_path": str(tmp_path / "kept")} if place == "path" else {}))
        yield emulator


@pytest.mark.parametrize("place", ["path", "variables"])
def test_costs_are_summed_over_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: Variables, place: str
) -> None:
    """One call tells what a DAG has cost, by endpoint and time; a release that is repeated counts once."""
    began = datetime.now(UTC) - timedelta(seconds=5)
    with costs_in(place, monkeypatch, tmp_path):
        run(create())
        pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
        told = []
        for run_id in ("r:1", "r:1", "r:2"):
            ti = TaskInstance()
            context = context_of(pause, ti, began)
            context["dag_run"].run_id = run_id
            run(pause, context)
            told.append(ti.xcoms["cost"]["usd"])
        with InferenceEndpointsHook() as hook:
            total = hook.sum_costs("costs", since=began)
            assert (2, 0, {"acme/demo": total.usd}) == (total.runs, total.unpriced, total.usd_by_endpoint)
            assert total.usd == pytest.approx(told[1] + told[2])
            assert 0 == hook.sum_costs("costs", until=began).runs == hook.sum_costs("other").runs
    assert (place == "variables") == any(key.startswith("hf_endpoints_costs.") for key in variables.values)


def cost_at(stop: datetime) -> Cost:
    """One dollar."""
    return Cost("demo", "acme", stop - timedelta(hours=1), stop, 3600.0, None, 1.0, "observed states", rows=10)


def test_a_dag_of_many_runs_and_months_stays_summable(variables: Variables) -> None:
    """A report that is repeated counts once. A run that is cleared in the next month costs again, and its rows count
    once; another DAG with a like name has its own."""
    records = CostRecords(KeptAt())
    moments = [datetime(2026, month, 28, tzinfo=UTC) for month in (9, 10, 11)]
    for number, stop in enumerate(moments * 10):
        records.write("a dag/with signs", f"run {number}", cost_at(stop))
    for _ in range(2):
        records.write("a dag/with signs", "run 0", cost_at(moments[1]))
    (key,) = variables.values
    assert "/" not in key
    assert " " not in key
    assert (30, 31.0, 300) == ((total := records.sum("a dag/with signs", None, None)).runs, total.usd, total.rows)
    assert (10, 90) == ((early := records.sum("a dag/with signs", None, moments[1])).runs, early.rows)
    assert 0 == records.sum("a dag-with signs", None, None).runs, "another DAG, whose id looks the same in a key"


@pytest.mark.parametrize("place", ["path", "variables"])
def test_an_endpoint_that_is_deleted_and_created_again_counts_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: Variables, place: str
) -> None:
    """As the indices of a mapped group do, one after the other on one name. A report that is repeated counts once."""
    began = datetime.now(UTC) - timedelta(seconds=5)
    with costs_in(place, monkeypatch, tmp_path):
        told: list[float] = []
        for end in (DeleteInferenceEndpointOperator, PauseInferenceEndpointOperator, PauseInferenceEndpointOperator):
            if end is DeleteInferenceEndpointOperator or len(told) == 1:
                run(create())
            task: Any = end(task_id="end", endpoint="demo", **FAST)
            ti = TaskInstance()
            run(task, context_of(task, ti, began))
            told.append(ti.xcoms["cost"]["usd"])
        with InferenceEndpointsHook() as hook:
            total = hook.sum_costs("costs", since=began)
        assert (1, 0) == (total.runs, total.unpriced)
        assert total.usd == pytest.approx(told[0] + told[2])
    assert (place == "variables") == bool(variables.values)


def test_a_dag_with_the_longest_id_has_a_variable(variables: Variables) -> None:
    """Its key has at most the 250 characters that Airflow takes, and says its own DAG only."""
    for dag_id in ("x" * 250, "x" * 249 + "y"):
        CostRecords(KeptAt()).write(dag_id, "run", cost_at(datetime(2026, 11, 28, tzinfo=UTC)))
    assert 2 == len(variables.values)
    assert max(map(len, variables.values)) <= 250
    assert 1 == CostRecords(KeptAt()).sum("x" * 250, None, None).runs


@pytest.mark.parametrize("airflow", ["3.3", "3.0"])
def test_releases_at_the_same_moment_lose_no_cost(
    variables: Variables, monkeypatch: pytest.MonkeyPatch, airflow: str
) -> None:
    """Twenty of a mapped group on an API server that takes up to 0.2 s for a call, in a Variable that is full."""
    before, stop = Ledger(), datetime(2026, 11, 28, tzinfo=UTC)
    for number in range(400):
        record = Entry("2026-11-27T00:00:00", f"acme/before-{number % 9:015}", Figures(usd=1.0), f"run-{number}")
        before.add(f"{number:012}", record)
    assert 400 > len(before.records)
    variables.values["hf_endpoints_costs.costs"] = json.dumps(before.stored())
    monkeypatch.setattr(kept.variables, "_SETTLE", 0.5)
    variables.slow = 0.05
    if airflow == "3.0":
        monkeypatch.setattr(kept.variables, "Variable", OldVariables(variables))
    with ThreadPoolExecutor(20) as pool:
        for each in [pool.submit(CostRecords(KeptAt()).write, "costs", f"run {n}", cost_at(stop)) for n in range(20)]:
            each.result()
    assert (420, 420.0) == ((total := CostRecords(KeptAt()).sum("costs", None, None)).runs, total.usd)


def test_a_variable_of_something_else_is_an_error(variables: Variables) -> None:
    """It is neither read as no costs nor written over."""
    variables.values["hf_endpoints_costs.costs"] = '{"2026-11": true}'
    with pytest.raises(kept.StoreError, match=r"'hf_endpoints_costs\.costs' does not contain costs.*Delete it"):
        CostRecords(KeptAt()).write("costs", "run", cost_at(datetime(2026, 11, 28, tzinfo=UTC)))
    assert {"hf_endpoints_costs.costs": '{"2026-11": true}'} == variables.values


def test_a_sum_that_cannot_be_read_says_where(monkeypatch: pytest.MonkeyPatch, variables: Variables) -> None:
    """The error names the Variable."""
    variables.broken = True
    with connected(monkeypatch) as emulator:
        connect(monkeypatch, emulator)
        _sum_can_not_be_read()


def _sum_can_not_be_read() -> None:
    with (
        InferenceEndpointsHook() as hook,
        pytest.raises(
            InferenceEndpointError, match=r"Could not sum the costs of DAG 'costs'.*hf_endpoints_costs\.costs"
        ),
    ):
        hook.sum_costs("costs")


def test_the_costs_of_an_emulator_are_not_those_of_the_service(variables: Variables) -> None:
    """A DAG that ran on both has two sums, each for the connection that is asked."""
    on_emulator = KeptAt(service="127.0.0.1_8080")
    CostRecords(on_emulator).write("costs", "run", cost_at(datetime(2026, 11, 28, tzinfo=UTC)))
    assert (0, 1) == tuple(CostRecords(at).sum("costs", None, None).runs for at in (KeptAt(), on_emulator))
