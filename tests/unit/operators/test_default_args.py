"""What Airflow silently ignores in `default_args`, and what was meant."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup

from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.unit.operators.test_arguments import OPERATORS, annotated, made

CASES = [
    ("namespce", "namespace"),
    ("hf_endpoint_conn_id", "hf_endpoints_conn_id"),
    ("depend_on_past", "depends_on_past"),
]


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize(("name", "meant"), CASES)
def test_a_misspelt_name_in_default_args_is_told(kind: Any, name: str, meant: str) -> None:
    """Of the DAG and of a group, by every operator that takes what was meant."""
    if meant in ("namespace", "hf_endpoints_conn_id") and meant not in annotated(kind):
        pytest.skip("it does not take this argument")
    for of_dag, of_group in (({name: "x"}, {}), ({}, {name: "x"})):
        with (
            DAG("dag", schedule=None, default_args=of_dag),
            TaskGroup("group", default_args=of_group),  # type: ignore[arg-type]
            pytest.warns(UserWarning, match=rf"default_args has '{name}'.*Did you mean '{meant}'\?") as told,
        ):
            made(kind)
    assert 1 == len([each for each in told if name in str(each.message)])


@pytest.mark.parametrize("kind", OPERATORS)
def test_names_that_other_operators_take_are_not_told(kind: Any) -> None:
    """They may be meant for those."""
    others = {"poke_interval": 30, "conn_id": "a", "region_name": "b", "wait_timeout": 3, "bucket": "c", "owner": "me"}
    with warnings.catch_warnings(), DAG("dag", schedule=None, default_args=others):
        warnings.simplefilter("error")
        made(kind)


@pytest.mark.parametrize(
    ("name", "meant"), [("max_cost", "max_cost"), ("max_idel", "max_idle"), ("release", "release"), ("lease", "lease")]
)
def test_a_limit_of_a_group_in_default_args_is_told(name: str, meant: str) -> None:
    """The endpoint would have no such limit, and nothing would say so."""
    with (
        DAG("dag", schedule=None, default_args={name: "pause" if name == "release" else 5}),
        pytest.warns(UserWarning, match=rf"default_args has '{name}'.*Give {meant}=… to inference_endpoint"),
        inference_endpoint("demo"),
    ):
        pass
