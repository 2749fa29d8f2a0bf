"""The typed errors: which answer becomes which, what they say, and what they never say."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api.flows import is_transient
from airflow_provider_hf_endpoints.endpoints.errors import ApiError, error_from_response

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


def of(
    status: int,
    body: object = "",
    *,
    path: str = "/v2/endpoint/acme",
    headers: dict[str, str] | None = None,
    secrets: Any = (),
) -> ApiError:
    text = body if isinstance(body, str) else json.dumps(body)
    return error_from_response(
        method="POST",
        path=path,
        status=status,
        body=text,
        headers=headers or {},
        now=NOW,
        secrets=secrets,
    )


def said(words: str, code: str = "BAD_REQUEST") -> dict[str, str]:
    return {"error": words, "code": code}


TABLE: list[tuple[int, object, type[ApiError], bool, str]] = [
    (400, said("Bad Request: Endpoint is already running"), errors.BadRequestError, False, "argument"),
    (400, said("Bad Request: workload cannot be scaled to zero"), errors.BadRequestError, False, "argument"),
    (
        400,
        said("Bad Request: Instance compute 'Cpu' - 'c6i' - 'medium' in 'aws' - 'us-east-1' not found"),
        errors.BadRequestError,
        False,
        "argument",
    ),
    (400, said("Bad Request: Compute instance not available yet"), errors.NoCapacityError, True, "another instance"),
    (
        400,
        said("Bad Request: scaleToZeroTimeout must be between 15 and 2880 minutes"),
        errors.BadRequestError,
        False,
        "argument",
    ),
    (401, "", errors.AuthenticationError, False, "password"),
    (401, said("Unauthorized"), errors.AuthenticationError, False, "billing"),
    (402, said("Payment Required"), errors.PaymentRequiredError, False, "payment method"),
    (
        403,
        said("Forbidden: Payment method required for namespace: acme"),
        errors.PaymentRequiredError,
        False,
        "payment method",
    ),
    (
        403,
        said("Forbidden: missing permissions: inference.endpoints.read"),
        errors.PermissionDeniedError,
        False,
        "permission inference.endpoints.read to",
    ),
    (
        403,
        said("Forbidden: missing permissions: inference.endpoints.write"),
        errors.PermissionDeniedError,
        False,
        "permission inference.endpoints.write to",
    ),
    (403, said("Forbidden"), errors.PermissionDeniedError, False, "inference.endpoints.write"),
    (404, said("Not Found"), errors.EndpointNotFoundError, False, "name and namespace"),
    (410, said("Gone"), errors.EndpointNotFoundError, False, "name and namespace"),
    (409, said("Conflict: endpoint already exists", "CONFLICT"), errors.NameTakenError, False, "another name"),
    (409, said("Conflict: Quota exceeded", "CONFLICT"), errors.QuotaExceededError, True, "quota"),
    (400, said("Bad Request: Quota exceeded"), errors.QuotaExceededError, True, "quota"),
    (422, said("name: too long"), errors.BadRequestError, False, "argument"),
    (405, "", errors.BadRequestError, False, "argument"),
    (413, "", errors.BadRequestError, False, "argument"),
    (408, "", errors.RequestTimeoutError, True, "timeout"),
    (429, said("Too Many Requests"), errors.RateLimitError, True, "less often"),
    (500, "", errors.ServiceError, True, "status page"),
    (501, said("Not Implemented"), errors.ServiceError, False, "does not support this"),
    (505, "", errors.ServiceError, False, "does not support this"),
    (508, "", errors.ServiceError, False, "does not support this"),
    (511, "<html>log in</html>", errors.ServiceError, False, "proxy"),
    (407, "", errors.BadRequestError, False, "proxy"),
    (502, "<html>Bad gateway</html>", errors.ServiceError, True, "status page"),
    (503, said("Service Unavailable"), errors.ServiceError, True, "status page"),
    (504, "upstream request timeout", errors.ServiceError, True, "status page"),
    (302, "", errors.InvalidAnswerError, False, "host"),
    (308, "<html>moved</html>", errors.InvalidAnswerError, False, "host"),
]


@pytest.mark.parametrize(("status", "body", "kind", "retryable", "advice"), TABLE)
def test_every_answer_has_its_error(
    status: int, body: object, kind: type[ApiError], retryable: bool, advice: str
) -> None:
    """Status and words decide the type; the type says whether trying again can help, and what to do."""
    error = of(status, body)
    assert kind is type(error)
    assert retryable is error.retryable
    assert advice in error.advice
    assert status == error.status


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v2/endpoint/acme", errors.NameTakenError),
        ("POST", "/model/acme/small/deploy", errors.NameTakenError),
        ("POST", "/recipe/r1/deploy", errors.NameTakenError),
        ("PUT", "/v2/endpoint/acme/tickets", errors.BadRequestError),
        ("POST", "/v2/endpoint/acme/tickets/resume", errors.BadRequestError),
        ("DELETE", "/v2/endpoint/acme/tickets", errors.BadRequestError),
    ],
)
def test_a_conflict_is_a_taken_name_only_where_one_is_taken(method: str, path: str, kind: type[ApiError]) -> None:
    """An update never advises another name for the endpoint; a quota means the same everywhere."""
    parts: dict[str, Any] = {"method": method, "path": path, "status": 409, "headers": {}, "now": NOW}
    assert kind is type(error_from_response(body="Conflict", **parts))
    assert isinstance(error_from_response(body="Conflict: Quota exceeded", **parts), errors.QuotaExceededError)


def test_the_text_says_everything() -> None:
    """Method, path, status, the service's own words, what to do, and whether to try again stand in the text."""
    text = str(of(409, said("Conflict: Quota exceeded", "CONFLICT")))
    for part in ("POST", "/v2/endpoint/acme", "409", "Conflict: Quota exceeded", "Pause or delete", "can help"):
        assert part in text
    assert "does not help" in str(of(422, "no"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "(no text)"),
        ("   \n ", "(no text)"),
        ("<html>\n  <body>Bad   gateway</body></html>", "<html> <body>Bad gateway</body></html>"),
        ([], "[]"),
        (["a"], '["a"]'),
        ("null", "null"),
        ('"just text"', "just text"),
        ({}, "{}"),
        ({"error": "words"}, "words"),
        ({"error": ""}, '{"error": ""}'),
        ({"error": None, "message": "other words"}, "other words"),
        ({"message": "words"}, "words"),
        ({"detail": [{"loc": ["name"], "msg": "bad"}]}, '[{"loc": ["name"], "msg": "bad"}]'),
        ({"error": {"message": "nested", "type": "t"}}, "nested"),
        ({"error": {"oddly": 1}}, '{"oddly": 1}'),
        ({"error": 7, "code": 8}, "7"),
        ("[" * 5000, "[" * 2000),
    ],
)
def test_odd_bodies_are_quoted_as_they_are(body: object, words: str) -> None:
    """A body that is not the service's JSON is still shown, and never breaks the error itself."""
    error = of(500, body)
    assert words == error.message
    assert error.code is None


