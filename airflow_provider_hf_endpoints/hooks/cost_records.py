"""Where the costs of runs are kept, to be summed: a run cannot read what another run left in XCom.

Below the connection's `lease_path` each run and endpoint has an object. Without a `lease_path` a DAG has one Airflow
Variable, whose size is bounded (`cost_ledger.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.hooks.cost_ledger import Entry, Figures, Ledger, total, with_work_once
from airflow_provider_hf_endpoints.kept import KeptAt, SharedVariable, StoreError, records_below

_PLACE = "hf_endpoints_costs"
_LONGEST_NAME = 150  # characters of a DAG's id in a Variable's key, which takes 250


@dataclass(frozen=True)
class CostSum:
    """What the runs of a DAG have cost.

    :param runs: DAG runs that are counted
    :param usd: dollars, of those costs that have a price
    :param unpriced: costs without one
    :param usd_by_endpoint: the same by `namespace/name`; `*` for sums that are so old that they name no endpoint
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
    """The records of one connection's service."""

    def __init__(self, kept_at: KeptAt) -> None:
        self._at = kept_at

    def write(self, dag_id: str, run_id: str, cost: Cost) -> None:
        """Keep the cost of a run's endpoint. Raises `StoreError`.

        It replaces an earlier cost of the same run and endpoint since the same moment. A run that ended and was cleared
        begins at another moment, and its costs add up. An endpoint that was deleted and created again is another one,
        although it has the same name.
        """
        created = "" if cost.created is None else f"--{_compact(cost.created)}"
        work = f"{_plain(run_id)}--{cost.namespace}--{cost.endpoint}{created}"
        record = {"dag_id": dag_id, "run_id": run_id, "work": work, **cost.as_dict()}
        key = f"{work}--since-{_compact(cost.start)}"
        if self._at.path is not None:
            self._objects(self._at.path, dag_id).write(key, record)
            return
        digest, entry = _digest(key), _entry(record)

        def add(stored: Any) -> Any:
            ledger = self._ledger(dag_id, stored)
            ledger.add(digest, entry)
            return ledger.stored()

        self._variable(dag_id).update(add, lambda stored: self._ledger(dag_id, stored).holds(digest, entry))

    def sum(self, dag_id: str, since: datetime | None, until: datetime | None) -> CostSum:
        """The sum over the runs that ended in that time. Raises `StoreError`.

        A sum by day, month or year, into which older records were folded, counts as a whole if the day, month or year
        begins in that time. So adjacent spans of time add up.
        """
        for label, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidArgumentError(f"{label}={moment!r} has no time zone. Give a datetime with a time zone.")
        figures, by_endpoint = total(
            entry
            for entry in with_work_once(list(self._entries(dag_id)))
            if (since is None or entry.begin >= since) and (until is None or entry.begin < until)
        )
        return CostSum(
            dag_id,
            figures.runs,
            figures.usd,
            figures.unpriced,
            figures.replica_minutes,
            figures.rows,
            figures.tokens,
            by_endpoint,
        )

    def _entries(self, dag_id: str) -> Iterator[Entry]:
        if self._at.path is None:
            yield from self._ledger(dag_id, self._variable(dag_id).read()).entries()
            return
        for record in self._objects(self._at.path, dag_id).read().values():
            # Another DAG's id may look the same in a path; a file may be another program's.
            if isinstance(record, dict) and record.get("dag_id") == dag_id:
                yield _entry(record)

    def _ledger(self, dag_id: str, stored: Any) -> Ledger:
        try:
            return Ledger.of(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self._variable(dag_id)} does not contain costs ({type(error).__name__}: {error}). "
                "Another program may have written it. Delete it."
            ) from error

    def _objects(self, path: str, dag_id: str) -> Any:
        return records_below(path, (_PLACE, self._at.key(_plain(dag_id))))

    def _variable(self, dag_id: str) -> SharedVariable:
        return SharedVariable(
            f"{_PLACE}.{self._at.key(_short(dag_id))}", "What runs with Hugging Face endpoints have cost"
        )


def _entry(record: dict[str, Any]) -> Entry:
    ended = datetime.fromisoformat(record["stop"]).astimezone(UTC).replace(tzinfo=None)
    figures = Figures(
        usd=round(record["usd"] or 0.0, 9),
        unpriced=int(record["usd"] is None),
        replica_minutes=record["replica_minutes"],
        rows=record["rows"],
        tokens=record["tokens"],
    )
    endpoint = f"{record['namespace']}/{record['endpoint']}"
    names = {"run": _digest(record["run_id"]), "work": _digest(record["work"]) if "work" in record else ""}
    return Entry(ended.isoformat(timespec="milliseconds"), endpoint, figures, **names)


def _compact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S.%f}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _plain(name: str) -> str:
    """A name that every storage takes: of a run's, `:` and `+` are not."""
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in name)


def _short(name: str) -> str:
    """The same for a Variable's key, and no other DAG's."""
    plain = _plain(name)
    return plain if plain == name and len(name) <= _LONGEST_NAME else f"{plain[:120]}-{_digest(name)}"
