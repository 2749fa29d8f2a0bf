"""Many DAGs with a group each that begin at the same moment: what a group asks of the service and of Airflow.

Real are the operators, against the emulator, and the Variables' keeping. What a group asks is counted, and so are the
worker's turns; the rest is arithmetic, with the seconds that a worker takes for a task given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from airflow_provider_hf_endpoints.emulator import Emulator
from benchmarks.scale_leases import Kept, in_variables
from benchmarks.tables import head, row
from tests.contract.operators.test_operators_use import Use
from tests.contract.operators_play import TOKEN, received

TURNS = 2  # of a worker, before an endpoint of a group is asked for: acquire, start
TASK_SECONDS = 5.0  # of a worker's slot: a separate process for each task, and Airflow's part of it


@contextmanager
def _service() -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme", pending_seconds=0.0, initializing_seconds=0.0) as emulator:
        connection = json.dumps({"conn_type": "hf_endpoints", "host": emulator.url, "password": TOKEN})
        with patch.dict("os.environ", {"AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT": connection}):
            yield emulator


def asked_by_a_group() -> dict[str, tuple[int, int, int]]:
    """What each task of a group that creates asks: the control plane, of that who the token is, and for Variables."""
    kept = Kept()
    found = {}
    with _service() as emulator, in_variables(kept) as asked:
        use = Use()
        for name, act in (("acquire", use.acquire), ("start", use.create), ("release", use.release)):
            before = len(received(emulator)), asked().total()
            act()
            sent = received(emulator)[before[0] :]
            found[name] = len(sent), sum("whoami" in each for each in sent), asked().total() - before[1]
            if os.environ.get("SCALE_REQUESTS"):
                print(name, *sent, sep="\n  ")
    return found


def table(dags: int, slots: tuple[int, ...]) -> None:
    """Print what a group asks, and how long so many take to begin on so many slots."""
    group = asked_by_a_group()
    head("task of a group", "requests to the control plane", "of these to the Hub (whose token)", "for Variables")
    for name, counts in group.items():
        row(name, *counts)
    service, _, airflow = (sum(group[name][which] for name in ("acquire", "start")) for which in range(3))
    print(f"\n{dags} groups at the same moment, {TASK_SECONDS:g} s of a slot for a task:\n")
    head("slots of all workers", "last endpoint asked for, s", "control plane, requests/s", "Variables, requests/s")
    for count in slots:
        seconds = dags * TURNS * TASK_SECONDS / count
        row(count, f"{seconds:.0f}", f"{dags * service / seconds:.1f}", f"{dags * airflow / seconds:.1f}")
