"""Budgets of a start, of a whole use, and of shards, against the emulator and its meter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_hf_endpoints.emulator import Clock, Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs import budgets
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    InferenceOperator,
    PlanBatchShardsOperator,
)
from tests.clock import owned_clock, ticking
from tests.contract.operators.test_operators_use import Use
from tests.contract.operators_play import (
    FAST,
    MODEL,
    TOKEN,
    TaskInstance,
    calls,
    complete,
    connect,
    connected,
    deferred,
    event_of,
    new_context,
    received,
    run,
    state,
)

#: $40 an hour: 1.1 cents a second, and a minute of it is $0.67.
DEAR, CHEAP = "gcp/us-east4/nvidia-h100/x4", "aws/us-east-1/nvidia-t4/x1"
A_SECOND = 40.0 / 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the service, the provider and the tests: it stands but for what is slept and worked."""
    return owned_clock(monkeypatch)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> Iterator[Emulator]:
    with connected(monkeypatch, clock=clock) as running:
        connect(monkeypatch, running, lease_path=f"file://{tmp_path}/kept")
        yield running


@pytest.fixture
def by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test need not wait for a whole minute."""
    monkeypatch.setattr(budgets, "SMALLEST_BILL", 0.0)


class Try(TaskInstance):
    """An attempt of one task: a retry leaves `max_tries` alone, and a clear raises it."""

    dag_id, run_id = "nightly", "run-1"

    def __init__(self, max_tries: int = 3) -> None:
        super().__init__()
        self.max_tries = max_tries


def attempt(max_tries: int = 3) -> Any:
    return {**new_context(), "ti": Try(max_tries)}


def create(*hardware: str, **changes: Any) -> CreateInferenceEndpointOperator:
    given = {"repository": "gpt2", "framework": "pytorch", "task": "text-generation", **FAST, **changes}
    return CreateInferenceEndpointOperator(task_id="create", name="demo", hardware=list(hardware) or [DEAR], **given)


def run_out(operator: CreateInferenceEndpointOperator, context: Any, clock: Clock) -> Any:
    """Run it while nothing comes of its wait: in a worker, or over a deferral, until the wait's own end."""
    if not operator.deferrable:
        return run(operator, context)
    waiting = deferred(operator, context)
    clock.advance(ends(waiting) - clock())
    return complete(operator, waiting, event_of(waiting.trigger), context)


def told_usd(error: BaseException) -> float:
    """The dollars that an error says are spent."""
    found = re.search(r"\$([\d.]+) of max_cost", str(error))
    assert found is not None, str(error)
    return float(found[1])


# A start alone


@pytest.mark.parametrize("given", [{"max_cost": 0}, {"max_cost": -1.0}, {"max_runtime": 0.0}, {"max_cost": "-5"}])
@pytest.mark.parametrize(
    "kind", [create, lambda **limits: ResumeInferenceEndpointOperator(task_id="r", endpoint="e", **limits)]
)
def test_a_bad_limit_is_told_when_the_dag_is_read(kind: Any, given: dict[str, Any]) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match="Give a positive number"):
        kind(**given)


def test_what_does_not_pay_for_a_minute_is_not_started(emulator: Emulator) -> None:
    """The error has the figures, for one place as for every choice, and nothing is created."""
    place = {**MODEL, "vendor": "gcp", "region": "us-east4", "accelerator": "gpu"}
    place |= {"instance_type": "nvidia-h100", "instance_size": "x4"}
    one = CreateInferenceEndpointOperator(task_id="create", name="demo", max_cost=0.5, **FAST, **place)
    for operator in (one, create(DEAR, max_cost=0.5)):
        with pytest.raises(AirflowFailException, match=r"\$0\.0000 of max_cost \$0\.5 at \$40 an hour.*\(\$0\.6667\)"):
            run(operator)
    assert calls(emulator) == []


def test_what_cannot_be_paid_for_replaces_nothing(emulator: Emulator) -> None:
    """With `recreate` the one that is there stays, on one place as with choices."""
    run(create(CHEAP))
    one = {**MODEL, "vendor": "gcp", "region": "us-east4", "accelerator": "gpu"}
    one |= {"instance_type": "nvidia-h100", "instance_size": "x4", "if_exists": "recreate", "max_cost": 0.5}
    for operator in (
        CreateInferenceEndpointOperator(task_id="create", name="demo", **FAST, **one),
        create(DEAR, if_exists="recreate", max_cost=0.5),
    ):
        with pytest.raises(AirflowFailException, match="is not started"):
            run(operator)
    assert (calls(emulator), state(emulator)) == (["POST "], "running")


