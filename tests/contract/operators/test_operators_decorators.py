"""`@task.hf_inference` and `@task.hf_batch` against the emulator: waits, retries, clears, kills, and bad functions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset, task

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.operators.endpoints import ScaleToZeroInferenceEndpointOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import (
    FAST,
    HANG,
    VLLM,
    complete,
    connected,
    create,
    deferred,
    event_of,
    new_context,
    received,
    run,
    state,
)

CALL: dict[str, Any] = {"task_id": "ask", "endpoint": "demo", "task": "chat-completion", **FAST}
ROWS = 1000  # so many that one request after the other takes longer than a kill
DEFER = {"deferrable": True, "startup_timeout": HANG}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        run(create(custom_image=VLLM))
        yield running


def of_run(run_id: str = "run-1", max_tries: int = 2, task_id: str = "ask", index: int = -1) -> Any:
    context = new_context()
    given = {"dag_id": "nightly", "run_id": run_id, "max_tries": max_tries, "task_id": task_id, "map_index": index}
    for name, value in given.items():
        setattr(context["ti"], name, value)
    return context


def call_of(function: Callable[..., Any], *args: Any, **changes: Any) -> Any:
    return task.hf_inference(**{**CALL, **changes})(function)(*args).operator


def batch_of(function: Callable[..., Any], tmp_path: Path, *args: Any, **changes: Any) -> Any:
    given = {**CALL, "prompt": "Say {text}", "output_path": str(tmp_path / "out"), **changes}
    return task.hf_batch(**given)(function)(*args).operator


def posts(emulator: Emulator) -> int:
    return len([line for line in received(emulator) if line.startswith("POST /endpoints/")])


def output(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / "results-00000.jsonl").read_text().splitlines()]


def test_a_call_with_what_the_function_returns(emulator: Emulator) -> None:
    """The function's arguments and the context reach the function; the result is that of the operator."""

    def ask(city: str, run_id: str | None = None) -> dict[str, Any] | str:
        return f"Where is {city} in {run_id}"

    context = {**new_context(), "run_id": "run-7"}
    result = run(call_of(ask, "Lyon"), context)
    assert "Where is Lyon in run-7" in result["output"]
    assert "stop" == result["finish_reason"]


def test_a_call_that_waits_keeps_the_input(emulator: Emulator) -> None:
    """A task that was deferred is another object. The function, which may have effects, is not called again."""
    called = []

    def ask() -> list[dict[str, str]]:
        called.append(1)
        return [{"role": "user", "content": f"Call number {len(called)}"}]

    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    context = new_context()
    deferral = deferred(call_of(ask, **DEFER), context)
    assert "Call number" not in json.dumps(deferral.trigger.serialize(), default=str)
    result = complete(call_of(ask, **DEFER), deferral, event_of(deferral.trigger), context)
    assert "Call number 1" in result["output"]


@pytest.mark.parametrize("given", [None, "", [], {1}, 7])
def test_a_call_with_bad_input_wakes_no_endpoint(emulator: Emulator, given: Any) -> None:
    """Nothing, what JSON does not have, a number for a chat."""
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    before = received(emulator)
    with pytest.raises(AirflowFailException, match="inputs"):
        run(call_of(lambda: given))
    assert before == received(emulator)


def test_an_error_of_the_function_is_left_to_the_retries(emulator: Emulator, tmp_path: Path) -> None:
    """A database that is down, say: neither wrapped nor final."""

    def ask() -> str:
        raise ValueError("the database is down")

    for operator in (call_of(ask), batch_of(ask, tmp_path)):
        with pytest.raises(ValueError, match=r"^the database is down$"):
            run(operator, of_run())


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_a_batch_of_rows(emulator: Emulator, tmp_path: Path, kind: str) -> None:
    """A list or a generator of dicts becomes one line per row, in the order of the rows."""

    def rows(count: int) -> Any:
        made = ({"text": f"row {number}", "n": number} for number in range(count))
        return list(made) if kind == "list" else made

    result = run(batch_of(rows, tmp_path, 40, keep_columns=["n"]), of_run())
    assert (40, 40, 0) == (result["rows"], result["succeeded"], result["failed"])
    assert [f"row {i}" in line["output"] for i, line in enumerate(output(tmp_path))] == [True] * 40
    assert ["_input.json", "_input.jsonl", "errors.jsonl", "manifest.json", "results-00000.jsonl"] == sorted(
        path.name for path in (tmp_path / "out").iterdir()
    )


