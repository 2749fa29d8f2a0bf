"""Leases under load, on every store: twenty uses of one endpoint at once, three rounds, with writes in any order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from upath import UPath

from airflow_provider_hf_endpoints.kept import KeptAt, StoreError, attempts, paths, variables
from airflow_provider_hf_endpoints.leases import runs
from airflow_provider_hf_endpoints.leases.protocol import (
    Ended,
    Look,
    Read,
    Remove,
    Shared,
    SwitchedOff,
    SwitchOff,
    SwitchOn,
    Write,
    forget,
    leave,
    played,
    take,
)
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.runs import RunStates
from airflow_provider_hf_endpoints.leases.store import LeaseStore, other_users, store_for
from tests.contract.object_stores import OBJECT_STORES, STORES, object_store
from tests.variables import OldVariables, Variables

USES, USES_OF_A_SERVER, ROUNDS = 20, 8, 3  # moto answers some 100 requests a second
Make = Callable[[], LeaseStore]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for takes milliseconds here."""
    monkeypatch.setattr(attempts, "_PAUSES", (0.05, 0.1, 0.2, 0.4))
    monkeypatch.setattr(variables, "_SETTLE", 0.05)


@pytest.fixture(params=["folder", *STORES, "variables", "variables on 3.0"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Make]:
    """Leases of one endpoint in each place. A call of Variables takes up to 40 ms."""
    if request.param == "folder":
        yield partial(store_for, KeptAt(f"file://{tmp_path}"), "acme", "demo")
    elif request.param in OBJECT_STORES:
        with object_store(request.param, monkeypatch) as objects:
            # Airflow's own path finds a storage by a provider that is not installed here.
            monkeypatch.setattr(paths, "ObjectStoragePath", partial(UPath, **objects.folder.storage_options))
            yield partial(store_for, KeptAt(str(objects.folder)), "acme", "demo")
    else:
        stand_in = Variables(slow=0.01)
        monkeypatch.setattr(variables, "Variable", OldVariables(stand_in) if "3.0" in request.param else stand_in)
        yield partial(store_for, KeptAt(), "acme", "demo")


class Endpoint:
    """One that all of them use. A step does at once what the service does in a while."""

    def __init__(self) -> None:
        self.state = "paused"

    def play(self, store: LeaseStore, flow: Generator[Any, Any, Any]) -> Any:
        """A whole flow; the runs of all leases continue."""
        return played(flow, lambda step: self._do(store, step))

    def _do(self, store: LeaseStore, step: Any) -> Any:
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
                return self.state
            case SwitchOff(found=found):
                self.state = self.state if found == "running" else "paused"
            case SwitchOn():
                self.state = "running"
        return None

    def begin(self, store: LeaseStore, who: str) -> Lease:
        """Take a lease and start the endpoint."""
        lease: Lease = self.play(store, take(new_lease(who, time.time(), 3600.0), time.time))
        self.state = "running"
        return lease

    def release(self, store: LeaseStore, mine: Lease) -> Any:
        """Leave it, and forget it where that has stopped the endpoint."""
        outcome = self.play(store, leave(mine, time.time, lambda found: found))
        if isinstance(outcome, SwitchedOff):
            self.play(store, forget(mine, time.time))
        return outcome


def test_twenty_uses_at_once(make: Make, request: pytest.FixtureRequest) -> None:
    """They come together, each with four tasks that renew at the same moment, and go together but for one: it is on as
    long as that one stays, and off when it has gone. Three times.
    """
    endpoint = Endpoint()
    on_a_server = any(f"[{store}]" in request.node.name for store in OBJECT_STORES)
    uses = USES_OF_A_SERVER if on_a_server else USES

    def use(number: int, together: threading.Barrier) -> tuple[LeaseStore, Lease]:
        store = make()
        together.wait()
        lease = endpoint.begin(store, f"nightly run-{number} use.acquire")
        with ThreadPoolExecutor(4) as tasks:
            list(tasks.map(lambda _: make().renew(lease.renewed(time.time())), range(4)))
        together.wait()
        assert endpoint.state == "running"
        if number:
            assert isinstance(endpoint.release(store, lease), Shared)
        return store, lease

    for _ in range(ROUNDS):
        together = threading.Barrier(uses)
        with ThreadPoolExecutor(uses) as pool:
            (store, lease), *_ = list(pool.map(lambda number, at=together: use(number, at), range(uses)))
        assert endpoint.state == "running"
        assert SwitchedOff("paused") == endpoint.release(store, lease)
        assert ("paused", []) == (endpoint.state, make().read())


def test_all_leave_at_once(make: Make) -> None:
    """Each sees the others leave: the last one, by the order of their writes, stops the endpoint, in each of three
    rounds.
    """
    endpoint = Endpoint()

    def go(number: int, together: threading.Barrier, store: LeaseStore, lease: Lease) -> Any:
        together.wait()
        time.sleep(0.05 * random.random())
        return endpoint.release(store, lease)

    for _ in range(ROUNDS):
        uses = [(store := make(), endpoint.begin(store, f"nightly run-{number} use.acquire")) for number in range(6)]
        together = threading.Barrier(len(uses))
        with ThreadPoolExecutor(len(uses)) as pool:
            done = [pool.submit(go, number, together, *each) for number, each in enumerate(uses)]
        assert any(isinstance(each.result(), SwitchedOff) for each in done)
        assert "paused" == endpoint.state
        assert [] == [each.who for each in make().read() if each.is_live(time.time())]


def test_a_late_renewal_does_not_bring_back_who_has_left(make: Make) -> None:
    """A task whose supervisor was killed continues and renews, after the release has marked the lease as left."""
    endpoint = Endpoint()
    first, second = make(), make()
    mine, other = endpoint.begin(first, "nightly r1 use.acquire"), endpoint.begin(second, "nightly r2 use.acquire")
    assert isinstance(endpoint.release(first, mine), Shared)
    make().renew(mine.renewed(time.time()))
    assert SwitchedOff("paused") == endpoint.release(second, other)
    assert ("paused", []) == (endpoint.state, make().read())


def test_a_renewal_counts_from_its_own_moment(make: Make) -> None:
    """Also where the holder's own record has expired and was tidied away by others."""
    store = make()
    lease = new_lease("nightly r1 use.acquire", time.time() - 100, 50.0)
    store.write(lease)
    store.renew(lease.renewed(time.time()))
    (read,) = make().read()
    assert time.time() + 40 < read.expires
    assert ["nightly r1 use.acquire"] == [each.who for each in make().read() if each.is_live(time.time())]


def test_what_is_no_lease_is_an_error_and_not_nobody(tmp_path: Path) -> None:
    """Of another version, or half a file: the error names it, and a reader of the leases learns that there may be
    one.
    """
    path = f"file://{tmp_path}"
    (tmp_path / "acme" / "demo").mkdir(parents=True)
    (tmp_path / "acme" / "demo" / "x.json").write_text('{"holder": "x"}')
    with pytest.raises(StoreError, match=r"lease 'x': it contains \{'holder': 'x'\}"):
        store_for(KeptAt(path), "acme", "demo").read()
    assert ["unknown holder (the leases cannot be read)"] == other_users(KeptAt(path), "acme", "demo", "me")


def test_a_store_that_does_not_show_what_was_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one's own record is missing, those of others may be: an empty answer is not believed."""
    stand_in = Variables()
    monkeypatch.setattr(variables, "Variable", stand_in)
    store = store_for(KeptAt(), "acme", "demo")
    store.write(new_lease("a", time.time(), 1.0))
    monkeypatch.setattr(stand_in, "keys", lambda prefix=None: [])
    with pytest.raises(StoreError, match="read back differ from those written"):
        store.read()


# Runs that have ended


def asked(states: dict[str, str], **tasks: str) -> Any:
    """A task instance whose Airflow tells of the runs that it knows, and of tasks in all of them."""

    def ask(dag_id: str, run_id: str) -> Any:
        if run_id in states:
            return SimpleNamespace(value=states[run_id])
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={}))

    def ask_tasks(dag_id: str, task_ids: list[str], run_ids: list[str], map_index: int | None) -> Any:
        name = task_ids[0] if map_index is None else f"{task_ids[0]}_{map_index}"
        return {run_ids[0]: {name: tasks[name]}} if name in tasks else {}

    return SimpleNamespace(get_dagrun_state=ask, get_task_states=ask_tasks)


