"""The lock on an object store: numbered epochs, each made by an exclusive create. The highest epoch is valid.

The lock's folder contains `NNNNNN.claim`, which names the holder of the epoch and never changes, and
`NNNNNN-owner.beat`, which the holder rewrites every few seconds. If a beat does not change any more, its run is dead,
and the next run takes the next number. No clocks are compared, so the machines' clocks may differ.

A holder relies on its epoch for less time than the patience of others, counted from before its last beat. After that,
it checks the lock before it acts, and stops if there is a higher epoch, or its own is gone.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from time import clock_gettime
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal.holder import BusyLock, Holder, taken_by
from airflow_provider_hf_endpoints.inference.stores.folders import delete_files, names_in

log = logging.getLogger(__name__)

SETTLE = 1.0  # seconds in which two runs that take a number at once see each other, if a create is not exclusive
SURE = 0.75  # part of the patience for which a beat is reliable; the rest is for clocks of different speed
_CLAIM = re.compile(r"^(\d{6})\.claim$")
#: Stores with a conditional create (only if the object does not exist), and the arguments for it.
_EXCLUSIVE: dict[str, dict[str, Any]] = {
    **{name: {"mode": "create"} for name in ("s3", "s3a", "gs", "gcs", "memory")},
    **{name: {"overwrite": False} for name in ("abfs", "abfss", "az")},
}
#: This clock goes on while a machine sleeps, if the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds, with the time for which the process or its machine was stopped."""
    return clock_gettime(_CLOCK)


def exclusive_create(store: Any) -> dict[str, Any] | None:
    """The arguments of a file system's `pipe_file` for a create only if the object does not exist; None if impossible.

    Releases of s3fs and gcsfs from before 2024.12 cannot.
    """
    protocols = [store.protocol] if isinstance(store.protocol, str) else store.protocol
    known = inspect.signature(getattr(store, "_pipe_file", store.pipe_file)).parameters
    asked = [_EXCLUSIVE[protocol] for protocol in protocols if protocol in _EXCLUSIVE]
    return next((each for each in asked if set(each) <= set(known)), None)


