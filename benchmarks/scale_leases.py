"""Leases of one endpoint by the number of holders: what a use and a release ask of the store.

Real are the protocol and both stores; counted are the requests to Airflow's API (Variables, in memory here) and to an
object store (files, here).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from fsspec.implementations.local import LocalFileSystem

from airflow_provider_hf_endpoints.kept import KeptAt, paths, variables
from airflow_provider_hf_endpoints.leases.protocol import (
    Ended,
    Look,
    Read,
    Remove,
    SwitchOff,
    SwitchOn,
    Write,
    forget,
    leave,
    played,
    take,
)
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.store import LeaseStore, store_for
from benchmarks.tables import head, row

ROUND_TRIP = 0.02  # seconds, of a request to an API server that is not busy
AT_ONCE = 16  # reads of an object store
Ask = Callable[[], Counter[str]]  # requests so far, by their kind


class Kept:
    """Airflow's Variables, in memory, each request counted."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.asked: Counter[str] = Counter()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked["get"] += 1
        return self.values.get(key, default)

    def set(self, key: str, value: str, description: str | None = None) -> None:
        self.asked["set"] += 1
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.asked["delete"] += 1
        self.values.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        self.asked["list"] += 1
        return [key for key in self.values if key.startswith(prefix)]


class KeptBefore(Kept):
    """The same of an Airflow before 3.3, which lists nothing."""

    keys = property()  # type: ignore[assignment]


@contextmanager
def in_variables(kept: Kept) -> Iterator[Ask]:
    """Variables stand in `kept` while this lasts."""
    lists = not isinstance(kept, KeptBefore)
    with (
        patch.object(variables, "Variable", kept),
        patch.object(variables, "can_list", lambda: lists),
        patch("airflow_provider_hf_endpoints.kept.separate.can_list", lambda: lists),
        patch("time.sleep"),
    ):
        yield lambda: kept.asked


@contextmanager
def in_objects() -> Iterator[tuple[str, Ask]]:
    """A path for objects, here files, and the requests that an object store would see: listing, reading, writing one,
    removing one.
    """
    asked: Counter[str] = Counter()

    def attempt(place: object, what: str, act: Callable[[], Any]) -> Any:
        asked[what] += what != "removed"  # which is one request for each
        return real(place, what, act)

    def rm_file(self: Any, path: str) -> None:
        asked["removed"] += 1
        remove(self, path)

    real, remove = paths.attempt, LocalFileSystem.rm_file
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(paths, "attempt", attempt),
        patch.object(LocalFileSystem, "rm_file", rm_file),
        patch("os.fsync"),
    ):
        yield f"file://{folder}", lambda: asked


def play(flow: Generator[Any, Any, Any], store: LeaseStore, state: list[str]) -> Any:
    """Every step of a flow, on an endpoint whose state is the list's one item."""

    def do(step: Any) -> Any:
        match step:
            case Write(lease=lease):
                store.write(lease)
            case Read():
                return store.read()
            case Remove(holders=holders):
                store.remove(holders)
            case Ended():
                return frozenset()
            case Look():
                return state[0]
            case SwitchOff():
                state[0] = "paused"
            case SwitchOn():
                state[0] = "running"
        return None

    return played(flow, do)


def use(holders: int, path: str | None, asked: Ask) -> dict[str, list[Counter[str]]]:
    """All take a lease, one after the other, and then all leave: requests of each."""
    state = ["paused"]
    found: dict[str, list[Counter[str]]] = {"acquire": [], "release": []}

    def counted(kind: str, flow: Callable[[LeaseStore], Any]) -> Any:
        before = Counter(asked())
        # As every task does: each has its own store.
        result = flow(store_for(KeptAt(path), "acme", "shared"))
        found[kind].append(Counter(asked()) - before)
        return result

    held: list[Lease] = []
    for number in range(holders):
        mine = new_lease(f"dag run-{number} use.acquire", time.time(), 21_600.0)
        held.append(counted("acquire", lambda store, mine=mine: play(take(mine, time.time), store, state)))
        state[0] = "running"
    for mine in held:

        def release(store: LeaseStore, mine: Lease = mine) -> None:
            play(leave(mine, time.time, lambda _: "paused"), store, state)
            if state[0] == "paused":
                play(forget(mine, time.time), store, state)

        counted("release", release)
    assert state == ["paused"]
    return found


def table(sizes: tuple[int, ...]) -> None:
    """Print a line for each size and store."""
    longest = f"seconds of the longest at {ROUND_TRIP * 1000:.0f} ms each"
    head("holders", "leases in", "requests of an acquire: median, most", "of a release: median, most", longest)
    for size in sizes:
        for name, kept in (("Variables, Airflow 3.3", Kept()), ("Variables, before 3.3", KeptBefore())):
            with in_variables(kept) as asked:
                found = use(size, None, asked)
            _line(size, name, found)
        with in_objects() as (path, asked):
            found = use(size, path, asked)
        _line(size, "an object store", found)


def _line(size: int, name: str, found: dict[str, list[Counter[str]]]) -> None:
    counts = [[each.total() for each in requests] for requests in found.values()]
    told = [f"{statistics.median(each):.0f}, {max(each)}" for each in counts]
    longest = max(_seconds(each) for requests in found.values() for each in requests)
    row(size, name, *told, f"{longest:.1f}")


def _seconds(requests: Counter[str]) -> float:
    """Of these requests: an object store is read from by several at a time, all others follow each other."""
    return ROUND_TRIP * sum(count / AT_ONCE if kind == "read" else count for kind, count in requests.items())
