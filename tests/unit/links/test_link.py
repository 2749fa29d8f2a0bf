"""The link to an endpoint's page: where it leads, that it is there before the wait, and that it fails no task."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_hf_endpoints import _airflow
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink, endpoint_page_url


@dataclass
class TaskInstance:
    """Stands in for the running task instance: keeps what is pushed."""

    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Hook(InferenceEndpointsHook):
    """A hook whose client sends no request."""

    class Client(EndpointsClient):
        def default_namespace(self) -> str:
            return "alice"

    def get_conn(self) -> EndpointsClient:
        return self.Client("hf_link_token")


class LostHook(InferenceEndpointsHook):
    """A hook whose client can't find out the namespace."""

    class Client(EndpointsClient):
        def default_namespace(self) -> str:
            raise InferenceEndpointError("the hub is away")

    def get_conn(self) -> EndpointsClient:
        return self.Client("hf_link_token")


def persist(hook: InferenceEndpointsHook, namespace: str | None) -> dict[str, Any]:
    instance = TaskInstance()
    context = cast(Context, {"ti": instance})
    InferenceEndpointLink.persist(context, BaseOperator(task_id="t"), hook, namespace, "my-endpoint")
    return instance.pushed


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.endpoints.huggingface.cloud", "https://endpoints.huggingface.co/acme/endpoints/e"),
        ("http://127.0.0.1:1234", "http://127.0.0.1:1234/acme/endpoints/e"),
        ("https://plane.example/", "https://plane.example/acme/endpoints/e"),
        ("https://huggingface.cloud.example", "https://huggingface.cloud.example/acme/endpoints/e"),
    ],
)
def test_where_it_leads(base_url: str, expected: str) -> None:
    """To Hugging Face's page; with another control plane to the same path there, where the emulator has a page."""
    assert endpoint_page_url(base_url, "acme", "e") == expected


def test_names_are_escaped() -> None:
    """A name from a template can't lead elsewhere."""
    assert endpoint_page_url("http://h", "a/b", "c?d") == "http://h/a%2Fb/endpoints/c%3Fd"


def test_it_is_there_before_the_wait() -> None:
    """`persist` stores the URL where Airflow's UI looks for it, with the namespace that is used."""
    key = InferenceEndpointLink().xcom_key
    assert persist(Hook(), "acme") == {key: "https://endpoints.huggingface.co/acme/endpoints/my-endpoint"}
    assert persist(Hook(), None) == {key: "https://endpoints.huggingface.co/alice/endpoints/my-endpoint"}


def test_a_link_that_can_not_be_made_fails_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """If the service does not return the namespace, there is no link. The task reports the error; no warning does."""
    with caplog.at_level(logging.DEBUG):
        assert persist(LostHook(), None) == {}
    assert [(logging.DEBUG, True)] == [
        (each.levelno, "the hub is away" in each.getMessage()) for each in caplog.records
    ]


@pytest.mark.parametrize(("stored", "expected"), [("https://page", "https://page"), (None, ""), ({"odd": 1}, "")])
def test_it_answers_what_was_stored(monkeypatch: pytest.MonkeyPatch, stored: object, expected: str) -> None:
    """At a task's end Airflow writes what `get_link` answers over what was stored: so it is the same again."""
    asked: list[tuple[object, str]] = []

    class XCom:
        @staticmethod
        def get_value(*, ti_key: object, key: str) -> object:
            asked.append((ti_key, key))
            return stored

    monkeypatch.setattr(_airflow, "XCom", XCom)
    link, key = InferenceEndpointLink(), object()
    assert link.get_link(BaseOperator(task_id="t"), ti_key=key) == expected
    assert asked == [(key, link.xcom_key)]


def test_reading_it_fails_no_task(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Airflow 3.0 lets an error of a link fail a task that has succeeded: the link raises none."""

    class XCom:
        @staticmethod
        def get_value(*, ti_key: object, key: str) -> object:
            raise AirflowRuntimeError(ErrorResponse())

    monkeypatch.setattr(_airflow, "XCom", XCom)
    assert InferenceEndpointLink().get_link(BaseOperator(task_id="t"), ti_key=object()) == ""
    assert "Could not read the link" in caplog.text


def test_it_is_a_link_of_airflow() -> None:
    """It has the button's name, and two links are equal, as Airflow compares them when it serializes a DAG."""
    link = InferenceEndpointLink()
    assert isinstance(link, BaseOperatorLink)
    assert link.name == "Hugging Face endpoint"
    assert link.xcom_key == "hf_endpoint_link"
    assert link == InferenceEndpointLink()
