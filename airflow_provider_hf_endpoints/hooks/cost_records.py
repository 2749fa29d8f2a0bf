"""What runs have cost, kept below the connection's `lease_path`, an object for each run and endpoint: to be summed.

Kept nowhere without a `lease_path`: what a run left in XCom can't be read by another run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_hf_endpoints.endpoints.costs import Cost
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

_PLACE = "hf_endpoints_costs"


@dataclass(frozen=True)
class CostSum:
    """What the runs of a DAG have cost.

    :param runs: DAG runs that are counted
    :param usd: dollars, of those costs that have a price
    :param unpriced: costs without one
    :param usd_by_endpoint: the same by `namespace/name`
    """

    dag_id: str
    runs: int
    usd: float
    unpriced: int
    replica_minutes: float
    rows: int
    tokens: int
    usd_by_endpoint: dict[str, float]


class CostRecords:
    """The records below one path, of any storage that Airflow's `ObjectStoragePath` knows."""

    def __init__(self, lease_path: str) -> None:
        self._folder = ObjectStoragePath(lease_path) / _PLACE

    def write(self, dag_id: str, run_id: str, cost: Cost) -> None:
        """Keep what a run's endpoint has cost, in the place of what the same run said before."""
        folder = self._folder / _plain(dag_id)
        folder.mkdir(parents=True, exist_ok=True)
        record = {"dag_id": dag_id, "run_id": run_id, **cost.as_dict()}
        name = f"{_plain(run_id)}--{cost.namespace}--{cost.endpoint}.json"
        (folder / name).write_text(json.dumps(record))

    def sum(self, dag_id: str, since: datetime | None, until: datetime | None) -> CostSum:
        """The sum over the runs that ended in that time."""
        for label, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidArgumentError(f"{label}={moment!r} has no time zone: give an aware datetime.")
        runs, unpriced, rows, tokens, minutes = set(), 0, 0, 0, 0.0
        by_endpoint: dict[str, float] = defaultdict(float)
        for record in self._records(dag_id):
            ended = datetime.fromisoformat(record["stop"])
            if (since is not None and ended < since) or (until is not None and ended >= until):
                continue
            runs.add(record["run_id"])
            rows, tokens = rows + record["rows"], tokens + record["tokens"]
            minutes += record["replica_minutes"]
            unpriced += record["usd"] is None
            by_endpoint[f"{record['namespace']}/{record['endpoint']}"] += record["usd"] or 0.0
        usd = sum(by_endpoint.values())
        return CostSum(dag_id, len(runs), usd, unpriced, minutes, rows, tokens, dict(by_endpoint))

    def _records(self, dag_id: str) -> Iterator[dict[str, Any]]:
        folder = self._folder / _plain(dag_id)
        try:
            files = [each for each in folder.iterdir() if each.name.endswith(".json")]
        except (FileNotFoundError, NotADirectoryError):
            return
        for file in files:
            yield json.loads(file.read_text())


def _plain(name: str) -> str:
    """A name that every storage takes: of a run's, `:` and `+` are not."""
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in name)
