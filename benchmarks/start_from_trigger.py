"""What `start_from_trigger=True` costs two triggerers, by the number of tasks in a DAG.

    .venv-production/bin/python benchmarks/start_from_trigger.py --waits 200 --dags 1 20

Airflow sends the whole serialized DAG along with each wait that the scheduler begins, and makes a DAG of it again in
the triggerer's event loop. First that step alone, for DAGs of some sizes. Then as many waits as asked for, in one DAG
and in several, on the stack of `make test-production`: how long until all have begun, and for how long the loops were
held up meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from airflow_provider_hf_endpoints.emulator import Emulator  # noqa: E402
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient  # noqa: E402
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor  # noqa: E402
from benchmarks.tables import head, row  # noqa: E402
from dev.processes import signals_raise  # noqa: E402
from dev.production.stack import ProductionAirflow  # noqa: E402

TOKEN = "hf_startFromTrigger"
TRIGGERERS = ("triggerer-1", "triggerer-2")
BLOCKED = re.compile(r"async thread was blocked for ([0-9.]+) seconds")
DEADLOCKED = "appears deadlocked"
LIMIT = 1200.0  # seconds until all waits have begun; a hang bound

FILE = """
from airflow.sdk import DAG
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

with DAG({dag_id!r}, schedule=None, max_active_tasks=1000):
    for number in range({tasks}):
        InferenceEndpointSensor(
            task_id=f"wait_{{number}}", endpoint="starting", start_from_trigger=True, timeout=86400,
        )
"""


def alone(tasks: int) -> tuple[float, float]:
    """Megabytes of a serialized DAG of so many waits, and the seconds of CPU in which it becomes a DAG again."""
    with DAG("size", schedule=None) as dag:
        for number in range(tasks):
            InferenceEndpointSensor(task_id=f"wait_{number}", endpoint="starting", start_from_trigger=True)
    data = DagSerialization.to_dict(dag)
    began = time.process_time()
    DagSerialization.from_dict(json.loads(json.dumps(data)))
    return len(json.dumps(data)) / 1e6, time.process_time() - began


def dag_ids(waits: int, dags: int) -> list[str]:
    """The DAGs among which the waits are divided."""
    return [f"of_{waits // dags}_tasks_{number}" for number in range(dags)]


def together(waits: int, divisions: list[int]) -> None:
    """Begin all waits at once, for each division of them among DAGs; print a line for each."""
    with (
        signals_raise(),
        Emulator(token=TOKEN, namespace="acme", initializing_seconds=86400.0) as service,
        tempfile.TemporaryDirectory(prefix="hf-endpoints-waits-", ignore_cleanup_errors=True) as folder,
    ):
        Path(folder).chmod(0o711)
        dags = Path(folder) / "dags"
        dags.mkdir()
        for division in divisions:
            for dag_id in dag_ids(waits, division):
                (dags / f"{dag_id}.py").write_text(FILE.format(dag_id=dag_id, tasks=waits // division))
        with ProductionAirflow(Path(folder) / "airflow", [dags], variables={"PYTHONPATH": str(ROOT)}) as airflow:
            service.behave("starting")
            _create(service)
            airflow.api.add_connection(
                {
                    "connection_id": "hf_endpoints_default",
                    "conn_type": "hf_endpoints",
                    "host": service.url,
                    "password": TOKEN,
                }
            )
            for division in divisions:
                _measure(airflow, waits, division)


def _create(service: Emulator) -> None:
    with EndpointsClient(TOKEN, base_url=service.url) as client:
        client.create_inference_endpoint(
            "starting",
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
            framework="pytorch",
            accelerator="cpu",
            instance_type="intel-icl",
            instance_size="x2",
            vendor="aws",
            region="us-east-1",
        )


def _measure(airflow: ProductionAirflow, waits: int, division: int) -> None:
    ids = dag_ids(waits, division)
    for dag_id in ids:
        airflow.wait_for_dag(dag_id)
    before = {name: len(_log(airflow, name)) for name in TRIGGERERS}
    ended = len(airflow.ended)
    began = time.monotonic()
    runs = {dag_id: airflow.api.trigger(dag_id) for dag_id in ids}
    airflow.wait_until(lambda: len(_begun(airflow, ids)) >= waits, "all waits have begun", LIMIT)
    took = time.monotonic() - began
    text = "".join(_log(airflow, name)[before[name] :] for name in TRIGGERERS)
    held = [float(found) for found in BLOCKED.findall(text)]
    row(
        f"{division} of {waits // division} tasks",
        f"{took:.0f}",
        f"{sum(held):.1f}, {max(held, default=0.0):.1f}",
        text.count(DEADLOCKED),
        len(airflow.ended) - ended,
    )
    for dag_id, run in runs.items():
        airflow.api.set_run_state(dag_id, run, "failed")


def _begun(airflow: ProductionAirflow, ids: list[str]) -> set[tuple[str, ...]]:
    """The waits of which a triggerer has written a line, each once, however often it began."""
    logs = [file for name in TRIGGERERS for file in (airflow.host(name) / "logs").glob("dag_id=*/*/*/attempt=*")]
    places = [file.parts[-4:-1] for file in logs]
    return {place for place in places if place[0].removeprefix("dag_id=") in ids}


def _log(airflow: ProductionAirflow, name: str) -> str:
    return airflow.components[name].log.read_text(errors="replace")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--waits", type=int, default=200)
    parser.add_argument("--dags", type=int, nargs="*", default=[1, 20], help="none: the first table only")
    given = parser.parse_args()
    head("waits in a DAG", "serialized, MB", "made a DAG again, CPU s", "for all of them, CPU s")
    for tasks in (1, 10, 50, 100, 200, 400):
        size, seconds = min((alone(tasks) for _ in range(3)), key=lambda each: each[1])
        row(tasks, f"{size:.2f}", f"{seconds:.3f}", f"{seconds * tasks:.1f}")
    if given.dags:
        print()
        head("DAGs", "all have begun, s", "loops held, sum and longest, s", "deadlocks seen", "components ended")
        together(given.waits, given.dags)


if __name__ == "__main__":
    main()
