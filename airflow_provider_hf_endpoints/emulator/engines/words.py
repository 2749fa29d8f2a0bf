"""The echo engine's language model: tokens are words, a completion repeats its prompt, embeddings are hashes. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

DEFAULT_CONTEXT = 8192
DIMENSIONS = 32

Finish = Literal["stop", "length", "stop_sequence"]


@dataclass(frozen=True)
class Completion:
    """The generated text, and its finish reason."""

    text: str
    tokens: tuple[str, ...]
    finish: Finish


def count_tokens(text: str) -> int:
    """How many tokens `text` has."""
    return len(text.split())


def complete(
    prompt: str, *, max_tokens: int, stop: Sequence[str] = (), min_tokens: int = 0, ignore_eos: bool = False
) -> Completion:
    """`Echo: <prompt>`, cut to `max_tokens` words or before the first stop sequence; repeated to be longer."""
    tokens = re.findall(r"\s*\S+", f"Echo: {prompt.strip()}")
    wanted = max_tokens if ignore_eos else min(min_tokens, max_tokens)
    if len(tokens) < wanted:
        again = [f" {token.strip()}" for token in tokens]
        tokens = [*tokens, *again * (wanted // len(again))][:wanted]
    finish: Finish = "stop"
    if len(tokens) > max_tokens or (ignore_eos and len(tokens) == max_tokens):
        tokens, finish = tokens[:max_tokens], "length"
    text = "".join(tokens)
    cut = min((at for at in (text.find(s) for s in stop if s) if at >= 0), default=-1)
    if cut >= 0:
        text, finish = text[:cut], "stop_sequence"
        tokens = re.findall(r"\s*\S+", text)
    return Completion(text, tuple(tokens), finish)


@lru_cache(maxsize=50_000)
def _direction(word: str) -> tuple[float, ...]:
    digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
    return tuple((byte - 127.5) / 127.5 for byte in digest[:DIMENSIONS])


def embed(text: str) -> list[float]:
    """A vector of length 1: the sum of one fixed direction per word, so texts that share words are alike."""
    words = text.lower().split() or [""]
    total = [sum(parts) for parts in zip(*(_direction(word) for word in words), strict=True)]
    length = math.sqrt(sum(x * x for x in total)) or 1.0
    return [round(x / length, 7) for x in total]


def similarity(one: str, other: str) -> float:
    """The cosine of the two texts' embeddings."""
    return round(sum(a * b for a, b in zip(embed(one), embed(other), strict=True)), 7)


def score(text: str) -> float:
    """A number from 0.5 to 1 that depends only on the text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return round(0.5 + digest[0] / 512, 6)


def pick(text: str, labels: Sequence[str]) -> str:
    """One of `labels`, always the same for the same text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return labels[digest[1] % len(labels)]


def json_for(schema: Any, prompt: str) -> str:
    """JSON text that fits `schema`, as from a model with guided decoding."""
    root = schema if isinstance(schema, dict) else {}
    return json.dumps(_instance(root, root, prompt, 0))


def _instance(schema: Any, root: Mapping[str, Any], prompt: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 12:
        return None
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found: Any = root
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        return _instance(found, root, prompt, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _instance(schema[key][0], root, prompt, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
        return schema["enum"][digest[1] % len(schema["enum"])]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties")
            properties = properties if isinstance(properties, dict) else {}
            return {name: _instance(part, root, prompt, depth + 1) for name, part in properties.items()}
        case "array":
            least = schema.get("minItems")
            count = least if isinstance(least, int) and 0 <= least <= 100 else 1
            return [_instance(schema.get("items"), root, prompt, depth + 1) for _ in range(count)]
        case "integer" | "number":
            least = schema.get("minimum", 0)
            return least if isinstance(least, int | float) else 0
        case "boolean":
            return True
        case "null":
            return None
        case _:
            longest = schema.get("maxLength")
            return prompt[: longest if isinstance(longest, int) and longest >= 0 else 80]
