"""Every argument of a job is refused, by its name, where it can mean nothing; before anything is looked at or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.job.identity import differences
from airflow_provider_hf_endpoints.inference.job.shard import Shard

GIVEN: dict[str, Any] = {
    "url": "http://127.0.0.1:9",
    "task": "chat-completion",
    "input_path": "in.jsonl",
    "output_path": "out.jsonl",
    "prompt": "{text}",
}
HINTS = get_type_hints(BatchJob)
NUMBERS = sorted(name for name, hint in HINTS.items() if hint in (int, float, int | None, float | None))
TEXTS = sorted(name for name, hint in HINTS.items() if hint in (str, str | None))
MAPPINGS = sorted(name for name, hint in HINTS.items() if hint == Mapping[str, Any] | None)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["5", True, float("nan"), float("inf"), [1], {}])
def test_what_is_not_a_number_is_refused(name: str, value: object) -> None:
    """A text is compared as a text and NaN with nothing, which a bound would never notice."""
    with pytest.raises(ValueError, match=rf"^{name} must be (a number|an integer)"):
        BatchJob(**{**GIVEN, name: value})


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [5, b"x", ["x"], {"a": 1}])
def test_what_is_not_a_text_is_refused(name: str, value: object) -> None:
    """With the argument's name."""
    with pytest.raises(ValueError, match=rf"^{name} must be a text"):
        BatchJob(**{**GIVEN, name: value})


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("value", [[1], "max_tokens=5", 3])
def test_what_is_not_a_mapping_is_refused(name: str, value: object) -> None:
    """With the argument's name."""
    with pytest.raises(ValueError, match=rf"^{name} must be a mapping"):
        BatchJob(**{**GIVEN, name: value})


@given(value=st.sampled_from([float("nan"), float("-inf"), object(), 1j]), around=st.lists(st.booleans(), max_size=4))
def test_what_json_cannot_say_is_refused(value: object, around: list[bool]) -> None:
    """However deep it stands: NaN would be sent as null, anything else would fail with the first row."""
    for listed in around:
        value = [value] if listed else {"a": value}
    with pytest.raises(ValueError, match=r"^parameters\['temperature'\].* (contains NaN|cannot be written as JSON)"):
        BatchJob(**GIVEN, parameters={"temperature": value})


@pytest.mark.parametrize("argument", ["parameters", "row_parameters"])
@pytest.mark.parametrize("name", ["messages", "prompt", "input", "inputs"])
def test_no_parameter_takes_the_place_of_the_row(argument: str, name: str) -> None:
    """Every request would say the same."""
    with pytest.raises(ValueError, match=rf"{argument}\['{name}'\] would replace"):
        BatchJob(**{**GIVEN, argument: {name: "{text}"}})


@pytest.mark.parametrize("url", ["ftp://host/x", "host:8080", "s3://bucket/x", "/v1"])
def test_a_url_is_one_of_http(url: str) -> None:
    """Anything else would be taken for an endpoint that is away."""
    with pytest.raises(ValueError, match=r"^url must start with"):
        BatchJob(**{**GIVEN, "url": url})


@pytest.mark.parametrize("path", ["out.csv", "out.json", "s3://bucket/x.xlsx", "out.jsonl.zip", "out.parquet.gz"])
def test_an_output_in_a_form_that_does_not_exist_is_refused(path: str) -> None:
    """It would become a folder of that name."""
    with pytest.raises(ValueError, match=r"has a suffix that .* \.jsonl.*or name a folder"):
        BatchJob(**{**GIVEN, "output_path": path})


@pytest.mark.parametrize("path", ["", "  "])
def test_an_output_has_a_name(path: str) -> None:
    """An empty template is the usual reason."""
    with pytest.raises(ValueError, match="must not be empty"):
        BatchJob(**{**GIVEN, "output_path": path})


@pytest.mark.parametrize("value", [None, 5, "", ["in.jsonl", 5], "s9://bucket/x"])
def test_an_input_that_is_no_path_is_refused(value: Any) -> None:
    """With the argument's name, before a file is looked for."""
    with pytest.raises(ValueError, match=r"^input_path must be a path or a list of paths, not"):
        BatchJob(**{**GIVEN, "input_path": value})


