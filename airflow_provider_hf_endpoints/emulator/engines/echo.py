"""The echo engine: an answer for every route of every engine, made from the request alone, and the time it takes.

`answer` is pure and chooses the route by the endpoint's image. `EchoEngine` adds the slots, the queue, the latency and
the refusals of a real engine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_hf_endpoints.emulator.engines import dialects, openai, tei, tgi, toolkit
from airflow_provider_hf_endpoints.emulator.engines.base import (
    Call,
    Engine,
    Reply,
    event,
    event_reply,
    json_reply,
    text_reply,
)
from airflow_provider_hf_endpoints.emulator.engines.openai import BadRequest
from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.http import parse_json
from airflow_provider_hf_endpoints.emulator.service import images
from airflow_provider_hf_endpoints.emulator.service.clock import Clock
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint

Route = Callable[[Call, dict[str, Any]], Reply]


def _transcribe(call: Call, body: dict[str, Any]) -> Reply:
    return openai.transcriptions(call)


_CHAT: dict[str, Route] = {"/v1/chat/completions": openai.chat, "/v1/completions": openai.completions}
_OPENAI: dict[str, Route] = {**_CHAT, "/v1/embeddings": openai.embeddings}
_SOUNDS: dict[str, Route] = {"/v1/audio/transcriptions": _transcribe}
_TGI: dict[str, Route] = dict.fromkeys(("/", "/generate", "/generate_stream"), tgi.generate)
_TEI: dict[str, Route] = dict.fromkeys(("/", "/embed", "/rerank", "/predict", "/similarity"), tei.route)
_CHATTING_TASKS = frozenset({"text-generation", "image-text-to-text", "any-to-any"})


def _sglang_generate(call: Call, body: dict[str, Any]) -> Reply:
    """SGLang's own `/generate`: `{"text", "sampling_params"}`."""
    parameters = body.get("sampling_params")
    parameters = parameters if isinstance(parameters, dict) else {}
    asked = parameters.get("max_new_tokens")
    prompt, made = tgi.generation(
        call, {"inputs": body.get("text")}, {} if asked is None else {"max_new_tokens": asked}
    )
    finish = {"type": "length" if made.finish == "length" else "stop"}
    spent = len(prompt.split())
    meta = {"finish_reason": finish, "prompt_tokens": spent, "completion_tokens": len(made.tokens)}
    return json_reply({"text": made.text, "meta_info": meta}, prompt_tokens=spent, completion_tokens=len(made.tokens))


def _toolkit_root(call: Call, body: dict[str, Any]) -> Reply:
    return toolkit.predict(call, call.endpoint.spec["model"].get("task", "custom"), body)


def _custom_root(call: Call, body: dict[str, Any]) -> Reply:
    """An unknown container, which answers like its task's pipeline."""
    task = call.endpoint.spec["model"].get("task", "custom")
    return tgi.generate(call, body) if task in _CHATTING_TASKS else toolkit.predict(call, task, body)


def _hf_serve_chat(call: Call, body: dict[str, Any]) -> Reply:
    """`transformers serve` refuses fields that it does not know."""
    unknown = sorted(set(body) - _HF_SERVE_FIELDS)
    if unknown:
        raise BadRequest(f"Unexpected fields in the request: {unknown}", 422)
    return openai.chat(call, body)


_HF_SERVE_FIELDS = frozenset(
    {"model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "n",
     "frequency_penalty", "presence_penalty", "logit_bias", "tools", "tool_choice", "response_format", "user",
     "stream_options", "generation_config"}
)  # fmt: skip
_ROUTES: dict[str, dict[str, Route]] = {
    "vLLM": {**_OPENAI, **_SOUNDS},
    "sGLang": {**_OPENAI, **_SOUNDS, "/generate": _sglang_generate},
    "llamacpp": {**_OPENAI, "/chat/completions": openai.chat, "/completions": openai.completions},
    "tgi": {**_CHAT, **_TGI},
    "tei": {**_TEI, "/v1/embeddings": openai.embeddings},
    "huggingface": {"/": _toolkit_root, "/predict": _toolkit_root},
    "hfServe": {"/v1/chat/completions": _hf_serve_chat},
    "custom": {**_TGI, **_TEI, **_OPENAI, "/": _custom_root},
}


