"""One run per output path at a time.

On a local disk the operating system keeps the lock and gives it back when the process dies, however it dies.
On an object store a small object says who runs and is written again every few seconds; one that does not
change any more belongs to a run that is dead. No clock is compared, so machines may disagree about the time.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import OutputConflictError
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

BEAT = 5.0  # seconds between two signs of life on an object store
PATIENCE = 4 * BEAT  # seconds without one after which its owner counts as dead


class OutputLock:
    """Held by the one run that writes to an output path.

    :param journal: folder of the output's journal; the lock stands next to it
    """

    def __init__(self, journal: UPath, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._path = journal.parent / f"{journal.name}.lock"
        self._local = local_path(self._path)
        self._file: IO[bytes] | None = None
        self._beat = beat
        self._patience = patience
        self._me = uuid.uuid4().hex
        self._beats = 0
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock.

        :raises OutputConflictError: another run has it
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._local is not None:
            self._acquire_local()
        else:
            self._acquire_remote()

    def _acquire_local(self) -> None:
        assert self._local is not None
        while True:
            file = open(self._local, "ab")  # noqa: SIM115 - open as long as the lock is held
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise OutputConflictError(f"another run of a batch holds {self._local}") from None
            try:
                same = os.path.samestat(os.fstat(file.fileno()), os.stat(self._local))
            except FileNotFoundError:
                same = False
            if same:
                self._file = file
                return
            # The run before released it between our open and our lock, and took the name away: once more.
            file.close()

    def _acquire_remote(self) -> None:
        seen = self._read()
        if seen is not None:
            self._released.wait(self._patience)
            if self._read() not in (seen, None):
                raise OutputConflictError(f"another run of a batch holds {self._path}")
        self._write()
        # Two runs that both saw nothing have both written by now; the later one stands.
        self._released.wait(min(1.0, self._beat))
        found = self._read()
        if found is None or not found.startswith(self._me.encode()):
            raise OutputConflictError(f"another run of a batch took {self._path} at the same moment")
        self._thread = threading.Thread(target=self._keep_alive, name="batch-lock", daemon=True)
        self._thread.start()

    def _keep_alive(self) -> None:
        while not self._released.wait(self._beat):
            self._write()

    def _write(self) -> None:
        self._beats += 1
        self._path.write_bytes(f"{self._me} {self._beats}".encode())

    def _read(self) -> bytes | None:
        try:
            # A listing kept by the file system's client would hide the other run.
            self._path.fs.invalidate_cache()
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
        elif self._thread is not None:
            self._released.set()
            self._thread.join()
            self._thread = None
            self._path.unlink(missing_ok=True)