@pytest.mark.parametrize("value", ["a", [1], [None], 5, {"a"}])
def test_columns_to_keep_are_a_list_of_texts(value: Any) -> None:
    """Anything else would fail with the first row, or keep another order each time."""
    with pytest.raises(ValueError, match=r"^keep_columns must be a list"):
        BatchJob(**{**GIVEN, "keep_columns": value})


@pytest.mark.parametrize("name", ["task", "model", "id_column"])
@pytest.mark.parametrize("value", ["", " "])
def test_a_name_is_not_empty(name: str, value: str) -> None:
    """An empty id_column would silently number the rows."""
    with pytest.raises(ValueError, match=f"^{name} is an empty text"):
        BatchJob(**{**GIVEN, name: value})


@pytest.mark.parametrize(
    "task",
    ["embedding", "feature-extraction", "rerank", "text-classification", "fill-mask", "summarization"],
)
def test_a_schema_needs_a_task_that_generates_text(task: str) -> None:
    """No engine has a parameter for it in another task, which would be found when the endpoint bills."""
    with pytest.raises(ValueError, match=f"^response_schema is given, but task='{task}'"):
        BatchJob(**{**GIVEN, "task": task, "response_schema": {"type": "object"}})


@pytest.mark.parametrize("task", ["chat", "chat-completion", "text-generation", "completions"])
def test_a_task_that_generates_text_may_have_a_schema(task: str) -> None:
    """By whichever name the task is given."""
    assert BatchJob(**{**GIVEN, "task": task, "response_schema": {"type": "object"}})


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ({"role": "user", "content": "{text}"}, "must be a list, not one message"),
        (["Summarise: {text}"], r"messages\[0\] is the text 'Summarise: \{text\}'"),
        ([{"role": "user"}, "{text}"], r"messages\[0\] needs `role` and `content`, but has role"),
        ([{"content": "{text}"}], r"messages\[0\] needs `role` and `content`, but has content"),
        ([{"role": "user", "content": "{text}"}, {"role": "asistant", "content": "x"}], "Did you mean 'assistant'"),
        ([{"role": "User", "content": "{text}"}], "Did you mean 'user'"),
    ],
)
def test_messages_are_a_chat(messages: Any, words: str) -> None:
    """Every engine would refuse every row."""
    with pytest.raises(ValueError, match=words):
        BatchJob(**{**GIVEN, "prompt": None, "messages": messages})


@pytest.mark.parametrize(
    "messages",
    [
        "{chat}",
        ["{message}"],
        [{"role": "{role}", "content": "{text}"}],
        [{"role": "ipython", "content": "{text}"}],
        [{"role": "assistant", "tool_calls": "{calls}"}],
    ],
)
def test_a_chat_may_come_from_columns(messages: Any) -> None:
    """A column may have the whole chat, a message or a role, and an engine may know other roles."""
    assert BatchJob(**{**GIVEN, "prompt": None, "messages": messages})


@pytest.mark.parametrize("value", [-0.1, 1.1, 50])
def test_an_error_rate_is_a_share(value: float) -> None:
    """A percentage would never be reached."""
    with pytest.raises(ValueError, match=r"^max_error_rate must be a share"):
        BatchJob(**{**GIVEN, "max_error_rate": value})


