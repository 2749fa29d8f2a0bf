"""What a container printed is quoted without the endpoint's secrets, by the names that the endpoint has for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.endpoints.concealing import conceal
from airflow_provider_hf_endpoints.endpoints.errors import ServiceError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    EndpointSnapshot,
    Failed,
    Goal,
    Health,
    TimedOut,
    judge,
    why_broken,
)
from airflow_provider_hf_endpoints.endpoints.waiting.wait import check_health
from tests.unit.endpoints.play import NOW, Play, changed, raw


def with_secrets(state: str = "failed", **status: Any) -> InferenceEndpoint:
    """An endpoint as the service answers it: names of secrets, values of variables."""
    data = changed(raw(state, **status), "model.secrets", {"API_KEY": "***", "DB_PASSWORD": "***", "LICENCE": "***"})
    data = changed(data, "model.env", {"MAX_LEN": "4096", "WANDB_TOKEN": "quiet-value-1"})
    return InferenceEndpoint.from_raw({**data, "customRouter": {"env": {"ROUTER_KEY": "route-value"}}}, "acme")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("API_KEY=plainvalue", "API_KEY=***"),
        ("API_KEY: plainvalue", "API_KEY: ***"),
        ("API_KEY = plainvalue", "API_KEY = ***"),
        ("'API_KEY': 'plain value'", "'API_KEY': '***'"),
        ('{"API_KEY": "plain \\" value", "a": 1}', '{"API_KEY": "***", "a": 1}'),
        ('"{\\"API_KEY\\": \\"plainvalue\\", \\"a\\": 1}"', '"{\\"API_KEY\\": \\"***\\", \\"a\\": 1}"'),
        ("Settings(api_key='plainvalue', n=1)", "Settings(api_key='***', n=1)"),
        ("Namespace(api_key=plainvalue, n=1)", "Namespace(api_key=***, n=1)"),
        ("serve --api-key plainvalue --port 80", "serve --api-key ***"),
        ("serve --api-key=plainvalue --port=80", "serve --api-key=*** --port=80"),
        ("environ['API_KEY'] = 'plainvalue'", "environ['API_KEY'] = '***'"),
        ("DB_PASSWORD=two plain words", "DB_PASSWORD=***"),
        ("DB_PASSWORD=two words API_KEY=plainvalue", "DB_PASSWORD=*** API_KEY=***"),
        ("API_KEY => plainvalue", "API_KEY => ***"),
        ("DB_PASSWORD=one, two; three", "DB_PASSWORD=***"),
        ("{DB_PASSWORD: one, two, 'API_KEY': plain}", "{DB_PASSWORD: ***, 'API_KEY': ***}"),
        ("export LICENCE='plain value'", "export LICENCE='***'"),
        ('LICENCE="first line\nsecond line" next', 'LICENCE="***" next'),
        ('LICENCE = """first\nsecond"""', 'LICENCE = """***"""'),
        ("LICENCE: |\n  first line\n  second line\nnext", "LICENCE: ***next"),
        ('LICENCE={\n  "id": "plain"\n}\nnext', "LICENCE=***\nnext"),
        (f"LICENCE=plain\n{'Ab1' * 20}\n{'Cd2' * 10}\nnext line", "LICENCE=***\nnext line"),
        ("GET /?LICENCE%3Dplain%20value HTTP/1.1", "GET /?LICENCE%3D***"),
        ("%22LICENCE%22%3A%22plain%22", "%22LICENCE%22%3A%22***"),
        ("-e LICENCE=plain -e OTHER=1", "-e LICENCE=*** OTHER=1"),
        ("env TElDRU5DRT1wbGFpbnZhbHVl is odd", "env *** is odd"),
        ("OPENAI_API_KEY=plainvalue", "OPENAI_API_KEY=***"),
        ("API_KEY='never closed", "API_KEY='***'"),
        ("MAX_LEN=4096 is too long", "MAX_LEN=*** is too long"),
        ("ROUTER_KEY=abc, next", "ROUTER_KEY=***, next"),
        ("logged in with quiet-value-1", "logged in with ***"),
        ("the key sk-proj-abc123def456 is refused", "the key *** is refused"),
        ("postgresql://me:plainvalue@db/x", "postgresql://***@db/x"),
    ],
)
def test_a_value_behind_a_name_is_hidden(printed: str, shown: str) -> None:
    """In every form in which programs print their settings; the words around stay."""
    assert shown == conceal(printed, with_secrets())


@pytest.mark.parametrize(
    "printed",
    [
        "KeyError: 'API_KEY'",
        "API_KEY is not set",
        "MY_API_KEY_FILE=/etc/x",
        "max_length 4096",
        "CUDA out of memory. Tried to allocate 2.00 GiB: see https://example.org/a:b",
        "import sk-learn; hf_transfer is on",
    ],
)
def test_what_explains_a_failure_stays(printed: str) -> None:
    """A name without a value, and names that only look alike, are quoted as they are."""
    assert printed == conceal(printed, with_secrets())


def test_a_private_key_goes_as_a_whole() -> None:
    """All lines between BEGIN and END, also where the log ends before the END."""
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nABCD"
    assert conceal(f"a\n{key}\n-----END RSA PRIVATE KEY-----\nb", with_secrets()) == "a\n***\nb"
    assert conceal(f"a\n{key}", with_secrets()) == "a\n***"


@settings(deadline=None)
@given(st.text(alphabet="API_KEY=:'\"\\\\ ,{}-x\n", max_size=80))
def test_whatever_is_printed_concealing_ends(printed: str) -> None:
    """No text makes it fail."""
    assert isinstance(conceal(printed, with_secrets()), str)


def test_odd_answers_have_no_names() -> None:
    """An answer without a model, or with something else in its place, is quoted unchanged."""
    endpoint = with_secrets().model_copy(update={"raw": {"model": {"secrets": ["x"], "env": None}}})
    assert conceal("API_KEY=1", endpoint) == "API_KEY=1"


def health_of(endpoint: InferenceEndpoint, status: int, words: str) -> Health:
    """What is kept of a health route's answer."""
    return Play(ServiceError(words, status=status)).run(check_health(endpoint))


