"""The OpenAI routes of the echo engine, as in vLLM, SGLang, llama.cpp and TGI. Pure: a call in, a reply out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_hf_endpoints.emulator.engines import dialects, words
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply, event, event_reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.words import Completion

# Engines that refuse a model name other than the one they serve.
_CHECKS_MODEL = frozenset({"vLLM", "sGLang", "hfServe"})


_GENERATING = frozenset({"text-generation", "image-text-to-text", "any-to-any"})
DEFAULT_UNCHECKED = 100_000  # the most tokens that an engine without a limit generates


class BadRequest(Exception):
    """A body that the engine refuses, with the engine's own words in the reply."""

    def __init__(self, message: str, status: int = 400, kind: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status, self.kind, self.extra = status, kind, extra


def models(call: Call) -> Reply:
    """`GET /v1/models`: the one model, named by its repository."""
    repository = call.endpoint.spec["model"]["repository"]
    entry = {
        "id": repository,
        "object": "model",
        "created": int(call.endpoint.created_at),
        "owned_by": dialects.dialect_of(call.endpoint).lower(),
        "root": repository,
        "max_model_len": dialects.context_length(call.endpoint),
    }
    return json_reply({"object": "list", "data": [entry]})


def chat(call: Call, body: dict[str, Any]) -> Reply:
    """`POST /v1/chat/completions`. Raises BadRequest."""
    prompt, prompt_tokens = conversation(body.get("messages"))
    asked = body.get("max_completion_tokens")
    return _generate(call, body, [prompt], prompt_tokens, asked if asked is not None else body.get("max_tokens"))


def completions(call: Call, body: dict[str, Any]) -> Reply:
    """`POST /v1/completions`. Raises BadRequest."""
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise BadRequest("`prompt` must be a string or a list of strings")
    tokens = max(words.count_tokens(p) for p in prompts)
    asked = body.get("max_tokens")
    return _generate(call, body, prompts, tokens, 16 if asked is None else asked)


def embeddings(call: Call, body: dict[str, Any]) -> Reply:
    """`POST /v1/embeddings`. Raises BadRequest."""
    check_model(call, body)
    _check_embeds(call)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise BadRequest("`input` must be a string or a list of strings")
    dialect, limit = dialects.dialect_of(call.endpoint), dialects.context_length(call.endpoint)
    if dialect == "tei" and len(texts) > dialects.max_batch(call.endpoint):
        raise BadRequest(
            f"batch size {len(texts)} > maximum allowed batch size {dialects.max_batch(call.endpoint)}", 413
        )
    tokens = [words.count_tokens(text) for text in texts]
    if dialect != "tei" and max(tokens) > limit:
        message = f"input ({max(tokens)} tokens) is larger than the context of {limit} tokens"
        # llama.cpp answers a client's mistake with a 5xx: clients that retry every 5xx would never stop.
        raise BadRequest(message, 500 if dialect == "llamacpp" else 400)
    data = [{"object": "embedding", "index": i, "embedding": words.embed(t)} for i, t in enumerate(texts)]
    usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    model = call.endpoint.spec["model"]["repository"]
    return json_reply({"object": "list", "data": data, "model": model, "usage": usage}, prompt_tokens=sum(tokens))


def transcriptions(call: Call) -> Reply:
    """`POST /v1/audio/transcriptions`, a form with the sound as its file. Raises BadRequest."""
    kind = call.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data; boundary="):
        raise BadRequest("expected multipart/form-data")
    fields = _form(call.body, kind.partition("boundary=")[2].encode())
    if not fields.get("file"):
        raise BadRequest("`file` is missing or empty", 422)
    check_model(call, {"model": fields.get("model", b"").decode()})
    text = f"echo {hashlib.sha256(fields['file']).hexdigest()[:8]} {len(fields['file'])}"
    if fields.get("response_format") == b"verbose_json":
        return json_reply({"text": text, "segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": text}]})
    return json_reply({"text": text})


