"""What runs of one DAG have cost, in a document of bounded size: records by run, and sums of older ones. Pure.

A record is folded into sums only when the document is full: first into a sum by day and endpoint. When the sums are
full, the oldest become sums by month and endpoint, then by month, by year, and at last one sum of everything earlier.
A document counts each record once, in a record or in a sum: whichever of several writers wins, no cost is doubled.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self

# Bytes of JSON. MySQL keeps 65,535 bytes of a Variable, and encryption makes four of three: 48 KB would be too many.
MOST_BYTES = 40_000
_RECORDS_SHARE = MOST_BYTES // 2  # above it records are folded, below it sums become coarser
_REMEMBERED = 250  # keys of folded records: a release that is repeated soon is not counted again
_AT_A_TIME = 10  # records that are folded together
_KEY_BYTES = 20  # more than a key of 12 characters takes, with its quotes and commas
_FRAME_BYTES = 100  # of the document without its entries
_OTHERS = "*"  # the endpoint of a sum over all endpoints
# How sums become coarser: characters of an ISO date that are left, and whether the endpoint is.
_DAY = 10
_LADDER = ((7, True), (7, False), (4, False), (0, False))


@dataclass(frozen=True)
class Figures:
    """What is added up.

    :param runs: DAG runs; 0 in a record, whose run is counted by its name
    :param usd: dollars, of those costs that have a price
    :param unpriced: costs without one
    """

    runs: int = 0
    usd: float = 0.0
    unpriced: int = 0
    replica_minutes: float = 0.0
    rows: int = 0
    tokens: int = 0

    def plus(self, other: Figures) -> Figures:
        """The sum, rounded as costs are."""
        return Figures(**{name: round(getattr(self, name) + getattr(other, name), 9) for name in _FIGURES})


_FIGURES = tuple(each.name for each in fields(Figures))


@dataclass(frozen=True)
class Entry:
    """A record, or a sum of records.

    :param span: when a run has released the endpoint, in UTC: a moment in a record; in a sum a day (`2026-11-28`), a
        month, a year, or "" for everything earlier
    :param endpoint: `namespace/name`; `*` in a sum over all
    :param run: a name of the run, "" in a sum
    :param work: a name of the run and endpoint whose rows and tokens the record has, "" in a sum. A run that is cleared
        has a record for each time it began, and its last one has the rows of all
    """

    span: str
    endpoint: str
    figures: Figures
    run: str = ""
    work: str = ""

    @property
    def begin(self) -> datetime:
        """The moment of a record; the beginning of the time over which a sum goes."""
        date = "0001-01-01"
        span = self.span if len(self.span) > len(date) else self.span + date[len(self.span) :]
        return datetime.fromisoformat(span).replace(tzinfo=UTC)

    def stored(self) -> dict[str, Any]:
        """JSON-native, without missing values."""
        names = {name: value for name in _NAMES if (value := getattr(self, name))}
        figures = {name: value for name in _FIGURES if (value := getattr(self.figures, name))}
        return {"span": self.span, "endpoint": self.endpoint, **names, **figures}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """What was stored. Raises `KeyError` or `TypeError` for anything else."""
        figures = {name: value for name, value in stored.items() if name not in ("span", "endpoint", *_NAMES)}
        names = {name: stored.get(name, "") for name in _NAMES}
        return cls(stored["span"], stored["endpoint"], Figures(**figures), **names)

    def without_work(self) -> Self:
        """The record without its rows and tokens, which a later record has again."""
        return replace(self, figures=replace(self.figures, rows=0, tokens=0))


_NAMES = ("run", "work")


@dataclass
class Ledger:
    """The document.

    :param records: by the key of run, endpoint and beginning
    :param folded: keys of the records that were folded last, the latest at the end
    """

    records: dict[str, Entry] = field(default_factory=dict)
    sums: list[Entry] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, stored: Any) -> Self:
        """What was stored; None for a first one. Raises `KeyError`, `TypeError` or `AttributeError` for others."""
        if stored is None:
            return cls()
        records = {key: Entry.of(each) for key, each in stored["records"].items()}
        return cls(records, [Entry.of(each) for each in stored["sums"]], list(stored["folded"]))

    def stored(self) -> dict[str, Any]:
        """JSON-native."""
        records = {key: entry.stored() for key, entry in self.records.items()}
        return {"records": records, "sums": [entry.stored() for entry in self.sums], "folded": self.folded}

    def holds(self, key: str, entry: Entry) -> bool:
        """Whether a record, or a later one of the same run and endpoint, is counted."""
        return key in self.folded or (key in self.records and self.records[key].span >= entry.span)

    def add(self, key: str, entry: Entry) -> None:
        """Count a record in the place of an earlier one with its key, and make room where the document is full."""
        if self.holds(key, entry):
            return
        self.records[key] = entry
        while _size([*self.records.values(), *self.sums]) > MOST_BYTES - len(self.folded) * _KEY_BYTES - _FRAME_BYTES:
            if len(self.records) > _AT_A_TIME and _size(self.records.values()) > _RECORDS_SHARE:
                self._fold(sorted(self.records, key=lambda each: self.records[each].span)[:_AT_A_TIME])
            elif not self._coarsen():
                break

    def entries(self) -> Iterator[Entry]:
        """All."""
        yield from self.records.values()
        yield from self.sums

    def _fold(self, keys: Iterable[str]) -> None:
        """Make sums by day of these records."""
        for key in keys:
            entry = self.records.pop(key)
            self.folded = [*self.folded, key][-_REMEMBERED:]
            # A run with several endpoints is counted with the last of its records.
            last = all(each.run != entry.run for each in self.records.values())
            if entry.work and any(each.work == entry.work for each in self.records.values()):
                entry = entry.without_work()
            figures = entry.figures.plus(Figures(runs=int(last)))
            self.sums.append(Entry(entry.span[:_DAY], entry.endpoint, figures))
        self.sums = _added_up(self.sums)

    def _coarsen(self) -> bool:
        """Bring the oldest of the finest sums to the next rung; False where there is nothing to gain."""
        for length, keeps_endpoint in _LADDER:
            finer = [each for each in self.sums if _is_finer(each, length, keeps_endpoint)]
            if not finer:
                continue
            oldest = min(each.span for each in finer)[: length or None]
            chosen = {each for each in finer if each.span.startswith(oldest)}
            coarse = [
                Entry(oldest[:length], each.endpoint if keeps_endpoint else _OTHERS, each.figures) for each in chosen
            ]
            self.sums = _added_up([*(each for each in self.sums if each not in chosen), *coarse])
            return True
        return False


def total(entries: Iterable[Entry]) -> tuple[Figures, dict[str, float]]:
    """The sum, and its dollars by endpoint; `*` stands for the endpoints of old sums."""
    figures, runs = Figures(), set[str]()
    by_endpoint: dict[str, float] = defaultdict(float)
    for entry in entries:
        figures = figures.plus(entry.figures)
        by_endpoint[entry.endpoint] += entry.figures.usd
        runs |= {entry.run} - {""}
    return figures.plus(Figures(runs=len(runs))), dict(by_endpoint)


def with_work_once(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The same entries, with the rows of a run's endpoint only in the last of its records."""
    last = {each.work: each for each in sorted(entries, key=lambda each: each.span)}
    for entry in entries:
        yield entry if not entry.work or entry is last[entry.work] else entry.without_work()


def _is_finer(entry: Entry, length: int, keeps_endpoint: bool) -> bool:
    return len(entry.span) > length or (entry.endpoint != _OTHERS and not keeps_endpoint)


def _added_up(sums: Iterable[Entry]) -> list[Entry]:
    """One for each span and endpoint, in their order."""
    added: dict[tuple[str, str], Figures] = {}
    for entry in sums:
        place = (entry.span, entry.endpoint)
        added[place] = added.get(place, Figures()).plus(entry.figures)
    return [Entry(*place, figures) for place, figures in sorted(added.items())]


def _size(entries: Iterable[Entry]) -> int:
    """Bytes of JSON, with a record's key."""
    return sum(map(_size_of, entries))


@lru_cache(maxsize=1024)
def _size_of(entry: Entry) -> int:
    return len(json.dumps(entry.stored())) + _KEY_BYTES
