"""A retry knows the endpoint that an earlier attempt of its task created: it makes no second one, and releases it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints._airflow import TaskDeferralError
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointTimeoutError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.ownership import creator_tag
from tests.contract.operators_play import (
    FAST,
    TOKEN,
    TaskInstance,
    create,
    deferred,
    kept_at,
    new_context,
    run,
    state,
)


class Attempt(TaskInstance):
    """An attempt of one task in one run; XComs are gone with every attempt, as Airflow does it."""

    dag_id = "nightly"

    def __init__(self, run_id: str = "run-1", map_index: int = -1) -> None:
        super().__init__()
        self.run_id = run_id
        self.map_index = map_index


def seen(emulator: Emulator) -> list[str]:
    """The calls that changed something: method and last part of the path."""
    calls = [(each.method, each.path.partition("?")[0].rsplit("/", 1)[1]) for each in emulator.requests]
    return [f"{method} {last}" for method, last in calls if method != "GET"]


def tags(emulator: Emulator) -> list[str]:
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        return client.get_inference_endpoint("demo").tags or []


def test_the_claim_is_the_task_in_its_run() -> None:
    """The same in every attempt, another for another run or another mapped task, and none outside of a run."""
    assert creator_tag(Attempt()) == creator_tag(Attempt())
    assert len({creator_tag(Attempt()), creator_tag(Attempt("run-2")), creator_tag(Attempt(map_index=0))}) == 3
    assert creator_tag(TaskInstance()) is None


def test_an_endpoint_carries_the_claim_beside_the_users_tags(emulator: Emulator) -> None:
    """Tags of the user's stay as they are, and an update does not take the claim away."""
    attempt = Attempt()
    run(create(tags=["dev"]), {"ti": attempt})
    assert ["dev", creator_tag(attempt)] == tags(emulator)
    before = len(seen(emulator))
    run(create(tags=["dev"], if_exists="update"), {"ti": Attempt("run-2")})
    assert before == len(seen(emulator)), "nothing but the claim differs: an update could restart the endpoint"
    run(create(tags=["prod"], if_exists="update"), {"ti": Attempt("run-2")})
    assert ["prod", creator_tag(attempt)] == tags(emulator)


@pytest.mark.parametrize("if_exists", ["reuse", "fail", "recreate", "update"])
def test_a_retry_creates_no_second_endpoint(emulator: Emulator, if_exists: str) -> None:
    """Whatever the policy for other people's endpoints is, a task takes up its own."""
    run(create(if_exists=if_exists), {"ti": Attempt()})
    result = run(create(if_exists=if_exists), {"ti": Attempt()})
    assert result is not None
    assert result["state"] == "running"
    assert seen(emulator) == ["POST acme"]


def test_a_retry_that_times_out_releases_what_the_first_attempt_created(emulator: Emulator) -> None:
    """The endpoint is the task's, whichever attempt started it."""
    emulator.behave("demo", initializing_seconds=600)
    run(create(wait_for_completion=False), {"ti": Attempt()})
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(timeout=0.3), {"ti": Attempt()})
    assert seen(emulator) == ["POST acme", "POST pause"]


def test_another_run_leaves_the_endpoint_alone_that_it_found(emulator: Emulator) -> None:
    """What somebody else started is not this run's to stop."""
    emulator.behave("demo", initializing_seconds=600)
    run(create(wait_for_completion=False), {"ti": Attempt()})
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(timeout=0.3), {"ti": Attempt("run-2")})
    assert seen(emulator) == ["POST acme"]


class Store(dict[str, Any]):
    """Airflow's task state store (3.3), which outlives an attempt; the live tests have the real one."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]


def resume(**changes: Any) -> ResumeInferenceEndpointOperator:
    return ResumeInferenceEndpointOperator(**{"task_id": "resume", "endpoint": "demo", **FAST, **changes})


@pytest.fixture
def paused(emulator: Emulator) -> Emulator:
    """An endpoint that another run has created, and paused."""
    run(create(), {"ti": Attempt("run-0")})
    run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    emulator.behave("demo", initializing_seconds=600)
    return emulator


class KilledError(BaseException):
    """SIGKILL, as closely as a test can play it: no code of the operator runs any more."""


@pytest.mark.parametrize("make", [create, resume])
def test_a_retry_releases_what_a_killed_attempt_resumed(
    paused: Emulator, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """A resume leaves no tag; what the attempt before noted of it makes the endpoint the task's all the same."""
    store, first = Store(), make()

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(first, "_arrive", killed)
    with pytest.raises(KilledError):
        run(first, {"ti": Attempt(), "task_state_store": store})
    with pytest.raises(InferenceEndpointTimeoutError):
        run(make(timeout=0.3), {"ti": Attempt(), "task_state_store": store})
    resumes = ["POST resume"] if make is create else ["POST resume", "POST resume"]  # the second finds it running
    assert [*resumes, "POST pause"] == seen(paused)[2:]
    assert store == {}


