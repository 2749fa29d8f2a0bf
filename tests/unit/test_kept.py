"""Records in Airflow Variables or below a path: a written record stays, despite other writers and failures."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import (
    KeptAt,
    Records,
    SharedVariable,
    StoreError,
    attempts,
    document_at,
    separate_records_at,
    service_name,
    variables,
)
from airflow_provider_hf_endpoints.kept.variables import VariableDocument
from tests.variables import OldVariables, Variables

PLACE: dict[str, Any] = {"key": "the.key", "description": "of a test"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for takes milliseconds here."""
    monkeypatch.setattr(attempts, "_PAUSES", (0.02, 0.04, 0.08))
    monkeypatch.setattr(variables, "_SETTLE", 0.05)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Airflow 3.3's."""
    made = Variables()
    monkeypatch.setattr(variables, "Variable", made)
    return made


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch, stand_in: Variables) -> Variables:
    """Airflow 3.0's."""
    monkeypatch.setattr(variables, "Variable", OldVariables(stand_in))
    return stand_in


def separate(path: str | None = None) -> Records:
    return separate_records_at(KeptAt(path), ("folder",), **PLACE)


def shared() -> SharedVariable:
    return SharedVariable("all.in.one", "of a test")


def put(key: str, value: Any) -> None:
    """One of many entries in a shared Variable."""
    shared().update(lambda stored: {**(stored or {}), key: value}, lambda stored: stored.get(key) == value)


@pytest.fixture(params=["separate", "separate on 3.0", "path"])
def make(request: pytest.FixtureRequest, stand_in: Variables, tmp_path: Path) -> Callable[[], Records]:
    """Records in each place."""
    if "3.0" in request.param:
        request.getfixturevalue("old")
    if request.param == "path":
        return lambda: separate(f"file://{tmp_path}")
    return separate


def at_once(works: Iterable[Callable[[], object]]) -> None:
    """Run them all, beginning at the same moment; the first error of any is raised."""
    listed = list(works)
    ready = threading.Barrier(len(listed))

    def run(work: Callable[[], object]) -> None:
        ready.wait()
        work()

    with ThreadPoolExecutor(len(listed)) as pool:
        for done in [pool.submit(run, work) for work in listed]:
            done.result()


def test_records_of_several_writers_are_all_there(make: Callable[[], Records]) -> None:
    """Twelve that begin at the same moment: a writer that misses its own record writes it again."""

    def write(number: int) -> None:
        make().write(f"writer-{number}", {"number": number})

    at_once(partial(write, number) for number in range(12))
    assert {f"writer-{number}": {"number": number} for number in range(12)} == make().read()


@pytest.mark.parametrize("airflow", ["3.3", "3.0"])
def test_a_shared_variable_has_the_changes_of_all_its_writers(
    stand_in: Variables, request: pytest.FixtureRequest, airflow: str
) -> None:
    """Twelve that begin at the same moment: a writer that misses its own record writes it again."""
    if airflow == "3.0":
        request.getfixturevalue("old")
    assert shared().read() is None
    at_once(partial(put, f"writer-{number}", number) for number in range(12))
    assert {f"writer-{number}": number for number in range(12)} == shared().read()


def test_a_change_that_never_stays_is_an_error(stand_in: Variables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store that drops what is written: it names the Variable, after ten tries."""
    monkeypatch.setattr(variables, "_SETTLE", 0.001)
    stand_in.set = lambda key, value, description: None  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"'all\.in\.one' lost a written change 10 times in a row"):
        shared().update(lambda _: 1, lambda stored: stored == 1)


def test_a_record_is_replaced_and_removed(make: Callable[[], Records]) -> None:
    """By its key; removing one that does not exist is not an error, and there is nothing before the first."""
    assert {} == make().read()
    make().write("one", 1)
    make().write("two", 2)
    make().write("one", 3)
    make().remove(["two", "never"])
    assert {"one": 3} == make().read()


def test_what_passes_is_tried_again(stand_in: Variables, old: Variables) -> None:
    """An API server that is being restarted fails some calls in a row; both Airflows, all ways to keep."""
    stand_in.failing = 2
    assert {} == separate().read()
    separate().write("one", 1)
    stand_in.failing = 2
    assert {"one": 1} == separate().read()
    stand_in.failing = 2
    put("one", 1)
    stand_in.failing = 2
    assert {"one": 1} == shared().read()


def test_a_server_that_fails_is_not_nobody(stand_in: Variables) -> None:
    """Airflow 3.3 says "no such variable" of one that can't be read: that must neither be believed nor written over."""
    put("one", 1)
    separate().write("one", 1)

    def get(key: str, default: Any = None) -> Any:
        return default

    stand_in.get = get  # type: ignore[method-assign]
    for read in (shared().read, separate().read):
        with pytest.raises(StoreError, match=r"lists it, but does not return its value"):
            read()
    with pytest.raises(StoreError):
        put("two", 2)
    assert {"one": 1} == json.loads(stand_in.values["all.in.one"])


def test_a_write_that_only_a_log_tells_of_is_an_error(stand_in: Variables, old: Variables) -> None:
    """Airflow 3.0 logs what went wrong in `Variable.set` and returns."""
    separate().write("one", 1)

    def put(key: str, value: str, description: str) -> None:
        raise ConnectionError("no API server")

    stand_in.set = put  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"'the\.key\.one' did not store what was written to it"):
        separate().write("one", 2)


