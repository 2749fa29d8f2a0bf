"""One call to a running endpoint: `InferenceClient` and `AsyncInferenceClient`.

Both make the same decisions (`discovery.py`: which requests; `backoff.py`: which retries) around an httpx
client that sends. For many rows, use `batch.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, cast

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.backoff import repeat_after
from airflow_provider_hf_endpoints.inference.engines import (
    build_request,
    canonical_task,
    dialect_of,
    discovery,
    error_from,
    read_result,
)
from airflow_provider_hf_endpoints.inference.engines.hub_types import ChatCompletion
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    InferenceError,
    MalformedAnswerError,
)
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.inference.http.address import endpoint_url, url_of
from airflow_provider_hf_endpoints.inference.http.certificates import verify_for
from airflow_provider_hf_endpoints.inference.http.httpx_errors import (
    MAYBE_STALE,
    RAISED,
    closed_before_answer,
    typed_error,
)
from airflow_provider_hf_endpoints.inference.http.transport import CONNECT_TIMEOUT
from airflow_provider_hf_endpoints.inference.requests.choices import require_choices
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.requests.values import require_values
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest, WireResponse

__all__ = ["AsyncInferenceClient", "InferenceClient"]

REQUEST_TIMEOUT = 300.0  # seconds


class _Settings:
    """What both clients share; no I/O."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        engine: str | None = None,
        model: str | None = None,
        timeout: float = REQUEST_TIMEOUT,
        scale_up_timeout: float | None = None,
        max_attempts: int = 4,
        max_retry_seconds: float = 60.0,
        token_source: str | None = None,
    ) -> None:
        if not url:
            raise ValueError(
                "the endpoint has no URL: it is not deployed yet, or was deleted. Create or resume the endpoint first"
            )
        if timeout <= 0:
            raise ValueError("timeout must be greater than 0 seconds")
        dialect_of(engine)  # an unknown engine is an error now, not at the first call
        self.url = endpoint_url(url)
        self._token = token
        self._token_source = token_source
        self._engine = engine
        self._model = model
        self._timeout = timeout
        self._scale_up_timeout = scale_up_timeout
        self._max_attempts = max_attempts
        self._max_retry_seconds = max_retry_seconds
        self._target: discovery.Target | None = None
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, engine={self._engine!r}, model={self._model!r})"

    def _headers(self) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        if self._scale_up_timeout:
            # The proxy keeps the request until a replica is ready instead of answering 503 at once.
            headers["x-scale-up-timeout"] = str(int(self._scale_up_timeout))
        return headers

    def _http_options(self) -> dict[str, Any]:
        patience = self._timeout + (self._scale_up_timeout or 0.0)
        timeout = httpx.Timeout(patience, connect=min(CONNECT_TIMEOUT, self._timeout))
        return {
            "headers": self._headers(),
            "timeout": timeout,
            "follow_redirects": False,
            "verify": verify_for(self.url),
        }

    def _call_options(self, request: WireRequest) -> dict[str, Any]:
        options: dict[str, Any] = {"method": request.method, "url": url_of(self.url, request.route)}
        if request.json is not None:
            options["content"] = json.dumps(request.json, ensure_ascii=False).encode()
            options["headers"] = {"content-type": "application/json"}
        return options

    def _retrying(self) -> dict[str, Any]:
        policy = _Policy(self._max_attempts, self._max_retry_seconds, self._scale_up_timeout or 0.0)
        return {"retry": policy.decide, "wait": _PlannedWait(), "stop": _NeverStop(), "reraise": True}


