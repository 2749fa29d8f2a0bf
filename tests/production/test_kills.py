"""What becomes of a batch and of a deferred start when a process of Airflow is killed.

SIGKILL: no handler runs. What was killed is started again where a deployment would do that.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.production.cases import Production, Run


def expect_batch(run: Run, case: str) -> None:
    """The batch goes on with what it has, and its endpoint is paused."""
    run.hurry()
    run.expect_over(case)
    run.expect_all_rows()


def test_the_example(production: Production) -> None:
    """An example DAG runs to its end over workers that share no disk."""
    dag = "hf_endpoints_batch_text_generation"
    production.airflow.wait_for_dag(dag)
    id_ = production.airflow.api.trigger(dag)
    run = Run(production, dag, id_, "airflow-example", production.service, production.folder)
    run.expect_over("the example DAG")


def test_the_process_of_a_task(production: Production) -> None:
    """Its supervisor reports it, and the retry goes on."""
    run = production.batch("kill-task")
    os.kill(run.process("use.batch"), signal.SIGKILL)
    expect_batch(run, "batch: SIGKILL of the task's process")


def test_the_pool_child_above_a_task(production: Production) -> None:
    """The supervisor is gone: the orphan stops by itself, and the retry meets no lock."""
    run = production.batch("kill-pool-child")
    process = psutil.Process(run.process("use.batch"))
    process.parent().kill()  # type: ignore[union-attr]
    production.airflow.wait_until(lambda: not process.is_running(), "the orphan has ended")
    expect_batch(run, "batch: SIGKILL of Celery's pool child")


def test_a_whole_worker(production: Production) -> None:
    """Airflow misses the heartbeats, and another worker goes on without the disk of the first."""
    run = production.batch("kill-worker")
    airflow, victim = production.airflow, run.process("use.batch")
    above = {process.pid for process in psutil.Process(victim).parents()}
    (worker,) = [name for name, each in airflow.components.items() if each.pid in above]
    airflow.replace_component(worker)
    expect_batch(run, "batch: SIGKILL of a whole worker")


@pytest.mark.extended
def test_each_triggerer(production: Production) -> None:
    """The wait goes on in the other one, and ends as if nothing had been."""
    run = production.start("kill-triggerers")
    for name in ("triggerer-1", "triggerer-2"):
        production.airflow.replace_component(name)
        production.wait_for_a_look(run)
    run.ready()
    run.expect_over("start: SIGKILL of each triggerer")


@pytest.mark.extended
def test_a_scheduler(production: Production) -> None:
    """The other one goes on with a batch that runs and a start that waits."""
    batch, start = production.batch("kill-scheduler"), production.start("kill-scheduler-start")
    production.airflow.replace_component("scheduler-1")
    start.ready()
    expect_batch(batch, "batch: SIGKILL of a scheduler")
    start.expect_over("start: SIGKILL of a scheduler")
