"""How many requests are in flight: a number that the user gave, or one that is found while the batch runs.

The limit is what one replica can take times the ready replicas. It starts small and doubles while that pays. Then it
is steered by the engine's own word, where it tells how many requests wait (a small queue is kept, the excess
subtracted), and else by `hillclimb.py`, which compares the throughput of neighbouring settings. A wave of refusals
cuts it once. Decisions only; the clock is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.hillclimb import HillClimb

START_PER_REPLICA = 32
CEILING = 1000
CUT = 0.7
REFUSED_MARGIN = 0.9  # of the limit that was refused, up to which growth is free
REFUSED_FORGOTTEN = 1.02  # by how much the refused limit is believed to have risen, after each of:
REFUSED_INTERVAL = 30.0  # seconds
QUEUE_WANTED = 0.10  # waiting requests by running ones
QUEUE_FAR_TOO_LONG = 0.2  # of what is in flight
STEP = 1.25
SHORTEST_WINDOW = 1.0  # seconds
FEWEST_ANSWERS = 32  # in a window
WINDOW_LATENCIES = 1.5  # length of a window, and of the pause before it, in latencies


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine said about itself along with an answer.

    :param waiting: requests in its queue
    :param cache: share of its cache in use, None where it does not say
    """

    waiting: float
    cache: float | None = None


