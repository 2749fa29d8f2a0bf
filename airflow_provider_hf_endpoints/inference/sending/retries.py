"""What a failed request means for its rows and for the batch, how often rows are sent again, and the queue of rows to
send again. How long they wait is in `backoff.py`. No I/O.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum, auto

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.sending.hedging import Flight
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel

#: Refusals of a row per allowed failure. A row with more fails, if the endpoint accepts other rows.
REFUSALS_PER_ATTEMPT = 4


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a batch tries a row.

    :param max_attempts: tries of a row on which the engine fails
    :param row_timeout: seconds after which a row that is always refused fails
    :param budget: requests that may be repeated after failures of the engine, see `RetryBudget`
    :param own_route: whether rows choose their route or model, so that a 404 is the row's fault
    """

    max_attempts: int
    row_timeout: float
    budget: float | None
    own_route: bool = False

    @property
    def max_refusals(self) -> int:
        """Refusals after which a row fails, if the endpoint accepts other rows."""
        return REFUSALS_PER_ATTEMPT * self.max_attempts


class Verdict(Enum):
    """What to do with a row whose request failed."""

    ROW_FAILS = auto()  #: the request is wrong: a retry gets the same answer
    TRY_AGAIN = auto()  #: it may work next time; counts against the row's attempts
    NOT_TAKEN = auto()  #: not processed: the endpoint is busy or unavailable; counts only against the row's time
    STOP = auto()  #: no row can succeed any more


def on_budget(error: errors.InferenceError) -> bool:
    """Whether sending a row again after `error` counts against the batch's retry budget."""
    # An answer that does not fit the schema is the model's fault. The engine works.
    return not isinstance(error, errors.OverloadedError) and error.kind != "invalid_output"


def verdict(error: errors.InferenceError, *, own_route: bool = False) -> Verdict:
    """What `error` means.

    :param own_route: whether the row chose its route or model, so that a 404 is the row's fault and not the
        endpoint's
    """
    match error:
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            return Verdict.STOP
        case errors.EndpointPausedError() | errors.EndpointFailedError():
            return Verdict.STOP
        case errors.TlsError() | errors.RefusedOnTheWayError():
            return Verdict.STOP
        case errors.NotFoundError() | errors.ModelNotFoundError() | errors.UnsupportedTaskError():
            return Verdict.ROW_FAILS if own_route else Verdict.STOP
        case errors.OverloadedError() | errors.StartingError() | errors.ConnectionFailedError():
            return Verdict.NOT_TAKEN
        case _ if error.retryable:
            return Verdict.TRY_AGAIN
        case _:
            return Verdict.ROW_FAILS


class RetryBudget:
    """How many requests a batch may send again after failures of the engine, before it stops.

    A failure counts if the engine or the network is at fault. Three do not count: a 429, to which the limit reacts; a
    refusal while the gate is closed, because the endpoint is unavailable for all rows; an answer that does not fit the
    schema, because the model is at fault.

    :param share: of the rows begun; None for no bound
    """

    FEWEST = 100
    TIMES_LIMIT = 2  # an engine that restarts fails all requests in flight at once, which is one event

    def __init__(self, share: float | None) -> None:
        self._share = share
        self.spent = 0

    def spend(self, rows_begun: int, limit: int) -> bool:
        """Count a request to send again; false if the budget is used up.

        :param limit: requests that may be in flight
        """
        self.spent += 1
        if self._share is None:
            return True
        return self.spent <= max(self.FEWEST + self.TIMES_LIMIT * limit, self._share * rows_begun)


class RetryQueue:
    """Parcels that wait for a retry. The one due first comes first. They occupy no worker."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Parcel | Flight]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, parcel: Parcel | Flight, due: float) -> None:
        """Send a parcel, or a second request for one in flight, at `due` or later."""
        heapq.heappush(self._heap, (due, next(self._order), parcel))

    def take(self, now: float) -> Parcel | Flight | None:
        """A parcel that is due, None if there is none."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[2]
        return None

    def due(self, now: float, most: int) -> int:
        """About how many are due, `most` at the most."""
        return sum(1 for entry in self._heap[:most] if entry[0] <= now) if self._heap else 0

    @property
    def next_due(self) -> float | None:
        """When the next parcel is due, None if none waits."""
        return self._heap[0][0] if self._heap else None
