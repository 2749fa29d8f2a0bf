"""Airflow Variables when nothing runs: at most two for each endpoint and one for each DAG, after any number of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.kept import variables
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.acquired import Acquired
from airflow_provider_hf_endpoints.operators.using.leases import renew_acquired
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator
from tests.contract.operators.test_operators_use import GROUP, Run
from tests.contract.operators_play import FAST, connect, connected, create, run
from tests.variables import OldVariables, Variables

RUNS, ENDPOINTS = 25, ("demo", "other")


@pytest.fixture(params=["3.3", "3.0"])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Variables]:
    """The Variables of an Airflow, and the connection to an emulator without a `lease_path`."""
    made = Variables(slow=0.0)
    monkeypatch.setattr(variables, "Variable", OldVariables(made) if request.param == "3.0" else made)
    monkeypatch.setattr(variables, "_SETTLE", 0.0)
    with connected(monkeypatch) as emulator:
        connect(monkeypatch, emulator)
        for name in ENDPOINTS:
            run(create(name))
        yield made


class Play:
    """One run of a DAG that uses an endpoint in a group, up to where it is killed."""

    def __init__(self, number: int, endpoint: str, states: dict[str, str]) -> None:
        self.dag_run = Run(f"run-{number}")
        self.dag_run.states = states
        self.endpoint = endpoint
        self.acquired: Any = None

    def begin(self) -> None:
        """Acquire and start, and renew as the work inside does."""
        given: dict[str, Any] = {"endpoint": self.endpoint, "must_exist": True, **GROUP}
        acquire = AcquireInferenceEndpointOperator(task_id="acquire", **given)
        self.acquired = run(acquire, self.dag_run.context("use.acquire"))
        resume = ResumeInferenceEndpointOperator(
            task_id="start", endpoint=self.endpoint, acquired=self.acquired, **FAST
        )
        run(resume, self.dag_run.context("use.start"))
        acquired = Acquired.of(self.acquired)
        assert acquired is not None
        renew_acquired(acquired, "hf_endpoints_default")

    def release(self) -> None:
        """The end of a run that nothing has killed."""
        release = ReleaseAcquiredOperator(task_id="release", acquired=self.acquired, release="pause", **FAST)
        run(release, self.dag_run.context("use.release"))


def kinds(stored: Variables) -> Counter[str]:
    """How many Variables there are, by the endpoint or DAG in their key."""
    return Counter(next(each for each in (*ENDPOINTS, "nightly") if f".{each}" in key) for key in stored.values)


def play_runs(states: dict[str, str], runs: int) -> None:
    """Every third run is killed in its work, and has no release."""
    for number in range(runs):
        for endpoint in ENDPOINTS:
            play = Play(number, endpoint, states)
            play.begin()
            if number % 3 == 1:
                states[f"run-{number}"] = "failed"
                continue
            play.release()
            states[f"run-{number}"] = "success"


def test_runs_that_end_and_runs_that_are_killed_leave_few(stored: Variables) -> None:
    """Of 25 runs on two endpoints, a third of them killed: the last release removes what the others left."""
    play_runs({}, RUNS)
    found = kinds(stored)
    assert found["nightly"] == 1
    assert max(found[each] for each in ENDPOINTS) <= 2, sorted(stored.values)


def test_a_sweep_removes_the_leases_of_killed_runs(stored: Variables) -> None:
    """Also if the last run was killed and no later run uses the endpoint."""
    states: dict[str, str] = {}
    play_runs(states, runs=2)
    assert max(kinds(stored)[each] for each in ENDPOINTS) > 2
    context = Run("sweep")
    context.states = states
    sweep = SweepInferenceEndpointsOperator(task_id="sweep", only_report=False, quiet=timedelta(0), keep=())
    assert ["paused"] * 2 == [each["done"] for each in run(sweep, context.context("sweep"))]
    assert max(kinds(stored)[each] for each in ENDPOINTS) <= 2, sorted(stored.values)


def test_operators_without_leases_leave_few(stored: Variables) -> None:
    """Twenty-five times resumed and paused: who started the endpoint, and what was done last."""
    for number in range(RUNS):
        dag_run = Run(f"run-{number}")
        for endpoint in ENDPOINTS:
            run(ResumeInferenceEndpointOperator(task_id="resume", endpoint=endpoint, **FAST), dag_run.context("resume"))
            run(PauseInferenceEndpointOperator(task_id="pause", endpoint=endpoint, **FAST), dag_run.context("pause"))
    assert {"demo": 2, "other": 2, "nightly": 1} == kinds(stored)


def test_of_deleted_endpoints_nothing_is_left(stored: Variables) -> None:
    """As of names that are new in every run: only what they have cost."""
    dag_run = Run()
    for endpoint in ENDPOINTS:
        run(ResumeInferenceEndpointOperator(task_id="resume", endpoint=endpoint, **FAST), dag_run.context("resume"))
        run(DeleteInferenceEndpointOperator(task_id="delete", endpoint=endpoint, **FAST), dag_run.context("delete"))
    assert {"nightly": 1} == kinds(stored)
