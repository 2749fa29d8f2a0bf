"""What a job probably means otherwise: said once in the log, and nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.engines import Dialect, build_request, parameters
from airflow_provider_hf_endpoints.inference.engines.asking import ignored
from airflow_provider_hf_endpoints.inference.engines.asking.spelling import KNOWN, misspelt
from airflow_provider_hf_endpoints.inference.errors import UnsupportedParameterError
from airflow_provider_hf_endpoints.inference.runs.suggestions import suggest_otherwise


def job_with(**given: Any) -> BatchJob:
    """A job over the columns `text` and `limit`."""
    files: dict[str, Any] = {"input_path": "in.jsonl", "output_path": "out.jsonl"}
    return BatchJob(**{"url": "http://h", "task": "text-generation", "prompt": "{text}", **files, **given})


def said(caplog: pytest.LogCaptureFixture, **given: Any) -> list[str]:
    """What is logged for it."""
    suggest_otherwise(job_with(**given), ["text", "limit"])
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


ENGINES = ["vLLM", "sGLang", "llamacpp", "tgi", "tei", "transformers-serve"]
MISSPELT = [("max_token", "max_tokens"), ("Temprature", "temperature"), ("max-tokens", "max_tokens"), ("stops", "stop")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("argument", ["parameters", "row_parameters"])
@pytest.mark.parametrize(("name", "meant"), MISSPELT)
def test_a_job_that_knows_its_engine_refuses_a_misspelt_name(engine: str, argument: str, name: str, meant: str) -> None:
    """The endpoint is not started for it."""
    value: Any = 5 if argument == "parameters" else "{limit}"
    with pytest.raises(ValueError, match=rf"{argument} has '{name}'\. Did you mean '{meant}'\?"):
        job_with(engine=engine, **{argument: {name: value}})


@pytest.mark.parametrize("engine", ["huggingface", "hfServe", "custom", None])
@pytest.mark.parametrize("name", [name for name, _ in MISSPELT])
def test_a_handler_or_an_engine_that_is_not_known_yet_may_have_any_name(engine: str | None, name: str) -> None:
    """The second one is refused when it is found."""
    job_with(engine=engine, parameters={name: 5})


def test_a_body_may_have_any_name() -> None:
    """Who writes the whole body means it."""
    job_with(engine="vLLM", prompt=None, body={"prompt": "{text}", "max_token": 5})


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(("name", "meant"), MISSPELT)
def test_a_request_with_a_misspelt_name_is_made_for_a_handler_alone(dialect: Dialect, name: str, meant: str) -> None:
    """Whether it is of a row or a single call, and however the engine was found."""
    task = "feature-extraction" if dialect is Dialect.TEI else "text-generation"
    if dialect is Dialect.TOOLKIT:
        assert 5 == build_request(dialect, task, "a", {name: 5}).json["parameters"][name]
    else:
        with pytest.raises(UnsupportedParameterError, match=f"did you mean `{meant}`"):
            build_request(dialect, task, "a", {name: 5})


def test_no_known_name_is_taken_for_another() -> None:
    """Nor is a name of one engine alone, if it is like none."""
    own = {"my_own", "x", "n_ctx", "draft_max", "rope_scaling", "top_z", "images", "penalty", "use_fp16"}
    assert [] == misspelt(KNOWN | own)
    assert {name for names in parameters._SAME for name in names} <= KNOWN
    for tables in (ignored.OF_OPENAI, ignored.OF_TGI, ignored.OF_TEI, ignored.OF_TOOLKIT, ignored.OF_SERVE):
        assert {name for table in tables.values() for name in table} <= KNOWN
