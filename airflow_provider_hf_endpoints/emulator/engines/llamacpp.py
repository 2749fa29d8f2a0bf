"""The llama.cpp engine: a real model for endpoints that generate text; other endpoints use the echo engine.

An endpoint's process starts with its `initializing` phase and ends when the endpoint stops, so cold starts are real.
OpenAI's routes are passed on unchanged; TGI's and the toolkit's are translated to llama.cpp's `/completion`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx

from airflow_provider_hf_endpoints.emulator.engines import dialects, echo, openai, tgi, toolkit
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Engine, Reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.llamacpp_process import LlamaCppProcess, find_model
from airflow_provider_hf_endpoints.emulator.engines.openai import BadRequest
from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.http import dump_json, parse_json
from airflow_provider_hf_endpoints.emulator.service.record import SERVING, Endpoint, State
from airflow_provider_hf_endpoints.emulator.service.service import Service

_TASKS = frozenset({"text-generation", "image-text-to-text", "any-to-any"})
_TEXT_ENGINES = frozenset({"vLLM", "sGLang", "llamacpp", "tgi"})
_OWN_READS = frozenset({"/v1/models", "/props", "/slots", "/metrics"})
_GENERATE = frozenset({"/", "/generate", "/generate_stream"})
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds
_TIMINGS = re.compile(rb'"(cache_n|prompt_n|predicted_n)":(\d+)')
_SAMPLING = {  # a parameter of TGI and the toolkit -> llama.cpp's
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "typical_p": "typical_p",
    "seed": "seed",
    "repetition_penalty": "repeat_penalty",
}
_SAMPLERS = frozenset({"temperature", "top_k", "top_p", "typical_p"})  # each of them asks TGI to sample


def generates_text(endpoint: Endpoint) -> bool:
    """Whether the real model answers for this endpoint's model."""
    task = endpoint.spec["model"].get("task", "custom")
    return task in _TASKS or (task == "custom" and dialects.dialect_of(endpoint) in _TEXT_ENGINES)


