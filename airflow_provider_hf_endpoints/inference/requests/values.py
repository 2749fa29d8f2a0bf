"""Checks that an answer has valid vectors or scores: numbers, and as many as texts.

An engine whose model overflows answers with null in place of a number, and some proxies cut an answer. Such
an answer is valid JSON without a meaning, so it is an error. The number of texts of a chat: `choices.py`.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import EMBEDDINGS_ROUTE
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED, RERANK, SIMILARITY, gives_text
from airflow_provider_hf_endpoints.inference.engines.routes import AS_IT_IS, path_of
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

_RERANK_ROUTES = ("/rerank", "/v1/rerank", "/v2/rerank")
_WITH_VALUES = frozenset((EMBED, RERANK, SIMILARITY, CLASSIFY, AS_IT_IS))


def require_values(result: InferenceResult, request: RowRequest, answer: bytes) -> None:
    """Check the numbers in an answer to a request.

    :param request: of one row, or of several in an array
    :param answer: the bytes of the result
    :raises MalformedAnswerError: a number is missing or not valid, or their number does not match the texts
    """
    if request.task not in _WITH_VALUES:
        if not gives_text(request.task) and (problem := _of_pipeline(result.output)):
            raise MalformedAnswerError(problem, usage=result.usage)
        return
    path = path_of(request.route)
    problem = ""
    if request.task == EMBED:
        problem = _of_vectors(result.output, request, path, answer)
    elif path == "/" and request.task != AS_IT_IS:
        problem = _of_pipeline(result.output)
    scores = result.output if path == "/" and request.task == SIMILARITY else None
    if isinstance(scores, list) and any(map(_is_no_score, scores)):
        problem = f"a score is not a number: {str(result.output)[:100]}"
    check = _BY_PATH.get(path)
    if check is not None:
        problem = check(result.output, fastjson.decode(request.body))
    if problem:
        raise MalformedAnswerError(problem, usage=result.usage)


def is_number(value: Any) -> bool:
    """Whether a value is a number that JSON can represent."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _may_have_truths(answer: bytes) -> bool:
    """Whether `true` or `false` stand in an answer, in a text or outside.

    Searched by a letter that is rare in vectors: this takes a hundredth of the time of a look at each number.
    """
    return any(
        answer[place - before : place - before + len(word)] == word
        for word, letter, before in ((b"true", b"u", 2), (b"false", b"f", 0))
        for place in _places(answer, letter)
    )


def _places(answer: bytes, letter: bytes) -> Iterator[int]:
    place = answer.find(letter)
    while place >= 0:
        yield place
        place = answer.find(letter, place + 1)


def _of_vectors(output: Any, request: RowRequest, path: str, answer: bytes) -> str:
    """What is wrong with the vectors of an answer, in words; empty if nothing is."""
    packed = b'"encoding_format":"base64"' in request.body
    single = b'"embed_dtype"' not in request.body
    vectors = output if isinstance(output, list) and output else [None]
    # The letters of vectors that are packed as text are not looked through.
    numbers_only = not isinstance(vectors[0], str) and not _may_have_truths(answer)
    for vector in vectors:
        if packed and isinstance(vector, str):
            valid = _is_packed(vector, single=single)
        else:
            valid = _is_vector(vector, numbers_only=numbers_only)
        if not valid:
            return f"not a vector of numbers: {str(vector)[:100]}"
    field = _TEXTS_OF.get(path)
    if field is None or (len(output) == 1 and b'"%b":[' % field.encode() not in request.body):
        return ""
    wanted = _texts(fastjson.decode(request.body).get(field))
    return f"{len(output)} vectors for {wanted} texts" if len(output) != wanted else ""


def _is_vector(value: Any, *, numbers_only: bool) -> bool:
    """Whether a value is a list of numbers, or of such lists: some engines give a vector per token.

    :param numbers_only: whether the whole answer contains neither true nor false
    """
    if not isinstance(value, list) or not value:
        return False
    if isinstance(value[0], list):
        return all(_is_vector(each, numbers_only=numbers_only) for each in value)
    if not numbers_only and bool in map(type, value):  # the sum would count it
        return False
    try:
        return isfinite(sum(value))  # ten times as fast as a check of each of a thousand numbers
    except (TypeError, OverflowError):
        return False


