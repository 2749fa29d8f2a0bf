"""Several choices of hardware: if one is not available, the next is tried, and nothing of a failed attempt is left."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointTimeoutError,
    NoHardwareError,
)
from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator
from tests.contract.operators_play import (
    FAST,
    TaskInstance,
    calls,
    complete,
    deferred,
    event_of,
    new_context,
    run,
    state,
)
from tests.contract.operators_play import create as create_one

L4, T4, A10G = "aws/us-east-1/nvidia-l4/x1", "aws/eu-west-1/nvidia-t4/x1", "aws/us-east-1/nvidia-a10g/x1"


def create(*hardware: str, **changes: Any) -> CreateInferenceEndpointOperator:
    given = {"repository": "gpt2", "framework": "pytorch", "hardware": list(hardware), **FAST, **changes}
    return CreateInferenceEndpointOperator(task_id="create", name="demo", **given)


def place(emulator: Emulator) -> str:
    endpoint = emulator.endpoint("demo")
    provider, compute = endpoint["provider"], endpoint["compute"]
    return f"{provider['vendor']}/{provider['region']}/{compute['instanceType']}/{compute['instanceSize']}"


def test_the_first_choice_that_can_be_had_is_taken(emulator: Emulator) -> None:
    """Without a shortage it is the first one, and the rest is not touched."""
    assert run(create(L4, T4))["state"] == "running"
    assert (L4, ["POST "]) == (place(emulator), calls(emulator))


def test_by_price_the_cheapest_comes_first(emulator: Emulator) -> None:
    """A T4 costs less than an L4 and an A10G."""
    run(create(A10G, L4, T4, hardware_order="price"))
    assert place(emulator) == T4


@pytest.mark.parametrize("preflight", [True, False])
def test_no_capacity_leads_to_the_next(emulator: Emulator, preflight: bool) -> None:
    """Whether the list shows it before, or the service's answer to the create does."""
    emulator.set_capacity("nvidia-l4", available=False)
    run(create(L4, T4, preflight=preflight))
    assert (T4, ["POST "] * (1 if preflight else 2)) == (place(emulator), calls(emulator))


@pytest.mark.parametrize("preflight", [True, False])
def test_a_used_up_quota_leads_to_the_next(emulator: Emulator, preflight: bool) -> None:
    """Another kind of accelerator has a separate quota."""
    emulator.set_quota("nvidia-l4", 0)
    run(create(L4, T4, preflight=preflight))
    assert place(emulator) == T4


def test_a_failed_start_is_deleted_and_the_next_tried(emulator: Emulator) -> None:
    """Of the failed attempt nothing is left; the endpoint has the same name on other hardware."""
    emulator.behave("demo", fail="no GPU for you", fail_on=("nvidia-l4",))
    assert run(create(L4, T4))["state"] == "running"
    assert (T4, ["POST ", "DELETE /demo", "POST "]) == (place(emulator), calls(emulator))


def test_the_search_goes_on_after_a_deferral(emulator: Emulator) -> None:
    """The worker that takes the failed wait up has nothing but what the deferral stored."""
    emulator.behave("demo", fail="no GPU for you", fail_on=("nvidia-l4", "nvidia-t4"))
    context = new_context()
    first = deferred(create(L4, T4, A10G, deferrable=True), context)
    with pytest.raises(TaskDeferred) as caught:
        complete(create(L4, T4, A10G, deferrable=True), first, event_of(first.trigger), context)
    second: Any = caught.value
    with pytest.raises(TaskDeferred) as caught:
        complete(create(L4, T4, A10G, deferrable=True), second, event_of(second.trigger), context)
    third: Any = caught.value
    assert (
        complete(create(L4, T4, A10G, deferrable=True), third, event_of(third.trigger), context)["state"] == "running"
    )
    assert place(emulator) == A10G
    assert [T4] == [path for path, _ in third.kwargs["search"]["tried"]][1:]
    assert len({each.trigger.wait.deadline for each in (first, second, third)}) == 1, "one limit for all together"


