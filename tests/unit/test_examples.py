"""The example DAGs and their data: they load, serialize, and release what they start."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization import serialized_objects

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    MergeBatchShardsOperator,
    PlanBatchShardsOperator,
)
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
TICKETS = EXAMPLES / "data" / "support_tickets.jsonl"

Create, Delete, Pause = (
    CreateInferenceEndpointOperator,
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
)
Resume, ToZero, Update = (
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
Batch, Sensor = BatchInferenceOperator, InferenceEndpointSensor
Plan, Merge = PlanBatchShardsOperator, MergeBatchShardsOperator

# By file: the operators of ours in it, and which task is released by which teardown.
EXPECTED: dict[str, tuple[list[type], dict[str, str]]] = {
    "example_batch_text_generation": ([Create, Sensor, Batch, Batch, Pause], {"create": "pause"}),
    "example_resume_batch_pause": ([Resume, Batch, Pause], {"resume": "pause"}),
    "example_update_for_large_run": (
        [Update, Resume, Batch, Pause, Update],
        {"enlarge": "shrink", "resume": "pause"},
    ),
    "example_scale_to_zero_between_bursts": (
        [Resume, Batch, ToZero, Sensor, Batch, ToZero],
        {"resume": "scale_to_zero"},
    ),
    "example_sharded_batch": ([Plan, Resume, Sensor, Batch, Merge, Pause], {"resume": "pause"}),
    "example_delete_endpoint": ([Delete], {}),
    "example_when_endpoint_fails": ([Resume, Pause], {}),
    "example_sweep_endpoints": ([SweepInferenceEndpointsOperator], {}),
}
# What a run starts for a later one to pause: the fallback has to run for as long as the endpoint does not.
LEFT_TO_A_LATER_RUN = {"resume_fallback": "pause_fallback"}


# The examples in which a task group starts and releases; `tests/unit/task_groups` holds how.
IN_A_GROUP = {"example_endpoint_for_a_task_group", "example_table_to_table"}


def load(name: str) -> DAG:
    """The DAG in a file, loaded again: it reads the environment when it is imported."""
    spec = importlib.util.spec_from_file_location(f"loaded_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag  # type: ignore[no-any-return]


def tasks(dag: DAG) -> dict[str, Any]:
    return dict(dag.task_dict)


def watched_assets(dag: DAG) -> list[Any]:
    """The assets that the DAG is scheduled on."""
    return list(dag.schedule) if isinstance(dag.schedule, list) else []


def kind_of(task: Any) -> type:
    """The operator of a task, also of a mapped one."""
    kind: type = getattr(task, "operator_class", type(task))
    return kind


def is_a(task: Any, *kinds: type) -> bool:
    return issubclass(kind_of(task), kinds)


def test_every_example_is_known_here() -> None:
    """A new example is added to the table above, or nothing checks it."""
    assert sorted([*EXPECTED, *IN_A_GROUP]) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", [*EXPECTED, *IN_A_GROUP])
def test_it_is_named_after_its_file(name: str) -> None:
    """`example_x.py` holds the DAG `hf_endpoints_x`, so that one is found from the other."""
    assert name.replace("example_", "hf_endpoints_") == load(name).dag_id


@pytest.mark.parametrize("name", [*EXPECTED, *IN_A_GROUP])
def test_it_serializes(name: str) -> None:
    """What the scheduler stores of it is JSON and holds every task."""
    dag = load(name)
    names = vars(serialized_objects)
    serializer = names.get("DagSerialization") or names["SerializedDAG"]  # the latter before Airflow 3.2
    stored = json.loads(json.dumps(serializer.to_dict(dag)))
    assert sorted(tasks(dag)) == sorted(task["__var"]["task_id"] for task in stored["dag"]["tasks"])


@pytest.mark.parametrize("name", EXPECTED)
def test_it_shows_the_operators_that_it_is_about(name: str) -> None:
    """The operators of this provider in it are those that its docstring and the docs speak of."""
    kinds = [kind_of(task) for task in tasks(load(name)).values()]
    ours = [kind for kind in kinds if "airflow_provider_hf_endpoints" in kind.__module__]
    assert sorted(map(str, EXPECTED[name][0])) == sorted(map(str, ours))


@pytest.mark.parametrize("name", EXPECTED)
def test_what_it_starts_is_released_by_a_teardown(name: str) -> None:
    """Every task that starts or enlarges an endpoint is a setup, and its teardown comes after all work."""
    dag = load(name)
    released = {
        task_id: {down.task_id for down in task.downstream_list if down.is_teardown}
        for task_id, task in tasks(dag).items()
        if isinstance(task, Create | Resume | Update) and not task.is_teardown and task_id not in LEFT_TO_A_LATER_RUN
    }
    assert {setup: {teardown} for setup, teardown in EXPECTED[name][1].items()} == released
    for setup, teardown in EXPECTED[name][1].items():
        assert tasks(dag)[setup].is_setup
        before = tasks(dag)[teardown].get_flat_relative_ids(upstream=True)
        assert {task_id for task_id, task in tasks(dag).items() if is_a(task, Batch, Sensor)} <= before


def test_the_fallback_is_paused_by_the_same_dag() -> None:
    """Of the endpoint that is resumed, once the watched one is back."""
    found = tasks(load("example_when_endpoint_fails"))
    for resume, pause in LEFT_TO_A_LATER_RUN.items():
        assert (found[resume].endpoint, Pause) == (found[pause].endpoint, type(found[pause]))


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name][1]])
def test_a_setup_does_not_wait(name: str) -> None:
    """A teardown is skipped where its setup failed, so a setup must not fail over a start that takes too long."""
    dag = load(name)
    assert [False] * len(EXPECTED[name][1]) == [
        tasks(dag)[task_id].wait_for_completion for task_id in EXPECTED[name][1]
    ]


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name][1]])
def test_the_run_fails_when_the_work_or_the_release_does(name: str) -> None:
    """The task that the run is judged by is behind both.

    Airflow leaves teardowns out when it judges a run; one with `on_failure_fail_dagrun` would count, and the task that
    only it follows would not.
    """
    dag = load(name)
    done = tasks(dag)["done"]
    teardowns = {task_id for task_id, task in tasks(dag).items() if task.is_teardown}
    assert not done.downstream_task_ids
    assert teardowns < done.upstream_task_ids
    assert any(is_a(task, Batch, Merge) for task in done.upstream_list)
    assert not any(tasks(dag)[task_id].on_failure_fail_dagrun for task_id in teardowns)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_release_is_tried_more_than_once(name: str) -> None:
    """A moment's trouble with the service must not leave an endpoint running."""
    dag = load(name)
    assert all(task.retries >= 5 for task in tasks(dag).values() if task.is_teardown)


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_do_not_share_an_endpoint_at_the_same_time(name: str) -> None:
    """A run that ends would pause the endpoint under the other one."""
    dag = load(name)
    assert dag.max_active_runs == 1 or not EXPECTED[name][1]


