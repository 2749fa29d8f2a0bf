"""When a failed call is sent again, and after how long. Decisions only: callers sleep and send.

What happens to a failed row of a batch is in `sending/retries.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    InferenceError,
    OverloadedError,
    StartingError,
)

#: Errors after which a single call is sent again: the request was not processed. A timeout is not included, because the
#: engine may still be working, and a second request would make it work twice.
SAFE_TO_REPEAT = (StartingError, OverloadedError, ConnectionFailedError)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waits with full jitter, so that a wave of failures does not come back as a wave.

    :param base: upper bound of the first wait, in seconds
    :param ceiling: upper bound of every wait, in seconds
    """

    base: float = 0.5
    ceiling: float = 30.0

    def seconds(self, attempt: int, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait after the `attempt`-th failure, from 1; never less than the server asks.

        :param chance: a number in [0, 1) instead of a random one
        """
        drawn = random.random() if chance is None else chance
        bound: float = min(self.ceiling, self.base * 2.0 ** min(attempt - 1, 30))
        jitter = drawn * bound
        if retry_after is None:
            return jitter
        # The server's number is a minimum. The random addition keeps the callers apart.
        return retry_after + drawn * min(bound, 0.1 * retry_after + 0.05)


def repeat_after(
    error: InferenceError,
    attempt: int,
    elapsed: float,
    *,
    max_attempts: int,
    max_seconds: float,
    startup_seconds: float = 0.0,
    backoff: Backoff | None = None,
    chance: float | None = None,
) -> float | None:
    """Seconds until a single call is sent again, None if it is not.

    :param attempt: how often it has failed, from 1
    :param elapsed: seconds since it was first sent
    :param max_attempts: maximum of attempts; an endpoint that is starting is limited only by time
    :param max_seconds: no wait ends later than this, counted from the first attempt
    :param startup_seconds: the same for an endpoint that is starting
    """
    if not isinstance(error, SAFE_TO_REPEAT):
        return None
    starting = isinstance(error, StartingError | ConnectionFailedError) and startup_seconds > 0
    limit = max(max_seconds, startup_seconds) if starting else max_seconds
    if attempt >= max_attempts and not starting:
        return None
    pause = (backoff or Backoff()).seconds(attempt, error.retry_after, chance)
    if starting:
        pause = min(max(pause, 1.0), 5.0) if error.retry_after is None else pause
    return pause if elapsed + pause <= limit else None
