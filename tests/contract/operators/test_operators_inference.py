"""InferenceOperator against the emulator's echo engine: every dialect, the wait before the call, truncation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError, InferenceEndpointTimeoutError
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from tests.contract.operators_play import (
    FAST,
    TEI,
    TOKEN,
    VLLM,
    calls,
    complete,
    connect,
    connected,
    create,
    deferred,
    new_context,
    received,
    run,
    run_deferred,
    state,
)


def ask(task: str = "chat-completion", inputs: Any = "Hello there", **changes: Any) -> InferenceOperator:
    return InferenceOperator(
        **{"task_id": "ask", "endpoint": "demo", "task": task, "inputs": inputs, **FAST, **changes}
    )


def posts(emulator: Emulator) -> list[str]:
    """The calls of the endpoint itself that are work."""
    return [line for line in received(emulator) if line.startswith("POST /endpoints/")]


def test_chat(emulator: Emulator) -> None:
    """Text or messages; engine and model name are found out, and the answer comes with its usage."""
    run(create(custom_image=VLLM))
    for inputs in ("Hello there", [{"role": "user", "content": "Hello there"}]):
        result = run(ask(inputs=inputs))
        assert "Hello there" in result["output"]
        assert (result["finish_reason"], result["truncated"], result["model"]) == ("stop", False, "gpt2")
        assert result["usage"]["completion_tokens"] > 0


def test_a_call_asks_the_control_plane_for_the_endpoint_alone(emulator: Emulator) -> None:
    """And not for the list of prices, which only a batch needs, for its budget and for what it tells of its cost."""
    run(create(custom_image=VLLM))
    before = len(received(emulator))
    run(ask())
    asked = [line for line in received(emulator)[before:] if " /endpoints/" not in line]
    assert ["GET /api/whoami-v2", "GET /v2/endpoint/acme/demo"] == asked


@pytest.mark.parametrize("image", [VLLM, None])
def test_text_generation(emulator: Emulator, image: Any) -> None:
    """The same operator on another engine: OpenAI's dialect and the toolkit's."""
    run(create(custom_image=image))
    result = run(ask("text-generation"))
    assert "Hello there" in result["output"]


def test_embeddings(emulator: Emulator) -> None:
    """One vector per text."""
    run(create(custom_image=TEI))
    result = run(ask("feature-extraction", ["one", "two"]))
    assert len(result["output"]) == 2
    assert isinstance(result["output"][0][0], float)


@pytest.mark.parametrize(
    ("task", "inputs"),
    [
        ("text-classification", "I like it"),
        ("token-classification", "Hugging Face is in New York"),
        ("question-answering", {"question": "who?", "context": "me"}),
    ],
)
def test_toolkit_pipelines(emulator: Emulator, task: str, inputs: Any) -> None:
    """Whatever the toolkit serves comes back as its own JSON."""
    run(create(task=task))
    assert run(ask(task, inputs))["output"] is not None


def test_truncation_is_reported(emulator: Emulator) -> None:
    """A token limit that cuts the answer shows in the result; by choice it fails the task, without retries."""
    run(create(custom_image=VLLM))
    long = ask(inputs="one two three four five six seven", parameters={"max_tokens": 2})
    assert run(long)["truncated"] is True
    long.fail_on_truncated = True
    with pytest.raises(AirflowFailException, match="truncated"):
        run(long)


@pytest.mark.parametrize("inputs", ["", [], {}, None])
def test_empty_inputs_are_refused_before_any_request(emulator: Emulator, inputs: Any) -> None:
    """Nothing to do is a mistake upstream, and must not wake an endpoint."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    before = received(emulator)
    with pytest.raises(AirflowFailException, match="is empty"):
        run(ask(inputs=inputs))
    assert before == received(emulator)
    assert state(emulator) == "scaledToZero"


@pytest.mark.parametrize("deferrable", [False, True])
def test_waits_for_an_endpoint_that_is_starting(emulator: Emulator, deferrable: bool) -> None:
    """Starting, running without an answer yet: waited for, on the worker or in the triggerer."""
    emulator.behave("demo", initializing_seconds=0.2, loading_seconds=0.3)
    run(create(wait_for_completion=False))
    operator = ask("text-generation", deferrable=deferrable)
    result = run_deferred(operator) if deferrable else run(operator)
    assert "Hello there" in result["output"]
    assert len(posts(emulator)) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_wakes_an_endpoint_at_zero(emulator: Emulator, deferrable: bool) -> None:
    """The look wakes it, and the call is made when it answers."""
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    operator = ask("text-generation", deferrable=deferrable)
    assert "Hello there" in (run_deferred(operator) if deferrable else run(operator))["output"]


