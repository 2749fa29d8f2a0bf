"""Several rows in one request: as many as the engine takes, and each row has its own line whatever becomes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped, OutputConflictError
from tests.contract.emulator_play import LLAMACPP, TEI, TOOLKIT, VLLM, Play
from tests.contract.inference_server import Reply, Request, Server, serving


def write(folder: Path, texts: list[Any]) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps({"inputs": text}) + "\n" for text in texts))


def job_of(url: str, folder: Path, **options: Any) -> BatchJob:
    settings: dict[str, Any] = {"task": "feature-extraction", "engine": "vLLM", "model": "m", "max_concurrency": 4}
    settings |= {"input_path": folder / "in.jsonl", "output_path": folder / "out.jsonl", "max_attempts": 3}
    return BatchJob(url=url, **{**settings, **options})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(text.encode()))]


def tokens(text: str) -> int:
    return len(text.split())


def texts_of(request: Request) -> list[str]:
    given = request.body["input"]
    return [given] if isinstance(given, str) else given


def embeddings(request: Request, **options: Any) -> Reply:
    """An OpenAI embeddings answer, its items in no order but their index's."""
    texts = texts_of(request)
    data = [{"index": n, "embedding": vector(text)} for n, text in enumerate(texts)]
    total = sum(map(tokens, texts))
    return Reply(json={"data": data[::-1], "usage": {"prompt_tokens": total, "total_tokens": total}}, **options)


def sizes(server: Server) -> list[int]:
    return [len(texts_of(request)) for request in server.posts]


def numbered(count: int) -> list[str]:
    return [f"text {n} " + "word " * (n % 7) for n in range(count)]


def test_rows_share_requests_and_keep_their_own_lines(tmp_path: Path) -> None:
    """Thirty-two to a request; vectors by index, tokens that add up to the server's, one attempt each."""
    write(tmp_path, numbered(100))
    with serving(embeddings) as server:
        report = run_batch(job_of(server.url, tmp_path))
    assert [4, 32, 32, 32] == sorted(sizes(server))
    assert [[vector(text)] for text in numbered(100)] == [line["output"] for line in lines(tmp_path)]
    assert (100, 4, 0) == (report.succeeded, report.requests, report.retries)
    assert sum(map(tokens, numbered(100))) == report.prompt_tokens
    assert sum(line["usage"]["prompt_tokens"] for line in lines(tmp_path)) == report.prompt_tokens
    assert {1} == {line["attempts"] for line in lines(tmp_path)}


@pytest.mark.parametrize("rows", [1, 7])
def test_the_number_of_rows_changes_no_line(tmp_path: Path, rows: int) -> None:
    """One row each, or seven: the same output but for how tokens are shared."""
    write(tmp_path, numbered(20))
    with serving(embeddings) as server:
        run_batch(job_of(server.url, tmp_path, rows_per_request=rows))
    assert rows == max(sizes(server))
    assert [[vector(text)] for text in numbered(20)] == [line["output"] for line in lines(tmp_path)]


def test_a_row_with_a_list_of_texts_is_a_request_of_its_own(tmp_path: Path) -> None:
    """Its neighbours still share theirs."""
    write(tmp_path, ["a", "b", ["c", "d"], "e"])
    with serving(embeddings) as server:
        run_batch(job_of(server.url, tmp_path, max_concurrency=1, order_window=0))
    assert [["a", "b"], ["c", "d"], ["e"]] == [texts_of(request) for request in server.posts]
    assert [1, 1, 2, 1] == [len(line["output"]) for line in lines(tmp_path)]


def refusing(over: int, status: int, words: str) -> Callable[[Request], Reply]:
    return lambda r: Reply(status, {"error": words}) if len(texts_of(r)) > over else embeddings(r)


@pytest.mark.parametrize(
    ("status", "words"), [(413, "too much"), (422, "batch size 32 > maximum allowed batch size 5")]
)
def test_what_is_too_much_is_halved_until_it_is_taken(tmp_path: Path, status: int, words: str) -> None:
    """And later requests begin at what was taken."""
    write(tmp_path, numbered(200))
    with serving(refusing(5, status, words)) as server:
        report = run_batch(job_of(server.url, tmp_path, max_concurrency=1))
    assert 200 == report.succeeded
    assert [32, 16, 16] == sizes(server)[:3]
    assert sum(size > 5 for size in sizes(server)) < 15
    assert {4} == set(sizes(server)[40:-1])


