"""The lock of an output, on a disk and on an object store: one holder, and one that lost it finds out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal import epochs
from airflow_provider_hf_endpoints.inference.journal.epochs import exclusive_create
from airflow_provider_hf_endpoints.inference.journal.holder import Holder, task_of
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock, is_left, lock_of
from airflow_provider_hf_endpoints.inference.journal.records import Record, encode_record
from airflow_provider_hf_endpoints.inference.stores.folders import names_in
from tests.contract.object_stores import STORES, object_store

HANG = 60.0  # seconds after which something that does not come is a failure
NEVER = 1000.0  # seconds between two beats, of a holder whose process is stopped


def record(place: int) -> tuple[Record, bytes]:
    one = Record(place, 1000 + place, 0, 1, 2, b"{}")
    return one, encode_record(one)


def until(what: Callable[[], object]) -> None:
    ends = time.monotonic() + HANG
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.fixture(params=["memory", *STORES, "no exclusive create"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    """The journal's folder on an object store."""
    if request.param not in ("memory", "no exclusive create"):
        with object_store(request.param, monkeypatch) as store:
            yield store.folder / "out" / "_journal"
        return
    if request.param == "no exclusive create":
        plain = MemoryFileSystem.pipe_file
        monkeypatch.setattr(epochs, "_EXCLUSIVE", {})
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, **_: plain(self, path, value))
    yield UPath(f"memory://{tmp_path.name}/out/_journal")


def test_of_many_that_start_at_the_same_moment_one_holds(objects: UPath) -> None:
    """The others say who it is."""
    outcomes: list[OutputLock | OutputBusyError] = []
    starts = threading.Barrier(4)

    def start() -> None:
        lock = OutputLock(objects, beat=0.2, patience=HANG)
        starts.wait()
        try:
            lock.acquire()
        except OutputBusyError as error:
            outcomes.append(error)
        else:
            outcomes.append(lock)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (holder,) = [each for each in outcomes if isinstance(each, OutputLock)]
    assert all(f"process {os.getpid()} on" in str(each) for each in outcomes if each is not holder)
    holder.check()
    holder.release()
    assert not is_left(objects)


def test_who_shows_no_sign_of_life_is_taken_over_and_writes_nothing_more(objects: UPath) -> None:
    """It finds the higher epoch before its next write, says who took over, and leaves the new holder's lock alone."""
    first = OutputLock(objects, beat=NEVER, patience=0.5)
    first.acquire()
    journal = Journal(objects, first)
    assert [] == list(journal.open())
    journal.append([record(0)])
    until(lambda: not first.is_sure())
    second = OutputLock(objects, beat=NEVER, patience=0.5)
    second.acquire()
    before = names_in(objects)
    assert (1, 2) == (first.epoch, second.epoch)
    with pytest.raises(OutputBusyError, match=rf"took over .*: process {os.getpid()} on .*, since 20"):
        journal.append([record(1)])
    first.release()
    journal.close()
    until(lambda: not second.is_sure())
    second.check()
    later = Journal(objects, second)
    assert [(0, 0)] == list(later.open())
    later.append([record(1)])
    assert [*sorted(before), *(set(names_in(objects)) - set(before))] == sorted(names_in(objects))
    later.close()
    second.release()
    assert not is_left(objects)


def test_who_was_stopped_and_not_missed_goes_on(tmp_path: Path) -> None:
    """Later than its patience it looks before it writes, finds its epoch as it was, and is sure again."""
    lock = OutputLock(UPath(f"memory://{tmp_path.name}/_journal"), beat=NEVER, patience=0.1)
    lock.acquire()
    until(lambda: not lock.is_sure())
    lock.check()
    assert lock.is_sure()
    lock.release()


