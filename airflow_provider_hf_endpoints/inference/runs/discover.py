"""Finds out the dialect of a job's endpoint by requests, and waits for an endpoint that is not ready.

The requests, and the meaning of answers, are in `engines/discovery.py`.
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
    DiscoveryError,
    InferenceError,
    InferenceTimeoutError,
    InternalError,
    OverloadedError,
    ServerError,
    StartingError,
)
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.sending.unforeseen import typed_failure
from airflow_provider_hf_endpoints.inference.wire import WireRequest, WireResponse

log = logging.getLogger(__name__)

TICK = 0.05  # seconds until a stop is noticed
LONGEST = 60.0  # seconds for one answer
SHORTEST = 1.0  # seconds, if hardly any time is left
#: After these errors the endpoint is asked again.
MAY_COME = (StartingError, ConnectionFailedError, OverloadedError, ServerError, InferenceTimeoutError)


async def discover_target(job: BatchJob, transport: Transport, stop: Callable[[], bool]) -> discovery.Target:
    """The dialect and model of the endpoint. Waits for one that is not ready, with one request every few seconds.

    :raises InferenceError: it is not ready within `startup_timeout` or `job_timeout`, or refuses
    """
    deadline = time.monotonic() + min(job.startup_timeout, job.job_timeout)
    said = False
    while True:
        try:
            target = await _discover(job, transport, deadline)
            log.info("requests have the form of %s: %s", target.dialect, target.why)
            return target
        except MAY_COME as error:
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


async def _discover(job: BatchJob, transport: Transport, deadline: float) -> discovery.Target:
    questions, route = _questions(job), ""
    try:
        request = next(questions)
        while True:
            route = request.route
            body = b"" if request.json is None else fastjson.encode(request.json)
            left = max(SHORTEST, deadline - time.monotonic())
            wire = HttpRequest(request.method, route, body, min(LONGEST, left, job.request_timeout))
            request = questions.send(await transport.send(wire))
    except StopIteration as end:
        target: discovery.Target = end.value
        return target
    except InferenceError:
        raise
    except Exception as error:
        failure = typed_failure(error, route)
        if isinstance(failure, InternalError):
            failure = DiscoveryError(f"{type(error).__name__}: {str(error)[:300]}", path=route)
        raise failure from error


def _questions(job: BatchJob) -> Generator[WireRequest, WireResponse, discovery.Target]:
    target = yield from discovery.discover(job.engine, job.model)
    if job.rows_per_request == "auto" and job.may_share_requests(target):
        target = yield from discovery.ask_most_inputs(target)
    return (yield from discovery.ask_slots(target)) if job.max_concurrency == "auto" else target
