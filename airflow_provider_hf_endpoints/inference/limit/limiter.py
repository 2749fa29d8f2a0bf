"""How many requests are in flight: a number from the user, or one that is found while the batch runs.

The limit is the capacity of one replica, times the ready replicas. If the engine reports how many requests it works on
at a time, that number is used. Otherwise the limit starts small and doubles while that pays. After that, it follows the
queue that the engine reports (`engine_queue.py`) or, if the engine reports none, the throughput of neighbouring
settings (`hillclimb.py`). The effect of refusals is in `refusals.py`. Decisions only; the clock is an argument.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.limit.engine_queue import WANTED, EngineQueue
from airflow_provider_hf_endpoints.inference.limit.hillclimb import HillClimb
from airflow_provider_hf_endpoints.inference.limit.refusals import Refusals
from airflow_provider_hf_endpoints.inference.limit.window import Window
from airflow_provider_hf_endpoints.inference.wire import Load

START_PER_REPLICA = 16  # requests: doubled within seconds if there is room, and no long queue if there are few slots
CEILING = 1000
UNEVEN = 0.4  # additional requests for each of several replicas, because none of them gets exactly its part
HEARD_LATE = 20.0  # seconds at most until a change of the replicas is known; answers and refusals show it earlier


class Limiter:
    """The limit, and what it learns from answers and refusals.

    :param fixed: the user's number, None to find a number
    :param ceiling: never more than this
    :param replicas: ready replicas at the start
    :param senders: how many shards of the batch send to the endpoint at the same time, with this one. Each begins with
        its part of the initial limit, and has its part of the queue
    """

    def __init__(
        self, fixed: int | None = None, *, ceiling: int = CEILING, replicas: int = 1, senders: int = 1
    ) -> None:
        self._fixed = fixed
        self._senders = senders
        #: The limit never goes above this.
        self.ceiling = fixed if fixed is not None else ceiling
        self._replicas = max(1, replicas)
        start = fixed if fixed is not None else START_PER_REPLICA * self._replicas / senders
        self._hold(max(1.0, float(min(start, self.ceiling))))
        self._slots: int | None = None
        self._reason = "fixed" if fixed is not None else "start"
        self._refusals = Refusals(steady=fixed is not None)
        self._lowered_at = float("-inf")
        self._before_lowered = 0.0
        self._queue = EngineQueue(senders)
        self._hill = HillClimb()
        self._work = 0.0
        self._window = Window(0.0)
        self._draining = True
        self._seen: Load | None = None

    def _hold(self, limit: float) -> None:
        self._limit = limit
        #: Requests that may be in flight.
        self.limit = max(1, int(limit))

    @property
    def reason(self) -> str:
        """The reason for the limit, in a word or two."""
        return self._reason

    def knows_slots(self, slots: int) -> None:
        """Set the number of slots of a replica: slightly more requests are sent, because others wait.

        Has no effect on a number from the user.
        """
        if self._fixed is None:
            self._slots = slots
            self._hold(self._most)
            self._reason = f"{slots} slots"

    @property
    def _most(self) -> float:
        """The number that needs no search, if there is one: the user's, or the one that fills the slots."""
        if self._slots is None:
            return float(self.ceiling)
        each = self._slots + max(1.0, WANTED * self._slots) + _uneven(self._replicas)
        return max(1.0, min(float(self.ceiling), each * self._replicas / self._senders))

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """A request was refused. Those sent before the last cut belong to the wave of that cut.

        :param in_flight: requests still in flight
        """
        limit = self._refusals.refused(now, sent_at, in_flight, self._limit)
        if limit is not None:
            self._note_lowering(now)
            self._set(limit, "refusals", now)
            self._queue.growing = False
            self._hill.stop_growing()

    def outage(self) -> None:
        """The endpoint accepts nothing, which does not show its capacity: the cuts are undone."""
        self._hold(self._refusals.outage() or self._limit)

    def answered(self, now: float, in_flight: int, work: float, sent_at: float, load: Load | None = None) -> None:
        """A request was answered.

        :param in_flight: requests in flight just before the answer
        :param work: its tokens, or 1 if the engine counts none
        :param load: the load that the engine reports
        """
        self._refusals.answered(sent_at)
        latency = now - sent_at
        self._queue.answered(latency)
        if load is not None and self._fixed is None:
            self._watch_queue(now, load, in_flight)
        window = self._window
        if self._draining:
            # The requests in flight were sent under the old limit, and those that filled up to the new one met no queue
            # or a full one. So measure requests sent after the first answer.
            if in_flight <= self.limit:
                self._draining, window.begins = False, now
            return
        if sent_at < window.begins:
            return
        window.add(now, latency, work, in_flight)
        if load is not None:
            window.loads += 1
            # One of them already has the slot of the answer that reports.
            window.waiting += (load.waiting + 1.0) / self._senders if load.waiting > 0 else 0.0
            window.cache = max(window.cache, load.cache or 0.0)
        growing = self._fixed is None and (self._queue.growing if load is not None else self._hill.growing)
        if window.complete(now, self.limit, growing=growing):
            self._close_window(now)

    def saw(self, load: Load | None) -> None:
        """Take the engine's metrics of a replica, None if unknown. They are too coarse to follow, so only a hint."""
        self._seen = load

    def replicas_changed(self, replicas: int, now: float) -> None:
        """The number of ready replicas has changed. The limit follows at once."""
        replicas = max(1, replicas)
        if self._fixed is None and replicas != self._replicas:
            settled = self._hill.scale(replicas / self._replicas)
            if settled is not None:
                self._hold(settled * self._replicas)
            spread = replicas * (_uneven(replicas) - _uneven(self._replicas)) / self._senders
            limit = self._following(replicas / self._replicas, now) + spread
            self._hold(max(1.0, min(float(self.ceiling), limit)))
            self._reason = f"{replicas} replicas"
            self._refusals.replicas_changed()
            self._queue.replicas_changed()
            self._window, self._draining = Window(now), True
        self._replicas = replicas

    def _following(self, factor: float, now: float) -> float:
        """The limit for a changed number of replicas. A cut for replicas that had gone is not applied twice."""
        if factor < 1.0 and now - self._lowered_at <= HEARD_LATE:
            return self._before_lowered * factor
        return self._limit * factor

    def _note_lowering(self, now: float) -> None:
        """Remember the limit from when the lowering began."""
        if now - self._lowered_at > HEARD_LATE:
            self._lowered_at, self._before_lowered = now, self._limit

    def _close_window(self, now: float) -> None:
        window = self._window
        known = self._refusals.window(window.begins, self._limit)
        if known is not None:
            self._set(known, "refusals are over", now)
        elif self._fixed is not None or self._slots is not None:
            self._restore(now)
        elif not window.full(self.limit):
            self._window = Window(now)
        elif window.loads * 2 >= window.answers:
            self._set(*self._queue.next(now, window, self._limit, self._replicas, self._allowed(now)), now)
        else:
            self._climb(now, window)

    def _watch_queue(self, now: float, load: Load, in_flight: int) -> None:
        """Lower the limit at once if the queue is far too long."""
        if in_flight > self.limit:
            self._queue.told_under_another_limit()
            return
        share = self._limit / self._replicas
        excess = self._queue.far_too_long(now, load, share)
        if excess is not None:
            self._note_lowering(now)
            self._set(max(1.0, (share - excess) * self._replicas), "queue", now)

    def _restore(self, now: float) -> None:
        """Restore a number that needs no search after a cut, slowly."""
        most = self._most
        wanted = min(most, self._allowed(now), max(self._limit + 1.0, self._limit * 1.05))
        reason = "fixed" if self._slots is None else f"{self._slots} slots"
        self._set(max(wanted, self._limit), reason if wanted >= most else "refusals", now)

    def _climb(self, now: float, window: Window) -> None:
        """Follow the throughput of other settings."""
        self._work = window.work if self._work == 0 else 0.8 * self._work + 0.2 * window.work
        share, allowed = self._limit / self._replicas, self._allowed(now) / self._replicas
        idle = window.idle_share() if self._seen is None else min(1.0, self._seen.waiting / max(share, 1.0))
        share = self._hill.next(share, window.rate(self._work), allowed, idle)
        self._set(share * self._replicas, self._hill.reason, now)

    def _allowed(self, now: float) -> float:
        """The limit up to which growth is free: the ceiling, or what was recently neither refused nor queued."""
        return max(1.0, min(float(self.ceiling), self._refusals.allowed(now), self._queue.allowed(now)))

    def _set(self, limit: float, reason: str, now: float) -> None:
        changed = int(limit) != self.limit
        self._hold(max(1.0, min(float(self.ceiling), limit)))
        self._reason = reason
        self._window, self._draining = Window(now), changed


def _uneven(replicas: int) -> float:
    return UNEVEN if replicas > 1 else 0.0
