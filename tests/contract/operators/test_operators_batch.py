"""BatchInferenceOperator against the emulator: rows in order, bad input refused while it sleeps, kill and retry."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BatchStopped, OutputBusyError
from airflow_provider_hf_endpoints.inference.errors import CertificateError, ConnectionFailedError, ModelNotFoundError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.operators.requesting import batch as batch_module
from tests.clock import owned_clock, ticking
from tests.contract.operators_play import (
    FAST,
    HANG,
    TOKEN,
    VLLM,
    connected,
    create,
    deferred,
    new_context,
    received,
    run,
    run_deferred,
    state,
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Forty rows, each with a text and a key."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {i}", "key": f"k{i}"}) + "\n" for i in range(40)))
    return path


def batch(tmp_path: Path, **changes: Any) -> BatchInferenceOperator:
    given: dict[str, Any] = {
        "task_id": "batch",
        "endpoint": "demo",
        "task": "chat-completion",
        "input_path": str(tmp_path / "in.jsonl"),
        "output_path": str(tmp_path / "out.jsonl"),
        "prompt": "Say {text}",
        "parameters": {"max_tokens": 16},
        "startup_timeout": HANG,
        **FAST,
    }
    return BatchInferenceOperator(**{**given, **changes})


def output(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def sent(emulator: Emulator) -> int:
    """The rows that the endpoint was asked."""
    return len([line for line in received(emulator) if line.startswith("POST /endpoints/")])


def test_every_row_in_order(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """One line per row, in the input's order, and the counts of them as the result; no row and no secret in it."""
    run(create(custom_image=VLLM))
    result = run(batch(tmp_path, id_column="key"))
    assert (result["rows"], result["succeeded"], result["failed"]) == (40, 40, 0)
    assert result["completion_tokens"] > 0
    lines = output(tmp_path)
    assert [(f"k{i}", i) for i in range(40)] == [(line["id"], line["index"]) for line in lines]
    assert all(f"row {line['index']}" in line["output"] and line["error"] is None for line in lines)
    stored = json.dumps(result)
    assert "row 7" not in stored
    assert TOKEN not in stored


def test_a_retry_does_not_overwrite_what_its_first_try_wrote(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """A clear, and another run of the DAG, do all rows again."""
    run(create(custom_image=VLLM))

    def tried(run_id: str, max_tries: int) -> int:
        context, before = new_context(), sent(emulator)
        for name, value in {"dag_id": "nightly", "run_id": run_id, "max_tries": max_tries}.items():
            setattr(context["ti"], name, value)
        run(batch(tmp_path, job_options={"on_existing": "overwrite"}), context)
        return sent(emulator) - before

    tries = [("run-1", 2), ("run-1", 2), ("run-1", 4), ("run-2", 4), ("run-2", 4)]
    assert [40, 0, 40, 40, 0] == [tried(*each) for each in tries]


@pytest.mark.parametrize("given", ["list", "pattern", "folder", "object storage"])
def test_several_files(emulator: Emulator, tmp_path: Path, given: str) -> None:
    """A list, a pattern or a folder, in any mix of formats; the result holds counts and paths, nothing of the rows."""
    run(create(custom_image=VLLM))
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(15)))
    (folder / "b.csv").write_text("text\n" + "".join(f"row {i}\n" for i in range(15, 30)))
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(30, 40)]}), folder / "c.parquet")
    paths: dict[str, Any] = {
        "list": [str(folder / name) for name in ("a.jsonl", "b.csv", "c.parquet")],
        "pattern": f"file://{folder}/*",
        "folder": str(folder),
        "object storage": [ObjectStoragePath(f"file://{folder}/[ab].*"), f"{folder}/c.parquet"],
    }
    result = run(batch(tmp_path, input_path=paths[given]))
    assert (40, 40) == (result["rows"], result["succeeded"])
    assert [f"row {i}" in line["output"] for i, line in enumerate(output(tmp_path))] == [True] * 40
    stored = json.dumps(result)
    assert ("row 7" in stored, "a.jsonl" in stored, len(stored) < 2000) == (False, False, True)


