"""Which endpoints are left over and to be switched off: a rule, what is known of one, and the verdict. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import COSTLY, InferenceEndpoint


@dataclass(frozen=True)
class SweepRule:
    """Which endpoints a person wants to have swept, beside those whose DAG run has ended.

    :param idle: no request for so long, by the service's own account
    :param older_than: running for so long
    :param names: patterns of names (`nightly-*`); with them, only such endpoints are looked at, and they need not be
        this provider's own
    """

    idle: timedelta | None = None
    older_than: timedelta | None = None
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("idle", "older_than"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit.total_seconds() < math.inf:
                raise InvalidArgumentError(f"{name}={limit!r} must be a positive timedelta.")
        for pattern in self.names:
            if not isinstance(pattern, str) or not pattern.strip("*? "):
                raise InvalidArgumentError(
                    f"names has {pattern!r}, which means every endpoint: write more of the name than wildcards."
                )


@dataclass(frozen=True)
class Known:
    """One endpoint and what is known of who uses it.

    :param own: this provider started it: by its tag, or by a note of the task that did
    :param started_by: that task, for a person; None where nobody noted it
    :param run_ended: whether that task's DAG run has ended; None where it is not known
    :param users: who holds a lease on it that has not expired, for a person
    :param expired: a lease on it has expired, and nobody has given it back
    :param since: when the replica that has run for longest was started; None where there is none
    :param price_per_hour: USD per replica; None where it is not known
    """

    endpoint: InferenceEndpoint
    own: bool
    started_by: str | None = None
    run_ended: bool | None = None
    users: Sequence[str] = ()
    expired: bool = False
    since: datetime | None = None
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
    """It is not, or is none of this sweep's business."""

    reason: str


def judge(known: Known, rule: SweepRule, now: datetime) -> Sweep | Leave:
    """Whether an endpoint is to be swept. One that this provider does not own is, only where it was named."""
    at_sight = judge_at_sight(known.endpoint, rule)
    if at_sight is not None:
        return at_sight
    named = bool(rule.names)
    if not known.own and not named:
        return Leave("this provider has not started it")
    if known.users:
        return Leave(f"{', '.join(known.users)} uses it")
    for condition in (_by_run(known), _by_age(known, rule, now), _by_idleness(known, rule, now)):
        if condition is not None:
            return Sweep(condition)
    if named and rule.idle is None and rule.older_than is None:
        return Sweep("its name is asked for")
    if known.run_ended is False:
        return Leave(f"the run of {known.started_by} goes on")
    return Leave("nothing says that it is left over")


def judge_at_sight(endpoint: InferenceEndpoint, rule: SweepRule) -> Leave | None:
    """What of the verdict needs nothing but the endpoint as it is listed; None where more is to be asked."""
    if endpoint.status not in COSTLY:
        return Leave(f"it is {endpoint.status} and bills nothing")
    if rule.names and not any(fnmatchcase(endpoint.name, pattern) for pattern in rule.names):
        return Leave("its name is not asked for")
    return None


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
    return f"it has been running since {began:%Y-%m-%d %H:%M}, for longer than {_hours(rule.older_than)}"


def _by_idleness(known: Known, rule: SweepRule, now: datetime) -> str | None:
    began, used = _running_since(known), known.endpoint.last_used_at
    # What was used before it was started this time says nothing about now.
    quiet = max((each for each in (began, used) if each is not None), default=None)
    if rule.idle is None or quiet is None or now - quiet < rule.idle:
        return None
    return f"nobody has used it since {quiet:%Y-%m-%d %H:%M}, for longer than {_hours(rule.idle)}"


def _running_since(known: Known) -> datetime | None:
    return known.since or known.endpoint.created_at


def _hours(span: timedelta) -> str:
    minutes = span.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
