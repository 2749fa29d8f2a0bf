"""What `default_args` give to a group: the start has that as any operator has, unless the group says otherwise."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskGroup
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

HARDWARE = ["aws/us-east-1/intel-icl/x2"]
NEW: dict[str, Any] = {"repository": "gpt2", "task": "text-generation"}
BY_DEFAULT = {
    "deferrable": (False, True, True),
    "framework": ("custom", "llamacpp", "pytorch"),
    "hardware": (HARDWARE, ["aws/us-east-1/nvidia-l4/x1"], None),
    "hardware_order": ("price", "given", "given"),
}
PLACED = {name: {} if name == "hardware" else {"hardware": HARDWARE} for name in BY_DEFAULT}


def start_of(owner: str, defaults: dict[str, Any], **given: Any) -> Any:
    """The start of a group in a DAG, where the DAG or a group around has these `default_args`."""
    with ExitStack() as stack:
        dag = stack.enter_context(DAG("dag", schedule=None, default_args=defaults if owner == "dag" else {}))
        if owner != "dag":
            stack.enter_context(TaskGroup("around", default_args=defaults))  # type: ignore[arg-type]
        with inference_endpoint("demo", group_id="use", **given) as endpoint:
            InferenceOperator(task_id="ask", endpoint=endpoint, task="text-generation", inputs="Hello")
    return dag.get_task("use.start" if owner == "dag" else "around.use.start")


@pytest.mark.parametrize("owner", ["dag", "group"])
@pytest.mark.parametrize("name", BY_DEFAULT)
def test_a_start_has_what_default_args_say(owner: str, name: str) -> None:
    """A wait that was to occupy a worker was deferred, and a model was started with another framework."""
    by_default, own, _ = BY_DEFAULT[name]
    given = NEW | PLACED[name]
    assert by_default == getattr(start_of(owner, {name: by_default}, **given), name)
    assert own == getattr(start_of(owner, {name: by_default}, **given, **{name: own}), name)


@pytest.mark.parametrize("name", [name for name in BY_DEFAULT if name != "hardware"])
def test_without_default_args(name: str) -> None:
    """The defaults of the group."""
    assert BY_DEFAULT[name][2] == getattr(start_of("dag", {}, **NEW, **PLACED[name]), name)


def test_the_start_of_an_endpoint_that_exists() -> None:
    """It is resumed, and has nothing but `deferrable` of these."""
    defaults = {name: by_default for name, (by_default, *_) in BY_DEFAULT.items()}
    assert start_of("dag", defaults).deferrable is False
    assert start_of("dag", {}).deferrable is True


def test_nothing_watches_without_a_triggerer() -> None:
    """As with `deferrable=False` of the group: without a limit there is no watch, and a limit is refused."""
    start = start_of("dag", {"deferrable": False}, **NEW, hardware=HARDWARE)
    assert not [each for each in start.dag.task_ids if "watch" in each]
    with pytest.raises(ValueError, match=r"max_idle=300 is watched in the triggerer"):
        start_of("dag", {"deferrable": False}, **NEW, hardware=HARDWARE, max_idle=300)
    assert [each for each in start_of("dag", {"deferrable": False}, deferrable=True).dag.task_ids if "watch" in each]