def test_a_failed_choice_that_leaves_too_little_ends_it(emulator: Emulator) -> None:
    """For good, with what was tried; the second would begin what can't be paid for."""
    emulator.behave("demo", initializing_seconds=1.0, fail="no GPU for you")
    as_dear = "aws/us-east-1/nvidia-h200/x8"
    with pytest.raises(AirflowFailException, match=r"(?s)nvidia-h200/x8\) is not started.*1\. gcp.*no GPU for you"):
        run(create(DEAR, as_dear, max_cost=60.5 * A_SECOND))
    assert calls(emulator) == ["POST ", "DELETE /demo"]


def test_a_choice_that_is_too_dear_leads_to_the_next(emulator: Emulator) -> None:
    """What can be paid for is started."""
    run(create(DEAR, CHEAP, max_cost=0.5))
    assert emulator.endpoint("demo")["compute"]["instanceType"] == "nvidia-t4"


@pytest.mark.usefixtures("by_the_second")
@pytest.mark.parametrize("defers", [False, True])
def test_a_start_that_uses_the_budget_up_is_released(emulator: Emulator, clock: Clock, defers: bool) -> None:
    """As `on_timeout` says; the task fails without a retry, and its figures are the meter's."""
    emulator.behave("demo", initializing_seconds=3600)
    operator, context = create(DEAR, max_cost=2 * A_SECOND, deferrable=defers), attempt()
    with pytest.raises(AirflowFailException, match="budget was spent before endpoint 'demo' was") as end:
        run_out(operator, context, clock)
    assert calls(emulator) == ["POST ", "POST /demo/pause"]
    assert emulator.meter("demo")["usd"] == pytest.approx(told_usd(end.value), rel=0.03)
    assert told_usd(end.value) == pytest.approx(2 * A_SECOND, rel=0.1)


def test_time_is_a_limit_of_its_own(emulator: Emulator) -> None:
    """On a resume, too, and earlier than `timeout`."""
    run(create(CHEAP))
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.pause_inference_endpoint("demo")
    emulator.behave("demo", initializing_seconds=3600)
    resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint="demo", max_runtime=0.5, timeout=60, **FAST)
    with pytest.raises(AirflowFailException, match=r"\d s of max_runtime 0\.5 s"):
        run(resume)
    assert state(emulator) == "paused"


def test_the_time_limit_of_the_start_still_counts(emulator: Emulator) -> None:
    """If it is the earlier one, a retry may help, and the error does not mention a budget."""
    emulator.behave("demo", initializing_seconds=3600)
    with pytest.raises(TimeoutError) as caught:
        run(create(CHEAP, max_cost=5.0, timeout=0.3))
    assert "budget" not in str(caught.value)


def ends(waiting: TaskDeferred) -> float:
    """When a deferred wait ends, seconds since the epoch."""
    trigger: Any = waiting.trigger
    return float(trigger.wait.deadline)


def test_a_retry_goes_on_with_the_budget_and_a_clear_begins_a_new_one(emulator: Emulator, clock: Clock) -> None:
    """The endpoint bills all the time, so the retry's wait ends when that of the first try would have."""
    emulator.behave("demo", initializing_seconds=3600)
    given: dict[str, Any] = {"max_cost": 80 * A_SECOND, "deferrable": True}
    first = ends(deferred(create(**given), attempt()))
    assert 80 == pytest.approx(first - clock(), abs=1)
    clock.advance(1.5)
    assert first == pytest.approx(ends(deferred(create(**given), attempt())), abs=0.5)
    assert ends(deferred(create(**given), attempt(max_tries=7))) - first > 1.2


def test_what_bills_nothing_between_two_tries_costs_nothing(emulator: Emulator, clock: Clock) -> None:
    """The first try was killed and its endpoint paused; the second one resumes it."""
    emulator.behave("demo", initializing_seconds=3600)
    given: dict[str, Any] = {"max_cost": 80 * A_SECOND, "deferrable": True}
    first = ends(deferred(create(**given), attempt()))
    with EndpointsClient(TOKEN, base_url=emulator.url) as client:
        client.pause_inference_endpoint("demo")
    clock.advance(1.5)
    assert first + 1.5 == pytest.approx(ends(deferred(create(**given), attempt())), abs=0.5)