def test_one_that_falls_asleep_before_the_call_is_held_by_the_proxy(emulator: Emulator) -> None:
    """Between the wait and the call it went to zero: the call itself wakes it and is answered."""
    emulator.behave("demo", initializing_seconds=0.2)
    run(create(wait_for_completion=False))
    operator = ask("text-generation", deferrable=True)
    deferral = deferred(operator)
    run(create())
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    event = {"status": "ready", "name": "demo"}
    assert "Hello there" in complete(operator, deferral, event)["output"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_paused_endpoint_is_an_error_at_once(emulator: Emulator, deferrable: bool) -> None:
    """No task resumes it, so nothing is waited for and nothing is sent."""
    run(create())
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    with pytest.raises(EndpointFailedError, match="paused and is not being resumed"):
        run(ask("text-generation", deferrable=deferrable))
    assert posts(emulator) == []


def test_a_missing_endpoint_is_an_error_at_once(emulator: Emulator) -> None:
    """A misspelt name."""
    with pytest.raises(EndpointFailedError, match="No endpoint 'demo' in namespace 'acme'"):
        run(ask())


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_start_that_takes_too_long(emulator: Emulator, deferrable: bool) -> None:
    """`startup_timeout` bounds the wait; the endpoint does not belong to this task and keeps running."""
    emulator.behave("demo", initializing_seconds=600)
    run(create(wait_for_completion=False))
    operator = ask(startup_timeout=0.5, deferrable=deferrable)
    with pytest.raises(InferenceEndpointTimeoutError):
        run_deferred(operator) if deferrable else run(operator)
    assert calls(emulator) == ["POST "]


def test_a_kill_ends_the_wait(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the signal Airflow lets `execute` continue: the wait ends, and nothing is sent."""
    emulator.behave("demo", initializing_seconds=600)
    run(create(wait_for_completion=False))
    operator = ask("text-generation")
    check = operator._check_on
    looks: list[int] = []

    def kill_at_the_second_look() -> None:
        looks.append(1)
        if len(looks) == 2:
            operator.on_kill()
        check()

    monkeypatch.setattr(operator, "_check_on", kill_at_the_second_look)
    with pytest.raises(TaskKilledError):
        run(operator)
    assert posts(emulator) == []


def test_a_task_that_the_engine_does_not_serve(emulator: Emulator) -> None:
    """The engine's refusal is final, and names the task."""
    run(create(custom_image=TEI))
    with pytest.raises(AirflowFailException, match="chat"):
        run(ask("chat-completion"))


def test_an_answer_that_is_no_json(emulator: Emulator) -> None:
    """A page of HTML in place of an answer is an error that names HTML, and never a result."""
    run(create(custom_image=VLLM))
    emulator.add_fault("/endpoints/.*/v1/chat/completions", kind="not_json")
    with pytest.raises((InferenceError, AirflowFailException), match="JSON"):
        run(ask())


def test_a_token_that_may_not_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The permission that lacks is named."""
    manager = Token("hf_Manager1", frozenset({"read", "write"}))
    with connected(monkeypatch, tokens=(manager,)) as emulator:
        run(create())
        connect(monkeypatch, emulator, manager.value)
        with pytest.raises((EndpointFailedError, AirflowFailException), match=r"infer\.write") as caught:
            run(ask("text-generation"))
        assert manager.value not in str(caught.value)
        assert TOKEN not in str(caught.value)


def test_an_engine_of_tomorrow_is_found_out_by_asking(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is newer than this package is spoken to in the dialect that it answers to."""
    run(create(custom_image=VLLM))
    tomorrow = emulator.endpoint("demo")
    tomorrow["model"]["image"] = {"engineOfTomorrow": tomorrow["model"]["image"]["vLLM"]}
    emulator.add_fault("/v2/endpoint/acme/demo$", method="GET", status=200, body=tomorrow)
    assert "Hello there" in run(ask())["output"]


def test_the_link_is_there(emulator: Emulator) -> None:
    """The endpoint's page can be opened from the task."""
    run(create())
    context = new_context()
    run(ask("text-generation"), context)
    assert {"hf_endpoint_link": f"{emulator.url}/acme/endpoints/demo"} == context["ti"].xcoms


def test_a_task_that_is_not_served_names_what_the_endpoint_was_created_with(emulator: Emulator, tmp_path: Path) -> None:
    """The endpoint exists and runs: a 404 does not mean that it was deleted, and a retry does not help."""
    run(create())
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    files: dict[str, Any] = {"input_path": str(tmp_path / "in.jsonl"), "output_path": str(tmp_path / "out.jsonl")}
    batch = BatchInferenceOperator(
        task_id="batch", endpoint="demo", task="chat-completion", prompt="{text}", **files, **FAST
    )
    for operator in (batch, ask("chat-completion", "Hello")):
        with pytest.raises(AirflowFailException) as caught:
            run(operator)
        words = str(caught.value)
        assert "deleted" not in words
        expected = ("'chat-completion'", "gpt2", "default image and task='text-generation'", "custom_image=")
        assert all(each in words for each in expected), words
