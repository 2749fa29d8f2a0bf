"""Work that Airflow never runs in a DAG run, or only after another one: no endpoint is started for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, BaseOperator

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.starting.intent import stopped_by
from airflow_provider_hf_endpoints.operators.using.delays import check_skips, refuse_work_that_is_held_back
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import MODEL, TaskInstance

RUN = datetime(2026, 5, 1, tzinfo=UTC)
EARLIER, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def a_dag(**dates: Any) -> DAG:
    """A group with two tasks inside, one of them behind a task outside that has the dates."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo"):
            BaseOperator(task_id="one")
            two = BaseOperator(task_id="two")
        BaseOperator(task_id="before", **dates) >> two
    return dag


@pytest.mark.parametrize(
    ("dates", "words"), [({"end_date": EARLIER}, "end_date=2026"), ({"start_date": LATER}, "2027")]
)
def test_an_endpoint_is_not_started_for_work_that_never_runs(dates: dict[str, Any], words: str) -> None:
    """Also where the task is further up, outside of the group: nothing is asked of the service, and no retry helps."""
    acquire: Any = a_dag(**dates).get_task("demo.acquire")
    with pytest.raises(AirflowFailException, match=f"'before' has .*{words}"):
        acquire.execute({"logical_date": RUN})


@pytest.mark.parametrize(
    ("dates", "logical_date"),
    [
        ({}, RUN),
        ({"start_date": EARLIER, "end_date": LATER}, RUN),
        ({"start_date": RUN, "end_date": RUN}, RUN),
        ({"end_date": EARLIER}, None),
    ],
)
def test_what_airflow_runs_is_let_by(dates: dict[str, Any], logical_date: datetime | None) -> None:
    """As Airflow compares: a run without a logical date runs everything."""
    acquire = a_dag(**dates).get_task("demo.acquire")
    refuse_work_that_is_held_back(acquire, ["demo.release"], logical_date)


def test_what_the_use_waited_for_is_over() -> None:
    """A task before `acquire` has run, or `acquire` would not."""
    with DAG("dag", schedule=None) as dag:
        group = inference_endpoint("demo")
        with group:
            BaseOperator(task_id="work")
        BaseOperator(task_id="before", end_date=EARLIER, depends_on_past=True) >> group
    refuse_work_that_is_held_back(dag.get_task("demo.acquire"), ["demo.release"], RUN)


HELD_BACK: list[dict[str, Any]] = [
    {"depends_on_past": True},
    {"wait_for_downstream": True},
    {"end_date": EARLIER},
    {"start_date": LATER},
]


def alone(create: bool, work: dict[str, Any], stop: dict[str, Any], **given: Any) -> Any:
    """A start outside of a group, work behind it, and a pause behind that; the start."""
    with DAG("dag", schedule=None):
        start: Any = (
            CreateInferenceEndpointOperator(task_id="start", name="demo", **MODEL, **given)
            if create
            else ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", **given)
        )
        pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **stop)
        start >> BaseOperator(task_id="work", **work) >> pause
    return start


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("held", ["work", "pause"])
@pytest.mark.parametrize("given", HELD_BACK, ids=str)
def test_a_start_without_a_group_whose_pause_is_held_back(create: bool, held: str, given: dict[str, Any]) -> None:
    """Nothing is asked of the service, and no retry helps: the pause itself, too, may be what never runs."""
    start = alone(create, given if held == "work" else {}, given if held == "pause" else {})
    with pytest.raises(AirflowFailException, match=f"Task '{held}' has .*{next(iter(given))}="):
        start.execute({"logical_date": RUN, "ti": TaskInstance()})


def test_a_start_that_nothing_stops_waits_for_nothing() -> None:
    """A deployment: the task behind it may come whenever it likes. And the start itself may wait as it likes."""
    with DAG("dag", schedule=None):
        start: Any = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", depends_on_past=True)
        start >> BaseOperator(task_id="work", depends_on_past=True)
    assert [] == stopped_by(start, "demo")
    refuse_work_that_is_held_back(start, ["start"], RUN)