class _Policy:
    """`repeat_after` as a tenacity strategy: one decision on whether and after how long."""

    def __init__(self, max_attempts: int, max_seconds: float, startup_seconds: float) -> None:
        self._options = {"max_attempts": max_attempts, "max_seconds": max_seconds}
        self._startup_seconds = startup_seconds
        self._started = time.monotonic()

    def decide(self, state: RetryCallState) -> bool:
        """Whether to try again. Stores the seconds in the state, where `_PlannedWait` finds them."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, InferenceError):
            return False
        pause = repeat_after(
            error,
            state.attempt_number,
            time.monotonic() - self._started,
            max_attempts=int(self._options["max_attempts"]),
            max_seconds=self._options["max_seconds"],
            startup_seconds=self._startup_seconds,
        )
        state.upcoming_sleep = pause or 0.0
        return pause is not None


class _PlannedWait(wait_base):
    def __call__(self, retry_state: RetryCallState) -> float:
        return retry_state.upcoming_sleep


class _NeverStop(stop_base):
    def __call__(self, retry_state: RetryCallState) -> bool:
        return False


def _call(target: discovery.Target, task: str, inputs: Any, parameters: Mapping[str, Any] | None) -> discovery.Steps:
    """One task put to an engine. The answer has as many texts, and numbers that are as valid, as a batch requires."""
    request = build_request(target.dialect, task, inputs, parameters, target.model, target.engine)
    response = yield request
    result = read_result(target.dialect, task, response, request.route, asked=request.asked)
    sent = RowRequest(request.route, fastjson.encode(request.json), canonical_task(task), request.asked)
    require_choices(result, sent)
    require_values(result, sent, response.body)
    return result


def _judge(answer: httpx.Response, request: WireRequest) -> WireResponse:
    """The answer, or the error if another try may succeed."""
    response = WireResponse(answer.status_code, answer.headers, answer.content)
    if response.status in (425, 429, 502, 503, 504):
        raise error_from(response, request.route)
    return response


def _typed(error: Exception, request: WireRequest) -> InferenceError:
    """httpx's error as one of ours. If no part of an answer has come, a single call may be sent again."""
    if isinstance(error, MAYBE_STALE) and closed_before_answer(error):
        return ConnectionFailedError(str(error) or type(error).__name__, path=request.route)
    return typed_error(error, request.route)


def _chat_completion(result: InferenceResult) -> ChatCompletion:
    raw = result.raw
    if not isinstance(raw, dict) or "choices" not in raw:  # a pipeline's answer, which has little but a text
        texts = result.output if isinstance(result.output, list) else [result.output]
        messages = [{"index": place, "message": {"content": text}} for place, text in enumerate(texts)]
        raw = {"choices": [{**each, "finish_reason": result.finish_reason} for each in messages]}
        raw |= {"usage": result.usage.as_dict()} if result.usage is not None else {}
    try:
        return ChatCompletion.model_validate(raw)
    except ValueError as error:
        raise MalformedAnswerError(str(error).replace("\n", " ")[:500]) from error


def _single_text(result: InferenceResult) -> str:
    if isinstance(result.output, str):
        return result.output
    raise MalformedAnswerError("the answer contains several texts. Use run() for more than one text")