def test_a_row_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    """One text gets a 413 in every request. After it is identified, the other texts are not sent again."""
    write(tmp_path, ["x" * 5000 if n == 11 else f"t{n}" for n in range(64)])

    def answer(request: Request) -> Reply:
        return Reply(413, {"error": "large"}) if any(len(t) > 4000 for t in texts_of(request)) else embeddings(request)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path))
    assert (63, {"payload_too_large": 1}) == (report.succeeded, report.errors)
    assert "payload_too_large" == lines(tmp_path)[11]["error"]["type"]
    assert len(server.posts) <= 2 + 2 * 5 + 2


@pytest.mark.parametrize(
    ("reply", "kind", "alone"),
    [
        (Reply(400, {"error": {"message": "no such language"}}), "bad_request", 1),
        (Reply(500, {"error": {"message": "kernel died"}}), "server", 2),
        (Reply(json={"data": [{"index": 0}]}), "malformed_answer", 2),
        (Reply(json={"data": []}, cut=80), "cut_answer", 2),
    ],
)
def test_a_bad_row_fails_alone(tmp_path: Path, reply: Reply, kind: str, alone: int) -> None:
    """An array with one bad row is taken apart: the others are answered, only its own tries count against it."""
    write(tmp_path, [f"t{n}" for n in range(6)])

    def answer(request: Request) -> Reply:
        return reply if "t4" in texts_of(request) else embeddings(request)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, max_attempts=2))
    assert (5, {kind: 1}) == (report.succeeded, report.errors)
    assert [[vector(f"t{n}")] for n in range(6) if n != 4] == [x["output"] for x in lines(tmp_path) if x["id"] != 4]
    assert alone == sum(texts_of(request) == ["t4"] for request in server.posts)
    with_it = sum("t4" in texts_of(request) for request in server.posts)
    assert with_it == lines(tmp_path)[4]["attempts"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: [*data, data[0]],
        lambda data: [{**item, "index": 0} for item in data],
        lambda data: [{**item, "index": item["index"] + 1} for item in data],
    ],
    ids=["one too few", "one too many", "the same index", "shifted"],
)
def test_an_answer_that_does_not_match_is_never_shifted(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    """As many vectors as texts, each index once; any other answer is not valid, and is requested again."""
    write(tmp_path, [f"t{n}" * (n + 1) for n in range(8)])

    def answer(request: Request) -> Reply:
        reply = embeddings(request)
        return Reply(json={"data": spoil(reply.json["data"])}) if request.number == 0 else reply

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, max_concurrency=1))
    assert (8, 3, 2) == (report.succeeded, report.requests, report.retries)
    assert [[vector(f"t{n}" * (n + 1))] for n in range(8)] == [line["output"] for line in lines(tmp_path)]


def test_an_engine_that_takes_no_arrays_gets_single_rows_after_a_while(tmp_path: Path) -> None:
    """A handler of someone's own that knows one text only: every row is answered, few requests are wasted."""
    write(tmp_path, numbered(400))
    with serving(
        lambda r: embeddings(r) if isinstance(r.body["input"], str) else Reply(400, {"error": "str"})
    ) as server:
        report = run_batch(job_of(server.url, tmp_path))
    assert 400 == report.succeeded
    assert len(server.posts) <= 400 + 70


def test_a_stopped_batch_of_arrays_sends_no_row_twice(tmp_path: Path) -> None:
    """The journal records rows, not requests: the same job may continue with another number of rows in each request."""
    write(tmp_path, numbered(300))
    stopped = threading.Event()

    def stop() -> bool:
        if len(server.posts) >= 5:
            stopped.set()
        return stopped.is_set()

    def held(request: Request) -> Reply:
        if len(server.posts) >= 5:
            stopped.wait(60)  # or a fast machine is done before it is asked to stop
        return embeddings(request)

    with serving(held) as server:
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path), stop=stop)
        report = run_batch(job_of(server.url, tmp_path, rows_per_request=3))
        sent = [text for request in server.posts for text in texts_of(request)]
    assert sorted(numbered(300)) == sorted(sent)
    assert (300, 300 - sum(s for s in sizes(server) if s <= 3)) == (report.rows, report.resumed)


def test_rows_with_parameters_of_their_own_share_no_request(tmp_path: Path) -> None:
    """Each goes with its own, also where the engine would take many texts in one call."""
    rows: list[dict[str, Any]] = [{"inputs": f"text {n}", "size": n + 1} for n in range(20)]
    bad = {"inputs": "x", "size": None}
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, bad]))
    with serving(embeddings) as server:
        own = {"dimensions": "{size}"}
        report = run_batch(job_of(server.url, tmp_path, row_parameters=own, parameters={"user": "u"}))
        sent = [request.body for request in server.posts]
    assert (20, 1) == (report.succeeded, report.failed)
    assert "column 'size' is null" in lines(tmp_path)[-1]["error"]["message"]
    expected = [{"model": "m", "input": row["inputs"], "user": "u", "dimensions": row["size"]} for row in rows]
    assert expected == sorted(sent, key=lambda body: body["dimensions"])


