"""What runs have cost, kept to be summed: what a run left in XCom can't be read by another run.

Below the connection's `lease_path` an object for each run and endpoint. Without one in Airflow Variables, which no task
can list, and which are to stay small: those of a DAG and a month are spread over a few, so that releases at the same
moment seldom meet, and one more Variable says which months there are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.kept import Records, records_at

_PLACE = "hf_endpoints_costs"
_DESCRIPTION = "What runs with Hugging Face endpoints have cost"
_SPREAD = 8  # Variables of a DAG and a month
# In one Variable: a record has some 280 characters, and MySQL keeps 64 KB, encrypted. A thousand a month, so.
_MOST = 120
_KEPT = ("namespace", "endpoint", "stop", "usd", "replica_minutes", "rows", "tokens")
_LONGEST_NAME = 150  # characters of a DAG's id in a Variable's key, which takes 250


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
    """The records of one connection.

    :param lease_path: below it, on any storage that Airflow's `ObjectStoragePath` knows; None for Variables
    """

    def __init__(self, lease_path: str | None) -> None:
        self._path = lease_path

    def write(self, dag_id: str, run_id: str, cost: Cost) -> None:
        """Keep what a run's endpoint has cost, in the place of what the same run said before. Raises `StoreError`."""
        record = {"dag_id": dag_id, "run_id": run_id, **cost.as_dict()}
        key = f"{_plain(run_id)}--{cost.namespace}--{cost.endpoint}"
        if self._path is not None:
            self._below_path(dag_id).write(key, record)
            return
        month = f"{cost.stop.astimezone(UTC):%Y-%m}"
        months = self._months(dag_id)
        if month not in months.read():
            months.write(month, True)
        # By the run: what it says again, it says in the same place.
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        short = {name: record[name] for name in ("dag_id", "run_id", *_KEPT)}
        self._in_month(dag_id, month, int(digest, 16) % _SPREAD).write(digest, short)

    def sum(self, dag_id: str, since: datetime | None, until: datetime | None) -> CostSum:
        """The sum over the runs that ended in that time. Raises `StoreError`."""
        for label, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidArgumentError(f"{label}={moment!r} has no time zone: give an aware datetime.")
        runs, unpriced, rows, tokens, minutes = set(), 0, 0, 0, 0.0
        by_endpoint: dict[str, float] = defaultdict(float)
        for record in self._latest(dag_id):
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

    def _latest(self, dag_id: str) -> Iterator[dict[str, Any]]:
        """Of every run and endpoint what was said last: a release that is repeated in the next month counts once."""
        latest: dict[str, dict[str, Any]] = {}
        for records in self._all(dag_id):
            for key, record in records.read().items():
                # Another DAG's id may look the same in a key; a file may be half written.
                if not isinstance(record, dict) or record.get("dag_id") != dag_id:
                    continue
                if key not in latest or latest[key]["stop"] < record["stop"]:
                    latest[key] = record
        yield from latest.values()

    def _all(self, dag_id: str) -> Iterator[Records]:
        if self._path is not None:
            yield self._below_path(dag_id)
            return
        for month in self._months(dag_id).read():
            yield from (self._in_month(dag_id, month, slot) for slot in range(_SPREAD))

    def _below_path(self, dag_id: str) -> Records:
        return records_at(self._path, (_PLACE, _plain(dag_id)), key="", description="")

    def _months(self, dag_id: str) -> Records:
        return records_at(None, (), key=f"{_PLACE}.{_short(dag_id)}", description=_DESCRIPTION)

    def _in_month(self, dag_id: str, month: str, slot: int) -> Records:
        key = f"{_PLACE}.{_short(dag_id)}.{month}.{slot}"
        return records_at(None, (), key=key, description=_DESCRIPTION, most=_MOST)


def _plain(name: str) -> str:
    """A name that every storage takes: of a run's, `:` and `+` are not."""
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in name)


def _short(name: str) -> str:
    """The same for a Variable's key."""
    plain = _plain(name)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[:120]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
