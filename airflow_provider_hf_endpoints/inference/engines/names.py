"""The names of tasks, and which of them mean the same. Tables only."""

from __future__ import annotations

CHAT = "chat-completion"
GENERATE = "text-generation"
EMBED = "feature-extraction"
RERANK = "rerank"
CLASSIFY = "text-classification"
SIMILARITY = "sentence-similarity"

#: Other names of tasks, with the main name.
ALIASES = {
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


TRANSCRIBE = "automatic-speech-recognition"
#: Tasks whose input is a file, with its kind.
OF_FILES = {
    TRANSCRIBE: "audio",
    "audio-classification": "audio",
    "image-classification": "image",
    "image-segmentation": "image",
    "image-to-text": "image",
    "object-detection": "image",
}
#: Tasks whose answer is a text.
_TEXTS = frozenset({CHAT, GENERATE, "text2text-generation", "image-to-text", "summarization"})


def gives_text(task: str) -> bool:
    """Whether the answer to a task is a text."""
    return task in _TEXTS or task.startswith("translation")


def canonical_task(task: str) -> str:
    """The main name of a task with several names (`embeddings` is `feature-extraction`); others are kept."""
    name = task.strip().lower().replace("_", "-")
    return ALIASES.get(name, name)
