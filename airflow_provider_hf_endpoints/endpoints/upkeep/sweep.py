"""Which endpoints are left over and should stop: the rule, the known facts of an endpoint, and the verdict. Pure.

Two questions, in this order: is the endpoint left over, and is it unused? An endpoint that is kept on purpose is not
left over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import COSTLY, InferenceEndpoint

#: The tag on an endpoint by which a person keeps it from every sweep.
KEEP_TAG = "airflow-keep"
#: An endpoint is swept only after this time without use. It is the shortest idle timeout of the service.
QUIET = timedelta(minutes=15)


@dataclass(frozen=True)
class SweepRule:
    """Which endpoints a person wants to have swept, beside those whose DAG run has ended.

    :param idle: no request for so long, by the service's own account
    :param older_than: running for so long
    :param names: patterns of names (`nightly-*`); with them, only such endpoints are looked at, and they need not be
        this provider's own
    :param keep: patterns of names, `prod-*` or `acme/prod-*`, that are never swept
    :param quiet: for any reason, an endpoint is swept only after this time without use; zero does not ask
    """

    idle: timedelta | None = None
    older_than: timedelta | None = None
    names: Sequence[str] = ()
    keep: Sequence[str] = ()
    quiet: timedelta = QUIET

    def __post_init__(self) -> None:
        if not 0 <= self.quiet.total_seconds() < math.inf:
            raise InvalidArgumentError(f"quiet={self.quiet!r} is not valid. Give a timedelta of 0 or more.")
        for name in ("idle", "older_than"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit.total_seconds() < math.inf:
                raise InvalidArgumentError(f"{name}={limit!r} is not valid. Give a positive timedelta.")
        for pattern in self.names:
            if not isinstance(pattern, str) or not pattern.strip("*? "):
                raise InvalidArgumentError(
                    f"names contains {pattern!r}, which matches every endpoint. Use a pattern with more letters than "
                    "wildcards."
                )


@dataclass(frozen=True)
class Known:
    """One endpoint and what is known of who uses it.

    :param own: this provider started it: by its tag, or by a note of the task that did
    :param started_by: that task, in words; None if it left no note
    :param keeps: whether that task has started it to be kept, and not for its run alone
    :param started: when that was
    :param woken: whether the endpoint was scaled to zero before
    :param run_ended: whether that task's DAG run has ended; None where it is not known
    :param users: who holds a lease on it that has not expired, for a person
    :param paused: the DAGs of those users and of that task's run that are switched off
    :param expired: a lease on it has expired without a release
    :param since: when the oldest running replica was started; None without replicas
    :param pending: whether requests are under way; None where that was not asked, or is not known
    :param price_per_hour: USD per replica; None where it is not known
    """

    endpoint: InferenceEndpoint
    own: bool
    started_by: str | None = None
    keeps: bool = False
    started: datetime | None = None
    woken: bool = False
    run_ended: bool | None = None
    users: Sequence[str] = ()
    paused: Sequence[str] = ()
    expired: bool = False
    since: datetime | None = None
    pending: bool | None = None
    price_per_hour: float | None = None

    @property
    def usd_per_hour(self) -> float | None:
        """What it costs now, with all its replicas."""
        replicas = max(self.endpoint.ready_replica, self.endpoint.target_replica, 1)
        return None if self.price_per_hour is None else self.price_per_hour * replicas


@dataclass(frozen=True)
class Sweep:
    """It is left over."""

    reason: str


@dataclass(frozen=True)
class Leave:
    """It is not, or is not this sweep's concern."""

    reason: str


