"""The first seconds of a deferral, in which no trigger of ours fires.

An event that arrives within seconds meets a race of Airflow (apache/airflow #71580, #72716): the scheduler reads that
the process that deferred is done, finds the task queued again, and fails the task. An event trigger belongs to no
task, and needs no such pause.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time

from airflow.providers.common.compat.sdk import conf

log = logging.getLogger(__name__)

SECTION, OPTION = "hf_endpoints", "min_deferral_seconds"
DEFAULT = 5.0  # seconds


def min_deferral() -> float:
    """How many seconds a deferral lasts at least. A value that is not a duration is logged, and the default counts."""
    text = conf.get(SECTION, OPTION, fallback=str(DEFAULT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    log.warning("[%s] %s = %s is not a number of seconds. Using %g instead.", SECTION, OPTION, text, DEFAULT)
    return DEFAULT


async def settle(deferred_at: float, deadline: float | None) -> None:
    """Wait until the first seconds are over, or the deadline has passed.

    :param deferred_at: when the task was deferred, seconds since the epoch. The worker's clock may differ from the
        triggerer's: the pause is never longer than the first seconds.
    :param deadline: when the wait ends, seconds since the epoch
    """
    first, now = min_deferral(), time.time()
    left = min(deferred_at + first - now, first)
    if deadline is not None:
        left = min(left, deadline - now)
    if left > 0:
        await asyncio.sleep(left)
