"""What watchers cost a live triggerer: `python benchmarks/watching.py --watchers 200 --sensors 10`.

An Airflow with so many assets, each with a watcher on its own endpoint, and deferred sensors beside them, over a
restart of its triggerer. Lookups are counted by the service: every client asks once who its token belongs to.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.waiting_service import TOKEN, Service  # noqa: E402
from dev.local_airflow import LocalAirflow  # noqa: E402

DAGS = """
from airflow.sdk import DAG, Asset, AssetWatcher
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger

assets = [
    Asset(f"e-{{i}} ready", watchers=[AssetWatcher(name=f"w-{{i}}", trigger=InferenceEndpointEventTrigger(f"e-{{i}}"))])
    for i in range({watchers})
]
with DAG("watch", schedule=assets, catchup=False, is_paused_upon_creation=False):
    EmptyOperator(task_id="seen")
with DAG("wait", schedule=None, is_paused_upon_creation=False):
    for i in range({sensors}):
        InferenceEndpointSensor(task_id=f"s-{{i}}", endpoint=f"e-{{i}}", deferrable=True, timeout=86400)
"""


def remembered(airflow: LocalAirflow) -> int:
    """How many watchers have kept what they saw (Airflow 3.3)."""
    with contextlib.closing(sqlite3.connect(f"file:{airflow.home}/airflow.db?mode=ro", uri=True, timeout=30)) as db:
        return int(db.execute("SELECT count(*) FROM asset_state_store").fetchone()[0])


def lookups(service: Service) -> int:
    """How many clients have asked who their token belongs to."""
    return sum("whoami" in request["path"] for request in service.requests())


def cpu(airflow: LocalAirflow) -> float:
    """CPU seconds of the triggerer and its children."""
    process = psutil.Process(airflow.components["triggerer"].pid)
    return sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])


def report(airflow: LocalAirflow, service: Service, seconds: float) -> None:
    """What the triggerer did, and asked for, in so many seconds."""
    asked, known, used = sum(service.control_requests().values()), lookups(service), cpu(airflow)
    time.sleep(seconds)
    print(f"steady state of {seconds:.0f} s:")
    print(f"  requests to the control plane: {sum(service.control_requests().values()) - asked}")
    print(f"  connection lookups: {lookups(service) - known}")
    print(f"  CPU of the triggerer, all its processes: {100 * (cpu(airflow) - used) / seconds:.1f} % of a core")


def main() -> None:
    """Start everything, watch, and start the triggerer again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--sensors", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Service.start(Path(name)) as emulator:
        service = Service(emulator)
        service.create([f"e-{i}" for i in range(args.watchers)])
        dags = Path(name) / "dags"
        dags.mkdir()
        (dags / "watching.py").write_text(DAGS.format(watchers=args.watchers, sensors=args.sensors))
        connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": TOKEN}
        with LocalAirflow(Path(name) / "airflow", [dags], connections={"hf_endpoints_default": connection}) as airflow:
            airflow.wait_for_dag("wait")
            run = airflow.api.trigger("wait")
            began = time.monotonic()
            airflow.wait_until(lambda: remembered(airflow) == args.watchers, "all watch", limit=600)
            print(f"{args.watchers} watchers that nobody knew: all have looked after {time.monotonic() - began:.1f} s")
            deferred = ["deferred"] * args.sensors
            airflow.wait_until(lambda: [*airflow.task_states("wait", run).values()] == deferred, "all wait", limit=600)
            airflow.stop_component("triggerer")
            asked, known = sum(service.control_requests().values()), lookups(service)
            airflow.start_component("triggerer")
            looked = asked  # the triggerer has begun when it has asked for something
            airflow.wait_until(lambda: sum(service.control_requests().values()) > looked, "it looks", limit=600)
            time.sleep(args.seconds / 2)
            print(f"a new triggerer, {args.seconds / 2:.0f} s after its first look:")
            print(f"  requests to the control plane: {sum(service.control_requests().values()) - asked}")
            print(f"  connection lookups: {lookups(service) - known}")
            report(airflow, service, args.seconds)
            before = airflow.api.call("GET", "/dags/watch/dagRuns")["total_entries"]
            assert before == 0, "a watcher fired though nothing had changed"


if __name__ == "__main__":
    main()