def test_failed_choices_are_in_the_same_budget(emulator: Emulator, clock: Clock) -> None:
    """What the first has cost until it failed is gone with it, and stays in the account, for a retry, too."""
    emulator.behave("demo", initializing_seconds=1.5, fail="no GPU for you", fail_on=("nvidia-h100",))
    given: dict[str, Any] = {"max_cost": 80 * A_SECOND, "timeout": 10_000, "deferrable": True}
    context = attempt()
    first = deferred(create(DEAR, CHEAP, **given), context)
    clock.advance(1.6)
    event = event_of(first.trigger)
    billed = emulator.meter("demo")["usd"]
    assert billed > A_SECOND
    emulator.behave("demo", initializing_seconds=3600)
    with pytest.raises(TaskDeferred) as caught:
        complete(create(DEAR, CHEAP, **given), first, event, context)
    second: Any = caught.value
    gone = second.kwargs["budget"]["gone"]
    assert billed == pytest.approx(gone, rel=0.03)
    assert (80 * A_SECOND - gone) / 0.5 * 3600 == pytest.approx(ends(second) - clock(), abs=2)
    retried: Any = deferred(create(DEAR, CHEAP, **given), attempt())
    assert gone == retried.kwargs["budget"]["gone"]


@pytest.mark.parametrize("defers", [False, True])
def test_a_deleted_start_stays_in_the_account(emulator: Emulator, clock: Clock, defers: bool) -> None:
    """`on_timeout="delete"` takes the endpoint away that could be asked; the retry still knows."""
    emulator.behave("demo", initializing_seconds=3600)
    given: dict[str, Any] = {"max_cost": 80 * A_SECOND, "timeout": 1.5, "on_timeout": "delete"}
    with pytest.raises(TimeoutError):
        run_out(create(**given, deferrable=defers), attempt(), clock)
    assert calls(emulator) == ["POST ", "DELETE /demo"]
    retried: Any = deferred(create(**given, deferrable=True), attempt())
    assert 1.5 * A_SECOND == pytest.approx(retried.kwargs["budget"]["gone"], rel=0.2)


