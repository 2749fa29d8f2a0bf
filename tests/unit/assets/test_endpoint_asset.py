"""The asset of an endpoint: one spelling, known to Airflow, and errors that say how it is written."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from airflow.sdk import Asset

from airflow_provider_hf_endpoints.assets.endpoints import endpoint_asset, endpoint_uri, sanitize_uri
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError


def test_the_helper_and_the_uri_are_one_asset() -> None:
    """Airflow tells assets apart by name and URI: a URI written by hand has to match what operators emit."""
    assert endpoint_asset("acme", "support-llm") == Asset("hf-endpoint://acme/support-llm")
    assert endpoint_asset("acme", "support-llm").name == "hf-endpoint://acme/support-llm"


def test_airflow_asks_the_provider() -> None:
    """The scheme is registered: Airflow asks the provider about the URI, and drops a slash at its end."""
    assert Asset("x", uri="hf-endpoint://Acme/support-llm/").uri == "hf-endpoint://Acme/support-llm"
    with pytest.raises(ValueError, match="hf-endpoint://<namespace>/<endpoint name>"):
        Asset("hf-endpoint://acme/Not_A_Name")


@pytest.mark.parametrize(
    "uri",
    [
        "hf-endpoint://acme",
        "hf-endpoint://acme/",
        "hf-endpoint:///support-llm",
        "hf-endpoint://acme/support/llm",
        "hf-endpoint://acme/Support",
        "hf-endpoint://acme/support-llm?state=running",
        "hf-endpoint://someone@acme/support-llm",
        "hf-endpoint://acme:80/support-llm",
        "hf-endpoint://acme/" + "x" * 33,
    ],
)
def test_anything_else_is_refused_with_the_right_form(uri: str) -> None:
    """A misspelt asset would never get an event, and its DAG never run."""
    with pytest.raises(InvalidArgumentError, match=r"hf-endpoint://acme/support-llm, or use endpoint_asset"):
        sanitize_uri(urlsplit(uri))


def test_the_uri_of_what_can_be_no_endpoint() -> None:
    """Names are checked where the asset is made."""
    with pytest.raises(InvalidArgumentError, match="name='Nope'"):
        endpoint_uri("acme", "Nope")
    with pytest.raises(InvalidArgumentError, match="namespace='a/b'"):
        endpoint_uri("a/b", "demo")