def test_row_parameters_are_part_of_which_job_it_is(tmp_path: Path) -> None:
    """The output of a job with others is another job's."""
    (tmp_path / "in.jsonl").write_text('{"inputs": "a", "size": 1, "other": 2}\n')
    with serving(embeddings) as server:
        run_batch(job_of(server.url, tmp_path, row_parameters={"dimensions": "{size}"}))
        with pytest.raises(OutputConflictError, match="row_parameters was"):
            run_batch(job_of(server.url, tmp_path, row_parameters={"dimensions": "{other}"}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": {"seed": 1}}, r"row_parameters\['seed'\] and parameters\['seed'\] mean the same"),
        (
            {"row_parameters": {"max_tokens": "{m}"}, "parameters": {"max_new_tokens": 4}},
            "one of them would be ignored",
        ),
        ({"row_parameters": {"temperature": "{t}"}, "parameters": {"do_sample": False}}, "mean the same to the engine"),
        ({"input_format": "openai-batch"}, "complete requests"),
        ({"rows_per_request": 4}, "without row_parameters"),
    ],
)
def test_row_parameters_that_could_not_hold_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    """Where another argument would overrule them, or has no place for them; before anything is read."""
    with pytest.raises(ValueError, match=words):
        job_of("http://x", tmp_path, **{"row_parameters": {"seed": "{seed}"}, **options})


def test_a_missing_column_of_row_parameters_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    """As one of a prompt is."""
    write(tmp_path, ["a"])
    with serving(embeddings) as server:
        with pytest.raises(BatchInputError, match="no column 'seed' that the template needs"):
            run_batch(job_of(server.url, tmp_path, row_parameters={"seed": "{seed}"}))
        assert server.posts == []


def test_a_number_where_it_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """When the job is made, or before the first row where it depends on the engine."""
    write(tmp_path, ["a"])
    with pytest.raises(ValueError, match='rows_per_request must be "auto" or at least 1, not 0'):
        job_of("http://x", tmp_path, rows_per_request=0)
    with pytest.raises(ValueError, match=r"rows_per_request=4 is not possible here\. Only feature-extraction"):
        job_of("http://x", tmp_path, task="chat-completion", prompt="{inputs}", rows_per_request=4)
    with serving(embeddings) as server:
        with pytest.raises(BatchInputError, match="takes one row per request for 'text-classification'"):
            run_batch(
                job_of(server.url, tmp_path, task="text-classification", engine="huggingface", rows_per_request=4)
            )
        assert server.posts == []


# --- the emulator's engines


@pytest.mark.parametrize(
    ("image", "model", "route"),
    [
        (TEI, {"env": {"MAX_CLIENT_BATCH_SIZE": "20"}}, "/embed"),
        (VLLM, {"task": "feature-extraction"}, "/v1/embeddings"),
        (LLAMACPP, {}, "/v1/embeddings"),
        (TOOLKIT, {"task": "feature-extraction"}, "/"),
        (TOOLKIT, {"task": "sentence-embeddings"}, "/"),
    ],
    ids=["tei", "vllm", "llamacpp", "toolkit: a vector per token", "toolkit: one vector"],
)
def test_every_engine_that_embeds(tmp_path: Path, image: dict[str, Any], model: dict[str, Any], route: str) -> None:
    """Arrays of the size that the engine allows, and the same lines as with a row each."""
    write(tmp_path, numbered(50))
    with Emulator() as emulator:
        url = Play(emulator).running(model={"image": image, **model})
        options: dict[str, Any] = {"engine": next(iter(image)), "model": None, "token": emulator.token}
        one = run_batch(job_of(url, tmp_path, rows_per_request=1, output_path=tmp_path / "one.jsonl", **options))
        many = run_batch(job_of(url, tmp_path, **options))
    expected = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [line["output"] for line in expected] == [line["output"] for line in lines(tmp_path)]
    assert (50, 50, 3 if image is TEI else 2) == (one.requests, many.succeeded, many.requests)
    assert one.prompt_tokens == many.prompt_tokens
    assert (image in (VLLM, LLAMACPP)) == (many.prompt_tokens > 0)


