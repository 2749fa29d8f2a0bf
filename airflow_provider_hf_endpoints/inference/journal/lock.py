"""The lock of an output path: one run at a time.

On a local disk, the operating system keeps the lock, and frees it when the process ends in any way. On an
object store, the lock is an epoch (`epochs.py`). A run that has lost the lock notices before it writes or sends.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal.epochs import EpochLock, clock
from airflow_provider_hf_endpoints.inference.journal.holder import BusyLock, Holder, held_by, taken_by
from airflow_provider_hf_endpoints.inference.journal.segments import last_number
from airflow_provider_hf_endpoints.inference.stores.folders import names_in
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

BEAT = 5.0  # seconds between two beats on an object store
PATIENCE = 4 * BEAT  # seconds without a beat after which the holder is considered dead
WAIT = 30.0  # seconds for which a batch waits for another run with the same output
LOOK = 0.25  # seconds, approximately, between two looks at a taken lock


class _Lock(Protocol):
    """A lock of one kind of store."""

    epoch: int

    def attempt(self) -> BusyLock | None:
        """Take the lock, or return its holder."""

    def check(self) -> None:
        """Raise if another run has the lock now. Raises the store's error if that is unknown."""

    def is_sure(self) -> bool:
        """Whether no other run can have the lock at the moment."""

    def release(self) -> None:
        """Give the lock back."""


class OutputLock:
    """The lock of one output path. The run that writes there holds it.

    :param journal: folder of the output's journal; the lock is next to it
    """

    def __init__(self, journal: UPath, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._path = lock_of(journal)
        local = local_path(self._path)
        self._lock: _Lock = (
            FileLock(local)
            if local is not None
            else EpochLock(self._path, lambda: last_number(journal), beat=beat, patience=patience)
        )
        #: Whether no other run can have the lock at the moment. It is called for every row, so it must be fast.
        self.is_sure: Callable[[], bool] = self._lock.is_sure
        self._look = min(LOOK, beat)
        self._began: float | None = None
        self._seen: Holder | None = None

    @property
    def epoch(self) -> int:
        """The number of this holder, higher than all before; 0 on a local disk."""
        return self._lock.epoch

    @property
    def busy(self) -> OutputBusyError:
        """The error for a run that does not wait for the holder."""
        return held_by(self._path, self._seen)

    def attempt(self, wait: float = 0.0) -> bool:
        """Try once to take the lock. Returns false, after a short pause, if the caller should try again.

        :param wait: seconds to wait for a run that is alive, from the first look on
        :raises OutputBusyError: another run still has the lock after the wait
        """
        self._began = clock() if self._began is None else self._began
        held = self._lock.attempt()
        if held is None:
            return True
        self._seen = held.holder or self._seen
        if held.alive and clock() - self._began >= wait:
            raise self.busy
        # Two runs that collide must not come back at the same time.
        threading.Event().wait(self._look * random.uniform(0.5, 1.5))
        return False

    def acquire(self, wait: float = 0.0) -> None:
        """Take the lock.

        :param wait: seconds to wait for a run that is alive
        :raises OutputBusyError: another run has it
        """
        while not self.attempt(wait):
            pass

    def check(self) -> None:
        """Check before each write that this run still has the lock.

        :raises OutputBusyError: another run has it
        """
        self._lock.check()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


class FileLock:
    """The lock on a local disk: a file that the operating system locks. The file contains the holder."""

    def __init__(self, path: Path) -> None:
        self.epoch = 0
        self._path = path
        self._file: IO[bytes] | None = None

    def attempt(self) -> BusyLock | None:
        """Take the lock, or return its holder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while self._file is None:
            file = open(self._path, "a+b")  # noqa: SIM115 - open as long as the lock is held
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    return BusyLock(Holder.decode(file.read()), alive=True)
                # Otherwise the previous run deleted the file between our open and our lock. Try again.
                if self._has_name(file):
                    file.truncate(0)
                    file.write(Holder.me(uuid.uuid4().hex).encode())
                    file.flush()
                    self._file = file
            finally:
                if self._file is None:
                    file.close()
        return None

    def _has_name(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def is_sure(self) -> bool:
        """Always true: the operating system gives the lock to no other run."""
        return True

    def check(self) -> None:
        """Somebody may have deleted the file, and another run may have made a new one."""
        if self._file is not None and not self._has_name(self._file):
            found = self._path.read_bytes() if self._path.exists() else b""
            raise taken_by(self._path, Holder.decode(found))

    def release(self) -> None:
        """Give the lock back. If the disk does not remove the file, its name stays and the lock is free."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if self._has_name(file):
                self._path.unlink(missing_ok=True)
        finally:
            file.close()


def lock_of(journal: UPath) -> UPath:
    """Where the lock of an output is: a file on a disk, a folder on an object store."""
    return journal.parent / f"{journal.name}.lock"


def is_left(journal: UPath) -> bool:
    """Whether a run has the lock, or was killed with it."""
    path = lock_of(journal)
    return path.exists() if local_path(path) is not None else bool(names_in(path))
