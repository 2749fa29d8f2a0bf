"""The inference toolkit on the echo engine (`image: {"huggingface": {}}`): `POST /`, in the form of the task. Pure.

Every exception inside the toolkit is a 400 with `{"error": text}`, and so is every refusal here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from airflow_provider_hf_endpoints.emulator.engines import words
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.openai import BadRequest, conversation
from airflow_provider_hf_endpoints.emulator.engines.tei import classify

DEFAULT_NEW_TOKENS = 256
_GENERATE_ARGUMENTS = frozenset(
    {"max_new_tokens", "max_length", "min_new_tokens", "min_length", "temperature", "top_k", "top_p", "typical_p",
     "do_sample", "num_beams", "num_return_sequences", "repetition_penalty", "no_repeat_ngram_size", "length_penalty",
     "early_stopping", "penalty_alpha", "return_full_text", "return_text", "return_tensors", "truncation", "prefix",
     "clean_up_tokenization_spaces", "stop_sequence", "stop_strings", "handle_long_generation", "pad_token_id",
     "eos_token_id", "use_cache"}
)  # fmt: skip
#: Models that only continue texts.
_HAS_NO_TEMPLATE = re.compile(r"gpt-?2|-base\b", re.I)
_BINARY_TASKS = frozenset(
    {"audio-classification", "automatic-speech-recognition", "image-classification", "image-segmentation",
     "object-detection"}
)  # fmt: skip
#: The types of raw bodies that the toolkit takes; its error lists them.
_CONTENT_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/jpg", "image/tiff", "image/bmp", "image/gif", "image/webp", "image/x-image",
     "audio/x-flac", "audio/flac", "audio/mpeg", "audio/x-mpeg-3", "audio/wave", "audio/wav", "audio/x-wav",
     "audio/ogg", "audio/x-audio", "audio/webm", "audio/amr", "audio/amr-wb", "audio/m4a", "audio/x-m4a"}
)  # fmt: skip


def takes_bytes(task: str) -> bool:
    """Whether the task's input may be the raw body: a picture or a sound."""
    return task in _BINARY_TASKS


def predict(call: Call, task: str, body: Any) -> Reply:
    """One call of the pipeline for `task`. Raises BadRequest."""
    if takes_bytes(task) and not isinstance(body, dict):
        _check_raw(call, task)
        return json_reply(_BINARY[task](call.body.hex()[:64]))
    if not isinstance(body, dict) or "inputs" not in body:
        raise BadRequest("Body needs to provide a `inputs` key")
    parameters = body.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise BadRequest("`parameters` must be an object")
    inputs = body["inputs"]
    match task:
        case "text-generation" | "image-text-to-text" | "any-to-any":
            return _generation(call, inputs, parameters)
        case "text-to-image":
            return Reply(200, _png(_text(inputs)), "image/png")
        case _ if task in _BINARY:
            return json_reply(_BINARY[task](_text(inputs)))
        case _ if task in _STRUCTURED:
            return json_reply(_STRUCTURED[task](inputs, parameters))
    return json_reply(_each(inputs, lambda text: _TEXT.get(task, _echoed)(text, parameters), flat=task in _FLAT))