class Limiter:
    """The limit, and what it learns from.

    :param fixed: the user's number, None to find one
    :param ceiling: never more than this
    :param replicas: ready replicas at the start
    """

    def __init__(self, fixed: int | None = None, *, ceiling: int = CEILING, replicas: int = 1) -> None:
        self._fixed = fixed
        #: The limit never goes above this.
        self.ceiling = fixed if fixed is not None else ceiling
        self._replicas = max(1, replicas)
        start = fixed if fixed is not None else START_PER_REPLICA * self._replicas
        self._limit = float(min(start, self.ceiling))
        self._growing = fixed is None
        self._reason = "fixed" if fixed is not None else "start"
        self._last_cut = float("-inf")
        self._before_cut: float | None = None
        self._refused_limit = float("inf")
        self._refused_at = 0.0
        self._hill = HillClimb()
        self._queue = 0.0
        self._queue_heard = 0.0
        self._window = _Window(0.0, 0.0)

    @property
    def limit(self) -> int:
        """Requests that may be in flight."""
        return max(1, int(self._limit))

    @property
    def reason(self) -> str:
        """Why the limit is what it is, in a word or two."""
        return self._reason

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """A request was refused. Those sent before the last cut belong to the wave that it answered.

        :param in_flight: requests still out
        """
        if sent_at < self._last_cut or (sent_at == self._last_cut == now):
            return
        self._last_cut = now
        self._before_cut = self._limit
        self._refused_limit, self._refused_at = self._limit, now
        # What is still out was taken, so the endpoint can take that much.
        self._set(max(self._limit * CUT, min(float(in_flight), self._limit * REFUSED_MARGIN)), "refusals", now)
        self._growing = False
        self._hill.stop_growing()

    def outage(self) -> None:
        """The endpoint takes nothing at all: that was no word about how much it can take."""
        if self._before_cut is not None:
            self._limit, self._before_cut = self._before_cut, None
            self._refused_limit = float("inf")

    def answered(self, now: float, in_flight: int, work: float, sent_at: float, load: Load | None = None) -> None:
        """A request was answered.

        :param in_flight: requests out just before it was
        :param work: tokens that it brought, or 1 where the engine counts none
        :param load: what the engine said about itself
        """
        window = self._window
        window.latency = now - sent_at if window.latency == 0 else 0.95 * window.latency + 0.05 * (now - sent_at)
        if load is not None and self._fixed is None:
            self._watch_queue(now, load)
        if now < window.begins:
            return
        if window.answers == 0:
            window.first = now
        window.answers += 1
        window.work += work
        window.full = window.full or in_flight >= self.limit
        if load is not None:
            window.told += 1
            window.waiting += load.waiting
            window.cache = max(window.cache, load.cache or 0.0)
        if window.answers > FEWEST_ANSWERS and now - window.first >= max(
            SHORTEST_WINDOW, WINDOW_LATENCIES * window.latency
        ):
            self._close_window(now)

    def replicas_changed(self, replicas: int) -> None:
        """The number of ready replicas is known anew; the limit follows it at once."""
        replicas = max(1, replicas)
        if self._fixed is None and replicas != self._replicas:
            self._limit = max(1.0, min(float(self.ceiling), self._limit * replicas / self._replicas))
            self._reason = f"{replicas} replicas"
            self._hill.scale(replicas / self._replicas)
            self._refused_limit = float("inf")
            self._window = _Window(self._window.begins, self._window.latency)
        self._replicas = replicas

    def _close_window(self, now: float) -> None:
        window = self._window
        rate = (window.work * (window.answers - 1) / window.answers) / max(now - window.first, 1e-9)
        self._before_cut = None
        if self._fixed is not None:
            self._restore(now)
        elif not window.full:
            self._window = _Window(now, window.latency)
        elif window.told * 2 >= window.answers:
            self._steer(now, window)
        else:
            self._climb(now, rate)

    def _watch_queue(self, now: float, load: Load) -> None:
        """A queue that is far too long is not waited out for a window's sake: doubling has gone too far."""
        self._queue += 0.1 * (load.waiting - self._queue)
        share = self._limit / self._replicas
        excess = self._queue - QUEUE_WANTED * max(1.0, share - self._queue)
        if excess > QUEUE_FAR_TOO_LONG * share and now >= self._queue_heard:
            self._growing = False
            self._set(max(1.0, (share - excess) * self._replicas), "queue", now)
            self._queue_heard = now + 2 * self._window.latency

    def _restore(self, now: float) -> None:
        """A fixed number that was cut comes back, slowly."""
        wanted = min(float(self.ceiling), self._allowed(now), max(self._limit + 1.0, self._limit * 1.05))
        self._set(max(wanted, self._limit), "fixed" if wanted >= self.ceiling else "refusals", now)

    def _steer(self, now: float, window: _Window) -> None:
        """By the queue that the engine tells of."""
        waiting = window.waiting / window.told
        share = self._limit / self._replicas
        running = max(1.0, share - waiting)
        excess = waiting - QUEUE_WANTED * running
        if excess > 0:
            self._growing = False
            self._set(max(1.0, (share - excess) * self._replicas), "queue", now)
        elif window.cache > 0.95:
            self._growing = False
            self._set(self._limit, "cache full", now)
        elif waiting < QUEUE_WANTED / 2 * running:
            factor = 2.0 if self._growing else STEP
            self._set(min(self._limit * factor, self._allowed(now)), "no queue", now)
        else:
            self._set(self._limit, "small queue", now)

    def _climb(self, now: float, rate: float) -> None:
        """By what other settings brought."""
        share = self._hill.next(self._limit / self._replicas, rate, self._allowed(now) / self._replicas)
        self._set(share * self._replicas, self._hill.reason, now)

    def _allowed(self, now: float) -> float:
        """Up to where growth is free: the ceiling, or what was not refused lately."""
        if self._refused_limit == float("inf"):
            return float(self.ceiling)
        forgotten = REFUSED_FORGOTTEN ** ((now - self._refused_at) / REFUSED_INTERVAL)
        allowed: float = max(1.0, min(float(self.ceiling), self._refused_limit * REFUSED_MARGIN * forgotten))
        return allowed

    def _set(self, limit: float, reason: str, now: float) -> None:
        latency = self._window.latency
        changed = int(limit) != self.limit
        self._limit = max(1.0, min(float(self.ceiling), limit))
        self._reason = reason
        # What is in flight was sent under the old limit: measure once it is through.
        self._window = _Window(now + WINDOW_LATENCIES * latency if changed else now, latency)


class _Window:
    """What is measured under one setting, from the moment at which it is in effect."""

    __slots__ = ("answers", "begins", "cache", "first", "full", "latency", "told", "waiting", "work")

    def __init__(self, begins: float, latency: float) -> None:
        self.begins = begins
        self.latency = latency
        self.first = 0.0
        self.answers = 0
        self.work = 0.0
        self.full = False
        self.told = 0
        self.waiting = 0.0
        self.cache = 0.0