def judge(known: Known, rule: SweepRule, now: datetime) -> Sweep | Leave:
    """Whether to sweep an endpoint. One that this provider does not own is, only where it was named."""
    at_sight = judge_at_sight(known.endpoint, rule)
    if at_sight is not None:
        return at_sight
    named = bool(rule.names)
    if not known.own and not named:
        return Leave("this provider did not start it")
    if known.users:
        return Leave(f"in use by {', '.join(known.users)}{_held_back(known)}")
    if known.keeps and not named:
        return Leave(f"{known.started_by} keeps it until it is released by hand")
    for condition in (_by_run(known), _by_age(known, rule, now), _by_idleness(known, rule, now), _as_named(rule)):
        if condition is not None:
            return _unless_used(condition, known, rule, now)
    if known.run_ended is False:
        return Leave(f"the run of {known.started_by} is still active{_held_back(known)}")
    return Leave("nothing marks it as left over")


def judge_at_sight(endpoint: InferenceEndpoint, rule: SweepRule) -> Leave | None:
    """What of the verdict needs nothing but the endpoint as it is listed; None if more requests are needed."""
    if endpoint.status not in COSTLY:
        return Leave(f"it is {endpoint.status} and does not bill")
    if rule.names and not any(fnmatchcase(endpoint.name, pattern) for pattern in rule.names):
        return Leave("its name does not match")
    if KEEP_TAG in (endpoint.tags or ()):
        return Leave(f"it has the tag {KEEP_TAG}")
    if pattern := _keeping(endpoint, rule.keep):
        return Leave(f"it matches keep ({pattern})")
    return None


def _keeping(endpoint: InferenceEndpoint, patterns: Iterable[str]) -> str | None:
    names = (endpoint.name, f"{endpoint.namespace}/{endpoint.name}")
    return next((each for each in patterns if any(fnmatchcase(name, each) for name in names)), None)


def _unless_used(why: str, known: Known, rule: SweepRule, now: datetime) -> Sweep | Leave:
    """A left-over endpoint is swept only if the service reports no use."""
    if not rule.quiet:
        return Sweep(why)
    if known.pending:
        return Leave(f"requests are in flight, although {why}")
    last = _latest(_running_since(known), known.started, known.endpoint.last_used_at)
    if last is not None and now - last < rule.quiet:
        did = "used" if last == known.endpoint.last_used_at else "started"
        return Leave(f"it was {did} at {last:%Y-%m-%d %H:%M}, less than {_hours(rule.quiet)} ago, although {why}")
    if known.endpoint.last_used_at is None and known.pending is None:
        return Sweep(f"{why} (the service does not report whether it is in use)")
    return Sweep(why)


def _held_back(known: Known) -> str:
    """What is added for a run that can't go on to its release. It is not swept: the run may have rows to send."""
    if not known.paused:
        return ""
    return (
        f". The DAG {', '.join(known.paused)} is paused, so Airflow does not start the release, "
        "and the endpoint bills meanwhile. Switch the DAG on, or mark the run as failed"
    )


def _by_run(known: Known) -> str | None:
    if known.run_ended:
        return f"the run of {known.started_by} has ended"
    if known.expired and known.run_ended is None:
        return "its last lease has expired"
    return None


def _by_age(known: Known, rule: SweepRule, now: datetime) -> str | None:
    began = _running_since(known)
    if rule.older_than is None or began is None or now - began < rule.older_than:
        return None
    return f"it has been running since {began:%Y-%m-%d %H:%M}, longer than {_hours(rule.older_than)}"


def _by_idleness(known: Known, rule: SweepRule, now: datetime) -> str | None:
    # What was used before it was started this time says nothing about now.
    quiet = _latest(_running_since(known), known.endpoint.last_used_at)
    if rule.idle is None or quiet is None or now - quiet < rule.idle:
        return None
    return f"it has been idle since {quiet:%Y-%m-%d %H:%M}, longer than {_hours(rule.idle)}"


def _as_named(rule: SweepRule) -> str | None:
    return "its name matches" if rule.names and rule.idle is None and rule.older_than is None else None


def _latest(*moments: datetime | None) -> datetime | None:
    return max((each for each in moments if each is not None), default=None)


def _running_since(known: Known) -> datetime | None:
    return known.since or known.endpoint.created_at


def _hours(span: timedelta) -> str:
    minutes = span.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