def _check_raw(call: Call, task: str) -> None:
    """Raises BadRequest for a raw body that the task's pipeline cannot read."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _CONTENT_TYPES:
        raise BadRequest(f'Content type "{kind}" not supported. Supported content types are: {sorted(_CONTENT_TYPES)}')
    wanted = "audio" if task in ("audio-classification", "automatic-speech-recognition") else "image"
    if not call.body:
        raise BadRequest("No data was received")
    if not kind.startswith(f"{wanted}/"):
        raise BadRequest(f"the {task} pipeline cannot read {kind}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"text input must be of type `str`, not `{type(value).__name__}`")
    return value


def _each(inputs: Any, one: Callable[[str], Any], *, flat: bool) -> Any:
    """As in a pipeline: a text gives one answer, a list of texts a list of them; `flat` tasks wrap one in a list."""
    if isinstance(inputs, list):
        answers = [one(_text(text)) for text in inputs]
        return [answer[0] for answer in answers] if flat else answers
    return one(_text(inputs))


def check_generate_arguments(parameters: dict[str, Any]) -> None:
    """Raises BadRequest for a parameter that `generate` does not know, and for a bad `max_new_tokens`."""
    unknown = sorted(set(parameters) - _GENERATE_ARGUMENTS)
    if unknown:
        raise BadRequest(
            f"The following `model_kwargs` are not used by the model: {unknown} (note: typos in the generate"
            " arguments will also show up in this list)"
        )
    max_new = parameters.get("max_new_tokens", DEFAULT_NEW_TOKENS)
    if isinstance(max_new, bool) or not isinstance(max_new, int) or max_new < 1:
        raise BadRequest(f"`max_new_tokens` must be greater than 0, but is {max_new}.")


def _generation(call: Call, inputs: Any, parameters: dict[str, Any]) -> Reply:
    check_generate_arguments(parameters)
    max_new = parameters.get("max_new_tokens", DEFAULT_NEW_TOKENS)
    stop = parameters.get("stop_sequence")
    full = parameters.get("return_full_text", True)
    chats = is_chat(call, inputs)
    prompts = [conversation(inputs)[0]] if chats else inputs if isinstance(inputs, list) else [inputs]
    answers, spent, made = [], 0, 0
    for prompt in map(_text, prompts):
        completion = words.complete(
            prompt, max_tokens=min(max_new, 100_000), stop=[stop] if isinstance(stop, str) else ()
        )
        answers.append({"generated_text": generated(inputs if chats else f"{prompt} ", completion.text, full=full)})
        spent += words.count_tokens(prompt)
        made += len(completion.tokens)
    nested = [[answer] for answer in answers] if isinstance(inputs, list) and not chats else answers
    return json_reply(nested, prompt_tokens=spent, completion_tokens=made)


def is_chat(call: Call, inputs: Any) -> bool:
    """Whether the text-generation pipeline treats its inputs as the messages of one chat.

    Raises BadRequest for a chat with a model that has no chat template.
    """
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, dict) for each in inputs):
        return False
    if _HAS_NO_TEMPLATE.search(call.endpoint.spec["model"]["repository"]) and not call.toolkit_chats:
        raise BadRequest(
            "Cannot use chat template functions because tokenizer.chat_template is not set and no template argument"
            " was passed!"
        )
    return True


def generated(inputs: Any, text: str, *, full: bool) -> Any:
    """The pipeline's `generated_text`. The whole of it begins with the input, a prompt or messages."""
    if not full:
        return text
    return [*inputs, {"role": "assistant", "content": text}] if isinstance(inputs, list) else f"{inputs}{text}"


# ------------------------------------------------------------------------------------------- one text, one answer


def _features(text: str, _: dict[str, Any]) -> Any:
    return [[words.embed(word) for word in text.split() or [""]]]  # one row per token, as in the pipeline


def _classes(text: str, parameters: dict[str, Any]) -> Any:
    both = classify(text)
    top = parameters.get("top_k", 1)
    return both if top is None or (isinstance(top, int) and top > 1) else both[:1]


def _entities(text: str, _: dict[str, Any]) -> Any:
    found, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        if word[:1].isupper():
            found.append({"entity_group": "MISC", "score": words.score(word), "word": word, "start": start, "end": at})
    return found


def _masked(text: str, _: dict[str, Any]) -> Any:
    mask = next((m for m in ("[MASK]", "<mask>") if m in text), None)
    if mask is None:
        raise BadRequest("No mask_token ([MASK]) found on the input")
    return [
        {"score": round(0.5 / (i + 1), 6), "token": i, "token_str": word, "sequence": text.replace(mask, word)}
        for i, word in enumerate(("echo", "answer", "word"))
    ]


def _summary(text: str, _: dict[str, Any]) -> Any:
    return [{"summary_text": " ".join(text.split()[:12])}]


def _translation(text: str, _: dict[str, Any]) -> Any:
    return [{"translation_text": text}]


def _echoed(text: str, _: dict[str, Any]) -> Any:
    return [{"output": text}]


