"""Collects finished rows and makes them durable in the journal, in groups.

A group is written in a thread while the next one fills. If the store fails, the write is tried again. If more waits
than should be in memory, the batch sends nothing more until the store has caught up.
"""

from __future__ import annotations

import asyncio
import contextlib

from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import Record, encode_record
from airflow_provider_hf_endpoints.inference.stores.patience import patiently, patiently_here

GROUP_ROWS = 1000
#: An object store takes whole objects. There the interval decides, and this size only limits the memory.
GROUP_ROWS_REMOTE = 20_000
GROUP_BYTES = 8 << 20  # a group of this size is written at once
MOST_BYTES = 32 << 20  # not yet durable; above this, nothing more is sent
LOCAL_INTERVAL = 1.0  # seconds
FLUSH_PATIENCE = 30.0  # seconds that a stopped batch waits for the last write


class Recorder:
    """Takes records at any time. `run` makes them durable, and `flush` writes the rest after `run` has ended.

    :param local: the journal is on a local disk
    :param interval: seconds between two groups on an object store
    """

    def __init__(self, journal: Journal, *, local: bool, interval: float) -> None:
        self._journal = journal
        self._interval = min(LOCAL_INTERVAL, interval) if local else interval
        self._rows = GROUP_ROWS if local else GROUP_ROWS_REMOTE
        self._pending: list[tuple[Record, bytes]] = []
        self._pending_bytes = 0
        self._writing: list[tuple[Record, bytes]] = []
        self._writing_bytes = 0
        self._full = asyncio.Event()

    def behind(self) -> bool:
        """Whether to send nothing more: too much waits for the store, or the store has not answered for too long."""
        return self._pending_bytes + self._writing_bytes > MOST_BYTES or not self._journal.is_ours()

    def add(self, record: Record, line_key: int = 0) -> None:
        """Add a finished row. It is durable after the time of one group.

        :param line_key: of the row's input line
        """
        line = encode_record(record, line_key)
        self._pending.append((record, line))
        self._pending_bytes += len(line)
        if len(self._pending) >= self._rows or self._pending_bytes >= GROUP_BYTES:
            self._full.set()

    async def run(self) -> None:
        """Write group after group, until cancelled.

        :raises BatchStoreError: the store failed for too long; `flush` writes the rest
        """
        while True:
            # Not wait_for: before Python 3.12 it can lose a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._full.wait()
            self._full.clear()
            self._take()
            if self._writing:
                await patiently(self._write, "writing finished rows to the journal")

    def flush(self) -> None:
        """Write the rest, synchronously.

        :raises BatchStoreError: the store failed
        """
        for _ in range(2):  # the group that `run` was about to write, and newer records
            self._take()
            patiently_here(self._write, "writing the last finished rows to the journal", patience=FLUSH_PATIENCE)

    def _take(self) -> None:
        if not self._writing:
            self._writing, self._pending = self._pending, []
            self._writing_bytes, self._pending_bytes = self._pending_bytes, 0

    def _write(self) -> None:
        """Make the group durable. If the store fails, the group stays in memory."""
        if self._writing:
            self._journal.append(self._writing)
            self._writing, self._writing_bytes = [], 0
