"""A token that is given by mistake, in whichever argument, is in no error."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_hf_endpoints.batch import main
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger
from tests.contract.operators_play import MODEL
from tests.unit.operators.test_arguments import NEEDED, OPERATORS, annotated, made

TOKENS = ["hf_AbCdEfGhIjKlMnOpQrStUvWx", "sk-proj-abcdef1234567890"]
GIVEN: list[Callable[[str], Any]] = [
    lambda token: token,
    lambda token: f"{token} {token}",
    lambda token: [token],
    lambda token: {token: token},
]
ARGUMENTS = [(kind, name) for kind in OPERATORS for name in annotated(kind)]


def shown(act: Callable[[], Any]) -> str:
    """All that Airflow stores of an error, without the lines of source."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it raises
        told = traceback.TracebackException.from_exception(error)
        words: list[str] = []
        at: traceback.TracebackException | None = told
        while at is not None:
            words += at.format_exception_only()
            at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
        return "".join(words)
    return ""


def assert_hidden(act: Callable[[str], Any]) -> None:
    for token in TOKENS:
        assert token not in shown(lambda token=token: act(token))  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "name"), ARGUMENTS, ids=[f"{kind.__name__}-{name}" for kind, name in ARGUMENTS])
def test_no_operator_quotes_a_token(kind: Any, name: str) -> None:
    """When the DAG is parsed, when a template is rendered, and of a mapped task."""
    for give in GIVEN:
        assert_hidden(lambda token, give=give: made(kind, **{name: give(token)}))  # type: ignore[misc]
        given = {each: NEEDED[each] for each in annotated(kind) if each in NEEDED and each != name}
        assert_hidden(
            lambda token, give=give, given=given: (  # type: ignore[misc]
                kind.partial(task_id="task", **given).expand(**{name: [give(token)]})
            )
        )

        def render(token: str, give: Any = give) -> None:
            operator = made(kind)
            setattr(operator, name, give(token))
            check_rendered(operator)

        if name in kind.template_fields:
            assert_hidden(render)


@pytest.mark.parametrize("name", [each.name for each in fields(BatchJob) if each.name != "token"])
def test_no_batch_quotes_a_token(name: str) -> None:
    """Also without Airflow."""
    job: dict[str, Any] = {"url": "https://e.invalid", "task": "text-generation", "prompt": "{text}"}
    job |= {"input_path": "in.jsonl", "output_path": "out.jsonl"}
    for give in GIVEN:
        assert_hidden(lambda token, give=give: BatchJob(**{**job, name: give(token)}))  # type: ignore[misc]


@pytest.mark.parametrize("option", ["--max-concurrency", "--order-window", "--transport", "--engine", "--parameters"])
def test_the_command_quotes_no_token(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the parser of arguments or the batch refuses the value."""
    job = ["--url", "https://e.invalid", "--task", "text-generation", "--input", "in.jsonl", "--output", "out.jsonl"]
    for token in TOKENS:
        try:
            status = main([*job, "--prompt", "{text}", option, token])
        except SystemExit as error:
            status = int(error.code or 0)
        assert 2 == status
        assert token not in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(EndpointSpec.model_fields))
def test_no_setting_of_an_endpoint_quotes_a_token(name: str) -> None:
    """Of a create, an update, and a client that is used without Airflow."""
    for give in GIVEN:
        assert_hidden(
            lambda token, give=give: (  # type: ignore[misc]
                EndpointSpec.from_arguments(**{"name": "demo", **MODEL, name: give(token)}).payload()
            )
        )
        assert_hidden(lambda token, give=give: EndpointUpdate.from_arguments(**{name: give(token)}))  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", ["name", "repository", "hardware", "release", "max_idle", "max_cost", "lease", "namespace", "deferrable"]
)
def test_no_group_quotes_a_token(name: str) -> None:
    """Its arguments are those of several tasks."""
    for give in GIVEN:
        assert_hidden(lambda token, give=give: inference_endpoint(**{"name": "demo", name: give(token)}))  # type: ignore[misc]


@pytest.mark.parametrize("kind", [kind for kind, name in ARGUMENTS if name == "hf_endpoints_conn_id"])
def test_a_token_in_place_of_a_connection_is_refused(kind: Any) -> None:
    """Airflow would store it with the DAG, and show it with the rendered arguments."""
    for token in TOKENS:
        with pytest.raises(ValueError, match="hf_endpoints_conn_id seems to be a token"):
            made(kind, hf_endpoints_conn_id=token)


def test_no_hook_quotes_a_token() -> None:
    """Nor in capitals, as in the name of the variable that would define such a connection."""
    for token in TOKENS:
        words = shown(lambda token=token: InferenceEndpointsHook(token).get_conn())  # type: ignore[misc]
        assert "seems to be a token" in words
        assert token.lower() not in words.lower()


def test_no_watcher_and_no_client_quotes_a_token() -> None:
    """Their arguments are checked elsewhere."""
    assert_hidden(InferenceEndpointEventTrigger)
    assert_hidden(lambda token: InferenceEndpointEventTrigger("demo", states=[token]))
    assert_hidden(lambda token: EndpointsClient(token="hf_x", namespace="acme").get_inference_endpoint(f"{token} x"))
