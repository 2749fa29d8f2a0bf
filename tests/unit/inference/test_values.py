"""Answers whose numbers are missing, are not numbers, or belong to other texts: never a success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED, RERANK, SIMILARITY
from airflow_provider_hf_endpoints.inference.engines.routes import AS_IT_IS
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.requests.values import require_values
from airflow_provider_hf_endpoints.inference.wire import InferenceResult
from tests.contract.batch_play import job_of, questions, results, write_rows
from tests.contract.inference_server import Reply, Request, serving

NO_LABELS: list[Any] = [None, True, 1.5, [], {}, ["x"]]
NAN, INFINITE = float("nan"), float("inf")
PACKED = {"inputs": "a", "input": "a", "encoding_format": "base64"}
TEXT = {"input": "a", "inputs": "a"}
TEXTS = {"input": ["a", "b"], "inputs": ["a", "b"]}
QUERY = {"query": "q", "documents": ["a", "b"]}
NO_VECTORS: list[Any] = [
    *([None], [[]], [[1.0, None]], [[None, 1.0]], [[NAN]], [[1.0, INFINITE]], [["x"]], [["0.5", "1.0"]], [0.5], [{}]),
    *([[0.5, True]], [[0.5, False]], [[[0.5, 1.0], [True, 0.5]]], [[0.5, [1.0]]], [[[0.5], 1.0]], [[[]]], [[0.5], []]),
    *([[10**400]], [[0.5, [None]]], [[0.5, "1.0"]], [[[[0.5]], [[]]]]),
]
SCORED = {"index": 0, "score": 0.5}
CLASS = {"label": "x", "score": 0.5}


def check(route: str, task: str, body: Any, output: Any) -> None:
    """As the batch does: the answer's numbers are read from JSON, which has no NaN."""
    answer = json.dumps(output).encode()
    require_values(InferenceResult(fastjson.decode(answer)), RowRequest(route, fastjson.encode(body), task), answer)


@pytest.mark.parametrize(
    ("route", "task", "body", "output"),
    [
        ("/v1/embeddings", EMBED, TEXT, [[0.5, 1]]),
        ("/v1/embeddings", EMBED, TEXTS, [[0.5], [1.0]]),
        ("/v1/embeddings", EMBED, {"input": [1, 2, 3]}, [[0.5]]),
        ("/v1/embeddings", EMBED, PACKED, ["AACAPw=="]),
        ("/v1/embeddings", EMBED, PACKED, [[0.5]]),
        ("/v1/embeddings", EMBED, {**PACKED, "embed_dtype": "float16"}, ["ADw="]),
        ("/embed", EMBED, TEXTS, [[0.5], [1.0]]),
        ("/", EMBED, TEXT, [[[0.5, 1.0], [1.0, 2.0]]]),
        ("/", EMBED, TEXT, [[0, -0.0, 1e-300, 10**300]]),
        ("/v1/rerank", RERANK, QUERY, [{"index": 1, "relevance_score": 1.0}, {"index": 0, "relevance_score": 0}]),
        ("/v1/rerank", RERANK, {**QUERY, "top_n": 1}, [{"index": 1, "relevance_score": 1.0}]),
        ("/v1/rerank", AS_IT_IS, {**QUERY, "top_n": 9}, {"results": [{"index": n, "score": 1.0} for n in (0, 1)]}),
        ("/similarity", SIMILARITY, {"inputs": {"sentences": ["a", "b"]}}, [0.5, 1]),
        ("/predict", CLASSIFY, TEXT, [CLASS]),
        ("/predict", CLASSIFY, TEXTS, [[CLASS], [CLASS]]),
        ("/predict", CLASSIFY, TEXT, [[CLASS]]),
        ("/predict", CLASSIFY, TEXT, [{"label": 1, "score": 0.5}]),
        ("/", CLASSIFY, TEXT, [{"label": "x", "score": "high"}]),
        ("/", CLASSIFY, TEXT, {"mine": [None, {"label": None}]}),
        ("/", "token-classification", TEXT, [{**CLASS, "start": None}]),
        ("/", "zero-shot-classification", TEXT, {"labels": ["a"], "scores": [0.5]}),
        ("/", SIMILARITY, {"inputs": {"sentences": ["a"]}}, [0.5]),
        ("/v1/score", AS_IT_IS, {"text_1": "a", "text_2": ["b", "c"]}, {"data": [SCORED, {**SCORED, "index": 1}]}),
        ("/score", AS_IT_IS, {"text_1": ["a", "b"], "text_2": ["b", "c"]}, {"data": [{**SCORED, "index": 1}, SCORED]}),
        ("/v1/score", AS_IT_IS, {"another": "name"}, {"data": [SCORED]}),
        ("/tokenize", AS_IT_IS, TEXT, {"tokens": [None]}),
    ],
)
def test_numbers_that_are_there_pass(route: str, task: str, body: Any, output: Any) -> None:
    """An answer with a number wherever its route has one is taken as it is."""
    check(route, task, body, output)


