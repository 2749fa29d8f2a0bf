"""Retries for a place that cannot be read or written: temporary errors are tried again, a limited number of times.

The final error is always a `StoreError`, never an empty result: "no records" and "unknown" are different.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds before each further attempt, times 1 to 2. Long enough for a storage that throttles, or an object that is
# being replaced; an outage is for the task's own retries.
_PAUSES = (0.25, 0.5, 1.0, 2.0)
_LONGEST = 15.0  # seconds after which no further attempt begins: some storages retry for long themselves
# Of these a further attempt changes nothing.
_FOR_GOOD = (PermissionError, NotADirectoryError, IsADirectoryError, ImportError, NotImplementedError, TypeError)


class StoreError(Exception):
    """The place cannot be read or written."""


def attempt(place: object, what: str, act: Callable[[], T]) -> T:
    """What `act` returns. Tried again where it fails with what can pass.

    :param what: `read`, `written` or `removed`, for the error
    :raises StoreError: it fails permanently, or too often
    """
    began = time.monotonic()
    for number, pause in enumerate((*_PAUSES, None), start=1):
        try:
            return act()
        except Exception as error:  # each storage raises different errors
            told = f"{place} cannot be {what}: {type(error).__name__}: {error}"
            if isinstance(error, _FOR_GOOD):
                raise StoreError(told) from error
            took = time.monotonic() - began
            if pause is None or took > _LONGEST:
                raise StoreError(f"{told} (last of {number} attempts in {took:.1f} s)") from error
            log.info("%s; trying again.", told)
        time.sleep(pause * (1 + random.random()))
    raise AssertionError("unreachable: the last attempt returns or raises")