class LlamaCppEngine(Engine):
    """One llama.cpp process per endpoint that generates text. Raises EngineUnavailable if it is not installed."""

    def __init__(self, model_path: str | None, service: Service) -> None:
        self._model = find_model(model_path)
        self._service = service
        self._echo = echo.EchoEngine(service.clock)
        self._processes: dict[str, LlamaCppProcess] = {}
        self._successors: dict[str, LlamaCppProcess] = {}  # started by an update, not ready yet
        self._client: httpx.AsyncClient | None = None

    # ------------------------------------------------------------------------------------------- processes

    async def follow(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Start and stop processes by the endpoints' states."""
        endpoints = list(endpoints)
        await self._echo.follow(endpoints, now)
        wanted = {
            endpoint.id: endpoint
            for endpoint in endpoints
            if endpoint.gone_at is None
            and (endpoint.state in SERVING or endpoint.state is State.INITIALIZING)
            and generates_text(endpoint)
        }
        for running in (self._processes, self._successors):
            for endpoint_id in [i for i in running if i not in wanted]:
                await running.pop(endpoint_id).stop()
        for endpoint in wanted.values():
            await self._keep(endpoint)

    async def _keep(self, endpoint: Endpoint) -> None:
        alias = str(endpoint.spec["model"]["repository"])
        process = self._processes.get(endpoint.id)
        if process is None:
            self._processes[endpoint.id] = await self._start(alias)
            return
        if process.ended:
            del self._processes[endpoint.id]
            error = f"llama.cpp ended with exit code {process.returncode}"
            self._service.engine_failed(endpoint, error, tuple(process.last_lines))
            return
        successor = self._successors.get(endpoint.id)
        if successor is not None and successor.address is not None:
            self._processes[endpoint.id] = self._successors.pop(endpoint.id)
            await process.stop()
        elif successor is None and process.alias != alias:
            self._successors[endpoint.id] = await self._start(alias)

    async def _start(self, alias: str) -> LlamaCppProcess:
        process = LlamaCppProcess(self._model, alias)
        await process.start()
        return process

    async def close(self) -> None:
        """End every process."""
        for process in (*self._processes.values(), *self._successors.values()):
            await process.stop()
        self._processes.clear()
        self._successors.clear()
        if self._client is not None:
            await self._client.aclose()

    # ------------------------------------------------------------------------------------------- requests

    async def respond(self, call: Call) -> Reply:
        """Answer `call` with the real model; while it loads, as llama.cpp does."""
        if not generates_text(call.endpoint):
            return await self._echo.respond(call)
        process = self._processes.get(call.endpoint.id)
        if process is None or process.address is None:
            return json_reply(dialects.error_body("llamacpp", 503, "Loading model"), 503)
        dialect = dialects.dialect_of(call.endpoint)
        try:
            if call.method == "POST" and call.path.startswith("/v1/") and echo.speaks_openai(call, dialect):
                return await self._openai(call, process)
            if call.method == "POST" and call.path in _GENERATE and dialect in ("huggingface", "tgi", "custom"):
                return await self._generate(call, process)
            if dialect == "llamacpp" and (call.method == "POST" or call.path in _OWN_READS):
                return await self._forward(call.method, call.path, call.body, process)
        except BadRequest as refusal:
            return dialects.error_reply(call, refusal.status, str(refusal), refusal.kind, **refusal.extra)
        except httpx.TransportError:
            return json_reply({"error": "502 Bad Gateway", "code": "BAD_GATEWAY"}, 502)
        return echo.answer(call)

    async def _openai(self, call: Call, process: LlamaCppProcess) -> Reply:
        if dialects.dialect_of(call.endpoint) in ("vLLM", "sGLang"):
            openai.check_model(call, _object(call, 400))  # llama.cpp itself accepts any name
        return await self._forward("POST", call.path, call.body, process)

    async def _forward(self, method: str, path: str, body: bytes, process: LlamaCppProcess) -> Reply:
        response = await self._send(method, path, body, process)
        kind = response.headers.get("content-type", "application/json")
        if kind.startswith("text/event-stream"):
            reply = Reply(response.status_code, content_type=kind)
            reply.stream = _raw(response, reply)
            return reply
        content = await _whole(response)
        return Reply(response.status_code, content, kind, **_spent(content))

    async def _send(self, method: str, path: str, body: bytes, process: LlamaCppProcess) -> httpx.Response:
        if self._client is None:
            # One connection per request: llama.cpp's server sometimes closes a connection after a stream,
            # and the next request on it would be lost.
            fresh = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, limits=fresh, trust_env=False, verify=False)
        request = self._client.build_request(
            method,
            f"{process.address}{path}",
            content=body,
            headers={"authorization": f"Bearer {process.api_key}", "content-type": "application/json"},
        )
        return await self._client.send(request, stream=True)

    # ------------------------------------------------------------------------------------------- translation

    async def _generate(self, call: Call, process: LlamaCppProcess) -> Reply:
        body = _object(call, 422)
        parameters = body.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise BadRequest("`parameters` must be an object", 422)
        prompt = _prompt(call, body, parameters)
        if isinstance(prompt, list):
            return await self._chat_of_toolkit(prompt, parameters, process)
        streaming = call.path == "/generate_stream" or (call.path == "/" and body.get("stream") is True)
        most = toolkit.DEFAULT_NEW_TOKENS if call.path == "/" else tgi.DEFAULT_NEW_TOKENS
        asked = completion_request(prompt, parameters, stream=streaming, default_tokens=most)
        response = await self._send("POST", "/completion", dump_json(asked), process)
        if response.status_code != 200:
            error = json.loads(await _whole(response)).get("error", {})
            raise BadRequest(str(error.get("message", "llama.cpp refused")), 422)
        full = parameters.get("return_full_text")
        prefix = prompt if (call.path == "/" if full is None else full) else ""
        if streaming:
            reply = Reply(200, content_type="text/event-stream")
            reply.stream = _tgi_events(response, prefix, reply)
            return reply
        result = json.loads(await _whole(response))
        answer: dict[str, Any] = {"generated_text": prefix + result["content"]}
        if parameters.get("details") is True:
            answer["details"] = _details(result)
        return json_reply(
            [answer] if call.path == "/" else answer,
            prompt_tokens=result["tokens_evaluated"],
            completion_tokens=result["tokens_predicted"],
        )

    async def _chat_of_toolkit(
        self, messages: list[Any], parameters: dict[str, Any], process: LlamaCppProcess
    ) -> Reply:
        """A chat in the toolkit's form, sent to llama.cpp's route for chats."""
        asked = completion_request("", parameters, stream=False, default_tokens=toolkit.DEFAULT_NEW_TOKENS)
        asked = {**asked, "messages": messages, "max_tokens": asked.pop("n_predict")}
        del asked["prompt"]
        response = await self._send("POST", "/v1/chat/completions", dump_json(asked), process)
        result = json.loads(await _whole(response))
        if response.status_code != 200:
            raise BadRequest(str(result.get("error", {}).get("message", "llama.cpp refused")))
        text = result["choices"][0]["message"]["content"]
        whole = toolkit.generated(messages, text, full=parameters.get("return_full_text") is not False)
        return json_reply([{"generated_text": whole}], **_spent(dump_json(result)))


