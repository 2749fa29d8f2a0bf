"""How often a deferral meets a race of Airflow (apache/airflow #71580, #72716) on a loaded machine.

A trigger that fires soon after its deferral may be resumed before the scheduler has read that the first process of the
task is done. The scheduler then fails the task: "finished with state success, but the task instance's state attribute
is queued". `python benchmarks/race.py [--runs 25] [--busy 4] [--start 1] [--package FOLDER]` starts endpoints in a live
Airflow (LocalExecutor; SQLite, or with `--database postgresql` PostgreSQL) beside busy loops. The script counts these
lines in the log of the scheduler, and the tasks and runs that failed. `--package` is another checkout of this project,
to compare with. PostgreSQL needs the environment of `make test-production`: `.venv-production/bin/python`.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from dev.production.servers import PostgreSQL

TOKEN = "hf_raceBenchmarkToken"
LINE = re.compile(r"task instance <TaskInstance: race\.(\S+) .*finished with state success, but the task instance's")
DAG = """
from airflow.sdk import dag, task
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

MODEL = {"repository": "gpt2", "task": "text-generation", "hardware": "aws/us-east-1/intel-icl/x2"}


@dag(schedule=None, max_active_runs=16, params={"endpoint": "race"})
def race():
    with inference_endpoint("{{ params.endpoint }}", **MODEL, release="delete", group_id="use"):

        @task
        def work():
            pass

        work()


race()
"""


def busy() -> None:
    """Occupy a core."""
    while True:
        pass


@contextlib.contextmanager
def metadata(database: str, folder: Path) -> Iterator[dict[str, str]]:
    """Airflow's settings for its metadata database, which is there meanwhile."""
    if database == "sqlite":
        yield {}
        return
    folder.chmod(0o711)  # the user that PostgreSQL runs as has to pass through
    server = PostgreSQL(folder / "postgresql")
    server.start()
    try:
        yield {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{server.address}",
        }
    finally:
        server.stop()


def play(package: Path, runs: int, seconds: float, parallel: int, database: str) -> Counter[str]:
    """Run the DAG so many times; what was counted."""
    found: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="hf-endpoints-race-", ignore_cleanup_errors=True) as folder,
        Emulator(token=TOKEN, namespace="acme") as emulator,
        metadata(database, Path(folder)) as settings,
    ):
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "race.py").write_text(DAG)
        for number in range(runs):
            emulator.behave(f"race-{number}", initializing_seconds=seconds)
        connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": TOKEN}
        variables = settings | {"PYTHONPATH": str(package), "AIRFLOW__CORE__PARALLELISM": str(parallel)}
        home = Path(folder) / "airflow"
        with LocalAirflow(
            home, [dags], connections={"hf_endpoints_default": connection}, variables=variables
        ) as airflow:
            airflow.wait_for_dag("race")
            begun = [airflow.api.trigger("race", {"endpoint": f"race-{number}"}) for number in range(runs)]
            for run in begun:
                found[f"runs: {airflow.wait_for_run('race', run)}"] += 1
                for task in airflow.api.tasks("race", run):
                    if task.state != "success":
                        found[f"{task.task_id}: {task.state}"] += 1
                    if task.try_number > 1:
                        found[f"{task.task_id}: tries beyond the first"] += task.try_number - 1
            for task in LINE.findall(airflow.components["scheduler"].log.read_text(errors="replace")):
                found[f"{task}: failed by the race"] += 1
    return found


def main() -> None:
    """Play, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=25, help="runs of the DAG (default 25)")
    parser.add_argument("--busy", type=int, default=4, help="busy loops beside Airflow (default 4)")
    parser.add_argument("--start", type=float, default=1.0, help="seconds that an endpoint takes to start (default 1)")
    parser.add_argument("--parallel", type=int, default=8, help="tasks that Airflow runs at once (default 8)")
    parser.add_argument("--package", type=Path, default=Path(__file__).resolve().parent.parent, help="the checkout")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="Airflow's (SQLite)")
    given = parser.parse_args()
    loops = [multiprocessing.Process(target=busy, daemon=True) for _ in range(given.busy)]
    for loop in loops:
        loop.start()
    try:
        found = play(given.package.resolve(), given.runs, given.start, given.parallel, given.database)
    finally:
        for loop in loops:
            loop.kill()
    print(f"{given.runs} runs, endpoints start in {given.start:g} s, {given.busy} busy loops, {given.database}")
    for what, number in sorted(found.items()):
        print(f"{number:6d}  {what}")


if __name__ == "__main__":
    main()