def test_a_batch_of_a_path(emulator: Emulator, tmp_path: Path) -> None:
    """A path, a `Path` and a list of paths are read where they are."""
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b"}\n')
    for number, given in enumerate([str(file), file, [file]]):
        result = run(batch_of(lambda given=given: given, tmp_path, output_path=str(tmp_path / f"{number}.jsonl")))
        assert (2, f"{number}.jsonl") == (result["succeeded"], Path(result["results_path"]).name)
        assert not (tmp_path / f"{number}.input.jsonl").exists()


def test_a_retry_resumes_with_the_same_rows(emulator: Emulator, tmp_path: Path) -> None:
    """The function would return other rows the second time. It is not called: no row is sent twice, none is lost."""
    calls: list[Any] = []

    def rows() -> Iterator[dict[str, str]]:
        calls.append(1)
        for number in range(ROWS):
            yield {"text": f"call {len(calls)} row {number}"}

    first = batch_of(rows, tmp_path, max_concurrency=1)
    sent = posts(emulator)

    def kill_after_some() -> None:
        while posts(emulator) - sent < 5:
            pass
        first.on_kill()

    killer = threading.Thread(target=kill_after_some, daemon=True)
    killer.start()
    with pytest.raises(BatchStopped):
        run(first, of_run())
    killer.join(HANG)
    done = posts(emulator) - sent
    assert 5 <= done < ROWS
    result = run(batch_of(rows, tmp_path), of_run())
    assert (ROWS, ROWS, 1) == (result["rows"], result["succeeded"], len(calls))
    assert ROWS == posts(emulator) - sent
    assert all(f"call 1 row {i}" in line["output"] for i, line in enumerate(output(tmp_path)))


def test_a_clear_asks_the_function_again(emulator: Emulator, tmp_path: Path) -> None:
    """The same rows cost nothing; other rows are another job, and no output is replaced without `overwrite`."""
    words = ["one"]

    def rows() -> list[dict[str, str]]:
        return [{"text": word} for word in words]

    run(batch_of(rows, tmp_path), of_run())
    before = posts(emulator)
    assert 1 == run(batch_of(rows, tmp_path), of_run(max_tries=4))["succeeded"]
    assert before == posts(emulator)
    words.append("two")
    with pytest.raises(AirflowFailException, match="on_existing"):
        run(batch_of(rows, tmp_path), of_run(max_tries=6))
    assert 2 == run(batch_of(rows, tmp_path, on_existing="overwrite"), of_run(max_tries=8))["succeeded"]


def test_the_output_of_another_task_is_not_touched(emulator: Emulator, tmp_path: Path) -> None:
    """Two tasks, or two map indexes, with one output: the second one fails before it writes."""
    run(batch_of(lambda: [{"text": "a"}], tmp_path), of_run(index=0))
    before = (tmp_path / "out" / "_input.jsonl").read_bytes()
    with pytest.raises(AirflowFailException, match=r"nightly/ask/0, but this is nightly/ask/1.*output_path"):
        run(batch_of(lambda: [{"text": "b"}], tmp_path), of_run(index=1))
    assert before == (tmp_path / "out" / "_input.jsonl").read_bytes()


def test_rows_are_not_replaced_while_another_run_reads_them(emulator: Emulator, tmp_path: Path) -> None:
    """Another run of the DAG has the output's lock."""
    lock = OutputLock(OutputLayout.of(tmp_path / "out").journal)
    lock.acquire()
    try:
        with pytest.raises(Exception, match="out"):
            run(batch_of(lambda: [{"text": "b"}], tmp_path), of_run("run-2"))
    finally:
        lock.release()
    assert not (tmp_path / "out" / "_input.jsonl").exists()


def test_rows_that_break_off_leave_nothing(emulator: Emulator, tmp_path: Path) -> None:
    """A generator that fails in the middle: no half of the rows is ever sent, and the next try asks again."""
    good: list[int] = []

    def rows() -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        if not good:
            raise RuntimeError("connection lost")
        yield {"text": "b"}

    with pytest.raises(RuntimeError, match="connection lost"):
        run(batch_of(rows, tmp_path), of_run())
    assert [] == list((tmp_path / "out").glob("_input*"))
    good.append(1)
    assert 2 == run(batch_of(rows, tmp_path), of_run())["succeeded"]