def test_a_lease_whose_acquire_has_failed_is_nobody_s() -> None:
    """A person has marked it while it ran: neither work nor a release follows it. Other tasks of the run continue."""
    names = ("failed", "mapped [1]", "mapped [2]", "works", "unknown")
    leases = {name: new_lease(f"nightly r1 {name}", 0.0, 1.0) for name in names}
    told = asked({"r1": "running"}, failed="failed", mapped_1="upstream_failed", mapped_2="success", works="running")
    over = RunStates(told, KeptAt()).over(leases.values())
    assert {leases["failed"].holder, leases["mapped [1]"].holder} == over


def test_leases_of_ended_runs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of runs that Airflow does not know, of another Airflow, or of a holder that is not a run."""
    leases = {
        run: new_lease(f"nightly {run} use.acquire", 0.0, 1.0) for run in ("done", "failed", "goes-on", "unknown")
    }
    leases["other"] = replace(new_lease("nightly done use.acquire [3]", 0.0, 1.0), origin="https://other")
    leases["person"] = new_lease("somebody", 0.0, 1.0)
    states = RunStates(asked({"done": "success", "failed": "failed", "goes-on": "running"}), KeptAt("s3://leases"))
    assert {leases["done"].holder, leases["failed"].holder} == states.over(leases.values())
    assert frozenset() == RunStates(None, KeptAt()).over(leases.values())


def test_who_shares_a_path_is_told_apart_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deployments of one DAG have runs of the same name. Variables are one deployment's own."""
    monkeypatch.setattr(runs, "conf", SimpleNamespace(get=lambda *names, fallback: "https://airflow.acme.org"))
    assert ("https://airflow.acme.org", "") == (runs.origin_of(KeptAt("s3://leases")), runs.origin_of(KeptAt()))


def test_other_users_are_asked_for_with_their_runs(tmp_path: Path) -> None:
    """The lease of a crashed run does not count."""
    path = f"file://{tmp_path}"
    store_for(KeptAt(path), "acme", "demo").write(new_lease("nightly r1 use.acquire", time.time(), 3600.0))
    assert ["nightly r1 use.acquire"] == other_users(KeptAt(path), "acme", "demo", "me")
    assert [] == other_users(KeptAt(path), "acme", "demo", "me", asked({"r1": "failed"}))
