"""What a batch says about itself: quantiles, the table at its end, snapshots. And what it may repeat."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.requests.structured import InvalidOutputError
from airflow_provider_hf_endpoints.inference.sending.progress import Latencies, Progress, Snapshot, first_words
from airflow_provider_hf_endpoints.inference.sending.retries import RetryBudget, on_budget
from airflow_provider_hf_endpoints.inference.sending.state import Tally


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantiles_are_within_four_percent(seconds: list[float], share: float) -> None:
    """Whatever came, and in whatever order."""
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    ordered = sorted(seconds)
    exact = next(value for n, value in enumerate(ordered, 1) if n >= share * len(ordered))
    assert exact == pytest.approx(latencies.quantile(share), rel=0.04)


def test_without_answers_there_is_no_latency() -> None:
    """Nothing to divide by."""
    assert Latencies().quantiles() == (0.0, 0.0, 0.0)


def test_the_line_says_how_far_and_how_long() -> None:
    """Rows of all, rate, tokens and what is left, by what came since the line before."""
    progress = Progress(0.0)
    progress.total = 1000
    tally = Tally(done=100, failed=2, resumed=100, retries=3, tokens=500)
    line = progress.line(tally, 10.0, "8 in flight of 16 (start)")
    assert line == (
        "200 of 1000 rows done (20 %), 1 min 20 s left, 10.0/s, 8 in flight of 16 (start), 2 failed, 3 retries, "
        "50 tokens/s"
    )


def test_the_table_names_each_error_with_its_share_and_its_first_message() -> None:
    """Of rows that failed, and of requests that failed for rows that did not."""
    progress = Progress(0.0)
    for limit in (32, 64, 48):
        progress.limited(limit)
    for seconds in range(1, 101):
        progress.answered(seconds / 100)
    tally = Tally(done=200, tokens=1000, faults={"server": 7, "prompt_too_long": 3})
    tally.first_words = {"prompt_too_long": "9000 tokens, 8192 fit", "server": "CUDA error"}
    report = BatchReport(
        "out", "out/errors.jsonl", "out/manifest.json", rows=200, succeeded=196, failed=4, truncated=5, requests=207,
        retries=7, prompt_tokens=50, completion_tokens=1000, seconds=20.0, errors={"prompt_too_long": 3, "bad_line": 1},
    )  # fmt: skip
    table = progress.table(report, tally).splitlines()
    assert table[0] == "batch finished: 200 rows in 20 s, to out"
    assert table[1].split(maxsplit=1) == ["rows", "196 answered, 4 failed; 0 done by an earlier try"]
    assert table[5].split(maxsplit=1) == ["rate", "10.0 rows/s, 50 completion tokens/s"]
    assert table[7].split(maxsplit=1) == ["limit", "32 to 64 in flight"]
    assert table[8:] == [
        "  failed    prompt_too_long: 3 (1.5 %), the first: 9000 tokens, 8192 fit",
        "  failed    bad_line: 1 (0.5 %), the first: see out/errors.jsonl",
        "  recovered server: 7 requests failed, every row succeeded on retry; the first: CUDA error",
    ]


def test_a_batch_that_stopped_has_not_recovered() -> None:
    """A batch that ends early has no row whose retry succeeded, so its table does not say so."""
    report = BatchReport("out", "out/errors.jsonl", "out/manifest.json", complete=False, requests=2)
    tally = Tally(faults={"authentication": 2})
    tally.first_words = {"authentication": "Unauthorized"}
    table = Progress(0.0).table(report, tally)
    assert "recovered" not in table
    expected = "  refused   authentication: 2 requests failed, no failed row is recorded; the first: Unauthorized"
    assert expected == table.splitlines()[-1]


def test_a_message_is_one_line() -> None:
    """Of bearable length."""
    assert first_words("a\n  b") == "a b"
    assert first_words("x" * 1000) == "x" * 200 + "…"


def test_an_observer_that_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, and not requested again."""
    calls: list[Snapshot] = []

    def observer(snapshot: Snapshot) -> None:
        calls.append(snapshot)
        raise RuntimeError("no statsd")

    progress = Progress(0.0, observer)
    progress.answered(2.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            progress.observe(Tally(done=5, errors={"server": 1}), 3.0, 4, 8, "start")
    (seen,) = calls
    assert (seen.seconds, seen.done, dict(seen.errors), seen.in_flight, seen.limit) == (3.0, 5, {"server": 1}, 4, 8)
    assert seen.latencies == pytest.approx((2.0, 2.0, 2.0), rel=0.04)
    assert len(caplog.records) == 1


def test_a_fifth_of_the_rows_may_be_sent_again() -> None:
    """A hundred and twice the limit are free, so that a small batch and an engine that restarts have room."""
    budget = RetryBudget(0.2)
    assert all(budget.spend(10, limit=50) for _ in range(200))
    assert not budget.spend(10, limit=50)
    assert budget.spend(1010, limit=50)
    assert all(RetryBudget(None).spend(1, limit=1) for _ in range(1000))


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (errors.ServerError(), True),
        (errors.InferenceTimeoutError(), True),
        (errors.CutAnswerError(), True),
        (errors.StartingError(), True),
        (errors.ConnectionFailedError(), True),
        (errors.OverloadedError(), False),
        (InvalidOutputError(), False),
    ],
)
def test_the_budget_is_for_failures_of_the_engine(error: errors.InferenceError, counts: bool) -> None:
    """The limit answers a 429, and a text that does not fit its schema is the model's."""
    assert counts is on_budget(error)


def test_a_budget_is_a_share() -> None:
    """Anything else is refused with its value."""
    with pytest.raises(ValueError, match=r"retry_budget must be a share of the rows.*-1"):
        BatchJob(url="http://u", task="text-generation", input_path="i", output_path="o", retry_budget=-1)


def test_a_batch_that_was_too_short_for_a_limit_reports_none() -> None:
    """A table with "0 to 0 in flight" would say that nothing was sent."""
    report = BatchReport("out", "out/errors.jsonl", "out/manifest.json", rows=3, succeeded=3, requests=3, seconds=0.1)
    table = Progress(0.0).table(report, Tally(done=3))
    assert "in flight" not in table
    assert "3 answered, 0 failed; 0 done by an earlier try" in table