# The sweeper looks at every endpoint, and names none.
@pytest.mark.parametrize("name", sorted({*EXPECTED, *IN_A_GROUP} - {"example_sweep_endpoints"}))
def test_name_and_output_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo, the tests and a user set them without a change of the file."""
    monkeypatch.setenv("HF_ENDPOINTS_EXAMPLE_NAME", "of-the-environment")
    monkeypatch.setenv("HF_ENDPOINTS_EXAMPLE_FALLBACK", "fallback-of-the-environment")
    monkeypatch.setenv("HF_ENDPOINTS_EXAMPLE_OUTPUT", "s3://bucket/of-the-environment")
    dag = load(name)
    endpoints = {task.endpoint for task in tasks(dag).values() if isinstance(getattr(task, "endpoint", None), str)}
    watched = {watcher.trigger.endpoint for asset in watched_assets(dag) for watcher in asset.watchers}
    assert (endpoints | watched) - {"", "fallback-of-the-environment"} == {"of-the-environment"}
    if any(is_a(task, Batch) for task in tasks(dag).values()):
        assert dag.params["output_folder"] == "s3://bucket/of-the-environment"


@pytest.mark.parametrize("name", [*EXPECTED, *IN_A_GROUP])
def test_it_knows_no_emulator(name: str) -> None:
    """Only the connection tells the emulator from the real service."""
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert "airflow_provider_hf_endpoints.emulator" not in text


@pytest.mark.parametrize("name", [*EXPECTED, *IN_A_GROUP])
def test_its_docstring_says_what_a_user_asks(name: str) -> None:
    """What it shows, what it costs, what to change; the UI shows the same text."""
    doc = load(name).doc_md or "(none)"
    assert [word for word in ("Shows:", "Costs:", "Change:") if f"\n{word} " in doc] == ["Shows:", "Costs:", "Change:"]


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TICKETS.read_text(encoding="utf-8").splitlines()]


def test_the_tickets_are_forty_rows_of_the_same_shape() -> None:
    """Each has a unique id, a product, and two to five sentences or a little more."""
    assert len(rows()) == 40
    assert {"id", "product", "text"} == set.union(*(set(row) for row in rows()))
    assert [f"T-{1000 + number}" for number in range(1, 41)] == [row["id"] for row in rows()]
    assert all(row["product"].strip() and len(row["text"]) > 60 for row in rows())


def test_the_tickets_hold_what_breaks_careless_code() -> None:
    """Characters outside of ASCII, quotes, and braces that a template must leave alone."""
    texts = [row["text"] for row in rows()]
    assert any(not text.isascii() for text in texts)
    assert any('{"error"' in text for text in texts)
    assert any("{{placeholders}}" in text for text in texts)


def test_every_column_that_a_prompt_names_is_in_the_tickets() -> None:
    """A typing mistake in an example's prompt would fail at a user's, on a paid endpoint."""
    from airflow_provider_hf_endpoints.inference.requests.placeholders import columns_of

    for name in [*EXPECTED, *IN_A_GROUP]:
        for task in tasks(load(name)).values():
            if isinstance(task, Batch) and task.input_path == str(TICKETS):
                assert set(columns_of(task.prompt)) <= {"id", "product", "text"}
