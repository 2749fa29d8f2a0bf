"""How a job's endpoint is spoken to, found out by asking; an endpoint that is not ready is waited for.

What is asked, and what an answer means, is in `engines/discovery.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import discovery
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    OverloadedError,
    ServerError,
    StartingError,
)
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.wire import WireRequest, WireResponse

log = logging.getLogger(__name__)

TICK = 0.05  # seconds; how soon a stop is noticed


async def discover_target(job: BatchJob, transport: Transport, stop: Callable[[], bool]) -> discovery.Target:
    """How to speak to the endpoint; waits for one that is not ready, with one question every few seconds.

    :raises InferenceError: it does not come within `startup_timeout`, or refuses
    """
    deadline = time.monotonic() + job.startup_timeout
    said = False
    while True:
        try:
            target = await _discover(job, transport)
            log.info("the engine is spoken to as %s: %s", target.dialect, target.why)
            return target
        except (StartingError, ConnectionFailedError, OverloadedError, ServerError) as error:
            pause = max(job.probe_interval, error.retry_after or 0.0)
            if time.monotonic() + pause > deadline:
                raise
            if not said:
                log.info("waiting for the endpoint: %s", error)
                said = True
            resume_at = time.monotonic() + pause
            while time.monotonic() < resume_at:
                if stop():
                    raise
                await asyncio.sleep(min(TICK, pause))


async def _discover(job: BatchJob, transport: Transport) -> discovery.Target:
    questions = _questions(job)
    try:
        request = next(questions)
        while True:
            body = b"" if request.json is None else fastjson.encode(request.json)
            wire = HttpRequest(request.method, request.route, body, min(60.0, job.request_timeout))
            request = questions.send(await transport.send(wire))
    except StopIteration as end:
        target: discovery.Target = end.value
        return target


def _questions(job: BatchJob) -> Generator[WireRequest, WireResponse, discovery.Target]:
    target = yield from discovery.discover(job.engine, job.model)
    if job.rows_per_request == "auto" and job.may_share_requests(target):
        target = yield from discovery.ask_most_inputs(target)
    return (yield from discovery.ask_slots(target)) if job.max_concurrency == "auto" else target
