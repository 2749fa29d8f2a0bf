"""Parameters that an engine ignores, or understands differently: tables of them, and the check of a request.

Each table is for one dialect: by task, by parameter, the reason. The sources are in `docs/reference/engines.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.asking.asked import stops_of
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, CLASSIFY, EMBED, GENERATE, RERANK, SIMILARITY
from airflow_provider_hf_endpoints.inference.errors import UnsupportedParameterError

Ignored = Mapping[str, Mapping[str, str]]

_TGI_ALONE = "only TGI has this parameter"
_IGNORED = "the engine ignores it"
_UNKNOWN = "the engine does not know it"
_ECHO = dict.fromkeys(("echo", "return_full_text"), "a chat does not repeat its prompt")
_TGIS = dict.fromkeys(("truncate", "watermark", "top_n_tokens", "decoder_input_details"), _TGI_ALONE)

#: Parameters of texts, which engines that embed or classify ignore. Limits and sampling are allowed: a caller may
#: have one set of them for all tasks, and an answer without them lacks nothing.
OF_TEXTS = (
    "n",
    "best_of",
    "num_return_sequences",
    "stop",
    "stop_sequences",
    "logprobs",
    "top_logprobs",
    "echo",
    "return_full_text",
    "response_format",
    "tools",
)
_NO_TEXT = dict.fromkeys(OF_TEXTS, "this task returns no text")
_NO_TEXTS: dict[str, Mapping[str, str]] = dict.fromkeys((EMBED, CLASSIFY, RERANK, SIMILARITY), _NO_TEXT)

_NO_TOOLS = {"tools": "only a chat calls tools"}
OF_OPENAI: Ignored = {**_NO_TEXTS, CHAT: {**_ECHO, **_TGIS}, GENERATE: {**_TGIS, **_NO_TOOLS}}

_SERVE = {
    **_TGIS,
    **dict.fromkeys(("n", "best_of", "logprobs", "top_logprobs", "presence_penalty"), _IGNORED),
    "frequency_penalty": (
        "the engine would use it as the repetition penalty of transformers, which is a different parameter"
    ),
    "logit_bias": "it makes the engine fail, or the engine ignores it",
    "response_format": _IGNORED,
    **dict.fromkeys(("top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos", "typical_p"), _UNKNOWN),
}
OF_SERVE: Ignored = {
    **_NO_TEXTS,
    CHAT: {**_SERVE, **_ECHO, **dict.fromkeys(("tool_choice", "reasoning_effort"), _IGNORED)},
    GENERATE: {**_SERVE, **dict.fromkeys(("echo", "return_full_text"), _IGNORED), **_NO_TOOLS},
}

_DETAILS = "TGI returns them in `details`; set keep_response=True to keep these"
OF_TGI: Ignored = {
    **_NO_TEXTS,
    CHAT: {
        **_ECHO,
        **dict.fromkeys(("n", "logit_bias", "min_tokens"), _IGNORED),
    },
    GENERATE: {
        **_NO_TOOLS,
        **dict.fromkeys(("n", "presence_penalty", "logit_bias", "min_tokens", "min_p"), _IGNORED),
        **dict.fromkeys(("logprobs", "top_logprobs"), _DETAILS),
        "response_format": "use response_schema, which TGI supports as its grammar",
    },
}

OF_TEI: Ignored = _NO_TEXTS

_PIPELINE = {
    **dict.fromkeys(("best_of", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty"), _UNKNOWN),
    **dict.fromkeys(("logit_bias", "response_format", "truncate", "watermark", "tools", "ignore_eos"), _UNKNOWN),
}
#: Without `_PIPELINE` of other tasks: a special pipeline, or a custom handler, may support it.
OF_TOOLKIT: Ignored = {**_NO_TEXTS, CHAT: {**_PIPELINE, **_ECHO}, GENERATE: _PIPELINE}

_LLAMACPP = {"min_tokens": _IGNORED, "repetition_penalty": "the engine ignores it; use llama.cpp's repeat_penalty"}
#: What one engine ignores besides its dialect's; by the engine's name in lower case.
OF_ENGINE: Mapping[str, Ignored] = {
    "llamacpp": {
        CHAT: _LLAMACPP,
        GENERATE: {**_LLAMACPP, **dict.fromkeys(("echo", "return_full_text"), _IGNORED)},
    },
}
#: Engines that differ from the others of their dialect.
_NAMED = ("vllm", "sglang", "llamacpp")
#: Engines that refuse several texts if all of them would be the same.
_SAMPLES_FOR_MORE = ("vllm", "toolkit")


def accepted(
    parameters: Mapping[str, Any], refusals: Ignored, task: str, speaker: str, engine: str | None, *, cuts: bool
) -> Mapping[str, Any]:
    """The parameters of a request, without those that have no effect and that the engine does not know.

    :param speaker: the dialect
    :param engine: the engine's name in lower case, if known
    :param cuts: whether this provider cuts the engine's texts at their stops
    :raises UnsupportedParameterError: one is ignored by the engine, or understood differently
    """
    of_engine = OF_ENGINE.get(engine or "", {}).get(task)
    of_dialect = refusals.get(task, {})
    refused = of_dialect if of_engine is None else {**of_dialect, **of_engine}
    found = [name for name in parameters if name in refused]
    where = engine if engine in _NAMED else speaker
    for name in found:
        if not _asks_nothing(name, parameters[name]):
            raise UnsupportedParameterError(f"`{name}` for {task!r} on {where}: {refused[name]}")
    _check_together(parameters, task, where, cuts=cuts)
    return {name: value for name, value in parameters.items() if name not in found} if found else parameters


def _asks_nothing(name: str, value: Any) -> bool:
    """Whether a parameter with this value has no effect."""
    if name in ("n", "best_of", "num_return_sequences"):
        return value in (None, 1)
    return value is None or (name not in ("seed", "temperature") and value in (False, 0, "", [], {}))


def _check_together(parameters: Mapping[str, Any], task: str, where: str, *, cuts: bool) -> None:
    """Refuse parameters that each engine supports alone, and no engine supports together."""
    number = parameters.get("n", parameters.get("num_return_sequences"))
    greedy = parameters.get("temperature") == 0 or parameters.get("do_sample") is False
    if where in _SAMPLES_FOR_MORE and isinstance(number, int) and number > 1 and greedy:
        raise UnsupportedParameterError(
            f"`n` of {number} for {task!r} at temperature 0: all texts would be the same, so {where} refuses the "
            "request"
        )
    repeats = parameters.get("echo") or parameters.get("return_full_text")
    if cuts and repeats and stops_of(parameters):
        raise UnsupportedParameterError(
            f"`stop` together with `return_full_text` for {task!r} on {where}: the texts are cut at the stop "
            "sequence, but the prompt at their start may contain the stop sequence"
        )