class InferenceClient(_Settings):
    """Calls to one endpoint, each in the dialect of its engine.

    :param url: the endpoint's URL (`status.url`)
    :param token: sent with every request; None sends none
    :param engine: key of the endpoint's `model.image` (`vLLM`, `tgi`, `tei` …), None to detect it
    :param model: model name in requests, None to ask `/v1/models` once
    :param timeout: seconds for one answer
    :param scale_up_timeout: seconds to wait for an endpoint that is scaled to zero or starting, None not to
        wait
    :param max_attempts: attempts of a call after a refusal (429, 502, 503, 504) or without a connection
    :param max_retry_seconds: limit of all waits of a call together
    :param token_source: where the token comes from, in words, for the error if the endpoint refuses the token
    """

    def _open(self) -> None:
        self._http = httpx.Client(**self._http_options())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, task: str, inputs: Any, parameters: Mapping[str, Any] | None = None) -> InferenceResult:
        """Run a task on the endpoint.

        :param task: `chat-completion`, `text-generation`, `feature-extraction`, `rerank`, any pipeline of the
            toolkit
        :param inputs: what the task takes: a text, messages, a list of texts, a mapping
        :param parameters: under OpenAI's or TGI's names
        :raises InferenceError: the typed error, see `inference.errors`
        :raises ValueError: an argument contains what JSON has no form of
        """
        given = plain("inputs", inputs), plain("parameters", parameters)
        result: InferenceResult = self._drive(_call(self._discovered(), task, *given))
        return result

    def chat_completion(self, messages: Any, **parameters: Any) -> ChatCompletion:
        """Answer a chat. Raises as `run` does."""
        return _chat_completion(self.run(CHAT, messages, parameters))

    def text_generation(self, prompt: str, **parameters: Any) -> str:
        """Continue a prompt. Raises as `run` does."""
        return _single_text(self.run(GENERATE, prompt, parameters))

    def feature_extraction(self, text: str | list[str], **parameters: Any) -> list[list[float]]:
        """Embed one text or several: a vector for each. Raises as `run` does."""
        vectors: list[list[float]] = self.run(EMBED, text, parameters).output
        return vectors

    def call(self, route: str, payload: Any = None, method: str = "POST") -> Any:
        """Call any route of the container: its JSON, or its text. Raises as `run` does."""
        return self._drive(discovery.call(route, plain("payload", payload), method))

    def discover(self) -> discovery.Target:
        """How the endpoint is spoken to: its dialect and its model's name. Asks the endpoint once."""
        return self._discovered()

    def _discovered(self) -> discovery.Target:
        if self._target is None:
            self._target = self._drive(discovery.discover(self._engine, self._model))
        return self._target

    def _drive(self, call: discovery.Steps) -> Any:
        response: WireResponse | None = None
        try:
            while True:
                try:
                    request = call.send(cast(WireResponse, response))  # the first send is None
                except StopIteration as end:
                    return end.value
                response = Retrying(**self._retrying())(self._send, request)
        except InferenceError as error:
            raise error.without(self._token).of_token(self._token_source) from error.__cause__

    def _send(self, request: WireRequest) -> WireResponse:
        try:
            try:
                answer = self._http.request(**self._call_options(request))
            except MAYBE_STALE as error:
                if not closed_before_answer(error):
                    raise
                answer = self._http.request(**self._call_options(request))
        except RAISED as error:
            raise _typed(error, request) from error
        return _judge(answer, request)


class AsyncInferenceClient(_Settings):
    """`InferenceClient` for a running event loop: the same arguments and methods, to be awaited."""

    def _open(self) -> None:
        self._http = httpx.AsyncClient(**self._http_options())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, task: str, inputs: Any, parameters: Mapping[str, Any] | None = None) -> InferenceResult:
        """See `InferenceClient.run`."""
        given = plain("inputs", inputs), plain("parameters", parameters)
        result: InferenceResult = await self._drive(_call(await self._discovered(), task, *given))
        return result

    async def chat_completion(self, messages: Any, **parameters: Any) -> ChatCompletion:
        """See `InferenceClient.chat_completion`."""
        return _chat_completion(await self.run(CHAT, messages, parameters))

    async def text_generation(self, prompt: str, **parameters: Any) -> str:
        """See `InferenceClient.text_generation`."""
        return _single_text(await self.run(GENERATE, prompt, parameters))

    async def feature_extraction(self, text: str | list[str], **parameters: Any) -> list[list[float]]:
        """See `InferenceClient.feature_extraction`."""
        vectors: list[list[float]] = (await self.run(EMBED, text, parameters)).output
        return vectors

    async def call(self, route: str, payload: Any = None, method: str = "POST") -> Any:
        """See `InferenceClient.call`."""
        return await self._drive(discovery.call(route, plain("payload", payload), method))

    async def _discovered(self) -> discovery.Target:
        if self._target is None:
            self._target = await self._drive(discovery.discover(self._engine, self._model))
        return self._target

    async def _drive(self, call: discovery.Steps) -> Any:
        response: WireResponse | None = None
        try:
            while True:
                try:
                    request = call.send(cast(WireResponse, response))  # the first send is None
                except StopIteration as end:
                    return end.value
                response = await AsyncRetrying(**self._retrying())(self._send, request)
        except InferenceError as error:
            raise error.without(self._token).of_token(self._token_source) from error.__cause__

    async def _send(self, request: WireRequest) -> WireResponse:
        try:
            try:
                answer = await self._http.request(**self._call_options(request))
            except MAYBE_STALE as error:
                if not closed_before_answer(error):
                    raise
                answer = await self._http.request(**self._call_options(request))
        except RAISED as error:
            raise _typed(error, request) from error
        return _judge(answer, request)
