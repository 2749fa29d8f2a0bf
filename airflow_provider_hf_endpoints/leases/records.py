"""What a lease is, and what a set of leases means: who still uses an endpoint, and its state before. Pure.

If a holder leaves while others stay, its record stays too, as a note of how it found the endpoint. So the last holder
knows the state before all of them. The same is true of an expired record. Of the notes that are a day old, only the
decisive one is kept, so uses that overlap forever leave a bounded number of records.

A holder that is about to stop the endpoint notes that first. The service's reads may lag: a use that begins right after
would otherwise read that the endpoint runs, and would finally leave it running.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from airflow_provider_hf_endpoints.endpoints.models import BILLS_NOTHING

# An expired lease counts for so much longer, because the clocks of two machines differ.
CLOCK_SKEW = 60.0  # seconds
# A record without a current use is kept for this time: a release that was killed, or a task that was cleared,
# comes again and finds what it knew.
KEPT_FOR = 86_400.0  # seconds
# For so long after a stop a read may still show what was before it.
READ_LAG = 60.0  # seconds
UNKNOWN = "?"  # how the endpoint was found, while its holder has not looked yet
#: Whose record says what was done without a lease: see `recent_changes.py`.
BY_NO_USE = "the last start or stop without a lease"


@dataclass(frozen=True)
class Lease:
    """One holder's use of one endpoint. Moments are seconds since the epoch.

    :param holder: the key of the record: letters and digits.
    :param who: the same for a person.
    :param seconds: for how long it is taken, and renewed.
    :param found: the endpoint's state before this use, None where there was no endpoint.
    :param left: whether the holder is done; the record is then a note of `found` and nothing more.
    :param as_of: when `expires` was said: what was said last counts.
    :param stopped: when its holder has stopped the endpoint, 0 where it has not, or a read has shown it since
    :param stopped_to: the state in which that leaves the endpoint, None where it is deleted
    :param origin: which Airflow the holder runs in, if leases are shared with others; "" if unknown.
    """

    holder: str
    who: str
    acquired: float
    expires: float
    seconds: float
    found: str | None = UNKNOWN
    left: bool = False
    origin: str = ""
    as_of: float = 0.0
    stopped: float = 0.0
    stopped_to: str | None = None

    def stored(self) -> dict[str, Any]:
        """JSON-native."""
        return asdict(self)

    @classmethod
    def of(cls, stored: object) -> Self | None:
        """The record that a store holds; None for anything else: another version's, or half a file."""
        if not isinstance(stored, Mapping):
            return None
        try:
            return cls(
                holder=str(stored["holder"]),
                who=str(stored["who"]),
                acquired=float(stored["acquired"]),
                expires=float(stored["expires"]),
                seconds=float(stored["seconds"]),
                found=None if stored.get("found") is None else str(stored["found"]),
                left=stored.get("left") is True,
                origin=str(stored.get("origin") or ""),
                as_of=float(stored.get("as_of") or 0.0),
                stopped=float(stored.get("stopped") or 0.0),
                stopped_to=None if stored.get("stopped_to") is None else str(stored["stopped_to"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def renewed(self, now: float) -> Self:
        """From now on for as long as it was taken."""
        return replace(self, expires=now + self.seconds, as_of=now, left=False)

    def leaving(self, stopped: float = 0.0, stopped_to: str | None = None) -> Self:
        """The record of a holder that is done, and that may be about to stop the endpoint."""
        return replace(self, left=True, stopped=stopped, stopped_to=stopped_to)

    def is_live(self, now: float) -> bool:
        """Whether its holder counts as a user of the endpoint."""
        return not self.left and now < self.expires + CLOCK_SKEW


def holder_key(who: str) -> str:
    """The key of a holder's record."""
    return hashlib.sha256(who.encode()).hexdigest()[:24]


def new_lease(who: str, now: float, seconds: float, *, first: float = 0.0, origin: str = "") -> Lease:
    """A lease from now on; the holder's key is made of its name, so it is the same in every attempt.

    :param first: seconds more until the first renewal: the start of the endpoint.
    """
    expires = now + first + seconds
    return Lease(holder_key(who), who, acquired=now, expires=expires, seconds=seconds, origin=origin, as_of=now)


def others(leases: Iterable[Lease], holder: str, now: float) -> list[Lease]:
    """The live leases of other holders."""
    return [each for each in leases if each.holder != holder and each.is_live(now)]


def bills_nothing(found: str | None) -> bool:
    """Whether an endpoint in that state costs nothing: it does not exist, or it is stopped."""
    return found is None or found in BILLS_NOTHING


def as_stopped(seen: str | None, leases: Iterable[Lease], now: float) -> str | None:
    """The state that a look shows, or the one in which somebody has left the endpoint a moment ago."""
    last = max(leases, key=lambda each: each.stopped, default=None)
    if bills_nothing(seen) or last is None or not was_stopped_lately(last, now):
        return seen
    return last.stopped_to


def was_stopped_lately(lease: Lease, now: float) -> bool:
    """Whether its holder has stopped the endpoint so recently that a read may not show that yet."""
    return now - lease.stopped <= READ_LAG + CLOCK_SKEW


def found_before(leases: Iterable[Lease], mine: Lease) -> str | None:
    """How the endpoint was before those uses; of all records, ended and expired ones too.

    Where anybody found it stopped, it ran because of them since. Of several such states the first counts, by clocks
    that may differ: which of them is not what the bill depends on.
    """
    decides = _decisive((mine, *leases))
    return None if decides is None else decides.found


def _decisive(leases: Iterable[Lease]) -> Lease | None:
    known = [each for each in leases if each.found != UNKNOWN]
    first = [each for each in known if bills_nothing(each.found)] or known
    return min(first, key=lambda each: each.acquired, default=None)


def dead(leases: Iterable[Lease], now: float) -> list[str]:
    """The holders of records without a current use."""
    return [each.holder for each in leases if not each.is_live(now)]


def obsolete(leases: Iterable[Lease], now: float) -> list[str]:
    """The holders of records that say nothing any more, while others still use the endpoint."""
    records = list(leases)
    decides = _decisive(records)
    old = [each for each in records if not each.is_live(now) and now > each.expires + KEPT_FOR]
    return [each.holder for each in old if each is not decides]
