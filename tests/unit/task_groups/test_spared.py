"""What a task of the work skips: never a release; and it stays, for Airflow and its users, the task that it was."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, DownstreamTasksSkipped
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.generated.versions import lazy


class SkipsByName(BaseOperator):
    """Names what it skips, in one of the forms that Airflow takes."""

    def __init__(self, *, skips: Any, **kwargs: Any) -> None:
        kwargs.pop("hf_endpoints_conn_id", None)
        super().__init__(**kwargs)
        self.skips = skips

    def execute(self, context: Any) -> None:
        """Skip, as `SkipMixin` does."""
        self.execute_complete(context)

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """The same after a deferral."""
        raise DownstreamTasksSkipped(tasks=self.skips)  # type: ignore[no-untyped-call]


class SkipsInItsOwnWay(SkipsByName):
    """A subclass, which calls its base's `execute`."""

    def execute(self, context: Any) -> None:
        """As the base's."""
        super().execute(context)


def _in_a_group(kind: type[BaseOperator] = SkipsByName, **given: Any) -> Any:
    with DAG("dag", schedule=None), inference_endpoint("demo"):
        return kind(task_id="work", **given)


@pytest.mark.parametrize("kind", [SkipsByName, SkipsInItsOwnWay])
@pytest.mark.parametrize(
    ("skips", "told"),
    [
        (["demo.work_ended", "demo.release", "demo.released"], ["demo.work_ended"]),
        ([("demo.release", -1), ("other", 2)], [("other", 2)]),
        ("demo.release", []),
        (["other"], ["other"]),
    ],
)
def test_a_release_is_taken_out_of_what_a_task_skips(kind: Any, skips: Any, told: Any) -> None:
    """Whatever the form of the list; everything else in it is skipped as asked for."""
    with pytest.raises(DownstreamTasksSkipped) as caught:
        _in_a_group(kind, skips=skips).prepare_for_execution().execute(context={})
    assert told == caught.value.tasks


def test_also_of_what_a_task_skips_after_a_deferral() -> None:
    """It is then resumed by another method."""
    task = _in_a_group(skips=["demo.release"]).prepare_for_execution()
    with pytest.raises(DownstreamTasksSkipped) as caught:
        task.resume_execution("execute_complete", {"event": None}, {})
    assert [] == caught.value.tasks


def test_a_task_before_the_work_cannot_skip_the_release_either() -> None:
    """It stands outside of the group, and not before its `acquire`."""
    with DAG("dag", schedule=None):
        before = SkipsByName(task_id="before", skips=["demo.release", "demo.work"])
        with inference_endpoint("demo"):
            before >> EmptyOperator(task_id="work")
    with pytest.raises(DownstreamTasksSkipped) as caught:
        before.execute(context={})
    assert ["demo.work"] == caught.value.tasks


def test_a_task_that_takes_the_endpoint_outside_cannot_skip_the_release() -> None:
    """The release waits for such a task as for the work inside."""
    with DAG("dag", schedule=None):
        with inference_endpoint("demo") as endpoint:
            EmptyOperator(task_id="work")

        class Takes(SkipsByName):
            template_fields = ("skips",)

        taker = Takes(task_id="taker", skips=[endpoint, "demo.release"])
    taker.skips = ["demo.release"]
    with pytest.raises(DownstreamTasksSkipped) as caught:
        taker.execute(context={})
    assert [] == caught.value.tasks


def _stand_alone(arrows: Any) -> Any:
    """A start, two tasks and a stop; `arrows` draws the arrows and makes the stop a teardown."""
    with DAG("dag", schedule=None):
        start = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo")
        first, last = (SkipsByName(task_id=name, skips=["last", "stop"]) for name in ("first", "last"))
        arrows(start, first, last, PauseInferenceEndpointOperator(task_id="stop", endpoint="demo"))
    return first, last


def _with_the_teardown_last(start: Any, first: Any, last: Any, stop: Any) -> None:
    start >> first >> last >> stop
    stop.as_teardown(setups=start)


def _with_the_teardown_first(start: Any, first: Any, last: Any, stop: Any) -> None:
    start >> stop.as_teardown(setups=start)
    last >> stop
    start >> first >> last


def _with_arrows_to_the_left(start: Any, first: Any, last: Any, stop: Any) -> None:
    stop.as_teardown(setups=start)
    stop << last
    last << [first, start]


@pytest.mark.parametrize("arrows", [_with_the_teardown_last, _with_the_teardown_first, _with_arrows_to_the_left])
def test_no_task_before_a_stop_that_is_a_teardown_can_skip_it(arrows: Any) -> None:
    """In whichever order the arrows were drawn; a pause that is not a teardown is skipped like any task."""
    for task in _stand_alone(arrows):
        with pytest.raises(DownstreamTasksSkipped) as caught:
            task.prepare_for_execution().execute(context={})
        assert ["last"] == caught.value.tasks
    _, last = _stand_alone(lambda start, first, last, stop: start >> first >> last >> stop)
    with pytest.raises(DownstreamTasksSkipped) as caught:
        last.execute(context={})
    assert ["last", "stop"] == caught.value.tasks


def test_the_task_stays_what_it_is() -> None:
    """Its class, by name and module, in Airflow's pages and in the stored DAG; and an instance of what it was."""
    task = _in_a_group(skips=[])
    with DAG("dag", schedule=None):
        plain = SkipsByName(task_id="work", skips=[])
    assert isinstance(task, SkipsByName)
    assert (plain.task_type, plain.__module__) == (task.task_type, task.__module__)
    assert str(SkipsByName) == str(type(task))
    stored = next(
        each["__var"]
        for each in lazy(task.dag).data["dag"]["tasks"]
        if "skips" not in each["__var"]["task_id"] and each["__var"]["task_id"].endswith("work")
    )
    assert (SkipsByName.__name__, SkipsByName.__module__) == (stored["task_type"], stored["_task_module"])
