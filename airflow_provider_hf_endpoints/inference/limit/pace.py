"""How many requests may be sent now: joins the gate and the limit, which both learn from answers and refusals."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.wire import Load

HELD_BACK_LOOK = 0.1  # seconds between two looks whether the store has caught up


class Pace:
    """A gate and a limit for the same endpoint.

    :param gate: decides whether anything may be sent
    :param limiter: decides how many requests may be in flight
    """

    def __init__(self, gate: Gate, limiter: Limiter) -> None:
        self.gate = gate
        self.limiter = limiter
        #: Whether finished rows wait for their store, so that nothing more may be sent.
        self.held_back: Callable[[], bool] = lambda: False

    @property
    def state(self) -> str:
        """The reason for the limit, or that the endpoint is unavailable; in a word or two."""
        if self.held_back():
            return "waiting for the store"
        return "waiting for the endpoint" if self.gate.closed else self.limiter.reason

    def admits(self, now: float, in_flight: int) -> int:
        """How many more requests may be sent at `now`."""
        return 0 if self.held_back() else self.gate.admits(now, self.limiter.limit, in_flight)

    def opens_at(self, now: float) -> float:
        """When `admits` may change without a new answer from the endpoint."""
        opens = self.gate.opens_at(now)
        return max(opens, now + HELD_BACK_LOOK) if self.held_back() else opens

    def answered(self, now: float, sent_at: float, in_flight: int, work: float, load: Load | None) -> None:
        """A request was answered.

        :param in_flight: requests still in flight
        :param work: tokens of the answer, or its rows if the engine counts none
        :param load: the load that the engine reports
        """
        self.gate.answered(sent_at)
        self.limiter.answered(now, in_flight + 1, work, sent_at, load)

    def refused(self, error: InferenceError, now: float, sent_at: float, in_flight: int) -> None:
        """The endpoint did not accept a request (429, 503, no connection).

        :param in_flight: requests still in flight
        """
        self.limiter.refused(now, sent_at, in_flight)
        self.gate.refused(error, now, in_flight, sent_at)

    def check_outage(self, in_flight: int) -> None:
        """After a refusal: undo the cuts of the limit if the endpoint accepts nothing."""
        if self.gate.takes_nothing or (self.gate.closed and in_flight == 0):
            self.limiter.outage()
