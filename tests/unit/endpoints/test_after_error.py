"""The texts about a single look that failed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    RateLimitError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal
from airflow_provider_hf_endpoints.endpoints.waiting.wait import Unanswered, after_error

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ServiceUnreachableError("[Errno 111]", happened="Cannot connect to http://x (connection refused)."),
            "Cannot connect to http://x (connection refused). Trying again",
        ),
        (ServiceError("down", status=502), "the service answers: down (status 502). Trying again"),
        (RateLimitError("slow", status=429), "the service limits the rate: slow (status 429). Trying again"),
    ],
)
def test_a_service_that_was_not_reached_is_not_said_to_answer(error: ApiError, words: str) -> None:
    """Only a response has a status."""
    verdict = after_error(error, Goal(started=NOW), NOW)
    assert isinstance(verdict, Unanswered)
    assert words == verdict.reason
