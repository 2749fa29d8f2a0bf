"""A simulated fleet of replicas with continuous batching, on a clock of its own: thousands of seconds in one.

A replica runs up to `slots` requests; each gets a token every `base + each * running` seconds, so throughput grows
with what runs, ever more slowly. What does not fit waits, without bound or up to `queue`, beyond which it is refused.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_hf_endpoints.inference.concurrency import Limiter, Load


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

    def advance(self, now: float) -> None:
        if self.running:
            self.progress += (now - self.clock) / self._step()
        self.clock = now

    def _step(self) -> float:
        return (self.base + self.each * len(self.running)) * self.slowness

    def offer(self, request: int, tokens: float) -> bool:
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


@dataclass
class Outcome:
    """What a simulated batch came to."""

    seconds: float
    answered: int
    refused: int
    waiting_share: float  # mean of waiting by running, over time
    limits: list[tuple[float, int]]
    replica_minutes: float
    refused_late: int  # in the second half


def simulate(
    limiter: Limiter,
    rows: int,
    *,
    slots: int,
    queue: int | None = None,
    header: bool = False,
    replicas: int = 1,
    changes: list[tuple[float, Callable[[list[Replica]], None]]] | None = None,
    told: bool = True,
    seed: int = 1,
) -> Outcome:
    """Send `rows` through a fleet as the limiter says.

    :param changes: what happens to the fleet, and when
    :param told: whether the limiter hears how many replicas there are
    """
    chance = random.Random(seed)
    fleet = [Replica(slots, queue) for _ in range(replicas)]
    changes = sorted(changes or [], key=lambda change: change[0])
    todo = rows
    retry: list[tuple[float, int]] = []  # (due, request)
    out: dict[int, tuple[Replica, float, float]] = {}
    numbers = itertools.count()
    refused = refused_late = answered = 0
    busy = waited = minutes = 0.0
    limits: list[tuple[float, int]] = [(0.0, limiter.limit)]
    now = 0.0

    def send() -> None:
        nonlocal todo, refused, refused_late
        at_once = 0
        # Ten refusals in a row close the batch's gate until an answer comes.
        while at_once < 10 and len(out) < limiter.limit and (todo or (retry and retry[0][0] <= now)):
            if retry and retry[0][0] <= now:
                heapq.heappop(retry)
            else:
                todo -= 1
            request = next(numbers)
            tokens = chance.lognormvariate(4.4, 0.5)
            replica = min(chance.sample(fleet, min(2, len(fleet))), key=lambda r: len(r.running) + len(r.waiting))
            if replica.offer(request, tokens):
                out[request] = (replica, now, tokens)
            else:
                refused += 1
                at_once += 1
                refused_late += answered > rows / 2
                limiter.refused(now, now, len(out))
                heapq.heappush(retry, (now + chance.random() * 2 + 0.1, 0))

    while answered < rows:
        send()
        ends = [(end, replica) for replica in fleet if (end := replica.next_end()) is not None]
        soonest = min(ends, key=lambda pair: pair[0]) if ends else None
        candidates = [soonest[0]] if soonest else []
        if retry and len(out) < limiter.limit:
            candidates.append(max(now, retry[0][0]))
        if changes:
            candidates.append(changes[0][0])
        then = min(candidates)
        span = then - now
        running = sum(len(replica.running) for replica in fleet)
        busy += running * span
        waited += sum(len(replica.waiting) for replica in fleet) * span
        minutes += len(fleet) * span / 60
        now = then
        for replica in fleet:
            replica.advance(now)
        if changes and now >= changes[0][0]:
            before = len(fleet)
            gone = list(fleet)
            changes.pop(0)[1](fleet)
            for replica in gone:
                if replica not in fleet:
                    for lost in [r for r, entry in out.items() if entry[0] is replica]:
                        del out[lost]
                        todo += 1
            if told and len(fleet) != before:
                limiter.replicas_changed(len(fleet))
            continue
        if soonest and now >= soonest[0]:
            replica = soonest[1]
            request = replica.finish()
            _, sent_at, tokens = out.pop(request)
            answered += 1
            load = Load(waiting=len(replica.waiting)) if header else None
            limiter.answered(now, len(out) + 1, tokens, sent_at, load)
            if limits[-1][1] != limiter.limit:
                limits.append((now, limiter.limit))
    return Outcome(now, answered, refused, waited / max(busy, 1e-9), limits, minutes, refused_late)