def test_without_a_listed_price_there_is_no_budget(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with an unknown price is not started under a limit."""
    from airflow_provider_hf_endpoints.endpoints.costs import metering

    monkeypatch.setattr(metering, "price_of", lambda place, offered: None)
    with pytest.raises(AirflowFailException, match="max_cost needs a price"):
        run(create(CHEAP, max_cost=5.0))
    assert calls(emulator) == []


# A whole use: acquire, start, work, release


@pytest.fixture
def short_ticks(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    ticking(monkeypatch, clock)


def batch(folder: Path, endpoint: Any, **changes: Any) -> BatchInferenceOperator:
    """More rows than any budget here allows: ten a second."""
    rows = folder / "in.jsonl"
    if not rows.exists():
        rows.write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(300)))
    given = {"prompt": "{text}", "input_path": str(rows), "output_path": str(folder / "out"), "max_concurrency": 1}
    return BatchInferenceOperator(
        task_id="batch", endpoint=endpoint, task="text-generation", **{**given, **FAST, **changes}
    )


def prompts(emulator: Emulator) -> int:
    """Requests that the endpoint got."""
    return len([line for line in received(emulator) if line.startswith("POST /endpoints/")])


@pytest.mark.usefixtures("by_the_second", "short_ticks")
def test_a_use_stops_at_its_budget_and_is_released(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The start counts; what is done is kept; a retry of the batch has no new budget, and acquiring again is one."""
    emulator.behave("demo", initializing_seconds=1.0, latency_seconds=0.1)
    limit = 4 * A_SECOND
    use = Use(max_cost=limit)
    use.acquire()
    endpoint = use.create(hardware=[DEAR])
    with pytest.raises(
        AirflowFailException, match=r"budget of the endpoint's group is spent.*group releases its"
    ) as end:
        run(batch(tmp_path, endpoint))
    assert told_usd(end.value) == pytest.approx(limit, rel=0.03)
    assert emulator.meter("demo")["usd"] == pytest.approx(limit, rel=0.1), "with what was in flight"
    assert re.search(r"8\d% of the budget of the endpoint's group is spent", caplog.text)
    done = len((tmp_path / "out" / "results-00000.jsonl").read_text().splitlines())
    assert 0 < done < 35, "three seconds of the four"
    emulator.behave("demo", latency_seconds=0.0)
    before = prompts(emulator)
    with pytest.raises(AirflowFailException, match="group is spent"):
        run(batch(tmp_path, endpoint))
    ask = InferenceOperator(task_id="ask", endpoint=endpoint, task="text-generation", inputs="hello")
    with pytest.raises(AirflowFailException, match="Nothing was sent: the budget of the endpoint's group is spent"):
        run(ask)
    assert before == prompts(emulator)
    assert state(emulator) == "running", "the release is the group's"
    use.acquire()
    again = use.create(hardware=[DEAR])
    assert run(InferenceOperator(task_id="ask", endpoint=again, task="text-generation", inputs="hello"))["output"]
    use.release()
    assert state(emulator) == "paused"
    told = use.dag_run.xcoms["use.release"]["cost"]["usd"]
    assert emulator.meter("demo")["usd"] == pytest.approx(told, rel=0.03)


@pytest.mark.usefixtures("short_ticks")
def test_a_use_has_a_limit_of_time(emulator: Emulator, tmp_path: Path) -> None:
    """From acquiring on, without a price."""
    emulator.behave("demo", latency_seconds=0.1)
    use = Use(max_runtime=2.0)
    use.acquire()
    with pytest.raises(AirflowFailException, match=r"group is spent: 2 s of max_runtime 2 s"):
        run(batch(tmp_path, use.create()))


def test_a_use_that_cannot_be_paid_for_starts_nothing(emulator: Emulator) -> None:
    """And its release has nothing to do."""
    use = Use(max_cost=0.5)
    use.acquire()
    with pytest.raises(AirflowFailException, match="is not started"):
        use.create(hardware=[DEAR])
    assert use.release() is None
    assert "POST " not in calls(emulator)


def test_a_start_that_uses_up_the_budget_of_the_use_leaves_the_release_to_its_task(emulator: Emulator) -> None:
    """A retry of the start has no new budget."""
    emulator.behave("demo", initializing_seconds=3600)
    use = Use(max_runtime=0.5)
    use.acquire()
    with pytest.raises(AirflowFailException, match="budget was spent"):
        use.create(on_timeout="none")
    with pytest.raises(AirflowFailException, match=r"was spent|is not started"):
        use.create(on_timeout="none")
    assert calls(emulator) == ["POST "]
    use.release()
    assert state(emulator) == "paused"


def test_failed_choices_are_in_the_budget_of_the_use(emulator: Emulator) -> None:
    """A task that works inside learns what can no longer be read."""
    emulator.behave("demo", initializing_seconds=1.5, fail="no GPU for you", fail_on=("nvidia-h100",))
    use = Use(max_cost=5.0)
    use.acquire()
    budget = use.create(hardware=[DEAR, CHEAP])["budget"]
    assert 1.5 * A_SECOND == pytest.approx(budget["gone"], rel=0.03)
    assert use.acquired["budget"]["began"] == budget["began"]


def test_without_limits_nothing_is_asked_of_the_cost(emulator: Emulator) -> None:
    """A use without a budget costs no request more."""
    use = Use()
    assert use.acquire()["budget"] is None
    endpoint = use.create()
    run(InferenceOperator(task_id="ask", endpoint=endpoint, task="text-generation", inputs="hello"))
    assert not [each for each in received(emulator) if "replica" in each]


# Shards


@pytest.mark.usefixtures("by_the_second", "short_ticks")
def test_shards_share_a_budget_that_begins_with_the_plan(emulator: Emulator, tmp_path: Path) -> None:
    """What the endpoint costs since then counts for each of them; a new plan starts a new count."""
    emulator.behave("demo", latency_seconds=0.1)
    run(create(DEAR))
    limit = 3 * A_SECOND
    given = {"endpoint": "demo", "max_cost": limit, "on_budget": "none", "max_concurrency": 2}
    paths = {name: getattr(batch(tmp_path, "demo"), name) for name in ("input_path", "output_path")}
    planner = PlanBatchShardsOperator(task_id="plan", shards=2, **paths)
    one, two = run(planner)
    with pytest.raises(AirflowFailException, match=r"budget of all shards is spent: .*Endpoint demo is left") as end:
        run(batch(tmp_path, shard=one, **given))
    assert told_usd(end.value) == pytest.approx(limit, rel=0.03)
    before = prompts(emulator)
    assert 5 < before < 40
    with pytest.raises(AirflowFailException, match="budget of all shards is spent"):
        run(batch(tmp_path, shard=two, **given))
    assert before == prompts(emulator)
    anew = run(planner)
    assert [one["plan"]] * 2 == [each["plan"] for each in anew]
    with pytest.raises(AirflowFailException, match="budget of all shards is spent"):
        run(batch(tmp_path, shard=anew[1], **given))
    assert before < prompts(emulator)
