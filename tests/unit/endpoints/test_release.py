"""The release of an endpoint: the requests of each policy, and which answers are not errors at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.upkeep.release import ALREADY_DELETED, Release, release
from tests.unit.endpoints.play import Play, raw

ONE = "/v2/endpoint/acme/tickets"
REFUSED = errors.BadRequestError("Bad Request", status=400)
NOT_FOUND = errors.EndpointNotFoundError("Not Found", status=404)


@pytest.mark.parametrize(
    ("policy", "replies", "asked", "words"),
    [
        ("none", [], [], "left as it is"),
        ("pause", [raw("paused")], [f"POST {ONE}/pause"], "paused"),
        ("scale_to_zero", [raw("scaledToZero")], [f"POST {ONE}/scale-to-zero"], "scaled to zero"),
        ("delete", [raw(), None], [f"GET {ONE}", f"DELETE {ONE}"], "deleted"),
        ("pause", [NOT_FOUND, NOT_FOUND], [f"POST {ONE}/pause", f"GET {ONE}"], ALREADY_DELETED),
        ("scale_to_zero", [NOT_FOUND, NOT_FOUND], [f"POST {ONE}/scale-to-zero", f"GET {ONE}"], ALREADY_DELETED),
        ("delete", [NOT_FOUND] * 3, [f"GET {ONE}", f"DELETE {ONE}", f"GET {ONE}"], ALREADY_DELETED),
        # Refused: without scaleToZeroTimeout, or at zero already, where others expect to wake it.
        (
            "scale_to_zero",
            [REFUSED, raw(), raw("paused")],
            [f"POST {ONE}/scale-to-zero", f"GET {ONE}", f"POST {ONE}/pause"],
            "paused, because it cannot be scaled to zero",
        ),
        (
            "scale_to_zero",
            [REFUSED, raw("scaledToZero")],
            [f"POST {ONE}/scale-to-zero", f"GET {ONE}"],
            "scaled to zero, as it was",
        ),
        # A 404 that is not true.
        (
            "pause",
            [NOT_FOUND, raw(), raw("paused")],
            [f"POST {ONE}/pause", f"GET {ONE}", f"POST {ONE}/pause"],
            "paused",
        ),
        (
            "scale_to_zero",
            [NOT_FOUND, raw(), raw("scaledToZero")],
            [f"POST {ONE}/scale-to-zero", f"GET {ONE}", f"POST {ONE}/scale-to-zero"],
            "scaled to zero",
        ),
        ("delete", [NOT_FOUND, None], [f"GET {ONE}", f"DELETE {ONE}"], "deleted"),
        (
            "delete",
            [NOT_FOUND, NOT_FOUND, raw(), raw(), None],
            [f"GET {ONE}", f"DELETE {ONE}", f"GET {ONE}", f"GET {ONE}", f"DELETE {ONE}"],
            "deleted",
        ),
    ],
)
def test_each_policy(policy: Release, replies: list[Any], asked: list[str], words: str) -> None:
    """The request to the service, and the words about it; an endpoint that does not exist is released."""
    play = Play(*replies)
    assert words == play.run(release(play.session, "tickets", None, policy))
    assert asked == play.asked


def test_a_404_that_contradicts_every_read_is_an_error() -> None:
    """The endpoint is there, and nothing has stopped it: a retry can help."""
    with pytest.raises(errors.EndpointStillThereError, match=r"'tickets'.*may still be billing") as raised:
        Play(NOT_FOUND, raw(), NOT_FOUND, raw()).run(release(Play().session, "tickets", None, "pause"))
    assert raised.value.retryable


@pytest.mark.parametrize("policy", ["pause", "scale_to_zero", "delete"])
def test_an_endpoint_that_may_go_on_billing_is_an_error(policy: Release) -> None:
    """What could not be released is never reported as released."""
    refused = errors.PermissionDeniedError("no", status=403)
    with pytest.raises(errors.PermissionDeniedError):
        Play(refused).run(release(Play().session, "tickets", None, policy))