def test_words_are_concealed_before_they_are_cut() -> None:
    """What is cut in the middle of a value would not be found: a part of the value would be shown."""
    words = f"{'x' * 190} quiet-value-1"
    assert health_of(with_secrets("running"), 500, words).detail == f"{'x' * 190} ***"


def test_an_endpoint_is_read_without_the_values_in_its_messages() -> None:
    """Code that quotes a message, or the service's whole answer, does not have to handle secrets."""
    words = "LICENCE=plain value"
    endpoint = with_secrets("failed", message=words, errorMessage=words, agentMessage=words)
    assert ["LICENCE=***"] * 3 == [endpoint.message, endpoint.error_message, endpoint.agent_message]
    assert "plain value" not in repr(endpoint.raw)
    assert {"MAX_LEN": "4096", "WANDB_TOKEN": "quiet-value-1"} == endpoint.raw["model"]["env"]


def test_every_reason_of_a_wait_is_concealed() -> None:
    """The messages of a state and a health route's words may be the container's: a sensor knows no secrets."""
    words = "API_KEY=plainvalue LICENCE=plainvalue"
    goal = Goal(started=NOW, deadline=NOW)
    broken = with_secrets("failed", message=words, errorMessage=words, agentMessage=words)
    running = with_secrets("running")
    verdicts = [
        judge(EndpointSnapshot(broken), goal, NOW),
        judge(EndpointSnapshot(with_secrets("initializing", message=words)), goal, NOW),
        *(judge(EndpointSnapshot(running, health_of(running, status, words)), goal, NOW) for status in (500, 403)),
    ]
    assert [Failed, TimedOut, TimedOut, Failed] == [type(verdict) for verdict in verdicts]
    texts = [why_broken(broken), *(getattr(verdict, "reason", "") for verdict in verdicts)]
    assert all("plainvalue" not in text and "***" in text for text in texts)
