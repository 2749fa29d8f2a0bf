"""The waiting benchmark on a live Airflow: one triggerer, its tasks deferred through Airflow's ORM.

Scheduler and DAG processor make the task instances and are then stopped, so that the two cores are the triggerer's,
the API server's and the emulator's. A task counts as resumed when its event is in the database and it is scheduled
again; what a worker then does is Airflow's, and not part of it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL
from benchmarks import waiting_probe as probe
from benchmarks.waiting_figures import Figures, take_held
from benchmarks.waiting_service import NAMESPACE, TOKEN, Service
from dev.local_airflow import LocalAirflow

HERE = Path(__file__).resolve().parent
SETTLE = 5.0  # seconds between the start and the steady state
CLASSPATH = "benchmarks.waiting_triggers."


@contextlib.contextmanager
def running(folder: Path, service: Service, waits: int, batches: str) -> Iterator[LocalAirflow]:
    """An Airflow with `waits` task instances that have not begun, and no triggerer."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / "waiting_dag.py").write_text((HERE / "waiting_dag.py").read_text())
    variables = {
        "PYTHONPATH": str(HERE.parent),
        "WAITING_BENCHMARK_WAITS": str(waits),
        probe.OUT: str(folder / "seen.jsonl"),
    }
    with LocalAirflow(folder / "airflow", [dags], variables=variables) as airflow:
        connection = {"conn_type": "hf_endpoints", "host": service.url, "password": TOKEN}
        extra = f'{{"namespace": "{NAMESPACE}"}}'
        airflow.api.add_connection({"connection_id": "hf_endpoints_default", "extra": extra, **connection})
        airflow.api.add_connection(
            {"connection_id": "anthropic_default", "conn_type": "anthropic", "host": batches, "password": "none"}
        )
        airflow.api.call("POST", "/pools", json={"name": "no_slots", "slots": 0})
        airflow.stop_component("triggerer")
        airflow.wait_for_dag("waiting")
        airflow.api.trigger("waiting")
        airflow.wait_until(lambda: states(airflow).get("scheduled", 0) == waits, "the tasks are there")
        airflow.stop_component("scheduler")
        airflow.stop_component("dag-processor")
        yield airflow


def states(airflow: LocalAirflow) -> dict[str, int]:
    """How many tasks are in which state, from the database itself."""
    with contextlib.closing(sqlite3.connect(f"file:{airflow.home}/airflow.db?mode=ro", uri=True, timeout=30)) as db:
        rows = db.execute("SELECT state, count(*) FROM task_instance WHERE dag_id = 'waiting' GROUP BY state")
        return {str(state): int(count) for state, count in rows}


def measure(
    airflow: LocalAirflow,
    service: Service,
    figures: Figures,
    trigger: str,
    seconds: float,
    *,
    asked: Callable[[], int] | None = None,
    few: tuple[int, float] | None = None,
    ends: bool = False,
    kill: bool = False,
) -> tuple[Figures, float]:
    """Fill in one row; returned with the triggerer's memory in bytes.

    :param asked: how many requests there were, where that is not the emulator's to say.
    :param ends: let all endpoints get ready in the end, and measure until all tasks are resumed.
    :param kill: SIGKILL the triggerer before that.
    :param few: a smaller number of the same waits, and the triggerer's memory with them.
    """
    waits = figures.waits
    out = airflow.home.parent / "seen.jsonl"
    out.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, str(HERE / "waiting_defer.py"), CLASSPATH + trigger, str(waits)],
        env=airflow.environment,
        check=True,
        capture_output=True,
    )
    count = asked or service.asked
    before, began = count(), time.time()
    airflow.start_component("triggerer")
    figures.all_waiting = _all_waiting(airflow, out, waits) - began
    figures.start_requests = count() - before
    time.sleep(SETTLE)
    before = count()
    process = psutil.Process(int(probe.read(out)[-1]["pid"]))
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - began
    figures.cpu = (sum(process.cpu_times()[:2]) - used) / lasted
    figures.interval_requests = (count() - before) * LONGEST_POLL / lasted
    memory = float(process.memory_full_info().uss)
    if few is not None:
        figures.memory = (memory - few[1]) / (waits - few[0])
    deadlines = probe.read(out)[-1]["deadlines"]
    if kill:
        airflow.kill_component("triggerer")
        out.unlink()
        airflow.start_component("triggerer")
        figures.all_waiting = None
        _all_waiting(airflow, out, waits)
    ready_at = time.time()
    if ends:
        service.make_ready()
        airflow.wait_until(lambda: not states(airflow).get("deferred"), "all tasks are resumed", limit=300)
        figures.all_resumed = time.time() - service.first_health()
        time.sleep(1.2)
    lines = probe.read(out)
    figures.lookups = int(lines[-1]["lookups"])
    figures.ended = waits - states(airflow).get("deferred", 0)
    figures.same_deadlines = deadlines == lines[-1]["deadlines"]
    take_held(figures, lines, ready_at)
    airflow.stop_component("triggerer")
    return figures, memory


def _all_waiting(airflow: LocalAirflow, out: Path, waits: int) -> float:
    """When (by the clock) all waits had had their first look."""

    def all_wait() -> bool:
        lines = probe.read(out)
        return bool(lines) and lines[-1]["waiting"] >= waits

    airflow.wait_until(all_wait, "all triggers wait", limit=600)
    return float(next(line["at"] for line in probe.read(out) if line["waiting"] >= waits))
