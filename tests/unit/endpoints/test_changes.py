"""What a look means for a watcher: a pure decision, over every state before and after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.models import DELETED
from airflow_provider_hf_endpoints.endpoints.waiting.changes import WATCHABLE, Watch, is_news, news, state_in
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import EndpointSnapshot, Health
from tests.unit.endpoints.play import endpoint


def watch(*states: str, **changes: Any) -> Watch:
    return Watch(frozenset(states), **changes)


@pytest.mark.parametrize("before", WATCHABLE)
@pytest.mark.parametrize("after", WATCHABLE)
def test_news_is_the_beginning_of_a_watched_state(before: str, after: str) -> None:
    """A change into a watched state is news, staying in it or leaving it is not."""
    assert is_news(after, before, watch(after)) is (before != after)
    assert is_news(after, before, watch(*(set(WATCHABLE) - {after}))) is False


@pytest.mark.parametrize("asked", [True, False])
def test_the_first_look_is_where_it_starts_from(asked: bool) -> None:
    """Unless requested, the state at the beginning of the watch is not an event."""
    assert is_news("failed", None, watch("failed", fire_on_start=asked)) is asked
    assert is_news("running", None, watch("failed", fire_on_start=True)) is False


@pytest.mark.parametrize(
    ("health", "expected"),
    [(None, "initializing"), (Health(503), "initializing"), (Health(None), "initializing"), (Health(200), "running")],
)
def test_running_begins_when_the_model_answers(health: Health | None, expected: str) -> None:
    """As for the sensor: the state alone does not say that it answers."""
    assert expected == state_in(EndpointSnapshot(endpoint("running"), health), watch("running"), "initializing")


@pytest.mark.parametrize(
    ("seen", "watching", "asks"),
    [
        ("initializing", watch("running"), True),
        (None, watch("running"), True),
        ("running", watch("running"), False),
        ("initializing", watch("failed"), False),
        ("initializing", watch("running", check_health=False), False),
    ],
)
def test_health_is_asked_for_only_where_it_would_be_news(seen: str | None, watching: Watch, asks: bool) -> None:
    """A watched endpoint that runs for days gets no requests that would keep it from scaling to zero."""
    assert asks is watching.needs_health(seen)
    if not asks:
        assert state_in(EndpointSnapshot(endpoint("running")), watching, seen) == "running"


@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("before", [None, "running", "initializing"])
def test_paused_is_paused_whatever_the_replicas_say(wanted: int, before: str | None) -> None:
    """`targetReplica` "may remain nonzero on a paused endpoint" (huggingface/harbor-hf,
    docs/endpoint-provisioning.md, 2026-07-14): the watch reports the pause all the same."""
    assert state_in(EndpointSnapshot(endpoint("paused", targetReplica=wanted)), watch("paused"), before) == "paused"


def test_no_endpoint_is_a_state_of_its_own() -> None:
    """It can be watched for, and what is created later comes from there."""
    assert state_in(EndpointSnapshot(None), watch("running"), "running") == DELETED
    assert is_news("running", DELETED, watch("running"))


def test_the_event_is_json_and_keeps_the_containers_words_to_itself() -> None:
    """It is stored unencrypted with the asset: the service's messages may repeat secrets that a container printed."""
    failed = endpoint("failed", message="token hf_x", errorMessage="hf_x")
    told = news("failed", failed, "tickets", None, "running")
    assert told == json.loads(json.dumps(told))
    assert "hf_x" not in json.dumps(told)
    assert {"state": "failed", "previous_state": "running"}.items() <= told.items()
    assert "failed to start" in told["reason"]


def test_the_event_says_the_state_that_it_is_about() -> None:
    """The service says running before the model answers: what fires for `initializing` then says initializing."""
    told = news("initializing", endpoint("running"), "tickets", "acme", "pending")
    assert {"state": "initializing", "previous_state": "pending"}.items() <= told.items()


def test_the_event_of_a_deletion_names_what_is_gone() -> None:
    """The endpoint does not exist; only the watched state is known."""
    told = news(DELETED, None, "tickets", "acme", "running")
    assert {"name": "tickets", "namespace": "acme", "state": "deleted", "url": None, "revision": None}.items() <= (
        told.items()
    )
    assert set(told) == set(news("running", endpoint("running"), "tickets", "acme", None))