@pytest.mark.parametrize("make", [create, resume])
def test_a_retry_knows_what_was_resumed_where_airflow_has_no_task_store(
    paused: Emulator, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """Before Airflow 3.3 a record beside the leases takes the place of the store. It is gone with the release."""
    first = make()

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(first, "_arrive", killed)
    with pytest.raises(KilledError):
        run(first, {"ti": Attempt()})
    assert 1 == len(records_of_tasks())
    with pytest.raises(InferenceEndpointTimeoutError):
        run(make(timeout=0.3), {"ti": Attempt()})
    assert "POST pause" == seen(paused)[-1]
    assert [] == records_of_tasks()


def test_without_a_task_store_what_was_released_is_nobodys_either(paused: Emulator) -> None:
    """Somebody else has resumed it since: a later attempt of the task does not stop it."""
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.3), {"ti": Attempt()})
    with EndpointsClient(TOKEN, base_url=paused.url) as client:
        client.resume_inference_endpoint("demo")
    before = len(seen(paused))
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.3), {"ti": Attempt()})
    assert seen(paused)[before:] == ["POST resume"]


def test_without_a_task_store_no_record_stays_of_a_resume_that_ended(paused: Emulator) -> None:
    """Neither of one that ended well, nor of one whose deferral Airflow has ended."""
    paused.behave("demo", initializing_seconds=0.05)
    run(resume(), {"ti": Attempt()})
    assert [] == records_of_tasks()
    run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    paused.behave("demo", initializing_seconds=600)
    operator, context = resume(deferrable=True), new_context() | {"ti": Attempt()}
    context["ti"].task_id = "resume"
    deferred(operator, context)
    assert 1 == len(records_of_tasks())
    with pytest.raises(TaskDeferralError):
        operator.resume_execution("__fail__", {"error": "Trigger failure"}, context)
    assert ("paused", []) == (state(paused), records_of_tasks())


def records_of_tasks() -> list[str]:
    """What tasks have left for their retries, beside the leases."""
    folder = Path(str(kept_at().path).removeprefix("file://")) / "hf_endpoint_resumed"
    return [each.name for each in folder.glob("*.json")]


def killed_after_waking(operator: Any, paused: Emulator, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, int]:
    """An attempt that finds its endpoint at zero and is killed: its state store, and the calls seen before."""
    with EndpointsClient(TOKEN, base_url=paused.url) as client:
        client.scale_to_zero_inference_endpoint("demo")
    store, before = Store(), len(seen(paused))

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(operator, "_arrive", killed)
    with pytest.raises(KilledError):
        run(operator, {"ti": Attempt(), "task_state_store": store})
    return store, before


def test_a_retry_puts_back_what_a_killed_attempt_woke(paused: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt finds the endpoint starting; the start note says that it was at zero before."""
    store, before = killed_after_waking(resume(), paused, monkeypatch)
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.3), {"ti": Attempt(), "task_state_store": store})
    assert ["POST resume", "POST resume", "POST scale-to-zero"] == seen(paused)[before:]
    assert store == {}


def test_what_replaces_a_woken_endpoint_was_never_at_zero(paused: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry deletes what the first attempt woke. The endpoint that it creates is paused like any other."""
    store, before = killed_after_waking(create(), paused, monkeypatch)
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(if_exists="recreate", timeout=0.3), {"ti": Attempt(), "task_state_store": store})
    assert ["DELETE demo", "POST acme", "POST pause"] == seen(paused)[before:]


def test_what_was_resumed_and_released_is_nobodys_any_more(paused: Emulator) -> None:
    """Somebody else has resumed it since: a later attempt of the task does not stop it."""
    store = Store()
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.3), {"ti": Attempt(), "task_state_store": store})
    with EndpointsClient(TOKEN, base_url=paused.url) as client:
        client.resume_inference_endpoint("demo")
    before = len(seen(paused))
    with pytest.raises(InferenceEndpointTimeoutError):
        run(resume(timeout=0.3), {"ti": Attempt(), "task_state_store": store})
    assert seen(paused)[before:] == ["POST resume"]


def test_a_resume_that_ended_well_is_the_dags(paused: Emulator) -> None:
    """After it the note is gone: a clear finds an endpoint that others may use by now."""
    paused.behave("demo", initializing_seconds=0.05)
    store = Store()
    run(resume(), {"ti": Attempt(), "task_state_store": store})
    assert store == {}
