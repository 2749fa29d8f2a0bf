"""The requests and answers of each engine, as pure functions: no I/O, no state.

`build_request` turns a task into a request, `read_result` an answer into a result or a typed error. A dialect
is a file in `dialects/`, whose `__init__` lists them with their differences, and says which engine speaks which. How an
engine is reached, and how many rows it gets, is decided elsewhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.asking.asked import asked_of, see_to
from airflow_provider_hf_endpoints.inference.engines.asking.ignored import accepted
from airflow_provider_hf_endpoints.inference.engines.asking.spelling import refuse_misspelt
from airflow_provider_hf_endpoints.inference.engines.dialects import Dialect, dialect_of, openai, traits
from airflow_provider_hf_endpoints.inference.engines.failures import error_from, error_words
from airflow_provider_hf_endpoints.inference.engines.names import canonical_task, gives_text
from airflow_provider_hf_endpoints.inference.engines.routes import AS_IT_IS, is_openais
from airflow_provider_hf_endpoints.inference.errors import CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import Asked, InferenceResult, WireRequest, WireResponse

__all__ = [
    "Dialect",
    "asked_in_body",
    "build_request",
    "canonical_task",
    "dialect_from_info",
    "dialect_of",
    "error_from",
    "error_words",
    "lists_models",
    "model_from_models",
    "owner_from_models",
    "parse_json",
    "read_result",
    "traits",
]

_LONGEST_WORD = len("\\ud83d")
Decoder = Callable[[bytes], Any]
Reader = Callable[[Any], InferenceResult]


def build_request(
    dialect: Dialect,
    task: str,
    inputs: Any,
    parameters: Mapping[str, Any] | None = None,
    model: str | None = None,
    engine: str | None = None,
) -> WireRequest:
    """The request that puts `task` to an engine.

    :param task: any of the task's names, see `canonical_task`
    :param inputs: what the task takes: a text, messages, a list of texts, a mapping
    :param parameters: under OpenAI's or TGI's names
    :param model: name in the body, where the dialect has one
    :param engine: which engine it is, lower case, where known
    :raises UnsupportedTaskError: the engine has no route for the task, or cannot take such inputs
    :raises UnsupportedParameterError: the engine ignores a parameter, or takes it for something else, or a parameter's
        name is misspelt
    """
    name, known = canonical_task(task), traits(dialect)
    if not known.any_names:
        refuse_misspelt(parameters or (), name, dialect)
    given = accepted(parameters or {}, known.refuses, name, dialect, engine, cuts=known.cuts_stops)
    request = known.build(name, inputs, given, model)
    several = given or isinstance(inputs, list)
    asked = asked_of(given, inputs, cuts=known.cuts_stops) if several and gives_text(name) else None
    return request if asked is None else replace(request, asked=asked)


def asked_in_body(
    dialect: Dialect, task: str, body: Any, engine: str | None = None, *, as_it_came: bool = False
) -> Asked | None:
    """What to check in the answer to a body that a caller wrote for one of OpenAI's routes.

    :param task: how the answer is read
    :param as_it_came: whether the whole answer is the result
    :raises UnsupportedParameterError: as `build_request`
    """
    known = traits(dialect)
    if not isinstance(body, Mapping) or not (task in known.refuses or gives_text(task)):
        return None
    accepted(body, known.refuses, task, dialect, engine, cuts=known.cuts_stops)
    if not gives_text(task):
        return None
    return asked_of(body, body.get("prompt"), cuts=known.cuts_stops, as_it_came=as_it_came)


def read_result(
    dialect: Dialect,
    task: str,
    response: WireResponse,
    path: str = "",
    decode: Decoder = fastjson.decode,
    asked: Asked | None = None,
) -> InferenceResult:
    """The result of an answer.

    :param task: any of the task's names, or `routes.AS_IT_IS`
    :param path: the request's path. If the path is one of OpenAI's, the answer is read as OpenAI's
    :param decode: JSON decoder; the batch gives a faster one
    :param asked: what to check of the request, None for nothing
    :raises InferenceError: the typed error of an answer that is not a success, or that is not valid
    """
    if not 200 <= response.status < 300:
        raise error_from(response, path)
    answer = None
    try:
        answer = parse_json(response.body, decode)
        result = _reader(dialect, task, path)(answer)
    except MalformedAnswerError as error:
        # An answer that is not valid reports its usage in the same place.
        usage = error.usage or openai.read_usage(answer)
        raise type(error)(error.words, status=response.status, path=path, usage=usage) from error.__cause__
    return result if asked is None else see_to(result, asked)


@functools.lru_cache(maxsize=256)
def _reader(dialect: Dialect, task: str, path: str) -> Reader:
    """The reader for the answers of a route. It is looked up once for all rows of a batch."""
    if task == AS_IT_IS:
        return _read_as_it_is
    own = traits(Dialect.OPENAI if is_openais(path) else dialect)
    return functools.partial(own.read, canonical_task(task))


def _read_as_it_is(answer: Any) -> InferenceResult:
    if answer is None:
        raise MalformedAnswerError("an empty response")
    return InferenceResult(answer, usage=openai.read_usage(answer), truncated=None, raw=answer)


def parse_json(body: bytes, decode: Decoder = fastjson.decode) -> Any:
    """The JSON in the body of a 200.

    :raises CutAnswerError: the body is empty, or its JSON is incomplete
    :raises MalformedAnswerError: the body is not JSON, or it contains an error
    """
    if not body.strip():
        raise CutAnswerError("the body is empty")
    try:
        answer = decode(body)
    except UnicodeDecodeError as error:
        raise MalformedAnswerError(f"text that is not UTF-8: {body[:200]!r}") from error
    except ValueError as error:
        start = body[:200].decode("utf-8", "replace")
        if body.lstrip()[:1] not in (b"{", b"["):
            raise MalformedAnswerError(f"not JSON: {start!r}") from error
        if _is_cut(error):
            raise CutAnswerError(f"truncated JSON, which starts with {start!r}") from error
        raise MalformedAnswerError(f"invalid JSON ({str(error)[:200]}), which starts with {start!r}") from error
    # Some proxies, and streams, report the engine's failure in the body of a 200.
    if isinstance(answer, dict) and (answer.get("error") or answer.get("object") == "error"):
        raise MalformedAnswerError(error_words(WireResponse(200, {}, body)), usage=openai.read_usage(answer))
    if isinstance(answer, list) and answer and all(map(_is_error, answer)):
        raise MalformedAnswerError("; ".join(str(each["error"]) for each in answer)[:500])
    return answer


_BESIDE_ERROR = frozenset(("error", "error_type", "type", "code", "message", "status", "warnings"))


def _is_error(item: Any) -> bool:
    """Whether an entry of an answer has an error and nothing else."""
    return isinstance(item, dict) and bool(item.get("error")) and item.keys() <= _BESIDE_ERROR


def _is_cut(error: ValueError) -> bool:
    """Whether a document is not JSON because it ends too early."""
    if not isinstance(error, json.JSONDecodeError) or error.msg == "Extra data":
        return False
    # If a word, an escape or a number is cut in the middle, the decoder stops before it.
    return error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip()) - _LONGEST_WORD


def model_from_models(answer: Any) -> str | None:
    """The first model that `GET /v1/models` names, None when the answer is not such a list."""
    match answer:
        case {"data": [{"id": str(name)}, *_]}:
            return name
        case _:
            return None


def lists_models(answer: Any) -> bool:
    """Whether this is an answer of `GET /v1/models`, even with an empty list: some engines list nothing and serve."""
    return isinstance(answer, Mapping) and isinstance(answer.get("data"), list)


def owner_from_models(answer: Any) -> str | None:
    """The engine that `GET /v1/models` names as the models' owner. vLLM, SGLang and llama.cpp name themselves there."""
    match answer:
        case {"data": [{"owned_by": str(owner)}, *_]} if owner.lower() in ("vllm", "sglang", "llamacpp"):
            return owner.lower()
        case _:
            return None


def dialect_from_info(answer: Any) -> Dialect | None:
    """The dialect of a `GET /info`: TEI has a `model_type`, TGI its token limits; None if the answer has
    neither."""
    if not isinstance(answer, Mapping) or "model_id" not in answer:
        return None
    return Dialect.TEI if "model_type" in answer else Dialect.TGI
