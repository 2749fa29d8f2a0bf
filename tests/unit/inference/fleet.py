"""A simulated fleet of replicas with continuous batching, on a simulated clock: thousands of seconds in one.

A replica runs up to `slots` requests. Each gets a token every `base + each * running` seconds, so throughput grows
with the number of requests, ever more slowly. Other requests wait, without a limit or up to `queue`; more are
refused. Limit, gate and pauses are the batch's own. A full replica answers 429, an absent one 503.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.backoff import Backoff
from airflow_provider_hf_endpoints.inference.batch import REPLICAS_INTERVAL
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.wire import Load

REFUSAL = 0.02  # seconds that a refusal takes
HEARD = REPLICAS_INTERVAL  # seconds after which the limiter hears of a replica: the longest that it can take
FULL_USE = 0.9  # of what a replica can bring at most


@dataclass
class Replica:
    """One engine."""

    slots: int
    queue: int | None = None
    base: float = 0.02
    each: float = 0.0005
    slowness: float = 1.0
    clock: float = 0.0
    progress: float = 0.0  # tokens that a request running all the time would have by now
    running: list[tuple[float, int]] = field(default_factory=list)  # (progress at which it ends, request)
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    came: float = 0.0
    used_at: float | None = None  # when it was first in full use
    refuses: float | None = None  # everything, asking to come back in so many seconds
    refuses_each: int = 0  # so many-th request, whatever runs; 0 for none
    prompt: float = 0.0  # what a request takes before its first token, in times of a token
    offered: int = 0

    def advance(self, now: float) -> None:
        if self.running:
            self.progress += (now - self.clock) / self._step()
        self.clock = now
        if self.used_at is None and len(self.running) / self._step() >= FULL_USE * self.most:
            self.used_at = now

    @property
    def most(self) -> float:
        """Tokens a second with every slot taken."""
        return self.slots / ((self.base + self.each * self.slots) * self.slowness)

    def _step(self) -> float:
        return (self.base + self.each * len(self.running)) * self.slowness

    def offer(self, request: int, tokens: float) -> bool:
        self.offered += 1
        if self.refuses is not None or (self.refuses_each and self.offered % self.refuses_each == 0):
            return False
        tokens += self.prompt
        if len(self.running) < self.slots:
            heapq.heappush(self.running, (self.progress + tokens, request))
        elif self.queue is None or len(self.waiting) < self.queue:
            self.waiting.append((request, tokens))
        else:
            return False
        return True

    def next_end(self) -> float | None:
        if not self.running:
            return None
        return self.clock + max(0.0, self.running[0][0] - self.progress) * self._step()

    def finish(self) -> int:
        _, request = heapq.heappop(self.running)
        if self.waiting:
            following, tokens = self.waiting.popleft()
            heapq.heappush(self.running, (self.progress + tokens, following))
        return request


Change = tuple[float, Callable[[list[Replica]], None]]


def on_each(name: str, value: float | None) -> Callable[[list[Replica]], None]:
    """A change that sets something of every replica there is."""

    def change(fleet: list[Replica]) -> None:
        for replica in fleet:
            setattr(replica, name, value)

    return change


@dataclass
class Outcome:
    """What a simulated batch came to."""

    seconds: float = 0.0
    answered: int = 0
    refused: int = 0
    refused_late: int = 0  # in the second half
    limits: list[tuple[float, int]] = field(default_factory=list)
    replica_minutes: float = 0.0
    busy: float = 0.0  # request seconds in slots
    waited: float = 0.0  # request seconds in queues
    slowest_start: float = 0.0  # seconds until a replica that came was in full use
    most_refusals: int = 0  # of one row
    sent: list[float] = field(default_factory=list)  # moments
    answers: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    @property
    def waiting_share(self) -> float:
        """Mean of waiting by running, over time."""
        return self.waited / max(self.busy, 1e-9)


class Simulation:
    """A batch of `rows` against a fleet; `run` to its end.

    :param changes: what happens to the fleet, and when
    :param told: whether the limiter hears how many replicas there are, `HEARD` seconds late
    """

    def __init__(self, limiter: Limiter, rows: int, fleet: list[Replica], header: bool, changes: Sequence[Change],
                 told: bool, seed: int, tokens: Callable[[random.Random], float]) -> None:  # fmt: skip
        self.limiter, self.rows, self.fleet, self.header, self.told = limiter, rows, fleet, header, told
        self.gate = Gate()
        self.chance = random.Random(seed)
        self.tokens = tokens
        self.backoff = Backoff()
        self.todo = rows
        self.retry: list[tuple[float, int, int]] = []  # (due, number, refusals so far)
        self.refusals: list[tuple[float, int, float, int]] = []  # (when it arrives, number, sent, refusals so far)
        self.out: dict[int, tuple[Replica, float, float, int]] = {}
        self.events: list[tuple[float, int, Callable[[list[Replica]], None]]] = []
        self.numbers = itertools.count()
        for at, change in changes:
            heapq.heappush(self.events, (at, next(self.numbers), change))
        self.now = 0.0
        self.outcome = Outcome(limits=[(0.0, limiter.limit)])

    def run(self) -> Outcome:
        outcome = self.outcome
        while outcome.answered < self.rows:
            self._send()
            end, replica = self._next_end()
            self._pass_time(self._next_moment(end))
            if self.events and self.now >= self.events[0][0]:
                self._change(heapq.heappop(self.events)[2])
            elif self.refusals and self.now >= self.refusals[0][0]:
                self._refused(*heapq.heappop(self.refusals)[2:])
            elif replica is not None and self.now >= end:
                self._answered(replica)
            if outcome.limits[-1][1] != self.limiter.limit:
                outcome.limits.append((self.now, self.limiter.limit))
        outcome.seconds = self.now
        starts = [(r.used_at if r.used_at is not None else self.now) - r.came for r in self.fleet if r.came > 0]
        outcome.slowest_start = max([outcome.slowest_start, *starts])
        return outcome

    @property
    def _in_flight(self) -> int:
        return len(self.out) + len(self.refusals)

    def _send(self) -> None:
        for _ in range(self.gate.admits(self.now, self.limiter.limit, self._in_flight)):
            before = 0
            if self.retry and self.retry[0][0] <= self.now:
                before = heapq.heappop(self.retry)[2]
            elif self.todo:
                self.todo -= 1
            else:
                return
            self.gate.sent(self.now)
            self.outcome.sent.append(self.now)
            request, tokens = next(self.numbers), self.tokens(self.chance)
            replica = min(
                self.chance.sample(self.fleet, min(2, len(self.fleet))), key=lambda r: len(r.running) + len(r.waiting)
            )
            if replica.offer(request, tokens):
                self.out[request] = (replica, self.now, tokens, before)
            else:
                heapq.heappush(self.refusals, (self.now + REFUSAL, request, self.now, before))

    def _next_end(self) -> tuple[float, Replica | None]:
        ends = [(end, n) for n, replica in enumerate(self.fleet) if (end := replica.next_end()) is not None]
        if not ends:
            return float("inf"), None
        end, n = min(ends)
        return end, self.fleet[n]

    def _next_moment(self, end: float) -> float:
        happens = min([end, *(heap[0][0] for heap in (self.refusals, self.events) if heap)])
        if happens <= self.now:
            return self.now
        moments = [happens]
        ready = self.todo or (self.retry and self.retry[0][0] <= self.now)
        if self._in_flight < self.limiter.limit:
            if self.retry:
                moments.append(self.retry[0][0])
            if ready:
                moments.append(self.gate.opens_at(self.now))
        return min(moment for moment in moments if moment > self.now)

    def _pass_time(self, then: float) -> None:
        then = max(then, self.now)
        span, outcome = then - self.now, self.outcome
        outcome.busy += sum(len(replica.running) for replica in self.fleet) * span
        outcome.waited += sum(len(replica.waiting) for replica in self.fleet) * span
        outcome.replica_minutes += len(self.fleet) * span / 60
        self.now = then
        for replica in self.fleet:
            replica.advance(then)

    def _change(self, change: Callable[[list[Replica]], None]) -> None:
        before = list(self.fleet)
        change(self.fleet)
        for replica in self.fleet:
            if replica not in before:
                replica.came = replica.clock = self.now
        for gone in [replica for replica in before if replica not in self.fleet]:
            if gone.came > 0:
                start = (gone.used_at if gone.used_at is not None else self.now) - gone.came
                self.outcome.slowest_start = max(self.outcome.slowest_start, start)
            for lost in [r for r, entry in self.out.items() if entry[0] is gone]:
                del self.out[lost]
                self.todo += 1
        if self.told and len(before) != len(self.fleet):
            count = len(self.fleet)
            heapq.heappush(self.events, (self.now + HEARD, next(self.numbers), lambda _: self._hear(count)))

    def _hear(self, replicas: int) -> None:
        self.limiter.replicas_changed(replicas, self.now)

    def _refused(self, sent_at: float, before: int) -> None:
        """As the batch does it."""
        outcome = self.outcome
        outcome.refused += 1
        outcome.refused_late += outcome.answered > self.rows / 2
        outcome.refusals.append(self.now)
        outcome.most_refusals = max(outcome.most_refusals, before + 1)
        wait = next((replica.refuses for replica in self.fleet if replica.refuses), None)
        away = wait is None and any(replica.refuses is not None or replica.refuses_each for replica in self.fleet)
        error = errors.StartingError() if away else errors.OverloadedError(retry_after=wait)
        self.limiter.refused(self.now, sent_at, self._in_flight)
        self.gate.refused(error, self.now, self._in_flight, sent_at)
        due = self.now
        if self.gate.takes_nothing or (self.gate.closed and self._in_flight == 0):
            self.limiter.outage()
        if not self.gate.closed:
            due += self.backoff.seconds(before + 1, wait, self.chance.random())
        heapq.heappush(self.retry, (due, next(self.numbers), before + 1))

    def _answered(self, replica: Replica) -> None:
        _, sent_at, tokens, _ = self.out.pop(replica.finish())
        self.outcome.answered += 1
        self.outcome.answers.append(self.now)
        self.gate.answered(sent_at)
        load = Load(waiting=len(replica.waiting)) if self.header else None
        self.limiter.answered(self.now, self._in_flight + 1, tokens, sent_at, load)


def lengths(chance: random.Random) -> float:
    """Tokens of an answer, as a chat's are: some ninety, now and then three hundred."""
    return chance.lognormvariate(4.4, 0.5)


def simulate(
    limiter: Limiter,
    rows: int,
    *,
    slots: int,
    queue: int | None = None,
    header: bool = False,
    replicas: int = 1,
    changes: Sequence[Change] = (),
    told: bool = True,
    seed: int = 1,
    tokens: Callable[[random.Random], float] = lengths,
    prompt: float = 0.0,
) -> Outcome:
    """Send `rows` through a fleet as the limiter says."""
    fleet = [Replica(slots, queue, prompt=prompt) for _ in range(replicas)]
    return Simulation(limiter, rows, fleet, header, changes, told, seed, tokens).run()
