"""Generation parameters under the names of OpenAI and of TGI and the hub, translated to the one an engine
takes.

A caller may write `max_tokens` or `max_new_tokens`, `stop` or `stop_sequences`, whatever the engine. What has
no counterpart is passed on as it is: an engine that does not know it says so, or ignores it, as its own
documentation tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Parameters = dict[str, Any]

#: Names that become one another on some engine, or overrule each other there.
_SAME = (
    {"max_tokens", "max_new_tokens", "max_completion_tokens"},
    {"stop", "stop_sequences"},
    {"echo", "return_full_text"},
    {"temperature", "do_sample"},
)


def mean_the_same(one: str, other: str) -> bool:
    """Whether two names say the same to an engine, so that only one of them counts."""
    return one == other or any({one, other} <= names for names in _SAME)


def for_openai(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters for the `/v1` routes."""
    out = dict(parameters)
    _rename(out, "max_new_tokens", "max_tokens")
    _rename(out, "stop_sequences", "stop")
    out.pop("details", None)
    if out.pop("return_full_text", None):
        out["echo"] = True
    # OpenAI's routes have no do_sample: greedy decoding is temperature 0.
    if out.pop("do_sample", None) is False:
        out["temperature"] = 0
    return out


def for_tgi(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters for TGI's `/generate`; `details` is what makes it tell why it stopped."""
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


def for_toolkit(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters for a transformers text-generation pipeline, which would repeat the prompt unless told not
    to."""
    out = dict(parameters)
    _rename(out, "max_tokens", "max_new_tokens")
    _rename(out, "max_completion_tokens", "max_new_tokens")
    _rename(out, "stop_sequences", "stop")
    stop = out.pop("stop", None)
    if isinstance(stop, list) and len(stop) == 1:
        stop = stop[0]
    if stop is not None:
        out["stop_sequence" if isinstance(stop, str) else "stop_strings"] = stop
    _rename(out, "echo", "return_full_text")
    if out.get("temperature") == 0:
        del out["temperature"]
        out["do_sample"] = False
    out.pop("details", None)
    out.setdefault("return_full_text", False)
    return out


def _rename(parameters: Parameters, old: str, new: str) -> None:
    """Move `old` to `new`; when both are given, `new` is what counts."""
    if old in parameters:
        value = parameters.pop(old)
        parameters.setdefault(new, value)
