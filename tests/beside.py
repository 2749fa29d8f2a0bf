"""A thread beside a test, which waits for an event and then acts, until the block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK = 0.005  # seconds between two looks


@contextmanager
def once(happened: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Act one time, when `happened` first returns True while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            if happened():
                act()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
