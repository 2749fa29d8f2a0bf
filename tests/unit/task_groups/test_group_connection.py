"""Where the endpoint of a group is, if `default_args` name a connection or a namespace."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup

from airflow_provider_hf_endpoints.operators.common.naming import take_name
from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

TEAM: dict[str, Any] = {"hf_endpoints_conn_id": "team_a", "namespace": "org-a"}


def _ask(endpoint: Any) -> InferenceOperator:
    return InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs="hello")


def _where(dag: Any, prefix: str = "demo.") -> dict[str, tuple[Any, Any]]:
    """The connection and the namespace of the tasks that start and use the endpoint."""
    tasks = {each: dag.get_task(prefix + each) for each in ("acquire", "start", "ask")}
    return {name: (each.hf_endpoints_conn_id, each.namespace) for name, each in tasks.items()}


@pytest.mark.parametrize("owner", ["the DAG", "a group around", "a use around"])
def test_the_connection_of_default_args_is_that_of_the_group_too(owner: str) -> None:
    """The work uses the endpoint by that connection, so the endpoint is started, watched and released there."""
    of_dag, of_group, of_use = (TEAM if owner == each else {} for each in ("the DAG", "a group around", "a use around"))
    with (
        DAG("dag", schedule=None, default_args=of_dag) as dag,
        TaskGroup("around", default_args=of_group),  # type: ignore[arg-type]
        inference_endpoint("outer", **of_use),
        inference_endpoint("demo") as endpoint,
    ):
        _ask(endpoint)
    namespace = None if owner == "a use around" else "org-a"
    assert {("team_a", namespace)} == set(_where(dag, "around.outer.demo.").values())
    tasks: Any = dag
    release, watch = (tasks.get_task(f"around.outer.demo.{each}") for each in ("release", "watch"))
    assert "team_a" == release.hf_endpoints_conn_id
    assert "team_a" == watch.start_trigger_args.trigger_kwargs["hf_endpoints_conn_id"]


@pytest.mark.parametrize("connection", ["team_b", "hf_endpoints_default"])
def test_a_group_s_own_connection_comes_before_default_args(connection: str) -> None:
    """Also for the work inside, and also where it is the one that is used if none is given."""
    with (
        DAG("dag", schedule=None, default_args=TEAM) as dag,
        inference_endpoint("demo", hf_endpoints_conn_id=connection, namespace="org-b") as endpoint,
    ):
        work: Any = _ask(endpoint)
    started = (connection, "org-b")
    assert {"acquire": started, "start": started, "ask": (connection, "org-a")} == _where(dag)
    work.endpoint = {"name": "demo", "namespace": "org-b"}
    take_name(work)
    assert ("demo", "org-b") == (work.endpoint, work.namespace), "the endpoint that was started, and no namesake"


def test_without_any_connection_the_default_one_is_used() -> None:
    """As for every operator."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo") as endpoint:
        _ask(endpoint)
    assert {("hf_endpoints_default", None)} == set(_where(dag).values())


@pytest.mark.parametrize("owner", ["the DAG", "a group around", "a use around"])
@pytest.mark.parametrize("decorated", [False, True])
def test_a_limit_is_refused_if_default_args_name_a_connection_that_cannot_be_watched(
    owner: str, decorated: bool
) -> None:
    """As if it were given directly: without a watch the limit would be ignored silently."""
    templated = {"hf_endpoints_conn_id": "{{ params.team }}"}
    of_dag, of_group, of_use = (
        templated if owner == each else {} for each in ("the DAG", "a group around", "a use around")
    )
    with (
        DAG("dag", schedule=None, default_args=of_dag),
        TaskGroup("around", default_args=of_group),  # type: ignore[arg-type]
        inference_endpoint("outer", max_idle=None, **of_use),  # type: ignore[arg-type]
    ):
        group = inference_endpoint("demo", max_idle=300)
        place = group(_ask) if decorated else group.__enter__
        with pytest.raises(ValueError, match=r"max_idle=300 is watched in the triggerer, .* also in default_args"):
            place()
        with inference_endpoint("default") as endpoint:  # the default limit only holds where it can
            _ask(endpoint)


def test_a_decorated_group_has_the_connection_of_default_args() -> None:
    """It is placed when the function is called."""
    with DAG("dag", schedule=None, default_args=TEAM) as dag:

        @inference_endpoint("demo")
        def work(endpoint: Any) -> None:
            _ask(endpoint)

        work()
    assert {("team_a", "org-a")} == set(_where(dag, "work.").values())