def test_nobody_puts_back_what_a_writer_has_replaced(stand_in: Variables) -> None:
    """Each call takes up to 0.2 s: a record that was marked stays so, however late the others write theirs."""
    stand_in.slow = 0.1

    def come_and_mark(number: int) -> None:
        separate().write(f"writer-{number}", {"left": False})
        separate().write(f"writer-{number}", {"left": True})

    at_once(partial(come_and_mark, number) for number in range(8))
    stand_in.slow = 0.0
    assert {f"writer-{number}": {"left": True} for number in range(8)} == separate().read()


def test_a_record_that_somebody_removes_meanwhile_is_written_again(
    stand_in: Variables, old: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As others do with the record of a holder that has left: such a store loses nothing that is written to it."""
    write, written = VariableDocument.write, []

    def tidied_at_once(document: VariableDocument, record: object) -> None:
        write(document, record)
        written.append(record)
        if len(written) == 1:
            document.remove()

    monkeypatch.setattr(VariableDocument, "write", tidied_at_once)
    separate().write("one", {"left": True})
    assert {"one": {"left": True}} == separate().read()


def test_on_a_slow_server_the_list_of_airflow_3_0_loses_nobody(stand_in: Variables, old: Variables) -> None:
    """The time to settle follows the round trip: 0.05 s would be over before another's write arrives."""
    stand_in.slow = 0.1
    at_once(partial(separate().write, f"writer-{number}", number) for number in range(6))
    stand_in.slow = 0.0
    assert {f"writer-{number}": number for number in range(6)} == separate().read()


def test_several_may_write_one_record(make: Callable[[], Records]) -> None:
    """As the tasks of one use do, each with about the same: none fails for that another's is there."""
    at_once(partial(make().write, "renewed", {"at": number}) for number in range(16))
    assert make().read()["renewed"]["at"] in range(16)


def test_the_list_of_airflow_3_0_is_tidied(stand_in: Variables, old: Variables) -> None:
    """By a process that adds to it: keys of records that are gone are removed then."""
    for key in ("one", "two", "three"):
        separate().write(key, 1)
    separate().remove(["one", "two"])
    separate().write("four", 1)
    assert (["the.key", "the.key.four", "the.key.three"], ["four", "three"]) == (
        sorted(stand_in.values),
        json.loads(stand_in.values["the.key"]),
    )


@pytest.mark.parametrize("airflow", ["3.3", "3.0"])
def test_no_variable_is_left_of_records_that_are_gone(
    stand_in: Variables, request: pytest.FixtureRequest, airflow: str
) -> None:
    """The list neither; and a key that is known needs none."""
    if airflow == "3.0":
        request.getfixturevalue("old")
    records = separate_records_at(KeptAt(), (), **PLACE, known=["fixed"])
    for key in ("one", "two", "fixed"):
        records.write(key, key)
    assert {"one": "one", "two": "two", "fixed": "fixed"} == records.read()
    records.remove(["one"])
    records.remove(["two"])
    assert ["the.key.fixed"] == list(stand_in.values)
    assert {"fixed": "fixed"} == records.read()


def test_on_airflow_3_0_whoever_comes_while_the_last_one_goes_is_listed(stand_in: Variables, old: Variables) -> None:
    """The remover of the list and a writer that adds to it, at the same moment and on a slow server."""
    stand_in.slow = 0.02
    for turn in range(4):
        separate().write("last", turn)
        at_once([partial(separate().remove, ["last"]), *(partial(separate().write, f"new-{n}", n) for n in range(3))])
        assert {f"new-{n}": n for n in range(3)} == separate().read()
        separate().remove([f"new-{n}" for n in range(3)])
    assert {} == stand_in.values


def test_a_place_that_fails_says_which(stand_in: Variables, tmp_path: Path) -> None:
    """Whatever the storage or Airflow raises, and how often it was tried."""
    stand_in.broken = True
    with pytest.raises(StoreError, match=r"'all\.in\.one' cannot be read: ConnectionError: no API server \(last of 4"):
        shared().read()
    (tmp_path / "file").touch()
    document = document_at(KeptAt(f"file://{tmp_path}/file"), (), "note", key="k", description="d")
    with pytest.raises(StoreError, match=r"note\.json cannot be written"):
        document.write({})


def test_what_cannot_be_read_is_no_empty_place(stand_in: Variables, tmp_path: Path) -> None:
    """A file that another program cut short, or a Variable that a person has edited: an error that names the place."""
    (tmp_path / "note.json").write_text('{"half')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.json").touch()
    stand_in.values["k"] = '{"half'
    for path in (None, f"file://{tmp_path}"):
        with pytest.raises(StoreError, match=r"'k'|note\.json"):
            document_at(KeptAt(path), (), "note", key="k", description="d").read()
    with pytest.raises(StoreError, match=r"one\.json cannot be read"):
        separate(f"file://{tmp_path}").read()


def test_a_record_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """On a storage that writes in place: the next attempt sees the whole."""
    file = tmp_path / "folder" / "one.json"
    file.parent.mkdir()
    file.touch()
    timer = threading.Timer(0.03, file.write_text, args=("1",))
    timer.start()
    assert {"one": 1} == separate(f"file://{tmp_path}").read()
    timer.join()


# A folder that many processes share


def _write_for(folder: str, number: int, seconds: float) -> None:
    until, large = time.monotonic() + seconds, "x" * 100_000
    while time.monotonic() < until:
        separate(folder).write(f"writer-{number % 4}", {"number": number, "large": large})


def _read_for(folder: str, seconds: float, errors: Any) -> None:
    until, seen = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        records = separate(folder).read()
        if len(records) < seen or any(len(each["large"]) != 100_000 for each in records.values()):
            errors.put(f"{len(records)} after {seen}")
        seen = len(records)


def test_readers_of_a_shared_folder_see_records_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six processes write four records all the time, two of them twice; four read: none is empty, half or gone."""
    monkeypatch.setattr(attempts, "_PAUSES", ())  # a first look is enough
    context = multiprocessing.get_context("fork")
    folder, errors = f"file://{tmp_path}", context.Queue()
    writers = [context.Process(target=_write_for, args=(folder, number, 2.0)) for number in range(6)]
    readers = [context.Process(target=_read_for, args=(folder, 2.0, errors)) for _ in range(4)]
    for each in (*writers, *readers):
        each.start()
    for each in (*writers, *readers):
        each.join(timeout=60)
    assert [0] * 10 == [each.exitcode for each in (*writers, *readers)]
    assert errors.empty()
    assert 4 == len(separate(folder).read())


def test_a_killed_writer_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    """SIGKILL at any moment; what lies around of it is removed with the record."""
    context = multiprocessing.get_context("fork")
    folder = f"file://{tmp_path}"
    separate(folder).write("writer-0", {"number": 0, "large": "x" * 100_000})
    for _ in range(20):
        writer = context.Process(target=_write_for, args=(folder, 0, 60.0))
        writer.start()
        time.sleep(0.02 + 0.01 * (time.time() % 1))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert 100_000 == len(separate(folder).read()["writer-0"]["large"])
    separate(folder).remove(["writer-0"])
    assert [] == list((tmp_path / "folder").iterdir())


def test_a_key_names_the_service_but_for_hugging_faces_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records at Hugging Face have the keys that they always had."""
    keys = {}
    for host in (
        "",
        "https://api.endpoints.huggingface.cloud/v2/",
        "http://127.0.0.1:8080",
        "https://gate.acme.org/hf",
    ):
        connection = {"conn_type": "hf_endpoints", "host": host, "password": "hf_x"}
        monkeypatch.setenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT", json.dumps(connection))
        keys[host] = InferenceEndpointsHook().kept_at.key("acme")
    assert ["acme", "acme", "acme@127.0.0.1_8080", "acme@gate.acme.org_6a95a608"] == list(keys.values())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://gate.acme.org", "https://GATE.acme.org:443/", True),
        ("http://gate.acme.org:80", "https://gate.acme.org", True),
        ("http://127.0.0.1:1", "http://127.0.0.1:2", False),
        ("https://gate.acme.org/one", "https://gate.acme.org/two", False),
        (f"https://{'a' * 61}.org", f"https://{'a' * 62}.org", False),
        ("http://[::1]:1", "http://[::2]:1", False),
    ],
)
def test_a_services_name_is_its_address(one: str, other: str, same: bool) -> None:
    """In letters that a file's name and a Variable's key may have, and not longer than a key allows."""
    names = service_name(one), service_name(other)
    assert same == (names[0] == names[1])
    assert all(re.fullmatch(r"[\w.-]{1,80}", name) for name in names)
