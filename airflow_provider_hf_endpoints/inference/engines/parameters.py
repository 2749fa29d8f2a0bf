"""Generation parameters by the names of OpenAI, TGI and the Hub, translated to the names of an engine.

A caller may write `max_tokens` or `max_new_tokens`, `stop` or `stop_sequences`, for any engine. Parameters without a
counterpart are sent unchanged. An engine that does not know them returns an error or ignores them, as its
documentation says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Parameters = dict[str, Any]

#: Names of one parameter.
_NAMES = (
    {"max_tokens", "max_new_tokens", "max_completion_tokens"},
    {"stop", "stop_sequences"},
    {"echo", "return_full_text"},
    {"n", "num_return_sequences"},
)
#: Names that are translated to each other on some engine, or override each other.
_SAME = (*_NAMES, {"temperature", "do_sample"}, {"logprobs", "top_logprobs"})
#: Parameters of sampling. A pipeline still takes the likeliest token if it is not asked to sample.
_SAMPLING = ("temperature", "top_p", "top_k", "typical_p", "min_p")


def mean_the_same(one: str, other: str) -> bool:
    """Whether two names mean the same to an engine, so that only one is used."""
    return one == other or any({one, other} <= names for names in _SAME)


def contradiction(parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Two names of one parameter that are given with different values, although an engine would get only one."""
    given = [(name, value) for name, value in parameters.items() if value is not None]
    for number, (one, value) in enumerate(given):
        for other, its in given[number + 1 :]:
            if value != its and any({one, other} <= names for names in _NAMES):
                return one, other
    return None


def for_openai(parameters: Mapping[str, Any], *, chat: bool) -> Parameters:
    """Parameters for the `/v1` routes.

    :param chat: for chats, where some parameters have another name or form
    """
    out = dict(parameters)
    _rename(out, "max_new_tokens", "max_tokens")
    _rename(out, "stop_sequences", "stop")
    _rename(out, "num_return_sequences", "n")
    out.pop("details", None)
    if out.pop("return_full_text", None):
        out["echo"] = True
    # OpenAI's routes have no do_sample: greedy decoding is temperature 0.
    if out.pop("do_sample", None) is False:
        out["temperature"] = 0
    if not chat:
        # Engines ignore this name there, and end the text at their default limit.
        _rename(out, "max_completion_tokens", "max_tokens")
    if "logprobs" in out or "top_logprobs" in out:
        _tell_logprobs(out, chat=chat)
    return out


def _tell_logprobs(out: Parameters, *, chat: bool) -> None:
    """A chat takes a boolean and a number beside it, a completion only the number."""
    asked, number = out.pop("logprobs", None), out.pop("top_logprobs", None)
    if asked is not None and not isinstance(asked, bool):
        asked, number = True, asked if number is None else number
    if asked is False or (asked is None and number is None):
        return
    if chat:
        out["logprobs"] = True
        if number:
            out["top_logprobs"] = number
    else:
        out["logprobs"] = 1 if number is None else number


def for_tgi(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters for TGI's `/generate`; `details` requests the finish reason."""
    out = dict(parameters)
    _rename(out, "max_tokens", "max_new_tokens")
    _rename(out, "max_completion_tokens", "max_new_tokens")
    _rename(out, "stop_sequences", "stop")
    if isinstance(out.get("stop"), str):
        out["stop"] = [out["stop"]]
    _rename(out, "echo", "return_full_text")
    # TGI refuses a temperature of 0; greedy decoding is do_sample false.
    if out.get("temperature") == 0:
        del out["temperature"]
        out["do_sample"] = False
    out["details"] = True
    return out


def for_tgis_chat(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters for TGI's chat, before their translation: only newer releases know the newer name of the limit."""
    out = dict(parameters)
    _rename(out, "max_completion_tokens", "max_tokens")
    return out


def for_toolkit(parameters: Mapping[str, Any], *, continues: bool = True) -> Parameters:
    """Parameters for a pipeline of transformers that generates text.

    `stop` is not one of them: what `stop_sequence` does differs from release to release (in 4.51 each *token* of the
    stop ends the text), and `stop_strings` needs what cannot be sent. So this provider cuts the received text.

    :param continues: whether the pipeline continues a prompt, and would repeat the prompt by default
    """
    out = dict(parameters)
    _rename(out, "max_tokens", "max_new_tokens")
    _rename(out, "max_completion_tokens", "max_new_tokens")
    _rename(out, "min_tokens", "min_new_tokens")
    _rename(out, "n", "num_return_sequences")
    for name in ("stop", "stop_sequences", "details"):
        out.pop(name, None)
    _rename(out, "echo", "return_full_text")
    if out.get("temperature") == 0:
        del out["temperature"]
        out["do_sample"] = False
    number = out.get("num_return_sequences")
    if number == 1:
        del out["num_return_sequences"]
    if number not in (None, 1) or any(out.get(name) is not None for name in _SAMPLING):
        out.setdefault("do_sample", True)
    if continues:
        out.setdefault("return_full_text", False)
    return out


def _rename(parameters: Parameters, old: str, new: str) -> None:
    """Move `old` to `new`; if both are given, `new` is used."""
    if old in parameters:
        value = parameters.pop(old)
        parameters.setdefault(new, value)
