"""The routes as pure functions: addresses, query values, and what may be sent twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.requests import Request

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)

ROUTES: list[tuple[Request, str, str, bool]] = [
    # request, method, path, may be sent twice
    (requests.list_page("acme"), "GET", "/v2/endpoint/acme", True),
    (requests.create("acme", {}), "POST", "/v2/endpoint/acme", False),
    (requests.get("acme", "t"), "GET", "/v2/endpoint/acme/t", True),
    (requests.update("acme", "t", {}), "PUT", "/v2/endpoint/acme/t", True),
    (requests.delete("acme", "t"), "DELETE", "/v2/endpoint/acme/t", True),
    (requests.pause("acme", "t"), "POST", "/v2/endpoint/acme/t/pause", True),
    (requests.resume("acme", "t"), "POST", "/v2/endpoint/acme/t/resume", True),
    (requests.resume("acme", "t", running_ok=False), "POST", "/v2/endpoint/acme/t/resume", False),
    (requests.scale_to_zero("acme", "t"), "POST", "/v2/endpoint/acme/t/scale-to-zero", True),
    (requests.debug("acme", "t"), "POST", "/v2/endpoint/acme/t/agent/debug", True),
    (requests.replicas("acme", "t"), "GET", "/v2/endpoint/acme/t/replica", True),
    (requests.logs_v3("acme", "t"), "GET", "/v3/endpoint/acme/t/logs", True),
    (requests.logs_v2("acme", "t"), "GET", "/v2/endpoint/acme/t/logs", True),
    (
        requests.metric("acme", "t", "replica-running", start=NOW, stop=NOW),
        "POST",
        "/v2/endpoint/acme/t/metrics/replica-running",
        True,
    ),
    (requests.hardware(), "GET", "/v2/provider", True),
    (requests.hardware("acme"), "GET", "/v2/provider/acme", True),
    (requests.quotas("acme"), "GET", "/v2/provider/quotas/acme", True),
    (requests.whoami(), "GET", "/api/whoami-v2", True),
    (requests.catalog(), "GET", "/list", True),
    (requests.deploy_from_catalog("acme", repo_id="a/b"), "POST", "/model/a/b/deploy", False),
    (requests.deploy_from_catalog("acme", recipe_id="r/1"), "POST", "/recipe/r%2F1/deploy", False),
    (requests.health("https://x.example/h"), "GET", "https://x.example/h", True),
]


@pytest.mark.parametrize(("request_", "method", "path", "repeatable"), ROUTES, ids=lambda value: str(value)[:40])
def test_every_route(request_: Request, method: str, path: str, repeatable: bool) -> None:
    """Method, address, and whether sending it twice does no more than sending it once."""
    assert (method, path, repeatable) == (request_.method, request_.path, request_.repeatable)


@pytest.mark.parametrize("odd", ["a/b", "..", "a?b", "a#b", "a b", "é"])
def test_no_name_leaves_its_place_in_the_path(odd: str) -> None:
    """Whatever is put into a path stays one segment of it."""
    path = requests.get(odd, "t").path
    assert path.count("/") == 4
    assert not set("?# ") & set(path)


def test_query_values_are_the_contracts() -> None:
    """Lists are joined by commas, names are camelCase where the contract's are, and what is not given is not sent."""
    found = requests.list_page("acme", state=["a", "b"], tags="t", sort_by="name", direction="asc", limit=0).params
    assert found == {"state": "a,b", "tags": "t", "sortBy": "name", "direction": "asc", "limit": "0"}
    assert requests.list_page("acme", state=[], search=None).params == {}
    assert requests.logs_v3("acme", "t", since=NOW).params == {"since": "2026-10-05T12:00:00+00:00"}


def test_a_request_does_not_show_its_body() -> None:
    """The body may hold an endpoint's secrets."""
    assert "s3cr3t-value" not in repr(requests.create("acme", {"model": {"secrets": {"A": "s3cr3t-value"}}}))


def test_a_health_check_is_one_try() -> None:
    """Who asks for health looks again anyway."""
    assert requests.health("https://x.example/h").once