def answer(call: Call) -> Reply:
    """The answer of the endpoint's container to `call`."""
    dialect = dialects.dialect_of(call.endpoint)
    if call.method in ("GET", "HEAD"):
        return _read(call, dialect)
    routes = _ROUTES[dialect]
    if (
        dialect == "huggingface"
        and speaks_openai(call, dialect)
        and call.endpoint.spec["model"].get("task") in _CHATTING_TASKS
    ):
        routes = {**routes, "/v1/chat/completions": openai.chat}
    route = routes.get(call.path)
    if route is None:
        return _not_found(call)
    if call.method != "POST":
        return _wrong_method(call)
    try:
        # Any other route takes JSON, and the toolkit pictures and sounds.
        reply = route(call, {} if route is _transcribe else _body(call, dialect))
    except BadRequest as refusal:
        reply = _refused(call, refusal)
    if dialect == "vLLM" and reply.status == 200 and reply.chunks is None:
        reply.headers.update(_load_header(call))
    return reply


def speaks_openai(call: Call, dialect: str) -> bool:
    """Whether a container that generates text serves OpenAI's routes: the default image's toolkit does not."""
    return dialect != "tei" and (dialect != "huggingface" or call.toolkit_chats)


def _body(call: Call, dialect: str) -> Any:
    task = call.endpoint.spec["model"].get("task", "custom")
    raw = "json" not in call.headers.get("content-type", "") and toolkit.takes_bytes(task)
    if raw and call.path in ("/", "/predict") and dialect in ("huggingface", "custom"):
        return None
    try:
        body = parse_json(call.body)
    except ApiError as error:
        raise BadRequest(error.message, 422 if dialect in ("tgi", "tei") else 400) from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be an object", 422 if dialect in ("tgi", "tei") else 400)
    return body


def _refused(call: Call, refusal: BadRequest) -> Reply:
    dialect, status = dialects.dialect_of(call.endpoint), refusal.status
    if dialect == "tgi" and status == 400:
        status = 422
    if dialect == "hfServe" and status != 422:
        # A wrong model is a 400; any other error in a body makes the engine fail.
        body = dialects.error_body(dialect, 400, str(refusal))
        return json_reply(body, 400) if status == 404 else text_reply("Internal Server Error", 500)
    if dialect == "sGLang" and b'"stream"' in call.body and _asks_stream(call):
        # SGLang has already sent 200 when it checks a request with `stream`.
        inner = dialects.error_body(dialect, status, str(refusal), refusal.kind)
        return event_reply([event({"error": inner}), event("[DONE]")])
    return dialects.error_reply(call, status, str(refusal), refusal.kind, **refusal.extra)


def _asks_stream(call: Call) -> bool:
    try:
        body = parse_json(call.body)
    except ApiError:
        return False
    return isinstance(body, dict) and body.get("stream") is True


# ------------------------------------------------------------------------------------------- reading


def _read(call: Call, dialect: str) -> Reply:
    health = images.health_route(call.endpoint.spec["model"]["image"])
    match call.path:
        case path if path == "/health" or path.rstrip("/") == health.rstrip("/"):
            if dialect == "llamacpp":
                return json_reply({"status": "ok"})
            return json_reply({"status": "ok"}) if dialect in ("huggingface", "custom") else text_reply("")
        case "/v1/models" if dialect not in ("tei", "huggingface"):
            return openai.models(call)
        case "/info" if dialect in ("tgi", "custom"):
            return tgi.info(call)
        case "/info" if dialect == "tei":
            return tei.info(call)
        case "/metrics" if dialect != "huggingface":
            return text_reply(_metrics(call, dialect))
        case "/props" if dialect == "llamacpp":
            size = dialects.context_length(call.endpoint)
            return json_reply({"total_slots": _slots(call), "default_generation_settings": {"n_ctx": size}})
        case "/slots" if dialect == "llamacpp":
            busy = min(call.running, _slots(call))
            return json_reply([{"id": i, "is_processing": i < busy} for i in range(_slots(call))])
        case path if path in _ROUTES[dialect]:
            return _wrong_method(call)
    return _not_found(call)


