"""What a call consists of, written once for the sync and the async client.

Each function is a generator: it yields a request, is sent the response, and returns the call's result. The
clients drive it and do nothing but I/O, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import (
    Dialect,
    build_request,
    dialect_from_info,
    dialect_of,
    error_from,
    model_from_models,
    owner_from_models,
    parse_json,
    read_result,
    traits,
)
from airflow_provider_hf_endpoints.inference.engines.openai import MODELS_ROUTE
from airflow_provider_hf_endpoints.inference.errors import (
    AuthenticationError,
    EndpointFailedError,
    EndpointPausedError,
    MalformedAnswerError,
    OverloadedError,
    PermissionDeniedError,
    StartingError,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest, WireResponse

Steps = Generator[WireRequest, WireResponse, Any]

# Answers to a question about the engine that say nothing about its dialect.
_NO_DIALECT_IN_IT = (
    AuthenticationError,
    PermissionDeniedError,
    EndpointFailedError,
    EndpointPausedError,
    OverloadedError,
    StartingError,
)


@dataclass(frozen=True, slots=True)
class Target:
    """How to speak to an endpoint: its dialect, and the model name that its engine expects.

    :param engine: which engine it is, lower case (`vllm`, `sglang`, `llamacpp`, …), None where nobody said
    :param most_inputs: inputs that it takes in one call, None where it was not asked or does not say
    :param slots: requests that a replica works on at the same time, likewise
    """

    dialect: Dialect
    model: str | None
    most_inputs: int | None = None
    engine: str | None = None
    slots: int | None = None


def discover(engine: str | None, model: str | None) -> Generator[WireRequest, WireResponse, Target]:
    """Find out how to speak to an endpoint; asks nothing when that is known.

    :param engine: key of the endpoint's `model.image`, None when it is not known
    :param model: model name to use, None to ask `/v1/models`
    :raises ValueError: no such engine
    """
    dialect = dialect_of(engine)
    named = engine.lower() if engine is not None else None
    if dialect is None:
        dialect = dialect_from_info((yield from _ask("/info")))
    if dialect is None or (traits(dialect).lists_models and model is None):
        models = yield from _ask(MODELS_ROUTE)
        name, owner = model_from_models(models), owner_from_models(models)
        if dialect is None:
            dialect = Dialect.TOOLKIT if name is None else Dialect.OPENAI
        named = owner or named
        model = model or (name if traits(dialect).lists_models else None)
    return Target(dialect, model, engine=named)


def ask_most_inputs(target: Target) -> Generator[WireRequest, WireResponse, Target]:
    """The same target with the number of inputs that its engine takes in one call; only TEI says (`/info`)."""
    answer = (yield from _ask("/info")) if traits(target.dialect).tells_most_inputs else None
    match answer:
        case {"max_client_batch_size": int(most)} if most > 0:
            return replace(target, most_inputs=most)
        case _:
            return target


def ask_slots(target: Target) -> Generator[WireRequest, WireResponse, Target]:
    """The same target with the number of its engine's slots; only llama.cpp has such (`/props`: its `--parallel`)."""
    answer = (yield from _ask("/props")) if target.engine == "llamacpp" else None
    match answer:
        case {"total_slots": int(slots)} if slots > 0:
            return replace(target, slots=slots)
        case _:
            return target


def _ask(route: str) -> Generator[WireRequest, WireResponse, Any]:
    """The JSON at a route, None when the engine does not serve it."""
    response = yield WireRequest(route, method="GET")
    if response.status == 200:
        try:
            return fastjson.decode(response.body)
        except ValueError:
            return None
    error = error_from(response, route)
    if isinstance(error, _NO_DIALECT_IN_IT):
        raise error
    return None


def run(
    target: Target, task: str, inputs: Any, parameters: Mapping[str, Any] | None
) -> Generator[WireRequest, WireResponse, InferenceResult]:
    """One task put to an engine."""
    request = build_request(target.dialect, task, inputs, parameters, target.model)
    response = yield request
    return read_result(target.dialect, task, response, request.route)


def call(route: str, payload: Any, method: str) -> Generator[WireRequest, WireResponse, Any]:
    """Any route: its JSON, or its text when it is none."""
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
