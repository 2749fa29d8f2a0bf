"""TGI's own routes on the echo engine: `/`, `/generate`, `/generate_stream`, `/info`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_hf_endpoints.emulator.engines import dialects, words
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply, event_reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.openai import BadRequest
from airflow_provider_hf_endpoints.emulator.engines.words import Completion
from airflow_provider_hf_endpoints.emulator.http import dump_json

DEFAULT_NEW_TOKENS = 1024
_FINISH = {"stop": "eos_token", "length": "length", "stop_sequence": "stop_sequence"}


def info(call: Call) -> Reply:
    """`GET /info`."""
    model = call.endpoint.spec["model"]
    return json_reply(
        {
            "model_id": model["repository"],
            "model_sha": model.get("revision"),
            "model_pipeline_tag": model.get("task"),
            "max_concurrent_requests": dialects.refuse_over(call.endpoint) or 128,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": dialects.max_input_length(call.endpoint),
            "max_total_tokens": dialects.context_length(call.endpoint),
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.6",
        }
    )


def generate(call: Call, body: dict[str, Any]) -> Reply:
    """`POST /generate`, `/generate_stream` and `/`. The last answers with a list or, with `stream`, with events."""
    parameters = body.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise BadRequest("Input validation error: `parameters` must be an object", 422)
    prompt, completion = generation(call, body, parameters)
    default_full = call.path == "/"  # the route of the older inference API has this default
    full = parameters.get("return_full_text")
    text = prompt + completion.text if (default_full if full is None else full) else completion.text
    count = (words.count_tokens(prompt), len(completion.tokens))
    details = _details(completion, count[0], parameters)
    if call.path == "/generate_stream" or (call.path == "/" and body.get("stream") is True):
        events = _events(completion, text, details)
        return event_reply(events, prompt_tokens=count[0], completion_tokens=count[1])
    answer: dict[str, Any] = {"generated_text": text}
    if parameters.get("details") is True:
        answer["details"] = details
    return json_reply([answer] if call.path == "/" else answer, prompt_tokens=count[0], completion_tokens=count[1])


def generation(call: Call, body: dict[str, Any], parameters: dict[str, Any]) -> tuple[str, Completion]:
    """The prompt and what follows it. Raises BadRequest 422."""
    prompt = body.get("inputs")
    if not isinstance(prompt, str) or not prompt:
        raise BadRequest("Input validation error: `inputs` must be a non-empty string", 422)
    asked = parameters.get("max_new_tokens")
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int) or asked < 1):
        raise BadRequest("Input validation error: `max_new_tokens` must be strictly positive", 422)
    temperature = parameters.get("temperature")
    if temperature is not None and (not isinstance(temperature, int | float) or temperature <= 0):
        raise BadRequest("Input validation error: `temperature` must be strictly positive", 422)
    tokens, total = words.count_tokens(prompt), dialects.context_length(call.endpoint)
    longest = dialects.max_input_length(call.endpoint)
    if tokens > longest:
        raise BadRequest(f"Input validation error: `inputs` must have less than {longest} tokens. Given: {tokens}", 422)
    max_new = min(DEFAULT_NEW_TOKENS, total - tokens) if asked is None else asked
    if tokens + max_new > total:
        raise BadRequest(
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {total}."
            f" Given: {tokens} `inputs` tokens and {max_new} `max_new_tokens`",
            422,
        )
    grammar = parameters.get("grammar")
    if isinstance(grammar, dict) and grammar.get("type") == "json":
        text = words.json_for(grammar.get("value"), prompt)
        return prompt, Completion(text, (text,), "stop")
    stop = parameters.get("stop") or []
    if not isinstance(stop, list) or len(stop) > 4 or not all(isinstance(s, str) for s in stop):
        raise BadRequest("Input validation error: `stop` supports up to 4 strings", 422)
    return prompt, words.complete(prompt, max_tokens=max_new, stop=stop)


def _details(completion: Completion, prompt_tokens: int, parameters: dict[str, Any]) -> dict[str, Any]:
    seed = parameters.get("seed")
    return {
        "finish_reason": _FINISH[completion.finish],
        "generated_tokens": len(completion.tokens),
        "seed": seed if isinstance(seed, int) else None,
        "prefill": [],
        "tokens": [_token(token) for token in completion.tokens],
        "input_length": prompt_tokens,
    }


def _token(text: str) -> dict[str, Any]:
    return {"id": sum(text.encode("utf-8", "surrogatepass")), "text": text, "logprob": -0.5, "special": False}


def _events(completion: Completion, text: str, details: dict[str, Any]) -> Iterable[bytes]:
    tokens = completion.tokens or ("",)
    for index, token in enumerate(tokens, start=1):
        last = index == len(tokens)
        summary = {name: details[name] for name in ("finish_reason", "generated_tokens", "seed", "input_length")}
        yield (
            b"data:"
            + dump_json(
                {
                    "index": index,
                    "token": _token(token),
                    "generated_text": text if last else None,
                    "details": summary if last else None,
                }
            )
            + b"\n\n"
        )
