"""What a failed request means for its rows and for the batch, how often rows are sent again, and the queue of rows that
wait to be sent again. How long they wait is in `backoff.py`. No I/O.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum, auto

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.sending.hedging import Flight
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel

#: Refusals of a row for each failure that it is allowed; a row with more fails, where the endpoint takes other rows.
REFUSALS_PER_ATTEMPT = 4


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a batch goes on with a row.

    :param max_attempts: tries of a row on which the engine fails
    :param row_timeout: seconds after which a row that is only ever refused fails
    :param budget: requests that may be repeated because the engine failed on them, see `RetryBudget`
    :param own_route: rows choose their route or model themselves, so that a 404 is the row's and not the endpoint's
    """

    max_attempts: int
    row_timeout: float
    budget: float | None
    own_route: bool = False

    @property
    def max_refusals(self) -> int:
        """Refusals after which a row fails, where the endpoint takes other rows."""
        return REFUSALS_PER_ATTEMPT * self.max_attempts


class Verdict(Enum):
    """What is done with a row whose request failed."""

    ROW_FAILS = auto()  #: the request is wrong: trying again gives the same answer
    TRY_AGAIN = auto()  #: it may work next time; counts against the row's attempts
    NOT_TAKEN = auto()  #: nobody worked on it: the endpoint is busy or away; counts against the row's time alone
    STOP = auto()  #: no row can succeed any more


def on_budget(error: errors.InferenceError) -> bool:
    """Whether sending a row again after `error` counts against the batch's retry budget."""
    # An answer that does not fit the schema is the model's, and the engine is well.
    return not isinstance(error, errors.OverloadedError) and error.kind != "invalid_output"


def verdict(error: errors.InferenceError, *, own_route: bool = False) -> Verdict:
    """What `error` means.

    :param own_route: the row chose its route or model itself, so that a 404 is the row's and not the
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
    """How many requests a batch may send again because the engine failed on them, before it stops.

    Failures count when the engine or the network is to blame. Three do not count: a 429, to which the limit reacts; a
    refusal while the gate is closed, when the endpoint is away for all rows; an answer that does not fit the schema,
    for which the model is to blame.

    :param share: of the rows begun; None for no bound
    """

    FEWEST = 100
    TIMES_LIMIT = 2  # an engine that restarts fails all that is in flight at once, and that is one event

    def __init__(self, share: float | None) -> None:
        self._share = share
        self.spent = 0

    def spend(self, rows_begun: int, limit: int) -> bool:
        """Count a request that is to be sent again; false when the budget is used up.

        :param limit: requests that may be in flight
        """
        self.spent += 1
        if self._share is None:
            return True
        return self.spent <= max(self.FEWEST + self.TIMES_LIMIT * limit, self._share * rows_begun)


class RetryQueue:
    """Parcels that wait for their time: the one that is due first comes first. They hold no worker."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Parcel | Flight]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, parcel: Parcel | Flight, due: float) -> None:
        """Have a parcel sent, or a second request for one that is out, at `due` or later."""
        heapq.heappush(self._heap, (due, next(self._order), parcel))

    def take(self, now: float) -> Parcel | Flight | None:
        """What is due, None when nothing is."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[2]
        return None

    def due(self, now: float, most: int) -> int:
        """About how many are due, `most` at the most."""
        return sum(1 for entry in self._heap[:most] if entry[0] <= now) if self._heap else 0

    @property
    def next_due(self) -> float | None:
        """When the next is due, None when none waits."""
        return self._heap[0][0] if self._heap else None
