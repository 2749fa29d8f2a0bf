"""What a job probably means otherwise: said once in the log, and nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.engines.parameters import KNOWN
from airflow_provider_hf_endpoints.inference.runs.suggestions import suggest_otherwise


def said(caplog: pytest.LogCaptureFixture, **given: Any) -> list[str]:
    """What is logged for a job over the columns `text` and `limit`."""
    files: dict[str, Any] = {"input_path": "in.jsonl", "output_path": "out.jsonl"}
    job = BatchJob(url="http://h", task="text-generation", prompt="{text}", **files, **given)
    suggest_otherwise(job, ["text", "limit"])
    return caplog.messages


@pytest.mark.parametrize("argument", ["parameters", "row_parameters"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_token", "max_tokens"),
        ("temprature", "temperature"),
        ("top_pp", "top_p"),
    ],
)
def test_a_misspelt_parameter_is_pointed_out(
    caplog: pytest.LogCaptureFixture, argument: str, name: str, meant: str
) -> None:
    """An engine that ignores it limits nothing."""
    value = 5 if argument == "parameters" else "{limit}"
    [message] = said(caplog, **{argument: {name: value}})
    assert message.startswith(f"{argument} contains {name!r}. Did you mean {meant!r}?")


@pytest.mark.parametrize("name", [*sorted(KNOWN - {"stream"}), "top_a", "my_own", "x", "penalty", "images"])
def test_what_is_known_or_like_nothing_known_is_sent_in_silence(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """A handler of somebody's own may take any name."""
    assert [] == said(caplog, parameters={name: None})