def _slots(call: Call) -> int:
    return max(1, call.endpoint.behaviour.slots or 4)


def _metrics(call: Call, dialect: str) -> str:
    names = {
        "tgi": ("tgi_batch_current_size", "tgi_queue_size"),
        "tei": ("te_batch_current_size", "te_queue_size"),
        "llamacpp": ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
        "sGLang": ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    }.get(dialect, ("vllm:num_requests_running", "vllm:num_requests_waiting"))
    values = (call.running, call.waiting)
    return "".join(f"# TYPE {n} gauge\n{n} {float(v)}\n" for n, v in zip(names, values, strict=True))


def _load_header(call: Call) -> dict[str, str]:
    """vLLM's report of its load, on request."""
    if call.headers.get("endpoint-load-metrics-format", "").upper() != "TEXT":
        return {}
    used = min(1.0, (call.running + 1) / (call.endpoint.behaviour.slots or 256))
    return {
        "endpoint-load-metrics": f"TEXT named_metrics.kv_cache_usage_perc={used:.4f},"
        f" named_metrics.num_requests_waiting={float(call.waiting)}"
    }


def _not_found(call: Call) -> Reply:
    if dialects.dialect_of(call.endpoint) in ("vLLM", "sGLang", "hfServe", "huggingface"):
        return json_reply({"detail": "Not Found"}, 404)
    return dialects.error_reply(call, 404, "Not Found")


def _wrong_method(call: Call) -> Reply:
    return json_reply({"detail": "Method Not Allowed"}, 405)


# ------------------------------------------------------------------------------------------- time and slots


@dataclass
class _Load:
    """The busy slots of one endpoint's containers. `limit` None: no limit."""

    limit: int | None = None
    running: int = 0
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def enter(self) -> None:
        """Take a slot, or wait for one in order of arrival."""
        if self.limit is None or self.running < self.limit:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the slot was given just when the client left
            raise

    def leave(self) -> None:
        self.running -= 1
        self.admit()

    def admit(self) -> None:
        """Give free slots to waiting requests."""
        while self.queue and (self.limit is None or self.running < self.limit):
            turn = self.queue.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)


def _limit(endpoint: Endpoint, now: float) -> int | None:
    slots = endpoint.behaviour.slots
    return None if slots is None else max(1, slots) * max(1, endpoint.ready_replica(now))


class EchoEngine(Engine):
    """`answer`, with each endpoint's slots, queue and latency."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loads: dict[str, _Load] = {}

    async def follow(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Give waiting requests the slots of new replicas."""
        for endpoint in endpoints:
            load = self._loads.get(endpoint.id)
            if load is not None:
                load.limit = _limit(endpoint, now)
                load.admit()

    async def respond(self, call: Call) -> Reply:
        """Answer `call` after it has a slot and its time has passed. Refuse it if the engine would."""
        load = self._loads.setdefault(call.endpoint.id, _Load())
        if call.method != "POST":
            return answer(replace(call, running=load.running, waiting=len(load.queue)))
        load.limit = _limit(call.endpoint, call.now)
        refuse = dialects.refuse_over(call.endpoint)
        most = None if refuse is None else refuse * max(1, call.endpoint.ready_replica(call.now))
        if most is not None and load.running + len(load.queue) >= most:
            return dialects.error_reply(call, 429, "Model is overloaded")
        await load.enter()
        try:
            reply = answer(replace(call, running=load.running - 1, waiting=len(load.queue)))
            behaviour = call.endpoint.behaviour
            pause = behaviour.latency_seconds + behaviour.latency_seconds_per_token * reply.completion_tokens
            if reply.chunks is None and pause:
                await self._clock.sleep(pause)
        except BaseException:
            load.leave()
            raise
        if reply.chunks is not None and pause:
            reply.stream, reply.chunks = self._paced(reply.chunks, pause), None
        reply.on_end = load.leave  # the slot is in use until the answer is sent or the client has gone
        return reply

    async def _paced(self, chunks: tuple[bytes, ...], pause: float) -> AsyncIterator[bytes]:
        for chunk in chunks:
            await self._clock.sleep(pause / len(chunks))
            yield chunk
