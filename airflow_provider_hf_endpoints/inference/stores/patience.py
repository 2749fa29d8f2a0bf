"""Retries of work on the output's store after temporary failures, such as a full disk or a busy service.

The work must be idempotent. Errors of the batch, of a program or of its data are not retried, because
they would occur again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from json import JSONDecodeError
from typing import TypeVar

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchError, BatchStoreError
from airflow_provider_hf_endpoints.inference.stores.permanent import is_refusal

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
#: A fault of a program, of its data or of an installation.
_FOR_GOOD = (TypeError, ValueError, LookupError, AttributeError, AssertionError, ImportError, RecursionError)
PATIENCE = 120.0  # seconds for which a store may fail before the batch ends; an endpoint bills meanwhile
FIRST_PAUSE = 0.5  # seconds, doubled with each failure
LONGEST_PAUSE = 15.0  # seconds


def pauses(patience: float = PATIENCE) -> Iterator[float]:
    """Seconds to wait after each failure in a row, until the patience is exhausted."""
    pause, left = FIRST_PAUSE, patience
    while left > 0:
        yield min(pause, left)
        left -= pause
        pause = min(2 * pause, LONGEST_PAUSE)


def store_error(error: Exception, doing: str) -> BatchStoreError:
    """The error that ends a batch whose store refuses, or did not recover."""
    if is_refusal(error):
        return BatchStoreError(
            f"{doing} failed: {type(error).__name__}: {error}. The store or the disk refuses access, or the path "
            "cannot be used. Correct the path, or give this process the permission to read and write there, and run "
            "the same job again to resume; recorded rows are not sent again"
        )
    return BatchStoreError(
        f"{doing} failed: {type(error).__name__}: {error}. The store or the disk is full, or is down. "
        "Repair it, and run the same job again to resume; recorded rows are not sent again"
    )


def _fault(error: Exception, doing: str) -> BatchStoreError:
    """The error that ends a batch after a fault of a program, which would occur again."""
    return BatchStoreError(
        f"{doing} failed: {type(error).__name__}: {error}. The client of the storage, or this package, did not expect "
        "what it got, so the work is not tried again. Recorded rows are kept: run the same job again to resume. If the "
        "error comes again, report it with the log"
    )


async def patiently(
    work: Callable[[], _Result], doing: str, *, patience: float = PATIENCE, sent: bool = True
) -> _Result:
    """The result of `work`, which runs in a thread. A cancellation waits for the thread.

    :param doing: for the log and the error, as in "writing the results"
    :param sent: whether rows have been sent: their answers are paid for, so a refusal is retried too
    :raises BatchStoreError: the store failed until the patience was exhausted, or refuses, or its client has a fault
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
    sent: bool = True,
) -> _Result:
    """The same without an event loop, in this thread.

    :param sleep: waits so many seconds, or until it is woken
    """
    waits = pauses(patience)
    while True:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            sleep(_pause_after(error, doing, waits, sent=sent))


def without_failing(work: Callable[[], object], doing: str, advice: str = "") -> None:
    """Work after the end of a batch or a merge, whose failure must not change the result: it is logged.

    :param doing: with a capital, as in "Giving the lock of the output back"
    :param advice: what to do about it, as sentences
    """
    try:
        work()
    except Exception as error:  # noqa: BLE001 - stores raise what they like
        log.warning("%s failed (%s: %s). %s", doing, type(error).__name__, error, advice or "The result stands")


def _pause_after(error: Exception, doing: str, waits: Iterator[float], *, sent: bool) -> float:
    """Seconds until the work is retried. Raises if it is not retried."""
    if isinstance(error, BatchError | InferenceError):
        raise error
    # The client of a storage that reads a page of a proxy as the service's answer raises an error of JSON.
    if isinstance(error, _FOR_GOOD) and not isinstance(error, JSONDecodeError):
        raise _fault(error, doing) from error
    pause = None if is_refusal(error) and not sent else next(waits, None)
    if pause is None:
        raise store_error(error, doing) from error
    log.warning("%s failed (%s: %s); trying again in %.1f s", doing, type(error).__name__, error, pause)
    return pause


async def to_its_end(work: Callable[[], _Result]) -> _Result:
    """Run in a thread. A cancellation waits for it too: no other process may use the output meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    finally:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, because asyncio would warn otherwise