def _form(body: bytes, boundary: bytes) -> dict[str, bytes]:
    """The parts of a form by their names. Raises BadRequest."""
    if not body.endswith(b"\r\n--%b--\r\n" % boundary):
        raise BadRequest("the form does not end")
    found = {}
    for part in (b"\r\n" + body).split(b"\r\n--%b" % boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.partition(b' name="')[2].partition(b'"')[0]
        found[name.decode()] = content
    return found


def check_model(call: Call, body: dict[str, Any]) -> None:
    """Raises BadRequest 404 if the engine serves no model with this name."""
    model, repository = body.get("model"), call.endpoint.spec["model"]["repository"]
    if dialects.dialect_of(call.endpoint) not in _CHECKS_MODEL or model in (None, "", repository):
        return
    raise BadRequest(f"The model `{model}` does not exist.", 404)


def _check_embeds(call: Call) -> None:
    """Raises BadRequest if the engine's model generates text: vLLM and SGLang load a model for one of both uses."""
    dialect, task = dialects.dialect_of(call.endpoint), call.endpoint.spec["model"].get("task")
    if dialect in ("vLLM", "sGLang") and task in _GENERATING:
        raise BadRequest("The model does not support Embeddings API")


# ------------------------------------------------------------------------------------------- generating


def _generate(call: Call, body: dict[str, Any], prompts: Sequence[str], prompt_tokens: int, asked: Any) -> Reply:
    check_model(call, body)
    max_tokens = _max_tokens(call, asked, prompt_tokens)
    copies = _whole(body, "n", 1, 1, 128)
    _check_sampling(call, body)
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(s, str) for s in stop):
        raise BadRequest("`stop` must be a string or a list of strings")
    schema = _schema(call, body)
    made = []
    for prompt in prompts:
        if schema is not None:
            text = words.json_for(schema, prompt)
            completion = Completion(text, (text,), "stop")
        else:
            completion = words.complete(
                prompt,
                max_tokens=max_tokens,
                stop=stop,
                min_tokens=_whole(body, "min_tokens", 0, 0, 2**31),
                ignore_eos=body.get("ignore_eos") is True,
            )
        made += [completion] * copies
    total = prompt_tokens * len(prompts) if len(prompts) == 1 else sum(words.count_tokens(p) for p in prompts)
    usage = _usage(total, sum(len(c.tokens) for c in made))
    chatting = "messages" in body and call.path.endswith("/chat/completions")
    head = _head(call, chatting, stream=body.get("stream") is True)
    if body.get("stream") is True:
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        events = _events(head, made, chatting, usage if with_usage else None)
        return event_reply(events, prompt_tokens=total, completion_tokens=usage["completion_tokens"])
    choices = [_choice(index, completion, chatting) for index, completion in enumerate(made)]
    return json_reply(
        {**head, "choices": choices, "usage": usage},
        prompt_tokens=total,
        completion_tokens=usage["completion_tokens"],
    )