@pytest.mark.parametrize(
    ("route", "task", "body", "output"),
    [
        *(("/v1/embeddings", EMBED, TEXT, output) for output in NO_VECTORS),
        ("/v1/embeddings", EMBED, TEXT, ["AACAPw=="]),
        ("/v1/embeddings", EMBED, {**TEXT, "encoding_format": "float"}, ["AACAPw=="]),
        *(
            ("/v1/embeddings", EMBED, PACKED, [text])
            for text in ("", "!!!!", "AACAPw=", "ADw=", "AADAfw==", "AACAfw==", "\u00e9")
        ),
        ("/v1/embeddings", EMBED, TEXT, [[True, False]]),
        ("/v1/embeddings", EMBED, {**TEXTS, **PACKED, "input": ["a", "b"]}, ["AACAPw==", [0.5, True]]),
        ("/v1/embeddings", EMBED, TEXT, [{"a": 1}]),
        ("/v1/embeddings", EMBED, TEXT, [[1.0], [2.0]]),
        ("/v1/embeddings", EMBED, TEXTS, [[1.0]]),
        ("/v1/embeddings", EMBED, {"input": [1, 2, 3]}, [[1.0], [1.0], [1.0]]),
        ("/embed", EMBED, TEXTS, [[1.0], None]),
        ("/", EMBED, TEXT, [[{"error": "out of memory"}]]),
        ("/", EMBED, TEXT, [[[1.0], [None]]]),
        ("/predict", CLASSIFY, TEXT, [[CLASS], [CLASS]]),
        ("/predict", CLASSIFY, TEXTS, [[CLASS], [CLASS], [CLASS]]),
        ("/", CLASSIFY, TEXT, [{"label": "x", "score": NAN}]),
        ("/", CLASSIFY, TEXT, [[CLASS, {"label": "y", "score": NAN}]]),
        ("/", "token-classification", TEXT, [CLASS, {"entity": "x", "score": NAN}]),
        ("/", "zero-shot-classification", TEXT, {"labels": ["a", "b"], "scores": [0.5, INFINITE]}),
        ("/", SIMILARITY, {"inputs": {"sentences": ["a", "b"]}}, [0.5, NAN]),
        ("/", SIMILARITY, {"inputs": {"sentences": ["a", "b"]}}, [0.5, True]),
        ("/", CLASSIFY, TEXT, [{"label": "x", "score": True}]),
        ("/", "zero-shot-classification", TEXT, {"labels": ["a", "b"], "scores": [0.5, False]}),
        ("/v1/score", AS_IT_IS, {"text_1": "a", "text_2": ["b", "c"]}, {"data": [SCORED]}),
        ("/v1/score", AS_IT_IS, {"text_1": "a", "text_2": ["b", "c"]}, {"data": [SCORED, SCORED]}),
        ("/score", AS_IT_IS, {"text_1": "a", "text_2": "b"}, {"data": [{"index": 0, "score": NAN}]}),
        ("/score", AS_IT_IS, {"text_1": "a", "text_2": "b"}, {"data": None}),
        ("/v1/rerank", RERANK, QUERY, []),
        ("/v1/rerank", RERANK, QUERY, "x"),
        ("/v1/rerank", RERANK, QUERY, [{"index": 0, "relevance_score": 1.0}]),
        ("/v1/rerank", RERANK, QUERY, [{"index": 0, "relevance_score": 1.0}] * 2),
        ("/v1/rerank", RERANK, QUERY, [{"index": n, "relevance_score": 1.0} for n in (0, 2)]),
        ("/v1/rerank", RERANK, QUERY, [{"index": n, "relevance_score": NAN} for n in (0, 1)]),
        ("/rerank", AS_IT_IS, QUERY, {"results": []}),
        ("/similarity", SIMILARITY, {"inputs": {"sentences": ["a", "b"]}}, [0.5]),
        ("/similarity", SIMILARITY, {"inputs": {"sentences": ["a", "b"]}}, [0.5, NAN]),
        ("/predict", CLASSIFY, TEXT, [{"label": "x", "score": NAN}]),
        *(("/predict", CLASSIFY, TEXT, [{"label": each, "score": 0.5}]) for each in NO_LABELS),
        ("/predict", CLASSIFY, TEXT, [CLASS, {"score": 0.5}]),
        ("/predict", CLASSIFY, TEXTS, [[CLASS], []]),
        ("/predict", CLASSIFY, TEXTS, [[CLASS], None]),
        ("/predict", CLASSIFY, TEXTS, ["x", "y"]),
    ],
)
def test_an_answer_without_its_numbers_is_an_error(route: str, task: str, body: Any, output: Any) -> None:
    """A vector or score that is null, NaN, empty, missing, double or of no text is a malformed answer."""
    with pytest.raises(MalformedAnswerError):
        check(route, task, body, output)


