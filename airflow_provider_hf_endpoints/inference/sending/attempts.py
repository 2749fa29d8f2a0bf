"""One attempt at a parcel: send its request, wait for the answer, and read it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import Dialect, read_result
from airflow_provider_hf_endpoints.inference.engines.load import read_load
from airflow_provider_hf_endpoints.inference.errors import (
    InferenceError,
    InferenceTimeoutError,
)
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.media.bodies import Media
from airflow_provider_hf_endpoints.inference.media.errors import MediaError
from airflow_provider_hf_endpoints.inference.media.reading import MediaReader
from airflow_provider_hf_endpoints.inference.media.stamps import folder_of
from airflow_provider_hf_endpoints.inference.requests.arrays import ArrayForm
from airflow_provider_hf_endpoints.inference.requests.choices import require_choices
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.requests.structured import InvalidOutputError, settled
from airflow_provider_hf_endpoints.inference.requests.values import require_values
from airflow_provider_hf_endpoints.inference.sending.hedging import Hedging
from airflow_provider_hf_endpoints.inference.sending.outcomes import Outcomes
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel
from airflow_provider_hf_endpoints.inference.sending.progress import Progress
from airflow_provider_hf_endpoints.inference.sending.state import Tally
from airflow_provider_hf_endpoints.inference.sending.timeouts import AdaptiveTimeout
from airflow_provider_hf_endpoints.inference.sending.unforeseen import internal_error, typed_failure
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Load, WireResponse


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """How an answer is read.

    :param dialect: of the engine
    :param arrays: how several rows form one request, None if each row is sent alone
    :param accept: a last check of a row's answer, None for none; it may change the answer, or raise
    """

    dialect: Dialect
    arrays: ArrayForm | None = None
    accept: Callable[[InferenceResult, RowRequest], InferenceResult] | None = None

    def read(self, parcel: Parcel, response: WireResponse) -> list[InferenceResult]:
        """The results of the rows of a parcel.

        :raises InferenceError: the answer is not a success, or is not valid
        """
        request = parcel.request
        result = read_result(self.dialect, request.task, response, request.route, fastjson.decode, request.asked)
        require_choices(result, request)
        require_values(result, request, response.body)
        results = [result] if self.arrays is None else self.arrays.split(parcel.rows, result)
        if self.accept is None:
            return results
        try:
            return [self.accept(each, request) for each in results]
        except InvalidOutputError as error:
            raise settled(error, request.body) from error.__cause__
        except InferenceError as error:
            error.usage = result.usage  # of all rows: the whole answer is thrown away, not the part of one row
            raise


class Exchange:
    """Sends a parcel's request and reads the answer.

    The first requests are sent before the usual latency is known. They get the longest timeout, and are given up
    early once the latency is known.

    :param timeout: returns how long to wait, and learns from answers
    :param token: removed from the texts of errors
    """

    def __init__(self, transport: Transport, reader: AnswerReader, timeout: AdaptiveTimeout, token: str | None) -> None:
        self._transport = transport
        self._reader = reader
        self._timeout = timeout
        self._token = token
        self._early: dict[asyncio.Task[None], tuple[float, int]] = {}  # sent at, failures before
        self._clock = time.monotonic

    async def send(
        self, parcel: Parcel, now: float, filled: tuple[bytes, str] | None = None
    ) -> tuple[list[InferenceResult], Load | None]:
        """The result of each row, and the load that the engine reports.

        :param filled: the body with its media, and its content type; None for a request without media
        :raises InferenceError: there is no answer, or no valid one
        """
        route = parcel.request.route
        seconds = self._timeout.seconds(parcel.failures)
        if filled is None:
            request = HttpRequest("POST", route, parcel.request.body, seconds)
        else:
            request = HttpRequest("POST", route, filled[0], seconds, filled[1])
        try:
            if self._timeout.learnt:
                response = await self._transport.send(request)
            else:
                response = await self._send_early(request, parcel.failures, now)
            results = self._reader.read(parcel, response)
        except InferenceError as error:
            clean = error.without(self._token)
            if clean is error:
                raise
            raise clean from error.__cause__
        except Exception as error:  # any exception is this request's, and no reason to end the batch
            raise typed_failure(error, route).without(self._token) from error
        self._timeout.answered(self._clock() - now)
        return results, read_load(response.headers)

    async def _send_early(self, request: HttpRequest, failures: int, now: float) -> WireResponse:
        task = asyncio.current_task()
        assert task is not None
        self._early[task] = (now, failures)
        try:
            return await self._transport.send(request)
        except asyncio.CancelledError:
            # Somebody else cancels too: the batch ends, or the row's other request was answered.
            if task in self._early or task.cancelling() > 1:
                raise
            task.uncancel()
            raise InferenceTimeoutError(f"no response within {self._clock() - now:.0f} s", path=request.route) from None
        finally:
            self._early.pop(task, None)

    def give_up_early_ones(self, now: float) -> None:
        """Give up those of the first requests that exceed the timeout learnt since."""
        if self._early and self._timeout.learnt:
            for task, (sent_at, failures) in list(self._early.items()):
                if now - sent_at > self._timeout.seconds(failures):
                    del self._early[task]
                    task.cancel()


class Attempts:
    """Makes attempts, counts them, and passes each result to the outcomes.

    :param hedging: sends slow rows a second time, None for never
    :param gate: is notified of each request
    :param media: reads the files of rows, None if rows have none
    """

    def __init__(
        self,
        exchange: Exchange,
        outcomes: Outcomes,
        hedging: Hedging | None,
        gate: Gate,
        tally: Tally,
        progress: Progress,
        media: MediaReader | None = None,
    ) -> None:
        self._media = media
        self._exchange = exchange
        self._outcomes = outcomes
        self._hedging = hedging
        self._gate = gate
        self._tally = tally
        self._progress = progress
        self._clock = time.monotonic
        #: Requests in flight.
        self.in_flight = 0

    async def make(self, parcel: Parcel, now: float, filled: tuple[bytes, str] | None = None) -> None:
        """Send a parcel once and handle the result.

        :param filled: its body with its media, once they are read
        """
        if parcel.request.media is not None and self._media is not None and filled is None:
            await self._make_with_media(parcel, parcel.request.media, self._media)
            return
        self._count(parcel, now)
        task = asyncio.current_task() if self._hedging is not None else None
        if self._hedging is not None and task is not None:
            self._tally.hedges += self._hedging.sent(parcel, now, task)
        self.in_flight += 1
        try:
            results, load = await self._exchange.send(parcel, now, filled)
        except InferenceError as error:
            self.in_flight -= 1
            if self._hedging is not None and task is not None and self._hedging.failed(parcel, task):
                self._outcomes.failed_beside_another(parcel, error, now, self.in_flight)
            else:
                self._outcomes.failed(parcel, error, now, self.in_flight)
        except BaseException:
            self.in_flight -= 1
            raise
        else:
            self.in_flight -= 1
            seconds = self._clock() - now
            self._progress.answered(seconds)
            if self._hedging is not None and task is not None:
                self._hedging.answered(parcel, seconds, task)
            self._outcomes.answered(parcel, results, now, load, self.in_flight)

    async def _make_with_media(self, parcel: Parcel, media: Media, reader: MediaReader) -> None:
        """Read the files of a parcel, and send it. An error of a file is the row's alone."""
        second = self._is_out(parcel)
        async with AsyncExitStack() as stack:
            self.in_flight += 1  # the place of the request is taken while its files are read
            try:
                line = parcel.rows[0].line
                reading = reader.filled(parcel.request.body, media, folder_of(line), line.versions)
                filled = await stack.enter_async_context(reading)
            except Exception as error:  # noqa: BLE001 - whatever it is: it is this row's, and no reason to end the batch
                if not second:
                    typed = error if isinstance(error, MediaError) else internal_error(error, "reading a file of a row")
                    self._outcomes.unsendable(parcel, typed)
                return
            finally:
                self.in_flight -= 1
            if second and not self._is_out(parcel):
                return  # the first request was answered meanwhile, or failed and decides
            await self.make(parcel, self._clock(), filled)

    def _is_out(self, parcel: Parcel) -> bool:
        return self._hedging is not None and self._hedging.has(parcel)

    def _count(self, parcel: Parcel, now: float) -> None:
        self._gate.sent(now)
        tally = self._tally
        if parcel.first_sent == 0.0:
            parcel.first_sent = now
            tally.begun += len(parcel.rows)
        else:
            tally.retries += 1
        tally.requests += 1
        for row in parcel.rows:
            row.attempts += 1