class Frame:
    """What has `to_dict`."""

    def to_dict(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "returned NoneType None.*without return"),
        ({"text": "a"}, "returned dict.*Return a list"),
        (Frame(), r"to_dict\('records'\)"),
        (7, "returned int 7"),
        ([{"text": "a"}, "b"], "returned str 'b' as row 1"),
        ([{"text": {1, 2}}], r"row 0\['text'\] cannot be written as JSON: it is a set"),
        ([{"txt": "a"}], "text"),
        ([], "empty"),
        ("", "empty"),
        ("~/rows.jsonl", "shell"),
        ("/missing/rows.jsonl", "does not exist"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_rows_wake_no_endpoint(emulator: Emulator, tmp_path: Path, given: Any, words: str) -> None:
    """The error says what the function returned, and the endpoint sleeps on."""
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    before = received(emulator)
    with pytest.raises(AirflowFailException, match=words):
        run(batch_of(lambda: given, tmp_path), of_run())
    assert before == received(emulator)
    assert "scaledToZero" == state(emulator)


def test_a_batch_that_waits_continues_with_its_rows(emulator: Emulator, tmp_path: Path) -> None:
    """The triggerer waits, and nothing of the rows is in what Airflow stores."""
    called = []

    def rows() -> list[dict[str, str]]:
        called.append(1)
        return [{"text": f"secret row {len(called)}"}]

    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    context = of_run()
    deferral = deferred(batch_of(rows, tmp_path, **DEFER), context)
    assert "secret row" not in json.dumps([deferral.trigger.serialize(), context["ti"].xcoms], default=str)
    result = complete(batch_of(rows, tmp_path, **DEFER), deferral, event_of(deferral.trigger), context)
    assert (1, [1]) == (result["succeeded"], called)
    assert "secret row 1" in output(tmp_path)[0]["output"]


def test_mapped_tasks(emulator: Emulator, tmp_path: Path) -> None:
    """A function that is mapped: each task has the operator's arguments, and its own output."""
    with DAG("d", schedule=None):

        @task.hf_batch(
            **CALL | {"task_id": "rows"}, prompt="Say {text}", output_path=f"{tmp_path}/{{{{ ti.map_index }}}}.jsonl"
        )
        def rows(word: str, times: int) -> list[dict[str, str]]:
            return [{"text": word}] * times

        result: Any = rows.partial(times=3).expand(word=["a", "b"])
    mapped = result.operator
    for index, word in enumerate("ab"):
        operator = mapped.unmap({"op_kwargs": {"word": word}})
        context = of_run(task_id="rows", index=index)
        operator.render_template_fields(context)
        assert 3 == run(operator, context)["succeeded"]
        assert (tmp_path / f"{index}.jsonl").exists()


def test_in_a_group_it_is_work(emulator: Emulator, tmp_path: Path) -> None:
    """The release waits for the task, mapped or not; the group creates the endpoint for the task's `task`."""
    with DAG("d", schedule=None), inference_endpoint("demo", repository="gpt2", hardware="aws/us-east-1/cpu/x1") as it:

        @task.hf_batch(endpoint=it, task="text-generation", prompt="{text}", output_path=str(tmp_path / "out"))
        def rows() -> list[Any]:
            return []

        @task.hf_inference(endpoint=it, task="text-generation")
        def ask(word: str) -> str:
            return word

        whole: Any = rows()
        results = whole["results_path"]
        ask.expand(word=["a", "b"])
    dag = it.operator.dag
    release, start = dag.get_task("demo.release"), dag.get_task("demo.start")
    assert {"demo.rows", "demo.ask"} <= release.get_flat_relative_ids(upstream=True)
    assert {"demo.rows", "demo.ask"} <= set(release.work)
    assert {"demo.rows", "demo.ask"} <= set(start.downstream_task_ids)
    assert "text-generation" == start.task_of_work
    assert ("results_path", True) == (results.key, dag.get_task("demo.rows").multiple_outputs)
    assert hasattr(type(dag.get_task("demo.rows")), "keeps_releases")  # a function may skip what is downstream


def test_assets_that_the_function_takes(emulator: Emulator, tmp_path: Path) -> None:
    """An asset among the arguments reaches the function."""
    asset = Asset(uri="file:///rows")
    assert 1 == run(batch_of(lambda given: [{"text": given.uri}], tmp_path, asset), of_run())["succeeded"]