def test_the_code_is_kept() -> None:
    """The service's own code is there for who wants to match on it."""
    assert of(409, said("x", "CONFLICT")).code == "CONFLICT"


def test_a_long_body_is_cut() -> None:
    """A page of HTML does not fill the log."""
    assert len(of(502, "x" * 100_000).message) <= 2000


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(300, 599))
def test_no_answer_breaks_the_error(body: str, status: int) -> None:
    """Whatever comes back, an error comes out, with the status in it."""
    error = of(status, body)
    assert status == error.status
    assert str(status) in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("Mon, 05 Oct 2026 12:01:00 GMT", 60.0), ("Mon, 05 Oct 2026 11:00:00 GMT", 0.0), ("x", None)],
)
def test_retry_after_is_carried(header: str, seconds: float | None) -> None:
    """What the service says about when to come back is on the error."""
    assert seconds == of(429, "", headers={"retry-after": header}).retry_after


def test_a_redirect_says_where_to() -> None:
    """The client does not follow it, and a retry does not change it: its target says who answered."""
    error = of(302, "<html>moved</html>", headers={"location": f"https://login.example/?token={TOKEN}"})
    assert error.message == "redirected to https://login.example/?token=***"
    assert "A retry does not help." in str(error)


@pytest.mark.parametrize("path", ["/api/whoami-v2", "/v2/provider/acme", "/list"])
def test_a_missing_route_is_no_missing_endpoint(path: str) -> None:
    """Where no endpoint was asked for, the host is what is wrong."""
    assert "host" in of(404, said("Not Found"), path=path).advice


def test_the_hubs_rate_limit_is_carried() -> None:
    """The Hub's 429 has no Retry-After; the text says when to come back, and how to do without the question."""
    error = of(429, said("we had to rate limit you"), path="/api/whoami-v2", headers={"ratelimit": '"api";r=0;t=42'})
    assert error.retry_after == 42.0
    assert "after 42 s" in str(error)
    assert "`namespace`" in str(error)


def test_tokens_and_secrets_in_bodies_are_redacted() -> None:
    """A service that quotes the request back does not get a secret into a log."""
    error = of(422, said(f"token {TOKEN}, secret s3cr3t-value"), secrets=["s3cr3t-value"])
    assert error.message == "token ***, secret ***"
    assert TOKEN not in str(error) + repr(error)


def test_a_secret_on_the_cut_leaves_no_half() -> None:
    """Redaction comes before cutting: a secret at the edge of the quote does not show its first half."""
    assert "s3cr3t" not in of(422, "x" * 1995 + "s3cr3t-value", secrets=["s3cr3t-value"]).message


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_travel_between_processes(again: Any) -> None:
    """Airflow moves exceptions between processes: every field and the text arrive."""
    error = of(403, said("missing permissions: inference.endpoints.write"), headers={"retry-after": "3"})
    error.add_note("seen twice")
    copied = again(error)
    assert type(error) is type(copied)
    assert error.__dict__ == copied.__dict__
    assert str(error) == str(copied)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgumentError("name: no"),
        errors.InferenceEndpointTimeoutError("late"),
        errors.EndpointFailedError("failed"),
    ],
)
def test_the_errors_without_an_answer_travel_too(error: Exception) -> None:
    """Errors of waits and arguments arrive whole as well, and are what Python calls such errors."""
    copied = pickle.loads(pickle.dumps(error))
    assert (type(error), str(error)) == (type(copied), str(copied))


def test_python_finds_them_under_its_own_names() -> None:
    """`except ValueError` and `except TimeoutError` work, as for huggingface_hub's error of the same name."""
    assert issubclass(errors.InvalidArgumentError, ValueError)
    assert issubclass(errors.InferenceEndpointTimeoutError, TimeoutError)


def test_what_is_tried_again_at_once() -> None:
    """Only a service in trouble and a rate limit pass by themselves; capacity and quota take longer than a retry."""
    passing = {status for status in range(300, 600) if is_transient(of(status))}
    assert passing == {408, 429, *range(500, 600)} - {501, 505, 506, 508, 510, 511}
    assert not is_transient(of(400, said("Compute instance not available yet")))
    assert not is_transient(of(409, said("Quota exceeded")))