def test_a_start_is_not_stopped_by_what_stops_another_endpoint() -> None:
    """A namesake in another namespace, or what another task has started."""
    with DAG("dag", schedule=None):
        start: Any = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo", namespace="acme")
        other: Any = ResumeInferenceEndpointOperator(task_id="other", endpoint="other", namespace="acme")
        stops = {
            "namesake": ("demo", "globex"),
            "own": ("demo", "acme"),
            "default": ("demo", None),
            "of_other": (other.output, None),
            "of_start": (start.output, None),
        }
        for name, (endpoint, namespace) in stops.items():
            start >> PauseInferenceEndpointOperator(task_id=name, endpoint=endpoint, namespace=namespace)
    assert {"own", "default", "of_start"} == set(stopped_by(start, "demo", "acme"))


@pytest.mark.parametrize(("state", "refused"), [("skipped", False), (None, True)])
def test_what_a_branch_has_skipped_already_holds_nothing_back(state: str | None, refused: bool) -> None:
    """The branch stands before the use, and Airflow says what became of the task behind it."""
    acquire = a_dag(end_date=EARLIER).get_task("demo.acquire")
    asks = {"get_task_states": lambda **_: {"r1": {"before": state}}}
    ti = SimpleNamespace(dag_id="dag", run_id="r1", **asks)
    with pytest.raises(InvalidArgumentError) if refused else nullcontext():
        refuse_work_that_is_held_back(acquire, ["demo.release"], RUN, ti)


def skipped(kind: str, *, between: bool, teardown: bool) -> Any:
    """A start outside of a group, what can skip behind it, and a pause behind that; the start."""
    with DAG("dag", schedule=None):
        start: Any = ResumeInferenceEndpointOperator(task_id="start", endpoint="demo")
        pause: Any = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo")
        kinds: dict[str, Callable[[], Any]] = {
            "branch": lambda: BranchPythonOperator(task_id="pick", python_callable=lambda: None),
            "mapped branch": lambda: BranchPythonOperator.partial(task_id="pick", python_callable=list).expand(
                op_args=[[1]]
            ),
            "latest only": lambda: LatestOnlyOperator(task_id="pick"),
            "short circuit": lambda: ShortCircuitOperator(task_id="pick", python_callable=lambda: False),
        }
        pick: Any = kinds[kind]()
        start >> pick
        if between:
            pick >> EmptyOperator(task_id="over") >> pause
        else:
            pick >> pause
        if teardown:
            pause.as_teardown(setups=start)
    return start


@pytest.mark.parametrize("kind", ["branch", "mapped branch", "latest only", "short circuit"])
@pytest.mark.parametrize("between", [True, False])
def test_a_pause_that_can_be_skipped_is_warned_of(kind: str, between: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A branch that picks the pause is legitimate, so the start continues."""
    start = skipped(kind, between=between, teardown=False)
    check_skips(start, stopped_by(start, "demo"))
    expected = [] if between else ["Task 'pick' can skip 'pause', which stops endpoint 'demo'."]
    assert expected == [message.partition(" If it")[0] for message in caplog.messages]


@pytest.mark.parametrize("kind", ["branch", "mapped branch", "latest only"])
def test_no_endpoint_is_started_whose_teardown_a_branch_skips(kind: str) -> None:
    """Nothing is asked of the service, and no retry helps."""
    with pytest.raises(AirflowFailException, match=r"'pick' can skip 'pause'.*Put EmptyOperator"):
        skipped(kind, between=False, teardown=True).execute({"logical_date": RUN, "ti": TaskInstance()})
    start = skipped(kind, between=True, teardown=True)
    check_skips(start, stopped_by(start, "demo"))


def test_a_short_circuit_spares_a_teardown(caplog: pytest.LogCaptureFixture) -> None:
    """So it may stand there."""
    start = skipped("short circuit", between=False, teardown=True)
    check_skips(start, stopped_by(start, "demo"))
    assert [] == caplog.messages
