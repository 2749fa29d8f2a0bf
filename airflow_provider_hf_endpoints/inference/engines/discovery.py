"""The steps of a call, written once for the sync and the async client.

Each function is a generator: it yields a request, is sent the response, and returns the call's result. The
clients drive it and do nothing but I/O, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import (
    Dialect,
    dialect_from_info,
    dialect_of,
    error_from,
    lists_models,
    model_from_models,
    owner_from_models,
    parse_json,
    traits,
)
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import (
    CHAT_ROUTE,
    COMPLETIONS_ROUTE,
    EMBEDDINGS_ROUTE,
    MODELS_ROUTE,
)
from airflow_provider_hf_endpoints.inference.errors import (
    AuthenticationError,
    EndpointFailedError,
    EndpointPausedError,
    MalformedAnswerError,
    OverloadedError,
    PermissionDeniedError,
    ServerError,
    StartingError,
    TlsError,
)
from airflow_provider_hf_endpoints.inference.wire import WireRequest, WireResponse

Steps = Generator[WireRequest, WireResponse, Any]

# Answers to a question about the engine: those that do not reveal its dialect, and those that report a problem.
_NO_DIALECT_IN_IT = (
    AuthenticationError,
    PermissionDeniedError,
    EndpointFailedError,
    EndpointPausedError,
    OverloadedError,
    StartingError,
    TlsError,
)
_WRONG_METHOD = 405  # the route exists and takes a POST
#: Only `transformers serve` lists this in its `/openapi.json`.
_SERVE_ROUTE = "/load_model"


@dataclass(frozen=True, slots=True)
class Target:
    """How to speak to an endpoint: its dialect, and the model name that its engine expects.

    :param engine: which engine it is, lower case (`vllm`, `sglang`, `llamacpp`, …), None if unknown
    :param most_inputs: inputs that it takes in one call, None if unknown
    :param slots: requests that a replica works on at the same time, None if unknown
    :param why: why this dialect was chosen
    """

    dialect: Dialect
    model: str | None
    most_inputs: int | None = None
    engine: str | None = None
    slots: int | None = None
    why: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Told:
    """The answer of a route.

    :param asked: method and route
    :param answer: the JSON of a 200, None if there is no JSON
    :param text: the beginning of a 200's body
    """

    asked: str
    status: int
    answer: Any = None
    text: str = ""

    @property
    def failed(self) -> bool:
        """The engine failed on the question, so the question says nothing about the model."""
        return self.status >= 500

    @property
    def unclear(self) -> bool:
        """Whether something answers there that is not understood: a page, a part of an answer, a redirect."""
        return 200 <= self.status < 400

    def __str__(self) -> str:
        return f"{self.asked}: {self.status}"


def discover(engine: str | None, model: str | None) -> Generator[WireRequest, WireResponse, Target]:
    """Find out how to speak to an endpoint; sends no request if that is known.

    A missing answer proves nothing. The dialect comes from what the engine says about itself, or from a route that
    exists. The toolkit says nothing about itself: it is chosen only if no route of the other engines exists.

    :param engine: key of the endpoint's `model.image`, None when it is not known
    :param model: model name to use, None to ask `/v1/models`
    :raises ValueError: no such engine
    :raises ServerError: the engine fails on the questions, so its dialect stays unknown; a retry can help
    """
    dialect = dialect_of(engine)
    named = engine.lower() if engine is not None else None
    if dialect is None:
        return (yield from _find(named, model))
    if traits(dialect).lists_models and model is None:
        models = yield from _ask_twice(MODELS_ROUTE)
        if models.failed:
            raise ServerError("the engine could not list its models", status=models.status, path=MODELS_ROUTE)
        named = owner_from_models(models.answer) or named
        model = model_from_models(models.answer)
    return Target(dialect, model, engine=named, why=f"the engine is given as {engine!r}")


def _find(named: str | None, model: str | None) -> Generator[WireRequest, WireResponse, Target]:
    """The target of an endpoint with an unknown dialect."""
    info = yield from _ask_twice("/info")
    told = dialect_from_info(info.answer)
    if told is not None:
        return Target(told, model, engine=named, why="its /info says so")
    models = yield from _ask_twice(MODELS_ROUTE)
    owner, name = owner_from_models(models.answer), model_from_models(models.answer)
    if owner is not None:
        return Target(Dialect.OPENAI, model or name, engine=owner, why=f"its {MODELS_ROUTE} says that it is {owner}")
    asked = [info, models]
    why = f"it serves {MODELS_ROUTE}" if lists_models(models.answer) else (yield from _look_for_routes(asked))
    if not why:
        return (yield from _rest(named, asked))
    dialect = Dialect.OPENAI
    if named == "hfserve" or (name is None and (yield from _is_transformers_serve())):
        dialect, why = Dialect.SERVE, f"{why}, and is transformers serve"
        # The list has the models on disk. Only if there is one, it is the served model.
        name = None if name is None or len(models.answer["data"]) > 1 else name
    return Target(dialect, model or name, engine=named, why=_without_name(why, model or name))


def _without_name(why: str, model: str | None) -> str:
    return why if model else f"{why}; it reports no model, so requests contain none (set `model` to name one)"


def _look_for_routes(asked: list[_Told]) -> Generator[WireRequest, WireResponse, str]:
    """The first of OpenAI's routes that exists, as a reason; empty if none exists.

    :param asked: the questions so far, the last one for the models; it collects the others
    """
    unclear = asked[-1].unclear  # no list of models
    # A container that accepts any POST refuses a GET on every route.
    any_route = any(told.status == _WRONG_METHOD for told in asked)
    for route in (CHAT_ROUTE, COMPLETIONS_ROUTE, EMBEDDINGS_ROUTE):
        told = yield from _ask(route)
        asked.append(told)
        if told.status == _WRONG_METHOD and not any_route:
            return f"it serves {route}"
        unclear = unclear and not told.unclear  # something answers so on every route
    if unclear or any(told.failed for told in asked):
        # No engine answers this body, so nothing is generated or paid.
        told = yield from _ask(CHAT_ROUTE, "POST")
        asked.append(told)
        if not told.failed and told.status not in (404, _WRONG_METHOD):
            return f"it serves {CHAT_ROUTE}"
    return ""


def _rest(named: str | None, asked: list[_Told]) -> Generator[WireRequest, WireResponse, Target]:
    """The remaining engines: the toolkit, or a custom handler. Both take a `POST /`."""
    words = ", ".join(map(str, asked))
    failed = next((told for told in asked if told.failed), None)
    if failed is not None:
        raise ServerError(
            f"the engine could not be detected, because these requests failed: {words}. If the engine never answers "
            "them, name it with `engine`",
            status=failed.status,
            path=failed.asked.partition(" ")[2],
        )
    root = yield from _ask("/")
    ok = root.status == 200 and root.text.strip().strip('"').lower() == "ok"
    sign = (
        "GET / answers like the inference toolkit"
        if ok
        else ("no other engine matches, so requests go to POST / as for the inference toolkit")
    )
    return Target(Dialect.TOOLKIT, None, engine=named, why=f"{sign} ({words})")


def _is_transformers_serve() -> Generator[WireRequest, WireResponse, bool]:
    match (yield from _ask("/openapi.json")).answer:
        case {"paths": Mapping() as paths}:
            return _SERVE_ROUTE in paths
        case _:
            return False


def ask_most_inputs(target: Target) -> Generator[WireRequest, WireResponse, Target]:
    """The same target with the number of inputs per call. Only TEI reports it (`/info`)."""
    answer = (yield from _ask("/info")).answer if traits(target.dialect).tells_most_inputs else None
    match answer:
        case {"max_client_batch_size": int(most)} if most > 0:
            return replace(target, most_inputs=most)
        case _:
            return target


def ask_slots(target: Target) -> Generator[WireRequest, WireResponse, Target]:
    """The same target with the number of the engine's slots. Only llama.cpp has slots (`/props`: its `--parallel`)."""
    answer = (yield from _ask("/props")).answer if target.engine == "llamacpp" else None
    match answer:
        case {"total_slots": int(slots)} if slots > 0:
            return replace(target, slots=slots)
        case _:
            return target