_TEXT: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "feature-extraction": _features,
    "text-classification": _classes,
    "token-classification": _entities,
    "fill-mask": _masked,
    "summarization": _summary,
    "translation": _translation,
}
_FLAT = frozenset({"summarization", "translation", "text-classification", "custom"})


# ------------------------------------------------------------------------------------------- inputs of several parts


def _parts(inputs: Any, *names: str) -> list[Any]:
    if not isinstance(inputs, dict) or not all(name in inputs for name in names):
        raise BadRequest(f"`inputs` must have {' and '.join(f'`{name}`' for name in names)}")
    return [inputs[name] for name in names]


def _strings(value: Any) -> list[str]:
    values = value.split(",") if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise BadRequest("expected a list of texts")
    return [_text(item).strip() for item in values]


def _zero_shot(inputs: Any, parameters: dict[str, Any]) -> Any:
    text = _text(inputs["sequences"] if isinstance(inputs, dict) and "sequences" in inputs else inputs)
    if "candidate_labels" not in parameters:
        raise BadRequest("You must include at least one label: `candidate_labels` is missing")
    labels = _strings(parameters["candidate_labels"])
    raw = {label: 0.01 + max(0.0, words.similarity(text, label)) + words.score(text + label) for label in labels}
    ranked = sorted(labels, key=lambda label: -raw[label])
    total = sum(raw[label] for label in labels)
    return {"sequence": text, "labels": ranked, "scores": [round(raw[label] / total, 6) for label in ranked]}


def _question(inputs: Any, _: dict[str, Any]) -> Any:
    question, context = map(_text, _parts(inputs, "question", "context"))
    answer = max(context.split() or [""], key=lambda word: words.similarity(question, word))
    start = context.find(answer)
    return {"score": words.score(question), "start": start, "end": start + len(answer), "answer": answer}


def _table(inputs: Any, _: dict[str, Any]) -> Any:
    _, table = _parts(inputs, "query", "table")
    columns = list(table.values()) if isinstance(table, dict) else []
    if not columns or not isinstance(columns[0], list) or not columns[0]:
        raise BadRequest("table is empty")
    cell = str(columns[0][0])
    return {"answer": cell, "coordinates": [[0, 0]], "cells": [cell], "aggregator": "NONE"}


def _sentence_embeddings(inputs: Any, _: dict[str, Any]) -> Any:
    if isinstance(inputs, list):
        return {"embeddings": [words.embed(_text(text)) for text in inputs]}
    return {"embeddings": words.embed(_text(inputs))}


def _sentence_similarity(inputs: Any, _: dict[str, Any]) -> Any:
    source, sentences = _parts(inputs, "source_sentence", "sentences")
    return {"similarities": [words.similarity(_text(source), text) for text in _strings(sentences)]}


def _sentence_ranking(inputs: Any, _: dict[str, Any]) -> Any:
    pairs = inputs if isinstance(inputs, list) else [inputs]
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadRequest("`inputs` must be a pair of texts or a list of pairs")
    return {"scores": [words.similarity(_text(a), _text(b)) for a, b in pairs]}


_STRUCTURED: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "zero-shot-classification": _zero_shot,
    "question-answering": _question,
    "table-question-answering": _table,
    "sentence-embeddings": _sentence_embeddings,
    "sentence-similarity": _sentence_similarity,
    "sentence-ranking": _sentence_ranking,
    "text-ranking": _sentence_ranking,
}


# ------------------------------------------------------------------------------------------- pictures and sounds


def _labelled(data: str) -> Any:
    return classify(data, ("cat", "dog"))


def _boxes(data: str) -> Any:
    first = classify(data, ("cat", "dog"))[0]
    return [{**first, "box": {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10}}]


_BINARY: dict[str, Callable[[str], Any]] = {
    "automatic-speech-recognition": lambda data: {"text": f"echo {len(data)}"},
    "audio-classification": _labelled,
    "image-classification": _labelled,
    "object-detection": _boxes,
    "image-segmentation": lambda data: [{**classify(data, ("cat", "dog"))[0], "mask": ""}],
}


def _png(prompt: str) -> bytes:
    """A picture of one pixel whose colour depends on the prompt."""
    colour = bytes(int(abs(x) * 255) for x in words.embed(prompt)[:3])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00" + colour)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
