"""One run per output path at a time.

On a local disk the operating system keeps the lock and gives it back when the process dies, however it dies. On an
object store the lock is an epoch (`epochs.py`). A run that has lost the lock finds out before it writes or sends.
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
from airflow_provider_hf_endpoints.inference.journal.holder import Held, Holder, held_by, taken_by
from airflow_provider_hf_endpoints.inference.journal.segments import last_number
from airflow_provider_hf_endpoints.inference.stores.folders import names_in
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

BEAT = 5.0  # seconds between two signs of life on an object store
PATIENCE = 4 * BEAT  # seconds without one after which its owner counts as dead
WAIT = 30.0  # seconds for which a batch waits for the run that has its output
LOOK = 0.25  # seconds, about, between two looks at a lock that is held


class _Lock(Protocol):
    """A lock of one kind of store."""

    epoch: int

    def attempt(self) -> Held | None:
        """Take the lock, or say who has it."""

    def check(self) -> None:
        """Raises when another run has it by now, and what the store raises when that cannot be seen."""

    def is_sure(self) -> bool:
        """Whether no other run can have it just now."""

    def release(self) -> None:
        """Give the lock back."""


class OutputLock:
    """Held by the one run that writes to an output path.

    :param journal: folder of the output's journal; the lock stands next to it
    """

    def __init__(self, journal: UPath, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._path = lock_of(journal)
        local = local_path(self._path)
        self._lock: _Lock = (
            FileLock(local)
            if local is not None
            else EpochLock(self._path, lambda: last_number(journal), beat=beat, patience=patience)
        )
        #: Says whether no other run can have the lock just now; asked for every row, so by the shortest way.
        self.is_sure: Callable[[], bool] = self._lock.is_sure
        self._look = min(LOOK, beat)
        self._began: float | None = None
        self._seen: Holder | None = None

    @property
    def epoch(self) -> int:
        """The number of this holder, above that of every one before; 0 on a local disk."""
        return self._lock.epoch

    @property
    def busy(self) -> OutputBusyError:
        """The error of who does not wait for the holder."""
        return held_by(self._path, self._seen)

    def attempt(self, wait: float = 0.0) -> bool:
        """Look once whether the lock can be taken; false, after a short pause, when it is to be asked for again.

        :param wait: seconds for which a run that is alive is waited for, from the first look on
        :raises OutputBusyError: another run has it, and was waited for
        """
        self._began = clock() if self._began is None else self._began
        held = self._lock.attempt()
        if held is None:
            return True
        self._seen = held.holder or self._seen
        if held.alive and clock() - self._began >= wait:
            raise self.busy
        # Two that are in each other's way must not come back together.
        threading.Event().wait(self._look * random.uniform(0.5, 1.5))
        return False

    def acquire(self, wait: float = 0.0) -> None:
        """Take the lock.

        :param wait: seconds for which a run that is alive is waited for
        :raises OutputBusyError: another run has it
        """
        while not self.attempt(wait):
            pass

    def check(self) -> None:
        """Make sure that this run still has the lock: before each write.

        :raises OutputBusyError: another run has it
        """
        self._lock.check()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


class FileLock:
    """The lock of a local disk: a file that the operating system locks, and in it who holds it."""

    def __init__(self, path: Path) -> None:
        self.epoch = 0
        self._path = path
        self._file: IO[bytes] | None = None

    def attempt(self) -> Held | None:
        """Take the lock, or say who has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while self._file is None:
            file = open(self._path, "a+b")  # noqa: SIM115 - open as long as the lock is held
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    return Held(Holder.decode(file.read()), alive=True)
                # Else the run before released it between our open and our lock, and took the name away: once more.
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
        """The operating system gives it to nobody else."""
        return True

    def check(self) -> None:
        """Somebody may have deleted the file, and another run made a new one."""
        if self._file is not None and not self._has_name(self._file):
            found = self._path.read_bytes() if self._path.exists() else b""
            raise taken_by(self._path, Holder.decode(found))

    def release(self) -> None:
        """Give the lock back. A disk that does not remove the file keeps its name, and not the lock."""
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
    """Whether a run holds the lock, or was killed with it."""
    path = lock_of(journal)
    return path.exists() if local_path(path) is not None else bool(names_in(path))