def _is_packed(text: str, *, single: bool) -> bool:
    """Whether a text is a vector's bytes in base64.

    :param single: whether the numbers have 32 bits, as on all engines that are not asked for another type
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:  # UnicodeEncodeError is one, and binascii's error
        return False
    if not single:
        return bool(data)
    return bool(data) and len(data) % _BYTES == 0 and isfinite(sum(array("f", data)))


_BYTES = 4  # of a number in a packed vector
#: For routes that give one vector per text: the field of the body with the texts.
_TEXTS_OF = {EMBEDDINGS_ROUTE: "input", "/embed": "inputs"}


def _texts(given: Any) -> int:
    """The number of texts. A list of numbers is one text, as tokens."""
    return len(given) if isinstance(given, list) and not (given and isinstance(given[0], int)) else 1


def _of_ranking(output: Any, body: Any) -> str:
    items = output.get("results", output.get("data")) if isinstance(output, Mapping) else output
    texts = body.get("documents", body.get("texts"))
    if not isinstance(items, list):
        return f"a ranking is not a list: {str(items)[:100]}"
    for item in items:
        score = item.get("relevance_score", item.get("score")) if isinstance(item, Mapping) else None
        if not is_number(score):
            return f"a ranked text has no score: {str(item)[:100]}"
    places = [item.get("index") for item in items]
    if not isinstance(texts, list):
        return ""
    most = body.get("top_n")
    wanted = min(most, len(texts)) if type(most) is int and most > 0 else len(texts)
    known = all(type(place) is int and 0 <= place < len(texts) for place in places)
    if len(items) != wanted or not known or len(set(places)) != len(places):
        return f"{len(items)} ranked texts, at {str(places)[:100]}, where {wanted} of {len(texts)} were to be ranked"
    return ""


def _of_similarity(output: Any, body: Any) -> str:
    sentences = body["inputs"]["sentences"]
    if not isinstance(output, list) or len(output) != len(sentences) or not all(map(is_number, output)):
        return f"no number for each of {len(sentences)} sentences: {str(output)[:100]}"
    return ""


def _of_scores(output: Any, body: Any) -> str:
    items = output.get("data") if isinstance(output, Mapping) else output
    wanted = 0
    for one, other in _PAIRS:
        if one in body and other in body:
            wanted = max(len(given) if isinstance(given, list) else 1 for given in (body[one], body[other]))
    if not isinstance(items, list) or not all(
        isinstance(item, Mapping) and is_number(item.get("score")) for item in items
    ):
        return f"a pair of texts has no score: {str(items)[:100]}"
    places = [item.get("index") for item in items]
    if wanted and sorted(place for place in places if type(place) is int) != list(range(wanted)):
        return f"{len(items)} scores, at {str(places)[:100]}, for {wanted} pairs of texts"
    return ""


#: The inputs that vLLM scores, by the names in its releases.
_PAIRS = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))


def _of_pipeline(output: Any) -> str:
    """What is wrong with the scores of a pipeline: NaN has no JSON form, and arrives as null.

    A custom handler may answer in any form, so nothing else is checked.
    """
    entries = [output]
    for entry in entries:  # the list grows by nested entries
        if isinstance(entry, list):
            entries += [each for each in entry if isinstance(each, list | dict)]
        elif isinstance(entry, dict):
            scores = entry.get("scores")
            listed = scores if isinstance(scores, list) else []
            if any(map(_is_no_score, (entry.get("score", 0), *listed))):
                return f"a score is not a number: {str(entry)[:100]}"
    return ""


def _is_no_score(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _of_classes(output: Any, body: Any) -> str:
    several = isinstance(output, list) and len(output) > 1 and all(isinstance(each, list) for each in output)
    if several and not (isinstance(body["inputs"], list) and len(body["inputs"]) == len(output)):
        return f"classes of {len(output)} texts for one: {str(output)[:100]}"
    entries = output if isinstance(output, list) and output and isinstance(output[0], list) else [output]
    for entry in entries:
        classes = entry if isinstance(entry, list) else [entry]
        if not classes or not all(map(_is_class, classes)):
            return f"a text has no classes, or a class has no label or no score: {str(entry)[:100]}"
    return ""


def _is_class(value: Any) -> bool:
    """A label may be a number: a model without names of its classes has these."""
    if not isinstance(value, Mapping) or not is_number(value.get("score")):
        return False
    label = value.get("label")
    return isinstance(label, str) or type(label) is int


#: Routes whose answers have one form on every engine.
_BY_PATH: Mapping[str, Callable[[Any, Any], str]] = {
    **dict.fromkeys(_RERANK_ROUTES, _of_ranking),
    **dict.fromkeys(("/score", "/v1/score"), _of_scores),
    "/similarity": _of_similarity,
    "/predict": _of_classes,
}
