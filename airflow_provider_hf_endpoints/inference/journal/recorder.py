"""Finished rows on their way into the journal: collected, and made durable in groups.

A group is written in a thread while the next one fills, so that sending never waits for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib

from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import Record, encode_record

GROUP_ROWS = 1000
#: An object store takes a whole object each time, so there the interval counts, and this only bounds memory.
GROUP_ROWS_REMOTE = 20_000
LOCAL_INTERVAL = 1.0  # seconds


class Recorder:
    """Takes records at any time; `run` makes them durable, `flush` what is left when `run` has ended.

    :param local: the journal is on a local disk
    :param interval: seconds between two groups on an object store
    """

    def __init__(self, journal: Journal, *, local: bool, interval: float) -> None:
        self._journal = journal
        self._interval = min(LOCAL_INTERVAL, interval) if local else interval
        self._rows = GROUP_ROWS if local else GROUP_ROWS_REMOTE
        self._pending: list[tuple[Record, bytes]] = []
        self._full = asyncio.Event()

    def add(self, record: Record, line_key: int = 0) -> None:
        """A row is finished; it is durable within a group's time.

        :param line_key: of the input line that it answers
        """
        self._pending.append((record, encode_record(record, line_key)))
        if len(self._pending) >= self._rows:
            self._full.set()

    async def run(self) -> None:
        """Write group after group, until cancelled. Raises what the journal's storage raises."""
        loop = asyncio.get_running_loop()
        while True:
            # Not wait_for: before Python 3.12 it can lose a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._full.wait()
            self._full.clear()
            group, self._pending = self._pending, []
            if group:
                write = loop.run_in_executor(None, self._journal.append, group)
                try:
                    await asyncio.shield(write)
                except asyncio.CancelledError:
                    await write  # the thread writes on; the last flush has to come after it
                    raise

    def flush(self) -> None:
        """Write what is left, before this returns."""
        group, self._pending = self._pending, []
        self._journal.append(group)