def _prompt(call: Call, body: dict[str, Any], parameters: dict[str, Any]) -> str | list[Any]:
    """The prompt, or the messages of a chat; refused as the endpoint's engine would."""
    if dialects.dialect_of(call.endpoint) == "huggingface":
        toolkit.check_generate_arguments(parameters)
        prompt = body.get("inputs")
        if isinstance(prompt, list) and toolkit.is_chat(call, prompt):
            return prompt
        if not isinstance(prompt, str):
            raise BadRequest("Body needs to provide a `inputs` key with a text")
        return prompt
    return tgi.generation(call, body, parameters)[0]


def completion_request(prompt: str, parameters: dict[str, Any], *, stream: bool, default_tokens: int) -> dict[str, Any]:
    """The body of llama.cpp's `/completion` for a request to TGI or the toolkit."""
    request: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": parameters.get("max_new_tokens") or default_tokens,
        "stream": stream,
    }
    for theirs, ours in _SAMPLING.items():
        if isinstance(parameters.get(theirs), int | float):
            request[ours] = parameters[theirs]
    if not parameters.get("do_sample") and not _SAMPLERS & parameters.keys():
        request["temperature"] = 0  # TGI and transformers take the likeliest token unless they are asked to sample
    stop = parameters.get("stop") or parameters.get("stop_sequence")
    if stop:
        request["stop"] = [stop] if isinstance(stop, str) else stop
    return request


def _object(call: Call, status: int) -> dict[str, Any]:
    try:
        body = parse_json(call.body)
    except ApiError as error:
        raise BadRequest(error.message, status) from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be an object", status)
    return body


def _details(result: dict[str, Any]) -> dict[str, Any]:
    reason = {"limit": "length", "word": "stop_sequence"}.get(result.get("stop_type", ""), "eos_token")
    return {
        "finish_reason": reason,
        "generated_tokens": result["tokens_predicted"],
        "input_length": result["tokens_evaluated"],
        "seed": None,
        "prefill": [],
        "tokens": [],
    }


def _spent(content: bytes) -> dict[str, Any]:
    """The tokens in an OpenAI answer."""
    try:
        usage = json.loads(content).get("usage") or {}
        return {
            "prompt_tokens": int(usage.get("prompt_tokens", 0)),
            "completion_tokens": int(usage.get("completion_tokens", 0)),
        }
    except (ValueError, AttributeError, TypeError):
        return {}


async def _whole(response: httpx.Response) -> bytes:
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def _raw(response: httpx.Response, reply: Reply) -> AsyncIterator[bytes]:
    """llama.cpp's stream, unchanged. `reply` gets the number of tokens."""
    tail = b""
    try:
        async for chunk in response.aiter_raw():
            tail = (tail + chunk)[-4096:]
            yield chunk
    finally:
        await response.aclose()
        reply.prompt_tokens, reply.completion_tokens = _timed(tail)


def _timed(tail: bytes) -> tuple[int, int]:
    """Prompt and completion tokens, from the timings in a stream's last event."""
    numbers = {name: int(number) for name, number in _TIMINGS.findall(tail)}
    return numbers.get(b"cache_n", 0) + numbers.get(b"prompt_n", 0), numbers.get(b"predicted_n", 0)


async def _tgi_events(response: httpx.Response, prefix: str, reply: Reply) -> AsyncIterator[bytes]:
    """llama.cpp's stream as TGI's."""
    text, index = prefix, 0
    try:
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            part = json.loads(line.removeprefix("data: "))
            text += part.get("content", "")
            index += 1
            ended = part.get("stop") is True
            if ended:
                reply.prompt_tokens, reply.completion_tokens = part["tokens_evaluated"], part["tokens_predicted"]
            event = {
                "index": index,
                "token": {"id": 0, "text": part.get("content", ""), "logprob": 0.0, "special": ended},
                "generated_text": text if ended else None,
                "details": _details(part) if ended else None,
            }
            yield b"data:" + dump_json(event) + b"\n\n"
    finally:
        await response.aclose()
