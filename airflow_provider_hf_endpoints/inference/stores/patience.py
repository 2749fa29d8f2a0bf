"""Work on the output's store, tried again where the store fails for a moment: a full disk, a service that is busy.

What is tried again must be idempotent. Errors of the batch itself, and those of a program or of its data, are not tried
again: they would come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchError, BatchStoreError

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
#: A fault of the program, of its data or of what is installed.
_FOR_GOOD = (TypeError, ValueError, LookupError, AttributeError, AssertionError, ImportError, RecursionError)
#: Refused or not there, which a moment rarely changes.
_REFUSED = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
#: A path that no file can have, and a disk that nobody may write to.
_REFUSED_NUMBERS = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS})
_REFUSED_STATUSES = frozenset(range(400, 500)) - {408, 425, 429}
PATIENCE = 120.0  # seconds for which a store may fail before the batch ends; an endpoint bills meanwhile
FIRST_PAUSE = 0.5  # seconds, doubled with each failure
LONGEST_PAUSE = 15.0  # seconds


def pauses(patience: float = PATIENCE) -> Iterator[float]:
    """Seconds to wait after each failure in a row, until the patience is used up."""
    pause, left = FIRST_PAUSE, patience
    while left > 0:
        yield min(pause, left)
        left -= pause
        pause = min(2 * pause, LONGEST_PAUSE)


def store_error(error: Exception, doing: str) -> BatchStoreError:
    """The end of a batch whose store did not come right."""
    return BatchStoreError(
        f"{doing} failed: {type(error).__name__}: {error}. The store or the disk is full, refuses access, or is down. "
        "Repair it, and run the same job again to resume; recorded rows are not sent again"
    )


def _is_refusal(error: Exception) -> bool:
    """Whether the store refuses, or has not got what is asked for: a moment rarely changes that."""
    if isinstance(error, OSError) and error.errno in _REFUSED_NUMBERS:
        return True
    return isinstance(error, _REFUSED) or _status_of(error) in _REFUSED_STATUSES


def _status_of(error: Exception) -> int | None:
    """The HTTP status that a store's client has met, where its error carries the answer as most do."""
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


async def patiently(
    work: Callable[[], _Result], doing: str, *, patience: float = PATIENCE, sent: bool = True
) -> _Result:
    """What `work` returns, done in a thread, and waited for when this is cancelled too.

    :param doing: for the log and the error, as in "writing the results"
    :param sent: rows have been sent: what would be lost was paid for, so a refusal is tried again, too
    :raises BatchStoreError: the store failed until the patience was used up, or refuses
    """
    waits = pauses(patience)
    while True:
        try:
            return await to_its_end(work)
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            await asyncio.sleep(_pause_after(error, doing, waits, sent=sent))


def patiently_here(
    work: Callable[[], _Result],
    doing: str,
    *,
    patience: float = PATIENCE,
    sleep: Callable[[float], object] = time.sleep,
) -> _Result:
    """The same without an event loop, in this thread.

    :param sleep: waits so many seconds, or until somebody wakes it
    """
    waits = pauses(patience)
    while True:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            sleep(_pause_after(error, doing, waits, sent=True))


def _pause_after(error: Exception, doing: str, waits: Iterator[float], *, sent: bool) -> float:
    """Seconds until the work is tried again; raises where it is not."""
    if isinstance(error, (BatchError, InferenceError, *_FOR_GOOD)):
        raise error
    pause = None if _is_refusal(error) and not sent else next(waits, None)
    if pause is None:
        raise store_error(error, doing) from error
    log.warning("%s failed (%s: %s); trying again in %.1f s", doing, type(error).__name__, error, pause)
    return pause


async def to_its_end(work: Callable[[], _Result]) -> _Result:
    """In a thread, and waited for when this is cancelled too: nobody else may touch the output while it works."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    finally:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # asked for, or asyncio would complain that nobody did