def test_a_parameter_of_each_row(emulator: Emulator, tmp_path: Path) -> None:
    """Each row's answer is as long as its own column allows."""
    run(create(custom_image=VLLM))
    rows = [{"text": "one two three four five six seven", "words": number} for number in (3, 1, 5, 2)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(batch(tmp_path, parameters={"temperature": 0}, row_parameters={"max_tokens": "{words}"}))
    assert [3, 1, 5, 2] == [line["usage"]["completion_tokens"] for line in output(tmp_path)]
    assert "row_parameters" in BatchInferenceOperator.template_fields


@pytest.mark.parametrize("image", [VLLM, None])
def test_messages_and_paths_of_object_storage(emulator: Emulator, rows: Path, tmp_path: Path, image: Any) -> None:
    """A template of messages, a system prompt, and `ObjectStoragePath` for both files."""
    run(create(custom_image=image))
    operator = batch(
        tmp_path,
        task="chat-completion" if image else "text-generation",
        prompt=None if image else "Say {text}",
        messages=[{"role": "user", "content": "Say {text}"}] if image else None,
        input_path=ObjectStoragePath(f"file://{rows}"),
        output_path=ObjectStoragePath(f"file://{tmp_path / 'out.jsonl'}"),
    )
    assert run(operator)["succeeded"] == 40
    assert len(output(tmp_path)) == 40


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (None, {}, "in.jsonl"),
        ("", {}, "empty"),
        ("\n\n", {}, "empty"),
        ("not json\nnor this\n", {}, "line 1"),
        ('{"text": "a"}\nbroken\n{"text": "b"}\n', {"job_options": {"on_bad_input": "stop"}}, "line 2"),
        ('{"txt": "a"}\n', {}, "text"),
        ('{"text": "a", "key": 1}\n{"text": "b", "key": 1}\n', {"id_column": "key"}, "line 2"),
        ('{"text": "a"}\n', {"id_column": "key"}, "key"),
        ('{"text": "a"}\n', {"prompt": None}, "messages"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_refused_before_the_endpoint_is_woken(
    emulator: Emulator, tmp_path: Path, text: str | None, changes: dict[str, Any], words: str
) -> None:
    """Not one request: the endpoint sleeps on and bills nothing; the error says where the input is wrong."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    if text is not None:
        (tmp_path / "in.jsonl").write_text(text)
    before = received(emulator)
    with pytest.raises(AirflowFailException, match=words):
        run(batch(tmp_path, **changes))
    assert before == received(emulator)
    assert state(emulator) == "scaledToZero"
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job_options": {"max_retries": 3}}, "unknown 'max_retries'. Did you mean 'max_attempts'"),
        ({"job_options": {"response_schem": {}}}, "unknown 'response_schem'. Did you mean 'response_schema'"),
        ({"job_options": {"no_such": 1}}, r"unknown 'no_such'. The options are listed in docs/reference/batch\.md"),
        ({"job_options": {"task": "x"}}, "'task' is an argument of the operator. Give it as task="),
        ({"job_options": {"token": "x"}}, "'token' cannot be set here: it comes from the connection"),
        ({"job_options": {"job_timeout": 1}}, "batch_timeout"),
        ({"job_options": {"max_attempts": 0}}, "max_attempts must be at least 1"),
        ({"job_options": {"on_bad_input": "error_rows"}}, "on_bad_input"),
        ({"job_options": {"on_existing": "fail"}, "on_existing": "overwrite"}, "on_existing is given both"),
        ({"on_existing": "resum"}, "on_existing"),
        ({"input_format": "jsonlines"}, "input_format"),
        ({"transport": "https"}, "transport"),
        ({"max_response_bytes": 0}, "max_response_bytes"),
        ({"response_schema": 5}, "schema"),
    ],
)
def test_a_bad_option_is_refused_when_the_dag_is_read(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """With the name that is meant, or where the value belongs."""
    with pytest.raises(ValueError, match=words):
        batch(tmp_path, **changes)


@pytest.mark.parametrize(
    ("cause", "raised"),
    [
        (CertificateError("self-signed certificate", path="/v1/models"), AirflowFailException),
        (ModelNotFoundError("The model `x` does not exist", status=404, path="/v1/models"), AirflowFailException),
        (ConnectionFailedError("refused", path="/v1/models"), BatchAborted),
    ],
)
def test_a_cause_that_no_retry_changes_fails_the_task(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception, raised: type[Exception]
) -> None:
    """A certificate, and a model that the endpoint does not serve. Other causes are left to the task's retries."""

    def aborted(*_: Any, **__: Any) -> Any:
        raise BatchAborted(BatchReport("out.jsonl", "errors.jsonl", "manifest.json"), cause)

    run(create())
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.setattr(batch_module, "run_batch", aborted)
    with pytest.raises(raised, match="the batch stopped after 0 rows"):
        run(batch(tmp_path))


def test_embeddings_of_an_engine_that_chats_say_what_would_serve_them(emulator: Emulator, tmp_path: Path) -> None:
    """The batch ends at once: every row would be refused. vLLM itself serves embeddings, so vLLM is not the advice."""
    run(create(custom_image=VLLM))
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n' * 50)
    with pytest.raises(AirflowFailException, match="does not serve the task 'feature-extraction'") as caught:
        run(batch(tmp_path, task="feature-extraction"))
    assert "created from gpt2 with the engine vLLM" in str(caught.value)
    assert "text-embeddings-inference" in str(caught.value)


@pytest.mark.parametrize("name", ["input_path", "output_path"])
def test_a_path_with_an_unknown_scheme_is_named(emulator: Emulator, tmp_path: Path, name: str) -> None:
    """Airflow's own words name neither the argument nor the path. When the DAG is parsed, and after rendering."""
    run(create())
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    words = f"{name} nope://b/x.jsonl: no installed package reads nope://"
    with pytest.raises(ValueError, match=words):
        batch(tmp_path, **{name: "nope://b/x.jsonl"})
    operator = batch(tmp_path, **{name: "{{ params.path }}"})
    setattr(operator, name, "nope://b/x.jsonl")
    with pytest.raises(AirflowFailException, match=words):
        run(operator)


def test_options_may_be_arguments_or_job_options(tmp_path: Path) -> None:
    """Both say the same to the job."""
    given = {"input_format": "jsonl", "keep_columns": ("id",), "on_existing": "fail", "max_response_bytes": 1000}
    for operator in (batch(tmp_path, **given), batch(tmp_path, job_options=given)):
        job = operator._job()
        assert given == {name: getattr(job, name) for name in given}


def test_a_broken_line_in_the_middle_has_its_error_in_its_place(emulator: Emulator, tmp_path: Path) -> None:
    """The rows around it are answered; by choice the task fails over it."""
    run(create(custom_image=VLLM))
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\nbroken\n{"other": 1}\n{"text": "b"}\n')
    result = run(batch(tmp_path))
    assert (result["rows"], result["succeeded"], result["failed"]) == (4, 2, 2)
    lines = output(tmp_path)
    assert [line["error"] is None for line in lines] == [True, False, False, True]
    assert [line["output"] is None for line in lines] == [False, True, True, False]
    with pytest.raises(AirflowFailException, match="2"):
        run(batch(tmp_path, output_path=str(tmp_path / "strict.jsonl"), fail_on_errors=True))


def test_answers_that_are_no_json(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """A page of HTML in place of an answer is tried again; what stays broken is that row's error."""
    run(create(custom_image=VLLM))
    emulator.add_fault("/endpoints/.*/v1/chat/completions", kind="not_json", count=3)
    result = run(batch(tmp_path))
    assert (result["rows"], result["succeeded"], result["failed"]) == (40, 40, 0)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("there", ["starting", "scaledToZero"])
def test_waits_for_the_endpoint(emulator: Emulator, rows: Path, tmp_path: Path, there: str, deferrable: bool) -> None:
    """One that starts is waited for, one at zero is woken, on the worker or in the triggerer."""
    if there == "starting":
        emulator.behave("demo", initializing_seconds=0.3)
        run(create(wait_for_completion=False))
    else:
        run(create())
        run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    operator = batch(tmp_path, deferrable=deferrable, task="text-generation")
    result = run_deferred(operator) if deferrable else run(operator)
    assert result["succeeded"] == 40
    assert len(output(tmp_path)) == 40


def test_a_deferral_holds_names_only(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """The token is not in what Airflow stores, and no row is."""
    emulator.behave("demo", initializing_seconds=600)
    run(create(wait_for_completion=False))
    deferral = deferred(batch(tmp_path, deferrable=True))
    stored = json.dumps([deferral.trigger.serialize(), deferral.kwargs])
    assert TOKEN not in stored
    assert "row 1" not in stored


def test_a_paused_endpoint_is_an_error_at_once(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """Nothing is sent and no output begun."""
    run(create())
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    with pytest.raises(EndpointFailedError, match="paused"):
        run(batch(tmp_path))
    assert sent(emulator) == 0


def test_a_killed_batch_is_taken_up_by_the_retry(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """The kill lets in what is in flight; the next attempt sends only the rest, and no row twice."""
    emulator.behave("demo", latency_seconds=0.05)
    run(create(custom_image=VLLM))
    operator = batch(tmp_path, max_concurrency=2)

    def kill() -> None:
        while sent(emulator) < 6 and not over.wait(0.01):
            pass
        operator.on_kill()

    over = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(BatchStopped):
        run(operator)
    over.set()
    killer.join()
    before = sent(emulator)
    assert 6 <= before < 40
    result = run(batch(tmp_path, max_concurrency=2))
    assert (result["rows"], result["succeeded"]) == (40, 40)
    assert before == result["resumed"]
    assert sent(emulator) == 40
    assert list(range(40)) == [line["index"] for line in output(tmp_path)]


def test_a_kill_before_the_first_row_sends_nothing(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """The flag is seen whenever it was set."""
    run(create(custom_image=VLLM))
    operator = batch(tmp_path)
    check = operator._check

    def killed_here() -> None:
        check()
        operator.on_kill()

    operator._check = killed_here  # type: ignore[method-assign]
    with pytest.raises(TaskKilledError):
        run(operator)
    assert sent(emulator) == 0


def test_a_batch_that_mostly_fails_stops(emulator: Emulator, tmp_path: Path) -> None:
    """Above `max_error_rate` no more money is spent, and a retry would only do the same."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(400)))
    run(create(custom_image=VLLM))
    emulator.add_fault("/endpoints/.*/v1/chat/completions", status=400, body={"error": {"message": "no", "code": 400}})
    with pytest.raises(AirflowFailException, match="max_error_rate"):
        run(batch(tmp_path, max_concurrency=4))
    assert sent(emulator) < 400


def test_a_finished_batch_is_not_sent_again(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """A retry after the end (the task was killed while it reported) answers from what is there."""
    run(create(custom_image=VLLM))
    run(batch(tmp_path))
    result = run(batch(tmp_path))
    assert (result["rows"], result["succeeded"], result["requests"]) == (40, 40, 0)
    assert sent(emulator) == 40


def test_an_output_that_another_run_has_is_tried_again(
    emulator: Emulator, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier try may be about to end: the task may retry, unlike with another job's output. Nothing is sent."""
    monkeypatch.setattr("airflow_provider_hf_endpoints.inference.batch.WAIT", 0.0)
    run(create(custom_image=VLLM))
    other = OutputLock(OutputLayout.of(tmp_path / "out.jsonl").journal)
    other.acquire()
    with pytest.raises(OutputBusyError, match=r"another run holds .*out.journal.lock: process \d+ on .*, since 20"):
        run(batch(tmp_path))
    assert 0 == sent(emulator)
    other.release()
    assert 40 == run(batch(tmp_path))["succeeded"]
    with pytest.raises(AirflowFailException, match="another job"):
        run(batch(tmp_path, prompt="Sing {text}"))


def test_an_object_store(emulator: Emulator) -> None:
    """Input and output that are not local files, as Airflow's `ObjectStoragePath` opens them; a retry finds them."""
    store = MemoryFileSystem()
    attach(protocol="memory", fs=store)
    store.pipe("/bucket/in.jsonl", b"".join(json.dumps({"text": f"row {i}"}).encode() + b"\n" for i in range(600)))
    given = {"input_path": "memory://bucket/in.jsonl", "output_path": "memory://bucket/out"}
    run(create(custom_image=VLLM))
    result = run(batch(Path(), **given))
    assert (600, 600) == (result["rows"], result["succeeded"])
    lines = (ObjectStoragePath(given["output_path"]) / "results-00000.jsonl").read_text().splitlines()
    assert list(range(600)) == [json.loads(line)["index"] for line in lines]
    assert 0 == run(batch(Path(), **given))["requests"]


@pytest.mark.parametrize(("policy", "expected"), [("pause", "paused"), ("none", "running")])
def test_a_spent_budget_releases_the_endpoint(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, expected: str
) -> None:
    """The task fails with the figures and without a retry; finished rows are kept; the endpoint stops billing."""
    clock = owned_clock(monkeypatch)
    ticking(monkeypatch, clock)
    with connected(monkeypatch, clock=clock) as emulator:
        run(create(custom_image=VLLM))
        emulator.behave("demo", latency_seconds=0.1)
        # intel-icl x2 costs so little that the budget is some tenths of a second of it.
        [hardware] = [each for each in hardware_of(emulator) if each.path.endswith("intel-icl/x2")]
        assert hardware.price_per_hour is not None
        budget = hardware.price_per_hour / 3600 * 0.5
        operator = batch(tmp_path, max_cost=budget, on_budget=policy, max_concurrency=2)
        with pytest.raises(AirflowFailException, match=r"budget is spent: .*replica-minutes.*Endpoint demo is"):
            run(operator)
        assert expected == state(emulator)
    done = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert 0 < len(done) < 40


def hardware_of(emulator: Emulator) -> list[Any]:
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        return client.list_inference_endpoints_hardware(with_quota=False)


def test_a_result_says_what_it_has_cost(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """From the price that the service lists, without a budget too."""
    run(create(custom_image=VLLM))
    cost = run(batch(tmp_path))["cost"]
    assert cost["usd"] == pytest.approx(cost["price_per_hour"] * cost["replica_minutes"] / 60, rel=0.1, abs=1e-6)
    assert cost["usd_per_1000_rows"] == pytest.approx(cost["usd"] * 1000 / 40)


@pytest.mark.parametrize("limits", [{"max_cost": 0}, {"max_cost": -1.0}, {"max_runtime": 0.0}, {"on_budget": "stop"}])
def test_a_bad_budget_is_told_when_the_dag_is_read(rows: Path, tmp_path: Path, limits: dict[str, Any]) -> None:
    """The error has the argument's name."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        batch(tmp_path, **limits)


@pytest.mark.parametrize(("on_empty", "raised"), [("fail", AirflowFailException), ("skip", AirflowSkipException)])
def test_an_input_without_rows_wakes_nothing(
    emulator: Emulator, tmp_path: Path, on_empty: Any, raised: type[Exception]
) -> None:
    """It fails the task or skips it, as the DAG says; the error says how to choose."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    (tmp_path / "in.jsonl").write_text("")
    with pytest.raises(raised, match="on_empty='skip'"):
        run(batch(tmp_path, on_empty=on_empty))
    assert state(emulator) == "scaledToZero"


def test_an_input_without_rows_may_be_done(emulator: Emulator, tmp_path: Path) -> None:
    """The tasks behind find an output without a row."""
    run(create())
    (tmp_path / "in.jsonl").write_text("")
    result = run(batch(tmp_path, on_empty="succeed", task="text-generation"))
    assert (0, True) == (result["rows"], result["complete"])
    assert "" == Path(result["results_path"]).read_text()


def test_the_result_names_the_file_of_the_results(emulator: Emulator, rows: Path, tmp_path: Path) -> None:
    """Also in a folder, also where the batch was finished earlier; every path is that of a file."""
    run(create())
    for _ in range(2):
        result = run(batch(tmp_path, output_path=str(tmp_path / "out"), task="text-generation"))
        assert 40 == len(Path(result["results_path"]).read_text().splitlines())
        assert all(Path(result[name]).is_file() for name in ("results_path", "errors_path", "manifest_path"))


@pytest.mark.parametrize(("column", "said"), [("id", 1), ("key", 0)])
def test_rows_with_an_id_are_pointed_out(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, said: int
) -> None:
    """The output's `id` is still the row's place. The log says this once, with the argument that changes it."""
    run(create())
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": "a", column: f"k{i}"}) + "\n" for i in range(3)))
    caplog.set_level(logging.INFO)
    run(batch(tmp_path, task="text-generation"))
    assert said == caplog.text.count("set id_column='id'")
    assert [0, 1, 2] == [line["id"] for line in output(tmp_path)]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Summarise {{ text }} of {key}", 1),
        ("{{text}}{text}", 1),
        ('Answer as {{"label": "…"}}: {text}', 0),
        ("{{{text}}}", 0),
        ("{{other}} {text}", 0),
    ],
)
def test_a_column_in_double_braces_is_pointed_out(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, prompt: str, said: int
) -> None:
    """Such a prompt is valid if it names another column, and every row has the column's name in place of its value."""
    run(create())
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "a", "key": "k"}) + "\n")
    run(batch(tmp_path, task="text-generation", prompt=prompt))
    assert said == caplog.text.count("use single braces: {text}")
