"""Every argument of a job is refused, by its name, where it can mean nothing; before anything is looked at or sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.batch import BatchJob

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