def test_classification_on_tei(tmp_path: Path) -> None:
    """Texts side by side are texts, not pairs; a row's output is its labels with their scores."""
    write(tmp_path, [*numbered(40), ["one", "two"]])
    with Emulator() as emulator:
        url = Play(emulator).running(model={"image": TEI, "task": "text-classification"})
        options: dict[str, Any] = {
            "engine": "tei",
            "task": "text-classification",
            "token": emulator.token,
            "order_window": 0,
        }
        run_batch(job_of(url, tmp_path, rows_per_request=1, output_path=tmp_path / "one.jsonl", **options))
        report = run_batch(job_of(url, tmp_path, **options))
    expected = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [line["output"] for line in expected] == [line["output"] for line in lines(tmp_path)]
    assert (41, 3) == (report.succeeded, report.requests)
    assert {"label", "score"} == set(lines(tmp_path)[0]["output"][0])


#: A value other than the default for every argument of a job, and some of them again. Each is tried with arrays.
OTHERS: list[tuple[str, Any]] = [
    *[("engine", each) for each in ("tei", "llamacpp", "tgi", "huggingface")],
    *[("task", each) for each in ("text-classification", "chat-completion", "sentence-similarity")],
    *(("url", None), ("input_path", None), ("output_path", None), ("rows_per_request", 4), ("shard", None)),
    *(("token", "t"), ("input_format", "jsonl"), ("input_format", "openai-batch"), ("encoding", "utf-8")),
    *(("delimiter", ";"), ("output_format", "jsonl"), ("model", "another"), ("prompt", "<{inputs}>")),
    *(("messages", "{chat}"), ("body", {"input": "{inputs}"}), ("system", "Be brief."), ("route", "/x")),
    *(("id_column", "id"), ("keep_columns", ("id",)), ("keep_response", True), ("order_window", 0)),
    *(("parameters", {"dimensions": 2}), ("row_parameters", {"dimensions": "{id}"})),
    *(("response_schema", {"type": "array"}), ("max_concurrency", 1), ("concurrency_ceiling", 2)),
    *(("max_attempts", 2), ("retry_budget", None), ("request_timeout", 9.0), ("row_timeout", 9.0)),
    *(("hedge_after", "auto"), ("startup_timeout", 9.0), ("probe_interval", 1.0), ("job_timeout", 99.0)),
    *(("drain_timeout", 9.0), ("concurrent_shards", 1), ("on_bad_input", "stop"), ("on_empty", "succeed")),
    *(("on_existing", "overwrite"), ("max_error_rate", None), ("max_error_rate_after", 1)),
    *(("fail_on_errors", True), ("max_cost", 9.0), ("max_runtime", 99.0), ("price_per_hour", 1.0)),
    *(("rows_per_replica_second", 9.0), ("budget_key", "b"), ("attempt_key", "a"), ("shared_budgets", ())),
    *(("checkpoint_interval", 1.0), ("progress_interval", 1.0), ("transport", "httpx"), ("max_response_bytes", 9999)),
    ("max_media_bytes", 1_000_000),
]


def test_every_argument_was_tried_with_arrays() -> None:
    """A new one, too: it may make the requests of two rows differ, or read an answer that several rows share."""
    assert {each.name for each in fields(BatchJob)} == {name for name, _ in OTHERS}


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_a_number_of_rows_is_kept_or_refused(tmp_path: Path, name: str, value: Any) -> None:
    """Never taken and then ignored, whatever else the job is given."""
    rows = [{"inputs": text, "id": n, "text": text} for n, text in enumerate(numbered(8))]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def answer(request: Request) -> Reply:
        if "input" in request.body:
            return embeddings(request)
        texts = request.body.get("inputs") or ["?"]
        return Reply(json=[vector(str(text)) for text in ([texts] if isinstance(texts, str) else texts)])

    given = {} if value is None and name not in ("retry_budget", "max_error_rate") else {name: value}
    with serving(answer) as server:
        try:
            run_batch(job_of(server.url, tmp_path, **{"rows_per_request": 4, **given}))
        except (ValueError, BatchInputError):
            assert [] == server.posts
            return
        sent = [request.body.get("input") or request.body.get("inputs") for request in server.posts]
        assert [4, 4] == [len(texts) if isinstance(texts, list) else 1 for texts in sent]


def test_requests_that_differ_in_more_than_a_text_are_found_out_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for an argument that no rule names."""
    write(tmp_path, numbered(8))
    monkeypatch.setattr(BatchJob, "_may_share_requests", True)
    with serving(embeddings) as server:
        with pytest.raises(BatchInputError, match=r"rows_per_request=4 is not possible: .* differ in more than one"):
            run_batch(job_of(server.url, tmp_path, row_parameters={"user": "{inputs}"}, rows_per_request=4))
        assert [] == server.posts
