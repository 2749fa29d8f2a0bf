"""Misspelt words of a vocabulary that may grow: the names of tasks, frameworks and accelerators.

A word that is nearly a known one is refused when the DAG is parsed. The service would refuse it in a create, but a
request for a task that no engine has fails only when the endpoint is running. Any other word passes: the service may
know more words than this list, and a custom handler may have any task.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.spec import FRAMEWORKS
from airflow_provider_hf_endpoints.inference.engines.asking.spelling import misspelt
from airflow_provider_hf_endpoints.inference.engines.names import ALIASES, canonical_task

_NEAR = 0.8  # of `difflib`'s 1.0, which is the same word
# The service's own (contract 2.0.0), and the Hub's pipeline tags.
_TASKS = {
    "any-to-any",
    "audio-classification",
    "audio-text-to-text",
    "audio-to-audio",
    "automatic-speech-recognition",
    "chat-completion",
    "custom",
    "depth-estimation",
    "document-question-answering",
    "feature-extraction",
    "fill-mask",
    "graph-ml",
    "image-classification",
    "image-feature-extraction",
    "image-segmentation",
    "image-text-to-image",
    "image-text-to-text",
    "image-text-to-video",
    "image-to-3d",
    "image-to-image",
    "image-to-text",
    "image-to-video",
    "keypoint-detection",
    "mask-generation",
    "multiple-choice",
    "object-detection",
    "question-answering",
    "reinforcement-learning",
    "rerank",
    "robotics",
    "sentence-embeddings",
    "sentence-ranking",
    "sentence-similarity",
    "summarization",
    "table-question-answering",
    "table-to-text",
    "tabular-classification",
    "tabular-regression",
    "tabular-to-text",
    "text-classification",
    "text-generation",
    "text-ranking",
    "text-retrieval",
    "text-to-3d",
    "text-to-audio",
    "text-to-image",
    "text-to-speech",
    "text-to-video",
    "text2text-generation",
    "time-series-forecasting",
    "token-classification",
    "translation",
    "unconditional-image-generation",
    "video-classification",
    "video-text-to-text",
    "video-to-video",
    "visual-document-retrieval",
    "visual-question-answering",
    "voice-activity-detection",
    "zero-shot-classification",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
}
_KNOWN = {
    "task": frozenset({*_TASKS, *ALIASES}),
    "framework": frozenset(FRAMEWORKS),
    "accelerator": frozenset({"cpu", "gpu", "neuron", "tpu", "zero_gpu"}),
}


def check_word(name: str, word: str) -> str:
    """`word`, if it is not a misspelt one; for arguments without a vocabulary, any word.

    :raises InvalidArgumentError: with the word that is meant
    """
    known = _KNOWN.get(name)
    if known is None or word in known or (name == "task" and _is_a_task(word)):
        return word
    near = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=_NEAR)
    if near:
        own = " The task of your own handler is 'custom'." if name == "task" else ""
        raise InvalidArgumentError(f"{name}={word!r} is not valid. Did you mean {near[0]!r}?{own}")
    return word


def tell_misspelt_parameters(**given: object) -> None:
    """Warn of names in parameters that are nearly those of an engine's parameter.

    When the DAG is parsed, the engine is not known. A custom handler may take the name. Other engines are not sent it.

    :param given: arguments with parameters; those that are not known yet are left out
    """
    for argument, value in given.items():
        for name, meant in misspelt(map(str, value)) if isinstance(value, Mapping) else ():
            warnings.warn(
                f"{argument} has {name!r}. Did you mean {meant!r}? Only an engine with a custom handler is sent "
                f"{name!r}",
                stacklevel=3,
            )


def _is_a_task(word: str) -> bool:
    """Also in another spelling that every task may have, and `translation_en_to_fr`."""
    name = canonical_task(word)
    return name in _KNOWN["task"] or name.startswith("translation-")
