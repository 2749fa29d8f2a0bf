"""The rate of one poll: as fast as its waits need, slower after a 429, and then gradually faster again. Pure.

Polls of other triggerers use the same token and do not know each other. Each poll backs off, so that together they
approach the rate that the service allows.
"""

from __future__ import annotations

_FIRST = 1.0  # seconds for a request, after the first refusal
_SLOWEST = 30.0  # seconds for a request
_LONGEST = 60.0  # seconds between two rounds, whatever they ask
_RECOVERY = 0.9  # the part of the pace that a round leaves which the service has answered
_NONE = 0.05  # seconds for a request, below which there is no pace


class PollPace:
    """Seconds that each request of a round keeps the next round waiting."""

    def __init__(self) -> None:
        self._each = 0.0

    def refused(self) -> None:
        """The service has answered 429."""
        self._each = min(max(_FIRST, 2 * self._each), _SLOWEST)

    def answered(self) -> None:
        """The service has answered a whole round."""
        self._each *= _RECOVERY
        if self._each < _NONE:
            self._each = 0.0

    def pause(self, requests: int) -> float:
        """Seconds until the next round, after one of so many requests."""
        return min(self._each * requests, _LONGEST)
