"""Waits of both clients of the control plane against the running emulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.models import DELETED
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Ready, TimedOut
from tests.contract.client.client_play import HANG, TOKEN, Either, asked
from tests.contract.emulator_play import loaded_once_asked


def test_running_is_not_ready(emulator: Emulator, client: Either) -> None:
    """The model loads after the state says `running`: ready is the health route's 200."""
    reasons: list[str] = []
    with loaded_once_asked(emulator, "tickets"):
        client.create()
        assert isinstance(client.wait(on_look=reasons.append), Ready)
    assert any("answers 503" in reason for reason in reasons)


def test_a_wait_rides_out_faults(emulator: Emulator, client: Either) -> None:
    """Transient errors while polling do not end a wait."""
    client.create()
    emulator.add_fault("/tickets$", method="GET", count=1, status=503, retry_after=0)
    emulator.add_fault("/tickets$", method="GET", count=1, kind="drop")
    emulator.add_fault("/tickets$", method="GET", count=1, kind="not_json")
    assert isinstance(client.wait(), Ready)


def test_a_failed_start_says_why(emulator: Emulator, client: Either) -> None:
    """The reason has the service's words, and the last log lines are there, without secrets."""
    emulator.behave("tickets", fail="CUDA out of memory", logs=("loading with s3cr3t-value", "torch.cuda.OutOfMemory"))
    client.create()
    end = client.wait()
    assert isinstance(end, Failed)
    assert "CUDA out of memory" in end.reason
    said = client("describe_failure", end.endpoint, secrets=("s3cr3t-value",))
    assert "torch.cuda.OutOfMemory" in said
    assert "loading with ***" in said


def test_a_failed_update_says_why(emulator: Emulator, client: Either) -> None:
    """updateFailed ends a wait as `failed` does."""
    emulator.behave("tickets", fail_update="no such image")
    client.running()
    client("update_inference_endpoint", "tickets", env={"A": "2"})
    end = client.wait()
    assert isinstance(end, Failed)
    assert "no such image" in end.reason


def test_an_endpoint_deleted_while_it_is_waited_for(emulator: Emulator, client: Either) -> None:
    """The wait ends with this error, and not at its deadline."""
    emulator.behave("tickets", initializing_seconds=HANG)
    other = EndpointsClient(TOKEN, base_url=emulator.url)
    client.create()
    end = client.wait(on_look=lambda _: other.delete_inference_endpoint("tickets", missing_ok=True, wait=False))
    other.close()
    assert isinstance(end, Failed)
    assert "deleted" in end.reason


def test_an_endpoint_paused_while_it_is_waited_for(emulator: Emulator, client: Either) -> None:
    """No caller resumes it, so the wait ends and names the pause."""
    emulator.behave("tickets", initializing_seconds=HANG)
    other = EndpointsClient(TOKEN, base_url=emulator.url)
    client.create()
    end = client.wait(on_look=lambda _: other.pause_inference_endpoint("tickets"))
    other.close()
    assert isinstance(end, Failed)
    assert "paused" in end.reason


def test_a_wait_ends_at_its_deadline(emulator: Emulator, client: Either) -> None:
    """A start that takes longer than allowed is a timeout that says what it was doing."""
    emulator.behave("tickets", initializing_seconds=HANG)
    client.create()
    end = client.wait(deadline=datetime.now(UTC) + timedelta(seconds=0.3))
    assert isinstance(end, TimedOut)
    assert "initializing" in end.reason


def test_an_endpoint_at_zero_is_woken_accepted_or_refused(emulator: Emulator, client: Either) -> None:
    """By choice; only waking starts it."""
    client.running()
    client("scale_to_zero_inference_endpoint", "tickets")
    asleep = frozenset({"scaledToZero"})
    assert isinstance(client.wait(target_states=asleep), Ready)
    assert isinstance(client.wait(on_scaled_to_zero="accept"), Ready)
    assert isinstance(client.wait(on_scaled_to_zero="fail"), Failed)
    assert client("get_inference_endpoint", "tickets").status == "scaledToZero"
    assert isinstance(client.wait(), Ready)
    assert client("get_inference_endpoint", "tickets").status == "running"


def test_a_slow_delete_is_waited_for(emulator: Emulator, client: Either) -> None:
    """GET answers for a while after the DELETE: gone means 404."""
    emulator.behave("tickets", deleting_seconds=0.7)
    client.create()
    assert client("delete_inference_endpoint", "tickets") is True
    with pytest.raises(errors.EndpointNotFoundError):
        client("get_inference_endpoint", "tickets")
    # One look before the DELETE and the last 404 are always there; in between it was still to be seen.
    assert asked(emulator, "GET", "/tickets") >= 4


def test_a_deletion_is_waited_for_by_others(emulator: Emulator, client: Either) -> None:
    """Who waits for `deleted` is ready at the 404."""
    emulator.behave("tickets", deleting_seconds=0.2)
    client.create()
    client("delete_inference_endpoint", "tickets", wait=False)
    assert isinstance(client.wait(target_states=frozenset({DELETED})), Ready)


def test_a_delete_that_does_not_end(emulator: Emulator, client: Either) -> None:
    """If an endpoint remains after its deletion, the error says that it still exists."""
    emulator.behave("tickets", deleting_seconds=HANG)
    client.create()
    with pytest.raises(errors.InferenceEndpointTimeoutError, match="still exists"):
        client("delete_inference_endpoint", "tickets", timeout=0.3)
