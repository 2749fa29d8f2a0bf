"""Which endpoints are left over, and which the sweeper must not touch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.upkeep.sweep import Known, Leave, Sweep, SweepRule, judge

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAUSED = (
    ". The DAG dag is paused, so Airflow does not start the release, and the endpoint bills meanwhile. "
    "Switch the DAG on, or mark the run as failed"
)


def endpoint(state: str = "running", *, used: float | None = None, tags: Sequence[str] = ()) -> InferenceEndpoint:
    """Made 100 hours ago, and used `used` hours ago."""
    status = {
        "state": state,
        "createdAt": (NOW - 100 * HOUR).isoformat(),
        "lastUsedAt": None if used is None else (NOW - used * HOUR).isoformat(),
        "readyReplica": 1,
        "targetReplica": 2,
    }
    given = {"name": "n", "namespace": "acme", "status": status, "tags": list(tags)}
    return InferenceEndpoint.model_validate(given)


def known(seen: InferenceEndpoint | None = None, **facts: Any) -> Known:
    given: dict[str, Any] = {"own": True, "started_by": "dag/run/create", "since": NOW - 5 * HOUR, "pending": False}
    given |= facts
    return Known(seen or endpoint(), **given)


def verdict(facts: Known, **rule: Any) -> str:
    match judge(facts, SweepRule(**rule), NOW):
        case Sweep(reason):
            return f"sweep: {reason}"
        case Leave(reason):
            return f"leave: {reason}"


@pytest.mark.parametrize(
    ("facts", "rule", "expected"),
    [
        # whose run has ended
        (known(run_ended=True), {}, "sweep: the run of dag/run/create has ended"),
        (known(run_ended=False), {}, "leave: the run of dag/run/create is still active"),
        (known(run_ended=None, expired=True), {}, "sweep: its last lease has expired"),
        (known(run_ended=False, expired=True), {}, "leave: the run of dag/run/create is still active"),
        (known(run_ended=None), {}, "leave: nothing marks it as left over"),
        # somebody uses it
        (known(run_ended=True, users=["b/run/g"]), {}, "leave: in use by b/run/g"),
        (known(run_ended=True, users=["b/run/g"]), {"idle": HOUR}, "leave: in use by b/run/g"),
        # its DAG is switched off
        (known(run_ended=False, paused=["dag"]), {}, f"leave: the run of dag/run/create is still active{PAUSED}"),
        (known(run_ended=False, users=["dag run g"], paused=["dag"]), {}, f"leave: in use by dag run g{PAUSED}"),
        # it costs nothing
        (known(endpoint("paused"), run_ended=True), {}, "leave: it is paused and does not bill"),
        (known(endpoint("scaledToZero"), run_ended=True), {}, "leave: it is scaledToZero and does not bill"),
        (known(endpoint("failed"), run_ended=True), {"names": ["n"]}, "leave: it is failed and does not bill"),
        (known(endpoint("pending"), run_ended=True), {}, "sweep: the run of dag/run/create has ended"),
        # somebody else's
        (known(own=False, run_ended=None), {"idle": HOUR}, "leave: this provider did not start it"),
        (known(own=False, run_ended=None), {"idle": HOUR, "names": ["other-*"]}, "leave: its name does not match"),
        (known(own=False, run_ended=None), {"names": ["n"]}, "sweep: its name matches"),
        (known(own=False, users=["x"]), {"names": ["n"]}, "leave: in use by x"),
        (known(run_ended=True), {"names": ["other-*"]}, "leave: its name does not match"),
        # idle, old
        (
            known(endpoint(used=2), run_ended=False),
            {"idle": HOUR},
            "sweep: it has been idle since 2026-11-01 10:00, longer than 60 min",
        ),
        (
            known(endpoint(used=0.5), run_ended=False),
            {"idle": HOUR},
            "leave: the run of dag/run/create is still active",
        ),
        (known(endpoint(used=50), since=NOW - HOUR / 2), {"idle": HOUR}, "leave: nothing marks it as left over"),
        (
            known(endpoint(used=1), run_ended=False),
            {"older_than": 4 * HOUR},
            "sweep: it has been running since 2026-11-01 07:00, longer than 4.0 h",
        ),
        (known(run_ended=False), {"older_than": 6 * HOUR}, "leave: the run of dag/run/create is still active"),
        (known(own=False), {"names": ["n"], "older_than": 6 * HOUR}, "leave: nothing marks it as left over"),
        (
            known(since=None),
            {"older_than": 99 * HOUR},
            "sweep: it has been running since 2026-10-28 08:00, longer than 99.0 h",
        ),
        # left over, and used
        (
            known(endpoint(used=0.1), run_ended=True),
            {},
            "leave: it was used at 2026-11-01 11:54, less than 15 min ago, "
            "although the run of dag/run/create has ended",
        ),
        (
            known(endpoint(used=0), run_ended=False),
            {"older_than": 4 * HOUR},
            "leave: it was used at 2026-11-01 12:00, less than 15 min ago, although it has been running since "
            "2026-11-01 07:00, longer than 4.0 h",
        ),
        (
            known(own=False, since=NOW - HOUR / 6),
            {"names": ["n"]},
            "leave: it was started at 2026-11-01 11:50, less than 15 min ago, although its name matches",
        ),
        (
            known(endpoint("pending"), since=None, started=NOW - HOUR / 30, expired=True),
            {},
            "leave: it was started at 2026-11-01 11:58, less than 15 min ago, although its last lease has expired",
        ),
        (
            known(endpoint(used=2), run_ended=True, pending=True),
            {},
            "leave: requests are in flight, although the run of dag/run/create has ended",
        ),
        (
            known(endpoint(used=2), run_ended=True),
            {"quiet": 3 * HOUR},
            "leave: it was used at 2026-11-01 10:00, less than 3.0 h ago, although the run of dag/run/create has ended",
        ),
        (
            known(endpoint(used=0), run_ended=True, pending=True),
            {"quiet": timedelta(0)},
            "sweep: the run of dag/run/create has ended",
        ),
        (
            known(run_ended=True, pending=None),
            {},
            "sweep: the run of dag/run/create has ended (the service does not report whether it is in use)",
        ),
        # kept
        (known(run_ended=True, keeps=True), {}, "leave: dag/run/create keeps it until it is released by hand"),
        (
            known(endpoint(used=9), run_ended=True, keeps=True, expired=True),
            {"idle": HOUR, "older_than": HOUR},
            "leave: dag/run/create keeps it until it is released by hand",
        ),
        (known(run_ended=True, keeps=True), {"names": ["n"]}, "sweep: the run of dag/run/create has ended"),
        (known(run_ended=None, keeps=True), {"names": ["n"]}, "sweep: its name matches"),
        (known(run_ended=True), {"keep": ["m", "n*"]}, "leave: it matches keep (n*)"),
        (known(run_ended=True), {"keep": ["acme/*"], "names": ["n"]}, "leave: it matches keep (acme/*)"),
        (known(run_ended=True), {"keep": ["other/*"]}, "sweep: the run of dag/run/create has ended"),
        (
            known(endpoint(tags=["airflow-keep"]), run_ended=True),
            {"names": ["n"]},
            "leave: it has the tag airflow-keep",
        ),
    ],
)
def test_what_is_swept(facts: Known, rule: dict[str, Any], expected: str) -> None:
    """Ended, idle, old or named, and quiet; never in use or kept, never free of charge, never somebody else's."""
    assert expected == verdict(facts, **rule)


def test_what_it_costs_counts_every_replica() -> None:
    """Those that are ready, or are to be."""
    assert (1.6, None) == (known(price_per_hour=0.8).usd_per_hour, known().usd_per_hour)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"idle": timedelta(0)}, "idle="),
        ({"older_than": -HOUR}, "older_than="),
        ({"quiet": -HOUR}, "quiet="),
        ({"names": ["*"]}, "names contains '\\*', which matches every endpoint"),
        ({"names": [""]}, "names contains ''"),
    ],
)
def test_a_rule_that_makes_no_sense(rule: dict[str, Any], words: str) -> None:
    """A rule that would sweep everything is a slip of the pen."""
    with pytest.raises(InvalidArgumentError, match=words):
        SweepRule(**rule)