def test_nothing_to_be_had_lists_what_was_tried_and_why(emulator: Emulator) -> None:
    """Shortage, quota and failed start, each with its reason; nothing is left, and a retry may help."""
    emulator.set_capacity("nvidia-l4", available=False)
    emulator.set_quota("nvidia-t4", 0)
    emulator.behave("demo", fail="CUDA out of memory")
    with pytest.raises(NoHardwareError) as caught:
        run(create(L4, T4, A10G))
    text = str(caught.value)
    for words in (f"1. {L4}: ", "not available", f"2. {T4}: ", "quota", f"3. {A10G}: ", "CUDA out of memory"):
        assert words in text
    assert calls(emulator) == ["POST ", "DELETE /demo"]
    assert caught.value.retryable


def test_a_start_that_takes_too_long_ends_the_search(emulator: Emulator) -> None:
    """The limit is for all together: what is still starting then is released, and no other one begun."""
    emulator.behave("demo", initializing_seconds=3600)
    with pytest.raises(InferenceEndpointTimeoutError):
        run(create(L4, T4, timeout=0.3))
    assert calls(emulator) == ["POST ", "POST /demo/pause"]


def test_an_endpoint_on_any_of_the_choices_is_taken(emulator: Emulator) -> None:
    """The next run resumes what the first one got, though it is not its first choice."""
    run(create(T4))
    with_client = calls(emulator)
    assert run(create(L4, T4))["state"] == "running"
    assert (with_client, T4) == (calls(emulator), place(emulator))


def test_somebody_else_s_endpoint_is_never_given_up(emulator: Emulator) -> None:
    """It failed on its hardware, and is not this task's to delete."""
    emulator.behave("demo", fail="broken")
    vendor, region, instance_type, instance_size = T4.split("/")
    place = {"vendor": vendor, "region": region, "instance_type": instance_type, "instance_size": instance_size}
    with pytest.raises(EndpointFailedError):
        run(create_one(**place, accelerator="gpu", on_failure="none"))
    with pytest.raises(EndpointFailedError):
        run(create(T4, L4))
    assert calls(emulator) == ["POST ", "POST /demo/resume", "POST /demo/pause"]


class Attempt(TaskInstance):
    dag_id, run_id = "nightly", "run-1"


def test_a_retry_goes_through_the_choices_again(emulator: Emulator) -> None:
    """What the killed attempt left belongs to it, and has failed: it is deleted, and the search starts again."""
    emulator.behave("demo", fail="not today")
    run(create(L4, T4, wait_for_completion=False), {"ti": Attempt()})
    emulator.advance(1)
    assert state(emulator) == "failed"
    emulator.behave("demo", fail=None)
    assert run(create(L4, T4), {"ti": Attempt()})["state"] == "running"
    assert (L4, ["POST ", "DELETE /demo", "POST "]) == (place(emulator), calls(emulator))


def test_a_retry_goes_on_with_the_choice_that_is_starting(emulator: Emulator) -> None:
    """It was killed while the second choice started; when that fails, the third one follows."""
    emulator.set_capacity("nvidia-l4", available=False)
    emulator.behave("demo", fail="not today", fail_on=("nvidia-t4",), initializing_seconds=0.3)
    run(create(L4, T4, A10G, wait_for_completion=False), {"ti": Attempt()})
    assert run(create(L4, T4, A10G), {"ti": Attempt()})["state"] == "running"
    assert (A10G, ["POST ", "DELETE /demo", "POST "]) == (place(emulator), calls(emulator))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hardware": ["nvidia-l4"]}, "'nvidia-l4' is not of the form vendor/region"),
        ({"hardware": []}, "at least one"),
        ({"hardware_order": "luck"}, "hardware_order='luck'"),
        ({"vendor": "aws"}, "hardware and vendor are given"),
        ({"hardware": None}, "Missing: vendor, region, accelerator, instance_type, instance_size"),
    ],
)
def test_bad_choices_are_told_when_the_dag_is_read(changes: dict[str, Any], words: str) -> None:
    """Before any run, naming field, value and fix."""
    with pytest.raises(ValueError, match=r"hardware") as caught:
        create(L4, **changes)
    assert words in str(caught.value)


def test_a_misspelt_choice_is_told_before_anything_is_created(emulator: Emulator) -> None:
    """Also where an earlier choice could be had: the mistake would show only when it is needed."""
    with pytest.raises(AirflowFailException, match=r"nvidia-l44.*nvidia-l4/x1"):
        run(create(T4, "aws/us-east-1/nvidia-l44/x1"))
    assert calls(emulator) == []
