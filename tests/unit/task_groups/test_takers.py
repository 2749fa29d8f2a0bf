"""Tasks that take a group's endpoint and are outside of the group, or are added later: the release waits for them."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup, task

from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint


def ask(task_id: str, endpoint: Any, **changes: Any) -> InferenceOperator:
    return InferenceOperator(task_id=task_id, endpoint=endpoint, task="chat-completion", inputs="hello", **changes)


def before(dag: DAG, task_id: str) -> set[str]:
    return set(dag.get_task(task_id).get_flat_relative_ids(upstream=True))


def watched(dag: DAG) -> list[str]:
    watch: Any = dag.get_task("demo.watch")
    return list(watch.start_trigger_args.trigger_kwargs["work"])


def test_the_release_waits_for_whoever_takes_the_endpoint() -> None:
    """Plain, mapped, in another task group, or added to the group when its arrows are drawn."""
    with DAG("dag", schedule=None) as dag:
        group = inference_endpoint("demo")
        with group as endpoint:
            ask("inside", endpoint)
        ask("plain", endpoint)
        ask_many = {"task": "chat-completion", "hf_endpoints_conn_id": "x"}
        InferenceOperator.partial(task_id="many", endpoint=endpoint, **ask_many).expand(inputs=["a", "b"])
        with TaskGroup("others"):

            @task
            def look(endpoint: dict[str, Any]) -> None: ...

            look(endpoint)
        assert group.task_group is not None
        with group.task_group:
            ask("late", endpoint)
    takers = {"demo.inside", "plain", "many", "others.look", "demo.late"}
    assert takers < before(dag, "demo.release")
    assert takers == set(watched(dag))
    release: Any = dag.get_task("demo.release")
    assert takers == set(release.work), "it looks whether they have ended"
    assert {"plain", "many", "others.look", "demo.late"}.isdisjoint(dag.get_task("demo.inside").downstream_task_ids)


def test_what_can_skip_outside_skips_no_release() -> None:
    """It has one separate empty task in between, as inside, however often it takes the endpoint."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo") as endpoint:
            ask("inside", endpoint)

        @task.branch
        def pick(endpoint: dict[str, Any], again: dict[str, Any]) -> None: ...

        pick(endpoint, endpoint)
    assert {"demo.pick_ended"} == dag.get_task("pick").downstream_task_ids
    assert "demo.pick_ended" in dag.get_task("demo.release").upstream_task_ids


def test_a_group_with_all_of_its_work_outside_is_watched_too() -> None:
    """The first taker brings the watch and the task before the release."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo") as endpoint:
            pass
        ask("outside", endpoint)
    assert {"demo.work_ended"} == dag.get_task("outside").downstream_task_ids
    assert ["outside"] == watched(dag)


def test_the_endpoint_of_a_mapped_group_outside() -> None:
    """If one task takes all of the endpoints, each of the releases waits."""
    with DAG("dag", schedule=None) as dag:

        @inference_endpoint("demo")
        def summarise(endpoint: Any, text: str) -> Any:
            ask("ask", endpoint, parameters={"stop": text})
            return endpoint

        BaseOperator(task_id="unrelated")

        @task
        def look(endpoints: list[Any]) -> None: ...

        look(summarise.expand(text=["a", "b"]))
    assert {"summarise.ask", "look"} < before(dag, "summarise.release")
    assert "unrelated" not in before(dag, "summarise.release")


def test_work_outside_that_waits_for_the_run_before_is_refused() -> None:
    """As inside: the endpoint would bill meanwhile."""
    with DAG("dag", schedule=None):
        with inference_endpoint("demo") as endpoint:
            ask("inside", endpoint)
        with pytest.raises(ValueError, match="'outside' uses an endpoint and has depends_on_past=True"):
            ask("outside", endpoint, depends_on_past=True)