def _ask(route: str, method: str = "GET") -> Generator[WireRequest, WireResponse, _Told]:
    """The answer of a route. A POST sends an empty object.

    :raises InferenceError: the endpoint is not available, or refuses the caller
    """
    response = yield WireRequest(route, None if method == "GET" else {}, method)
    if response.status == 200:
        text = response.body[:100].decode("utf-8", "replace")
        try:
            return _Told(f"{method} {route}", 200, fastjson.decode(response.body), text)
        except ValueError:
            return _Told(f"{method} {route}", 200, text=text)
    error = error_from(response, route)
    if isinstance(error, _NO_DIALECT_IN_IT):
        raise error
    return _Told(f"{method} {route}", response.status)


def _ask_twice(route: str) -> Generator[WireRequest, WireResponse, _Told]:
    """The same, with one more try if the engine fails."""
    told = yield from _ask(route)
    return (yield from _ask(route)) if told.failed else told


def call(route: str, payload: Any, method: str) -> Generator[WireRequest, WireResponse, Any]:
    """Any route: its JSON, or its text when it is not JSON."""
    route = route if route.startswith("/") else f"/{route}"
    response = yield WireRequest(route, payload, method)
    if not 200 <= response.status < 300:
        raise error_from(response, route)
    if not response.body.strip():
        return None
    try:
        return parse_json(response.body)
    except MalformedAnswerError:
        if "json" in response.headers.get("content-type", ""):
            raise
        return response.body.decode("utf-8", "replace")
