"""Which engine speaks which dialect, and which task a name means. Tables only."""

from __future__ import annotations

from enum import StrEnum


class Dialect(StrEnum):
    """The four ways in which engines are spoken to."""

    OPENAI = "openai"
    TGI = "tgi"
    TEI = "tei"
    TOOLKIT = "toolkit"


# Keys of `model.image` in the control plane's contract. `custom` and `hfServe` speak what the container
# speaks: they are discovered by asking.
_DIALECTS: dict[str, Dialect | None] = {
    "vLLM": Dialect.OPENAI,
    "vLLMNeuron": Dialect.OPENAI,
    "vLLMOmni": Dialect.OPENAI,
    "sGLang": Dialect.OPENAI,
    "llamacpp": Dialect.OPENAI,
    "tgi": Dialect.TGI,
    "tgiNeuron": Dialect.TGI,
    "tei": Dialect.TEI,
    "huggingface": Dialect.TOOLKIT,
    "huggingfaceNeuron": Dialect.TOOLKIT,
    "hfServe": None,
    "custom": None,
}

_BY_LOWER_NAME = {name.lower(): dialect for name, dialect in _DIALECTS.items()} | {
    dialect.value: dialect for dialect in Dialect
}

CHAT = "chat-completion"
GENERATE = "text-generation"
EMBED = "feature-extraction"
RERANK = "rerank"
CLASSIFY = "text-classification"
SIMILARITY = "sentence-similarity"

_ALIASES = {
    "chat": CHAT,
    "chat-completions": CHAT,
    "conversational": CHAT,
    "image-text-to-text": CHAT,
    "completion": GENERATE,
    "completions": GENERATE,
    "embedding": EMBED,
    "embeddings": EMBED,
    "sentence-embeddings": EMBED,
    "text-ranking": RERANK,
    "sentence-ranking": RERANK,
    "reranking": RERANK,
    "sentiment-analysis": CLASSIFY,
    "similarity": SIMILARITY,
}


def dialect_of(engine: str | None) -> Dialect | None:
    """The dialect of an engine (a key of `model.image`, or a dialect's own name); None when it has to be
    discovered.

    :raises ValueError: the name is no engine's
    """
    if engine is None:
        return None
    try:
        return _BY_LOWER_NAME[engine.lower()]
    except KeyError:
        raise ValueError(f"unknown engine {engine!r}; known are {', '.join(_DIALECTS)}") from None


def canonical_task(task: str) -> str:
    """One name for a task that goes by several (`embeddings` is `feature-extraction`); others are kept."""
    name = task.strip().lower().replace("_", "-")
    return _ALIASES.get(name, name)
