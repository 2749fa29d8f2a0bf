"""Signals that reach a task while it waits for an endpoint, not after a time that a slow machine needs to begin."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from airflow.sdk.execution_time.timeout import timeout

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.beside import once
from tests.contract.operators_play import HANG

LOOKS = 3  # at the endpoint, after which a task is in its wait: one finds no endpoint, one may follow the creation


def looks_at(emulator: Emulator) -> int:
    """How often the endpoint `demo` was read."""
    return sum(each.method == "GET" and each.path.endswith("/demo") for each in list(emulator.requests))


@contextmanager
def kill_while_waiting(operator: Any, emulator: Emulator) -> Iterator[None]:
    """SIGTERM in the middle of the wait, as Airflow's task runner handles it."""
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    try:
        with _sent_while_waiting(signal.SIGTERM, emulator):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def timeout_while_waiting(emulator: Emulator) -> Iterator[None]:
    """Airflow's own `execution_timeout` of a task on a worker, over in the middle of the wait."""
    with timeout(HANG), _sent_while_waiting(signal.SIGALRM, emulator):  # type: ignore[no-untyped-call]
        yield


def _sent_while_waiting(number: signal.Signals, emulator: Emulator) -> AbstractContextManager[None]:
    main, looks, until = threading.main_thread().ident, looks_at(emulator), time.monotonic() + HANG
    assert main is not None

    def waits() -> bool:
        return looks_at(emulator) >= looks + LOOKS or time.monotonic() >= until

    return once(waits, lambda: signal.pthread_kill(main, number))
