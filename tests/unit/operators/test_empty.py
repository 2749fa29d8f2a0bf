"""An empty namespace or connection is refused when the DAG is parsed: it would stand for another default, silently."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup

from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger
from tests.unit.operators.test_arguments import NEEDED, OPERATORS, annotated, made

PLACES = ("namespace", "hf_endpoints_conn_id")
CASES = [(kind, name) for kind in OPERATORS for name in PLACES if name in annotated(kind)]
REFUSED = r"is empty\. Give a name, or leave (namespace|hf_endpoints_conn_id) out"


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.__name__}-{name}" for kind, name in CASES])
def test_an_empty_place_is_refused(kind: Any, name: str, empty: str) -> None:
    """By every operator, given directly, in default_args, in `partial` and in `expand`."""
    with pytest.raises(ValueError, match=REFUSED):
        made(kind, **{name: empty})
    with DAG("dag", schedule=None, default_args={name: empty}), pytest.raises(ValueError, match=REFUSED):
        made(kind)
    given = {each: NEEDED[each] for each in annotated(kind) if each in NEEDED}
    with pytest.raises(ValueError, match=REFUSED):
        kind.partial(task_id="task", **{**given, name: empty})
    with pytest.raises(ValueError, match=REFUSED):
        kind.partial(task_id="task", **given).expand(**{name: ["acme", empty]})


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("where", ["given", "the DAG", "a group around"])
def test_a_group_refuses_it_too(name: str, where: str) -> None:
    """Its own argument, and what it takes from default_args."""
    given, of_dag, of_group = ({name: ""} if where == each else {} for each in ("given", "the DAG", "a group around"))
    with (
        DAG("dag", schedule=None, default_args=of_dag),
        TaskGroup("around", default_args=of_group),  # type: ignore[arg-type]
        pytest.raises(ValueError, match=REFUSED),
    ):
        inference_endpoint("demo", **given).__enter__()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PLACES)
def test_a_watcher_refuses_it_too(name: str) -> None:
    """Its arguments are not templates."""
    with pytest.raises(TypeError, match=f"{name}.*is (not a valid|empty)"):
        InferenceEndpointEventTrigger("demo", **{name: ""})  # type: ignore[arg-type]
