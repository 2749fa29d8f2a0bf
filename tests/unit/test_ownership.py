"""The marks by which tasks know whose endpoint it is: what is written, and what is read of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.leases.holders import holder_name, run_of_holder
from airflow_provider_hf_endpoints.ownership import (
    CLAIM_KEY,
    Ownership,
    ResumeNote,
    creator_tag,
    creator_tags_in,
    has_left_claim,
    leave_claim,
)


class Attempt:
    """A task instance: only what ownership reads."""

    dag_id, task_id, map_index = "nightly", "create", -1

    def __init__(self, run_id: str = "run 1") -> None:
        self.run_id, self.id = run_id, "attempt-1"
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, key: str, **_: Any) -> Any:
        return self.xcoms.get(key)


def endpoint(*tags: str) -> InferenceEndpoint:
    raw = {"name": "demo", "status": {"state": "running"}, "tags": list(tags)}
    return InferenceEndpoint.from_raw(raw, "acme")


def test_a_retry_owns_what_its_task_created() -> None:
    """By the tag; and nothing that another run's task created, or a person."""
    tag = creator_tag(Attempt())
    assert tag is not None
    mine = Ownership({"ti": Attempt()})
    assert (True, True) == (mine.take_up(endpoint("dev", tag)), mine.owned)
    for other in (endpoint("dev"), endpoint(), endpoint(str(creator_tag(Attempt("run 2"))))):
        theirs = Ownership({"ti": Attempt()})
        assert (False, False) == (theirs.take_up(other), theirs.owned)


def test_tags_of_the_user_are_no_creator_tags() -> None:
    """An update leaves the one kind as it is, and sends the other."""
    tag = str(creator_tag(Attempt()))
    assert [tag] == creator_tags_in(["dev", tag])
    assert creator_tags_in(None) == []


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]


def test_a_retry_owns_what_its_task_resumed_until_the_end() -> None:
    """The note of the resume outlives the attempt, and is gone when the endpoint is released, or the DAG's."""
    store = Store()
    Ownership({"ti": Attempt(), "task_state_store": store}).note_resume(endpoint())
    retry = Ownership({"ti": Attempt(), "task_state_store": store})
    assert (False, True) == (retry.take_up(endpoint()), retry.owned)
    retry.end()
    assert store == {}
    assert not ResumeNote(store).is_of(endpoint())


def test_without_a_store_nothing_is_noted() -> None:
    """Airflow before 3.3 has none, and where leases are is not known yet: a resume before is somebody else's."""
    ownership = Ownership({"ti": Attempt()})
    ownership.note_resume(endpoint())
    ownership.take_up(endpoint())
    assert not ownership.owned


def test_a_claim_is_the_attempt() -> None:
    """Its trigger asks whether it is the current one; `resume_execution`, whether there is any."""
    attempt = Attempt()
    assert not has_left_claim(attempt)
    leave_claim(attempt, "attempt-1")
    assert {CLAIM_KEY: "attempt-1"} == attempt.xcoms
    assert has_left_claim(attempt)


@pytest.mark.parametrize("run_id", ["run-1", "manual__2026-11-29T10:00:00+00:00", "a run with spaces"])
@pytest.mark.parametrize("map_index", [None, -1, 0, 12])
def test_the_run_of_a_holder_can_be_asked_for(run_id: str, map_index: int | None) -> None:
    """What a person reads of a holder also says which run to ask Airflow for."""
    assert ("nightly", run_id) == run_of_holder(holder_name("nightly", run_id, "use.start", map_index))
    assert run_of_holder("somebody") is None


def test_outside_of_a_run_there_are_no_marks() -> None:
    """An operator that a test executes by hand has no run to name."""
    bare = SimpleNamespace(task_id="create", map_index=-1)
    assert creator_tag(bare) is None
    assert not Ownership({"ti": bare}).notes_starts
