"""What goes wrong on the way, and what both clients of the control plane make of it, on real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api import creating
from tests.contract.client.client_play import HANG, TOKEN, Either, asked


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        ({"kind": "drop", "after": True}, 1),
        ({"kind": "drop"}, 2),
        ({"status": 503, "after": True}, 1),
        ({"status": 503}, 2),
        ({"kind": "not_json", "after": True}, 1),
        ({"kind": "not_json"}, 2),
        ({"kind": "cut"}, 1),
    ],
    ids=str,
)
def test_an_uncertain_create_makes_exactly_one_endpoint(
    emulator: Emulator, client: Either, fault: dict[str, Any], posts: int
) -> None:
    """Whether the request whose answer was lost had arrived or not, there is one endpoint, and no POST too many."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", count=1, **fault)
    assert client.create().name == "tickets"
    assert [each.name for each in client("list_inference_endpoints")] == ["tickets"]
    assert posts == asked(emulator, "POST")


def test_an_uncertain_create_of_somebody_elses_name(
    emulator: Emulator, client: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost and the name was taken before: a taken name, not a success."""
    client.create()
    monkeypatch.setattr(creating, "_CLOCK_SLACK", -HANG)  # as if that had been longer ago than a test may take
    emulator.add_fault("/v2/endpoint/acme$", method="POST", count=1, kind="drop")
    with pytest.raises(errors.NameTakenError):
        client.create()


def test_a_request_that_is_not_answered_ends(emulator: Emulator, asynchronous: bool) -> None:
    """The time limit holds on every request, and says how long it was."""
    emulator.add_fault("/v2/endpoint", delay_seconds=HANG)
    client = Either(emulator, asynchronous, timeout=0.2, retry_budget=0, namespace="acme")
    with pytest.raises(errors.RequestTimeoutError, match=r"0\.2 s"):
        client("get_inference_endpoint", "tickets")
    client.close()


def test_a_503_with_retry_after(emulator: Emulator, client: Either, caplog: pytest.LogCaptureFixture) -> None:
    """The service is asked again when it said, not earlier, and the answer is the endpoint."""
    caplog.set_level("INFO")
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=1, status=503, retry_after=1)
    assert client("get_inference_endpoint", "tickets").name == "tickets"
    assert "retry in 1.0 s" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [{"kind": "drop"}, {"kind": "cut"}, {"kind": "not_json"}, {"status": 429}, {"status": 502, "body": "<html>"}],
    ids=str,
)
def test_a_passing_fault_is_tried_again(emulator: Emulator, client: Either, fault: dict[str, Any]) -> None:
    """Reading is safe to repeat, whatever went wrong on the way."""
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=2, **fault)
    assert client("get_inference_endpoint", "tickets").name == "tickets"


def test_an_answer_that_is_no_json(emulator: Emulator, asynchronous: bool) -> None:
    """A page of HTML with status 200 is a typed error that says to check the host, after a bounded time."""
    emulator.add_fault("/v2/endpoint", kind="not_json")
    client = Either(emulator, asynchronous, retry_budget=0.1, namespace="acme")
    with pytest.raises(errors.InvalidAnswerError, match="host"):
        client("get_inference_endpoint", "tickets")
    client.close()


def test_nobody_listens(asynchronous: bool) -> None:
    """If no server listens at the host, the error is "unreachable", not a timeout."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        client = Either(emulator, asynchronous, retry_budget=0.1, namespace="acme")
    with pytest.raises(errors.ServiceUnreachableError, match="host"):
        client("get_inference_endpoint", "tickets")
    client.close()