@pytest.mark.parametrize("name", ["drain_timeout", "checkpoint_interval", "progress_interval", "max_error_rate_after"])
def test_no_time_and_no_number_is_below_zero(name: str) -> None:
    """With the argument's name."""
    with pytest.raises(ValueError, match=rf"^{name} must be 0 or greater"):
        BatchJob(**{**GIVEN, name: -1})


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({"max_tokens": 5, "max_new_tokens": 7}, True),
        ({"max_completion_tokens": 5, "max_tokens": 7}, True),
        ({"stop": ["a"], "stop_sequences": ["b"]}, True),
        ({"n": 2, "num_return_sequences": 3}, True),
        ({"max_tokens": 5, "max_new_tokens": 5}, False),
        ({"max_tokens": 5, "max_new_tokens": None}, False),
        ({"temperature": 0, "do_sample": False, "logprobs": True, "top_logprobs": 2}, False),
    ],
)
def test_one_parameter_has_one_value(parameters: dict[str, Any], refused: bool) -> None:
    """Under two names the engine would be sent one of them, and which of them depends on the engine."""
    if not refused:
        BatchJob(**GIVEN, parameters=parameters)
        return
    with pytest.raises(ValueError, match="mean the same to the engine, with different values"):
        BatchJob(**GIVEN, parameters=parameters)


#: Fields that make another job of it, each with a job that is given the field and one that is given another value.
MAKES_ANOTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "task": ({}, {"task": "text-generation"}),
    "input_format": ({}, {"input_format": "csv"}),
    "encoding": ({}, {"encoding": "cp1252"}),
    "delimiter": ({}, {"delimiter": ";"}),
    "output_format": (
        {"output_path": "out", "output_format": "jsonl"},
        {"output_path": "out", "output_format": "parquet"},
    ),
    "engine": ({}, {"engine": "vLLM"}),
    "model": ({}, {"model": "m"}),
    "prompt": ({}, {"prompt": "<{text}>"}),
    "messages": ({"prompt": None}, {"prompt": None, "messages": "{chat}"}),
    "body": ({"prompt": None}, {"prompt": None, "body": {"x": "{text}"}}),
    "system": ({}, {"system": "Be brief."}),
    "route": ({"prompt": None, "body": {"x": "{a}"}}, {"prompt": None, "body": {"x": "{a}"}, "route": "/x"}),
    "id_column": ({}, {"id_column": "id"}),
    "keep_columns": ({}, {"keep_columns": ("n",)}),
    "keep_response": ({}, {"keep_response": True}),
    "parameters": ({}, {"parameters": {"seed": 1}}),
    "row_parameters": ({}, {"row_parameters": {"seed": "{seed}"}}),
    "response_schema": ({}, {"response_schema": {"type": "object"}}),
    "shard": ({"output_path": "out"}, {"output_path": "out", "shard": Shard(0, 2, "a" * 16)}),
}
#: The others: where a job is sent and stored, how fast, how often a row is tried, what it may cost, when it ends.
MAY_CHANGE = frozenset(
    {"url", "token", "input_path", "output_path", "rows_per_request", "order_window", "max_concurrency"}
    | {"concurrency_ceiling", "max_attempts", "retry_budget", "request_timeout", "row_timeout", "hedge_after"}
    | {"startup_timeout", "probe_interval", "job_timeout", "drain_timeout", "concurrent_shards", "on_bad_input"}
    | {"on_empty", "on_existing", "max_error_rate", "max_error_rate_after", "fail_on_errors", "max_cost"}
    | {"max_runtime", "price_per_hour", "rows_per_replica_second", "budget_key", "attempt_key", "shared_budgets"}
    | {"checkpoint_interval", "progress_interval", "transport", "max_response_bytes", "max_media_bytes"}
)


def test_every_field_makes_another_job_or_is_known_to_make_none() -> None:
    """A new field has to be put into `BatchJob.identity`, or into the list above. If it changed a request and were in
    neither, a resumed job would keep the answers to the old requests.
    """
    names = {each.name for each in fields(BatchJob)}
    assert not MAKES_ANOTHER.keys() & MAY_CHANGE
    assert names == MAKES_ANOTHER.keys() | MAY_CHANGE


@pytest.mark.parametrize("name", MAKES_ANOTHER)
def test_a_field_that_changes_requests_or_output_makes_another_job(name: str) -> None:
    """Its identity differs."""
    source = Input((InputFile(UPath("in.jsonl"), "in.jsonl"),))
    one, other = (BatchJob(**{**GIVEN, **given}).identity(source) for given in MAKES_ANOTHER[name])
    assert differences(one, other)
