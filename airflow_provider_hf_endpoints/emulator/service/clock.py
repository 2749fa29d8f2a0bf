"""The emulator's clock: it follows the machine's clock, or stands still until a caller advances it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.002  # seconds between two looks at a stopped clock


class Clock:
    """Now, in seconds since 1970. Safe to use from several threads.

    :param stopped: whether only `advance` moves the clock, as after `stop`
    """

    def __init__(self, *, stopped: bool = False) -> None:
        # Counted on the monotonic clock, so that a change of the machine's time does not reorder a history.
        self._offset = time.time() - time.monotonic()
        self._stands_at: float | None = None  # on the monotonic clock
        self._lock = threading.Lock()
        if stopped:
            self.stop()

    def __call__(self) -> float:
        with self._lock:
            return (time.monotonic() if self._stands_at is None else self._stands_at) + self._offset

    @property
    def stopped(self) -> bool:
        return self._stands_at is not None

    def stop(self) -> None:
        """Stand still from now on, so that a test's result does not depend on the speed of the machine."""
        with self._lock:
            if self._stands_at is None:
                self._stands_at = time.monotonic()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still meanwhile, and go on from there. A stopped clock stays stopped."""
        if self.stopped:
            yield
            return
        self.stop()
        try:
            yield
        finally:
            with self._lock:
                assert self._stands_at is not None
                self._offset -= time.monotonic() - self._stands_at
                self._stands_at = None

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        if seconds < 0:
            raise ValueError("time cannot go backwards")
        with self._lock:
            self._offset += seconds

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; on a stopped clock, when a caller has advanced it by that."""
        if not self.stopped:
            await asyncio.sleep(seconds)
            return
        until = self() + seconds
        while self() < until:  # noqa: ASYNC110 (another thread advances it)
            await asyncio.sleep(_LOOK_EVERY)