class EpochLock:
    """The lock of an output on an object store.

    :param folder: where the numbers and beats are
    :param last_used: returns the highest number that an earlier holder left elsewhere
    :param beat: seconds between two beats
    :param patience: seconds without a beat after which a holder is considered dead
    """

    def __init__(self, folder: UPath, last_used: Callable[[], int], *, beat: float, patience: float) -> None:
        self.epoch = 0
        self._folder = folder
        self._last_used = last_used
        self._beat, self._patience = beat, patience
        self._owner = uuid.uuid4().hex
        self._exclusive = exclusive_create(folder.fs)
        self._sign: tuple[int, bytes, bytes] | None = None  # the last beat seen of another holder
        self._changed, self._alive = 0.0, False
        self._beats = 0
        self._sure_until = 0.0
        self._lost: OutputBusyError | None = None
        self._mutex = threading.Lock()  # between the thread that beats and those that look
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def attempt(self) -> BusyLock | None:
        """Take the lock, or return its holder."""
        numbers = self._numbers()
        number = max(numbers, default=0)
        if not numbers or not self._is_mine(number):
            if numbers and (held := self._judge(number)) is not None:
                return held
            number = max(number, self._last_used()) + 1
            self._create(number)
        held = self._verify(number, numbers)
        if held is None:
            self._begin(number)
        return held

    def _numbers(self) -> list[int]:
        return [int(found[1]) for found in map(_CLAIM.match, names_in(self._folder)) if found]

    def _judge(self, number: int) -> BusyLock | None:
        """The holder of an epoch, None if the holder is dead."""
        raw = self._read(f"{number:06d}.claim")
        holder = Holder.decode(raw)
        sign = (number, raw, self._read(f"{number:06d}-{holder.owner}.beat") if holder else b"")
        now = clock()
        if sign != self._sign:
            self._alive = self._sign is not None
            self._sign, self._changed = sign, now
        return BusyLock(holder, self._alive) if now - self._changed < self._patience else None

    def _create(self, number: int) -> None:
        """Take a number. What exists afterwards shows whether it was free."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{number:06d}.claim"
        written = Holder.me(self._owner).encode()
        if self._exclusive is not None:
            with contextlib.suppress(FileExistsError):
                path.fs.pipe_file(path.path, written, **self._exclusive)
        else:
            path.fs.pipe_file(path.path, written)
            self._ended.wait(min(SETTLE, self._beat))

    def _verify(self, number: int, judged: list[int]) -> BusyLock | None:
        """Whether the number is valid, with no other since the last look. Otherwise it is given back.

        Each run takes a number before it looks, so at least one of two runs sees the other.
        """
        if not self._is_mine(number):
            return BusyLock(None, alive=False)
        if set(self._numbers()) - {number, *judged}:
            delete_files(self._folder, [f"{number:06d}.claim"])
            return BusyLock(None, alive=False)
        return None

    def _begin(self, number: int) -> None:
        self.epoch = number
        self.look()
        mine = {f"{number:06d}.claim", self._beat_name}
        delete_files(self._folder, [name for name in names_in(self._folder) if name not in mine])
        self._thread = threading.Thread(target=self._keep_alive, name="batch-lock", daemon=True)
        self._thread.start()

    def _keep_alive(self) -> None:
        pause, failed = self._beat, False
        while not self._ended.wait(pause):
            try:
                self.look()
            except OutputBusyError:
                return  # kept, and raised by the next check
            except Exception as error:  # noqa: BLE001 - stores raise what they like
                if not failed:
                    log.warning("could not renew the lock in %s (%s: %s)", self._folder, type(error).__name__, error)
                pause, failed = self._beat / 4, True
            else:
                pause, failed = self._beat, False

    def look(self) -> None:
        """Check that this run's epoch is still valid, and write a beat.

        :raises OutputBusyError: it is not
        """
        with self._mutex:
            if self._lost is not None:
                raise self._lost
            began = clock()
            highest = max(self._numbers(), default=0)
            if highest != self.epoch or not self._is_mine(highest):
                self._lost = taken_by(self._folder, Holder.decode(self._read(f"{highest:06d}.claim")))
                raise self._lost
            self._beats += 1
            path = self._folder / self._beat_name
            path.fs.pipe_file(path.path, b"%d" % self._beats)
            self._sure_until = began + SURE * self._patience

    def is_sure(self) -> bool:
        """Whether no other run can have the lock at the moment."""
        return self._lost is None and clock() < self._sure_until

    def check(self) -> None:
        """Look, unless the last look was a moment ago.

        :raises OutputBusyError: another run has the lock
        """
        if not self.is_sure():
            self.look()

    def release(self) -> None:
        """Give the lock back. Files that another run may have made since stay."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if not self.epoch:
            return
        number, self.epoch = self.epoch, 0
        delete_files(self._folder, [f"{number:06d}-{self._owner}.beat"])
        if self._lost is None and self._is_mine(number):
            delete_files(self._folder, [f"{number:06d}.claim"])
        with contextlib.suppress(OSError):  # not empty, or no folder at all, as on most object stores
            self._folder.fs.rmdir(self._folder.path)  # UPath's own method also deletes the content

    @property
    def _beat_name(self) -> str:
        return f"{self.epoch:06d}-{self._owner}.beat"

    def _is_mine(self, number: int) -> bool:
        holder = Holder.decode(self._read(f"{number:06d}.claim"))
        return holder is not None and holder.owner == self._owner

    def _read(self, name: str) -> bytes:
        """The content of an object, empty if it does not exist."""
        path = self._folder / name
        try:
            return bytes(path.fs.cat_file(path.path))
        except FileNotFoundError:
            return b""