def test_one_row_of_an_array_without_a_vector_costs_the_others_nothing(tmp_path: Path) -> None:
    """Of an array in which one text has null for a vector, the other rows succeed and that row fails."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(404, {})
        texts = request.body["inputs"]
        texts = texts if isinstance(texts, list) else [texts]
        return Reply(json=[[None] if text == "question 2" else [float(text[-1])] for text in texts])

    write_rows(tmp_path, questions(4))
    with serving(answer) as server:
        job = job_of(server.url, tmp_path, task="feature-extraction", engine="tei", max_attempts=1)
        run_batch(job)
    assert [[[0.0]], [[1.0]], None, [[3.0]]] == [line["output"] for line in results(tmp_path)]


def test_a_row_whose_response_is_kept_is_sent_alone(tmp_path: Path) -> None:
    """With `keep_response` each row has the whole answer to it, also where the engine takes arrays."""

    def answer(request: Request) -> Reply:
        return Reply(404, {}) if request.method == "GET" else Reply(json=[[1.0]])

    write_rows(tmp_path, questions(3))
    with serving(answer) as server:
        run_batch(job_of(server.url, tmp_path, task="feature-extraction", engine="tei", keep_response=True))
    assert [[[1.0]]] * 3 == [line["response"] for line in results(tmp_path)]


@pytest.mark.parametrize("text", ["true", "false", "a true usage", "falsehood", "lull"])
def test_a_word_of_json_within_a_text_of_the_answer_is_no_boolean(text: str) -> None:
    """A model's name may be anything."""
    answer = json.dumps({"model": text, "data": [[0.5]], "truthful": "x"}).encode()
    request = RowRequest("/v1/embeddings", fastjson.encode(TEXT), EMBED)
    require_values(InferenceResult([[0.5]], model=text), request, answer)
