"""The queue of an engine that does not report it in its answers: `/metrics`, read at intervals.

vLLM, SGLang, TGI, llama.cpp and the inference toolkit serve Prometheus' text form. Behind a load balancer each look
shows one random replica, so the values are smoothed. An engine that has no such route, or no usable value there, is
not asked again.
This file only decides. The batch sends the requests.
"""

from __future__ import annotations

import math

from airflow_provider_hf_endpoints.inference.wire import Load

ROUTE = "/metrics"
INTERVAL = 3.0  # seconds
TIMEOUT = 5.0  # seconds
SMOOTH = 0.3  # weight of the newest reading
FAILURES = 3  # readings in a row without a usable value, after which no more are taken
STALE = 5.0  # intervals after which a reading is too old

#: Requests that wait, by engine.
WAITING = (
    "vllm:num_requests_waiting",
    "sglang:num_queue_reqs",
    "tgi_queue_size",
    "te_queue_size",
    "llamacpp:requests_deferred",
    "inf_queue_size",  # the inference toolkit, which has only this value
)
#: Share of the cache in use.
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio")


def read_metrics(text: str) -> Load | None:
    """The load in a page of metrics, None if it has no usable value.

    A metric with several lines (one per engine process or rank) counts as their sum, a share as their maximum.
    """
    waiting: float | None = None
    cache: float | None = None
    for line in text.splitlines():
        name, value = _sample(line)
        if value is None:
            continue
        if name in WAITING:
            waiting = (waiting or 0.0) + value
        elif name in CACHE:
            cache = max(cache or 0.0, value)
    return None if waiting is None else Load(waiting, cache)


def _sample(line: str) -> tuple[str, float | None]:
    """Name and value of a line `name{labels} value [timestamp]`."""
    if not line or line.startswith("#"):
        return "", None
    name, brace, rest = line.partition("{")
    name, _, after = (name, "", rest.rpartition("}")[2]) if brace else line.partition(" ")
    try:
        value = float(after.split()[0])
    except (ValueError, IndexError):
        return "", None
    return name.strip(), value if math.isfinite(value) and value >= 0 else None


class Scraper:
    """The smoothed readings, and whether further readings are useful."""

    def __init__(self) -> None:
        self._failures = 0
        self._seen_at = float("-inf")
        self._waiting: float | None = None
        self._cache: float | None = None

    @property
    def given_up(self) -> bool:
        """Whether the engine has no such route, or no usable value there."""
        return self._failures >= FAILURES

    def saw(self, now: float, status: int, text: str) -> None:
        """Take the engine's answer."""
        load = read_metrics(text) if status == 200 else None
        if load is None:
            # A 429 or 503 of the proxy says nothing about the route.
            self._failures = FAILURES if status in (401, 403, 404, 405) else self._failures + (status == 200)
            return
        self._failures = 0
        fresh = self._waiting is None or now - self._seen_at > STALE * INTERVAL
        self._waiting = (
            load.waiting if fresh else (self._waiting or 0.0) + SMOOTH * (load.waiting - (self._waiting or 0.0))
        )
        self._cache, self._seen_at = load.cache, now

    def load(self, now: float) -> Load | None:
        """The load of a replica, None if unknown or too old."""
        if self._waiting is None or now - self._seen_at > STALE * INTERVAL:
            return None
        return Load(self._waiting, self._cache)