def conversation(messages: Any) -> tuple[str, int]:
    """The last user message's text, and the tokens of the whole conversation. Raises BadRequest."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list with at least one message")
    last, tokens = "", 0
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("every message must be an object with a `role`")
        text = _content(message.get("content"))
        tokens += words.count_tokens(text) + 3  # the addition of a chat template
        if message["role"] == "user":
            last = text
    return last, tokens


def _content(content: Any) -> str:
    match content:
        case str():
            return content
        case None:
            return ""
        case list():
            _check_media(content)
            parts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text"]
            if all(isinstance(part, str) for part in parts):
                return "\n".join(str(part) for part in parts)
    raise BadRequest("`content` must be a string or a list of parts")


def _check_media(content: list[Any]) -> None:
    """Raises BadRequest for a picture, sound or video whose data an engine could not read."""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("image_url", "audio_url", "video_url", "input_audio"):
            continue
        inside = part.get(kind)
        data = inside.get("data" if kind == "input_audio" else "url") if isinstance(inside, dict) else None
        if not isinstance(data, str) or not data:
            raise BadRequest(f"`{kind}` has no data")
        if data.startswith(("http://", "https://")) and kind != "input_audio":
            continue  # the engine would fetch it
        head, _, text = data.rpartition(",")
        if kind != "input_audio" and not (head.startswith("data:") and head.endswith(";base64")):
            raise BadRequest("The URL must be either a HTTP, data or file URL.")
        try:
            content_of = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise BadRequest(f"Invalid base64-encoded data: {error}") from None
        if not content_of:
            raise BadRequest(f"`{kind}` is empty")


def _max_tokens(call: Call, asked: Any, prompt_tokens: int) -> int:
    """How many tokens may be generated. Raises BadRequest if prompt and answer do not fit into the context."""
    dialect, limit = dialects.dialect_of(call.endpoint), dialects.context_length(call.endpoint)
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int)):
        raise BadRequest("`max_tokens` must be an integer", 422 if dialect == "tgi" else 400)
    if dialect == "hfServe":  # it does not check the context
        return DEFAULT_UNCHECKED if asked is None or asked < 1 else int(asked)
    if dialect == "llamacpp":
        if prompt_tokens >= limit:
            message = f"request ({prompt_tokens} tokens) exceeds the available context size ({limit} tokens)"
            raise BadRequest(message, 400, "exceed_context_size_error", n_prompt_tokens=prompt_tokens, n_ctx=limit)
        return limit - prompt_tokens if asked is None or asked < 0 else min(asked, limit - prompt_tokens)
    if asked is not None and asked < 1:
        raise BadRequest(f"max_tokens must be at least 1, got {asked}.", 422 if dialect == "tgi" else 400)
    if dialect == "tgi":
        asked = min(1024, limit - prompt_tokens) if asked is None else asked
        if prompt_tokens + max(asked, 1) > limit:
            message = f"`inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {prompt_tokens} and {asked}"
            raise BadRequest(f"Input validation error: {message}", 422)
        return int(asked)
    if prompt_tokens + (asked or 1) > limit:
        raise BadRequest(
            f"This model's maximum context length is {limit} tokens. However, you requested"
            f" {prompt_tokens + (asked or 0)} tokens ({prompt_tokens} in the messages, {asked or 0} in the"
            " completion)."
        )
    return int(asked or limit - prompt_tokens)


def _check_sampling(call: Call, body: dict[str, Any]) -> None:
    """Raises BadRequest for a temperature and a `top_p` from which vLLM and SGLang cannot sample."""
    dialect = dialects.dialect_of(call.endpoint)
    if dialect not in ("vLLM", "sGLang"):
        return
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadRequest(f"`{name}` must be a number")
    if (temperature := body.get("temperature")) is not None and temperature < 0:
        raise BadRequest(f"temperature must be non-negative, got {temperature}.")
    if (top_p := body.get("top_p")) is not None and not 0 < top_p <= 1:
        raise BadRequest(f"top_p must be in (0, 1], got {top_p}.")


def _whole(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"`{name}` must be an integer from {least} to {most}")
    return value


def _schema(call: Call, body: dict[str, Any]) -> Any:
    """The JSON schema for the answer, in the dialect's form; None: free text.

    TGI knows `{"type": "json_object", "value": schema}`. The others ignore `value` and generate any object.
    """
    asked = body.get("response_format")
    if asked is None:
        guided = body.get("guided_json")
        return guided if isinstance(guided, dict) and dialects.dialect_of(call.endpoint) == "vLLM" else None
    if not isinstance(asked, dict):
        raise BadRequest("`response_format` must be an object")
    match asked.get("type"):
        case "text":
            return None
        case "json_object":
            if dialects.dialect_of(call.endpoint) in ("tgi", "huggingface") and "value" in asked:
                return asked["value"]
            if dialects.dialect_of(call.endpoint) == "llamacpp" and "schema" in asked:
                return asked["schema"]
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case "json_schema":
            named = asked.get("json_schema")
            if isinstance(named, dict) and isinstance(named.get("schema"), dict):
                return named["schema"]
    raise BadRequest("`response_format` is not understood")


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _head(call: Call, chatting: bool, stream: bool) -> dict[str, Any]:
    digest = hashlib.sha256(call.body).hexdigest()[:24]
    return {
        "id": f"chatcmpl-{digest}" if chatting else f"cmpl-{digest}",
        "object": ("chat.completion" if chatting else "text_completion") + (".chunk" if chatting and stream else ""),
        "created": int(call.now),
        "model": call.endpoint.spec["model"]["repository"],
        "system_fingerprint": "emulator-echo",
    }


def _finish(completion: Completion) -> str:
    return "length" if completion.finish == "length" else "stop"


def _choice(index: int, completion: Completion, chatting: bool) -> dict[str, Any]:
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": completion.text}} if chatting else {"text": completion.text}
    )
    return {"index": index, **said, "logprobs": None, "finish_reason": _finish(completion)}


def _events(
    head: dict[str, Any], made: Sequence[Completion], chatting: bool, usage: dict[str, int] | None
) -> Iterable[bytes]:
    def chunk(index: int, text: str | None, finish: str | None, *, first: bool = False) -> bytes:
        if chatting:
            delta: dict[str, Any] = {} if text is None else {"content": text}
            said: dict[str, Any] = {"delta": {"role": "assistant", **delta} if first else delta}
        else:
            said = {"text": text or ""}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice]})

    for index, completion in enumerate(made):
        if chatting:
            yield chunk(index, "", None, first=True)
        for token in completion.tokens:
            yield chunk(index, token, None)
        yield chunk(index, None, _finish(completion))
    if usage is not None:
        yield event({**head, "choices": [], "usage": usage})
    yield event("[DONE]")