def test_beats_that_fail_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store fails, the holder is not sure, and a write raises the store's error; then it continues."""
    works, plain = threading.Event(), MemoryFileSystem.pipe_file
    works.set()

    def pipe_file(self: Any, path: str, *rest: Any, **options: Any) -> None:
        if not works.is_set():
            raise OSError(f"no {path} now")
        plain(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    lock = OutputLock(UPath(f"memory://{tmp_path.name}/_journal"), beat=0.02, patience=0.2)
    lock.acquire()
    works.clear()
    until(lambda: not lock.is_sure())
    with pytest.raises(OSError, match="beat now"):
        lock.check()
    works.set()
    until(lambda: lock.is_sure())
    lock.check()
    lock.release()


def test_a_lock_that_somebody_deleted_is_lost(objects: UPath) -> None:
    """Whatever was deleted may have been taken by another run and given back since."""
    lock = OutputLock(objects, beat=0.02, patience=0.2)
    lock.acquire()
    path = lock_of(objects)
    for name in names_in(path):
        (path / name).unlink(missing_ok=True)
    until(lambda: not lock.is_sure())
    with pytest.raises(OutputBusyError, match="that run has ended since, or somebody deleted the lock"):
        lock.check()
    lock.release()


def test_a_file_that_somebody_deleted_is_lost(tmp_path: Path) -> None:
    """On a disk too: another run may have made a new file; it is named, and keeps its lock."""
    journal = UPath(tmp_path / "_journal")
    first, second = OutputLock(journal), OutputLock(journal)
    first.acquire()
    with pytest.raises(OutputBusyError, match=f"holds .*_journal.lock: process {os.getpid()} on"):
        second.acquire()
    (tmp_path / "_journal.lock").unlink()
    second.acquire()
    with pytest.raises(OutputBusyError, match="took over"):
        first.check()
    first.release()
    second.check()
    second.release()
    assert [] == list(tmp_path.iterdir())


def test_an_epoch_is_above_every_segment(tmp_path: Path) -> None:
    """A lock that was given back is gone; its number stands in the journal, and the next one is higher."""
    folder = UPath(f"memory://{tmp_path.name}/_journal")
    for expected in (1, 2, 3):
        lock = OutputLock(folder, beat=NEVER)
        lock.acquire()
        assert expected == lock.epoch
        journal = Journal(folder, lock)
        assert expected - 1 == len(list(journal.open()))
        journal.append([record(expected)])
        journal.close()
        lock.release()
    assert ["000001", "000002", "000003"] == sorted(name[:6] for name in names_in(folder))


class _Store:
    """A file system: only its protocol and its way of making an object."""

    def __init__(self, protocol: str | tuple[str, ...], pipe_file: Callable[..., None]) -> None:
        self.protocol, self.pipe_file = protocol, pipe_file


@pytest.mark.parametrize(
    ("protocol", "pipe_file", "expected"),
    [
        (("s3", "s3a"), lambda path, data, mode="overwrite", **_: None, {"mode": "create"}),
        (("gs", "gcs"), lambda path, data, mode="overwrite": None, {"mode": "create"}),
        ("abfs", lambda path, value, overwrite=True, **_: None, {"overwrite": False}),
        (("s3", "s3a"), lambda path, data, chunksize=1, **_: None, None),
        ("sftp", lambda path, value, mode="overwrite", **_: None, None),
    ],
    ids=["s3fs", "gcsfs", "adlfs", "an old s3fs", "another store"],
)
def test_a_store_is_asked_for_an_exclusive_create_as_it_knows_it(
    protocol: str | tuple[str, ...], pipe_file: Callable[..., None], expected: dict[str, Any] | None
) -> None:
    """What does not know how is not asked: an old s3fs would hand the word on to S3, which refuses it."""
    assert expected == exclusive_create(_Store(protocol, pipe_file))


def test_a_holder_of_airflow_says_which_task_it_is() -> None:
    """By the names that Airflow gives to every task's process; for an unreadable name there is no holder."""
    environment = {
        "AIRFLOW_CTX_DAG_ID": "d",
        "AIRFLOW_CTX_DAG_RUN_ID": "r",
        "AIRFLOW_CTX_TASK_ID": "t",
        "AIRFLOW_CTX_TRY_NUMBER": "2",
    }
    of = task_of(environment)
    holder = Holder("me", "host", 7, "2026-11-29T10:00:00+00:00", of)
    assert "process 7 on host, DAG d, run r, task t, try 2, since 2026-11-29T10:00:00+00:00" == str(holder)
    assert holder == Holder.decode(holder.encode())
    assert {} == task_of({})
    assert [None, None, None] == [Holder.decode(raw) for raw in (b"", b"[1]", b'{"owner": "x"}')]


def test_a_disk_that_does_not_remove_the_lock_s_file_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run of the same process takes it: the operating system's lock has gone, only the name stays."""
    journal = UPath(tmp_path / "_journal")
    first = OutputLock(journal)
    first.acquire()

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fails)
        with pytest.raises(OSError, match="Input/output"):
            first.release()
    second = OutputLock(journal)
    second.acquire()
    second.release()
    assert not is_left(journal)
