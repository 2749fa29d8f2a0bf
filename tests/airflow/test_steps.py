"""Attempts that are ended at each of their steps, and other ends of a wait. They run in parallel: most only wait.

Each case is a function that runs in a thread. The tests check the results, and the calls.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from airflow.triggers.base import BaseTrigger

from dev.local_airflow import LocalAirflow
from tests.airflow.cases import Case, Cases
from tests.airflow.test_live import wait_for_words
from tests.airflow.test_workers import end_process, take_up

Script = Callable[[Case], None]

TERM, KILL = signal.SIGTERM, signal.SIGKILL
A_START = 10.0  # seconds; a wait that is over at once meets a race of Airflow's
HOLD = 6.0  # seconds in which the process is ended; the DAGs' own is the same
SIDE_BY_SIDE = 4  # more of them meet locks of SQLite, and end nothing sooner on two cores


def is_held(case: Case, path: str) -> bool:
    """Whether the request whose answer a fault holds back has come."""
    answer = httpx.get(
        f"{case.emulator.url}/_emulator/faults",
        headers={"Authorization": f"Bearer {case.emulator.token}"},
        trust_env=False,
    )
    return any(fault["path"] == path and fault["hits"] for fault in answer.json()["items"])


def end_first_attempt(case: Case, dag_id: str, number: signal.Signals, held: str | None) -> None:
    """End the first attempt where it is held, by a request to `held` or by the DAG itself; the second succeeds."""
    airflow = case.airflow
    run = case.trigger(dag_id)
    if held is not None:
        airflow.wait_until(lambda: is_held(case, held), "the request is held")
    else:
        wait_for_words(airflow, dag_id, run, "create", "holding")
    end_process(airflow, airflow.api.tasks(dag_id, run)[0], number)
    take_up(airflow, dag_id, run)
    assert airflow.wait_for_run(dag_id, run) == "success", airflow.task_messages(dag_id, run, "create")


def before_the_create(number: signal.Signals, case: Case) -> None:
    """It still asks whether there is one."""
    path = f"^{case.path}$"
    case.emulator.add_fault(path, method="GET", delay_seconds=HOLD, count=1)
    end_first_attempt(case, "live_on_worker_again", number, path)
    case.expect("create")


def before_the_answer(number: signal.Signals, case: Case) -> None:
    """The create is done, and the attempt does not know."""
    path = f"^/v2/endpoint/{case.namespace}$"
    case.emulator.add_fault(path, method="POST", late_seconds=HOLD, count=1)
    end_first_attempt(case, "live_on_worker_again", number, path)
    case.expect(*(["create", "pause", "resume"] if number == TERM else ["create"]))


def holding(dag_id: str, number: signal.Signals, case: Case) -> None:
    """It knows of its endpoint, and holds as the DAG says."""
    case.emulator.behave(case.endpoint, initializing_seconds=A_START)  # one that runs already needs no deferral
    end_first_attempt(case, dag_id, number, None)
    case.expect(*(["create", "pause", "resume"] if number == TERM else ["create"]))


def marked_at_the_deferral(case: Case) -> None:
    """A person gives the task up while it runs; its deferral is refused, so there is no trigger to release."""
    case.slow()
    dag_id, airflow = "live_marked_at_the_deferral", case.airflow
    gate = airflow.home / "marked_at_the_deferral"
    airflow.wait_for_dag(dag_id)
    run = airflow.api.trigger(dag_id, {**case.conf, "gate": str(gate)})
    wait_for_words(airflow, dag_id, run, "create", "holding")
    airflow.api.set_task_state(dag_id, run, "create", "failed")
    gate.touch()
    case.expect("create", "pause")
    airflow.wait_until(lambda: case.state() == "paused", "the endpoint is paused")
    assert airflow.wait_for_run(dag_id, run) == "failed"


def resume_killed(case: Case) -> None:
    """The retry of a killed resume knows that it is its endpoint, where Airflow keeps notes, and pauses it."""
    case.create()
    with case.client() as client:
        client.pause_inference_endpoint(case.endpoint)
    case.slow()
    case.begin()
    dag_id, airflow = "live_resume_again", case.airflow
    run = case.trigger(dag_id)
    wait_for_words(airflow, dag_id, run, "resume", "holding")
    end_process(airflow, airflow.api.tasks(dag_id, run)[0], KILL)
    take_up(airflow, dag_id, run)
    airflow.wait_for_handover(dag_id, run, "resume")
    case.wait_for_a_look()
    airflow.api.set_task_state(dag_id, run, "resume", "failed")
    # The second resume finds it starting already, which the service refuses and the client takes for a success.
    case.expect("resume", "resume (400)", *(["pause"] if hasattr(BaseTrigger, "on_kill") else []))


def cleared_after_success(case: Case) -> None:
    """The next attempt finds its own endpoint."""
    airflow = case.airflow
    # See A_START.
    case.emulator.behave(case.endpoint, initializing_seconds=A_START)
    run = case.trigger("live_create")
    assert airflow.wait_for_run("live_create", run) == "success", airflow.task_messages("live_create", run, "create")[
        -5:
    ]
    airflow.api.clear("live_create", run, "create")
    airflow.wait_until(lambda: airflow.api.tasks("live_create", run)[0].try_number == 2, "it has begun again")
    assert airflow.wait_for_run("live_create", run) == "success", airflow.task_messages("live_create", run, "create")[
        -5:
    ]
    case.expect("create")


def sensor_timeout(dag_id: str, calls: list[str], case: Case) -> None:
    """Five seconds pass."""
    case.slow()
    case.create()
    run = case.trigger(dag_id)
    assert case.airflow.wait_for_run(dag_id, run) == "failed"
    wait_for_words(case.airflow, dag_id, run, "wait", "Not running after")
    case.expect(*calls)


def sensor_killed(case: Case) -> None:
    """It is marked as failed while it is deferred, and its policy is to pause."""
    case.slow()
    case.create()
    run = case.trigger("live_wait_or_pause")
    case.airflow.wait_for_handover("live_wait_or_pause", run, "wait")
    case.wait_for_a_look()
    case.airflow.api.set_task_state("live_wait_or_pause", run, "wait", "failed")
    case.expect("pause")


def slow_shutdown(case: Case) -> None:
    """The trigger has fired and lingers; the task has failed by then, which is no kill."""
    case.emulator.behave(case.endpoint, fail="no memory")
    run = case.trigger("live_lingering")
    assert case.airflow.wait_for_run("live_lingering", run) == "failed"
    wait_for_words(case.airflow, "live_lingering", run, "create", "cancelled after its event")
    case.expect("create")


def two_sensors(case: Case) -> None:
    """Two DAGs wait for an endpoint that neither has started; one is killed, and the other goes on."""
    case.slow()
    case.create()
    airflow, dags = case.airflow, ("live_wait", "live_wait_again")
    runs = {dag_id: case.trigger(dag_id) for dag_id in dags}
    for dag_id, run in runs.items():
        airflow.wait_for_handover(dag_id, run, "wait")
    case.wait_for_a_look()
    airflow.api.set_task_state(dags[0], runs[dags[0]], "wait", "failed")
    assert airflow.wait_for_run(dags[0], runs[dags[0]]) == "failed"
    case.wait_for_a_look()
    case.wait_for_a_look()
    assert airflow.task_states(dags[1], runs[dags[1]]) == {"wait": "deferred"}
    airflow.api.set_task_state(dags[1], runs[dags[1]], "wait", "success")
    case.expect()


def creator_killed(case: Case) -> None:
    """The killed one had started it: it is paused, and the other wait ends with the reason."""
    case.slow()
    airflow = case.airflow
    run = case.trigger("live_create")
    airflow.wait_for_handover("live_create", run, "create")
    other = case.trigger("live_wait")
    airflow.wait_for_handover("live_wait", other, "wait")
    case.wait_for_a_look()
    airflow.api.set_task_state("live_create", run, "create", "failed")
    assert airflow.wait_for_run("live_wait", other) == "failed"
    wait_for_words(airflow, "live_wait", other, "wait", "paused and is not being resumed")
    case.expect("create", "pause")


SCRIPTS: dict[str, Script] = {
    "worker SIGTERM before the create is sent": partial(before_the_create, TERM),
    "worker SIGKILL before the create is sent": partial(before_the_create, KILL),
    "worker SIGTERM between sent and answered": partial(before_the_answer, TERM),
    "worker SIGKILL between sent and answered": partial(before_the_answer, KILL),
    "worker SIGTERM, answered and not recorded": partial(holding, "live_after_the_answer", TERM),
    "worker SIGKILL, answered and not recorded": partial(holding, "live_after_the_answer", KILL),
    "worker SIGTERM at the deferral": partial(holding, "live_at_the_deferral", TERM),
    "worker SIGKILL at the deferral": partial(holding, "live_at_the_deferral", KILL),
    "marked failed on the worker, at the deferral": marked_at_the_deferral,
    "worker SIGKILL in a resume, the retry marked failed": resume_killed,
    "cleared after success": cleared_after_success,
    "sensor timeout": partial(sensor_timeout, "live_wait_and_leave", []),
    "sensor timeout, on_timeout='pause'": partial(sensor_timeout, "live_wait_and_pause", ["pause"]),
    "sensor marked failed, on_kill='pause'": sensor_killed,
    "slow shutdown after the event, on_kill='delete'": slow_shutdown,
    "two DAGs wait for one endpoint, one killed": two_sensors,
    "the same, killed is the one that created it": creator_killed,
}


# What every change has to pass: the others are of the same kinds.
CORE = {
    "worker SIGTERM at the deferral",
    "marked failed on the worker, at the deferral",
    "two DAGs wait for one endpoint, one killed",
}


@pytest.fixture(scope="module")
def ended(
    airflow: LocalAirflow, cases: Cases, request: pytest.FixtureRequest
) -> Iterator[dict[str, tuple[Case, Future[None]]]]:
    """All that were selected, begun; `airflow` so that it outlives them."""
    selected = {item.callspec.params.get("title") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        begun = {}
        for title, script in ((title, script) for title, script in SCRIPTS.items() if title in selected):
            case = cases.new(title)
            begun[title] = case, pool.submit(script, case)
        yield begun


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=() if title in CORE else pytest.mark.extended, id=title) for title in SCRIPTS]
)
def test_step(ended: dict[str, tuple[Case, Future[None]]], title: str) -> None:
    """Exactly the calls that were expected when the case ended, and none since."""
    case, script = ended[title]
    script.result()
    assert case.expected == case.calls()
