"""The demo's report: what it counts as wrong, and that a reader finds in it what the demo promises."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dev.demo_report import Batch, Evidence, Meter, Moment, problems, render

pytestmark = pytest.mark.once

ROWS = tuple({"id": f"t{i}", "ticket": f"My invoice number {i} is wrong."} for i in range(4))
ANSWERS = tuple(
    {
        "id": f"t{i}",
        "index": i,
        "output": f"The customer says that invoice {i} is wrong.",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 30, "completion_tokens": 10},
        "error": None,
    }
    for i in range(4)
)
GOOD = Evidence(
    run_state="success",
    task_states={"create": "success", "pause": "success"},
    endpoint="acme/demo",
    model="SmolLM2",
    history=(Moment(0.0, "pending"), Moment(2.0, "initializing"), Moment(6.5, "running"), Moment(40.0, "paused")),
    final_state="paused",
    rows=ROWS,
    batches=(Batch("summaries", ANSWERS),),
    meter=Meter(usd=0.00072, billed_seconds=38.0, price_per_hour=0.067, instance="intel-icl x2"),
)


def test_a_good_run_has_no_problem() -> None:
    """If every promise was kept, the report has no failure and reports this."""
    assert problems(GOOD) == []
    assert "Everything is as it should be." in render(GOOD)


def with_answers(*answers: dict[str, Any]) -> dict[str, Any]:
    return {"batches": (Batch("summaries", answers),)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run_state": "failed"}, "DAG run ended as 'failed'"),
        ({"task_states": {"batch": "upstream_failed"}}, "task batch ended as 'upstream_failed'"),
        ({"rows": ()}, "the input has no rows"),
        (with_answers(), "0 lines, not one for each of the 4 rows"),
        (with_answers(*ANSWERS[:3]), "3 lines, not one for each of the 4 rows"),
        (with_answers(ANSWERS[1], ANSWERS[0], *ANSWERS[2:]), "in their order"),
        (with_answers(*ANSWERS[:3], ANSWERS[3] | {"output": None, "error": "refused"}), "1 rows failed"),
        (with_answers(*ANSWERS[:3], ANSWERS[3] | {"output": " "}), "answered nothing to rows [3]"),
        (with_answers(*(answer | {"usage": None} for answer in ANSWERS)), "counts no tokens"),
        ({"history": (Moment(0.0, "pending"), Moment(1.0, "failed"))}, "never running"),
        ({"final_state": "running"}, "'running', not paused"),
        ({"meter": None}, "meter has nothing"),
    ],
)
def test_whatever_is_missing_is_a_problem(change: dict[str, Any], words: str) -> None:
    """Each promise of the demo, broken alone, is reported and makes the demo fail."""
    evidence = dataclasses.replace(GOOD, **change)
    assert any(words in problem for problem in problems(evidence))
    assert "NOT AS IT SHOULD BE" in render(evidence)


def test_the_report_has_all_that_it_promises() -> None:
    """States with times, prompts with answers, rows, tokens, cost, and that the endpoint is paused."""
    report = render(GOOD)
    for state in ("pending", "initializing", "running", "paused"):
        assert state in report
    assert "for 33.5 s" in report
    assert "My invoice number 0 is wrong." in report
    assert "The customer says that invoice 0 is wrong." in report
    assert "4 of 4 rows done, 0 failed" in report
    assert "120 tokens read, 40 written" in report
    assert "$0.00072" in report
    assert "paused: it bills nothing" in report
