"""The state of a search for hardware: the current choice, the failed choices with reasons, and the remaining ones.

Pure, and JSON-native in both directions, because deferrals store it: the next process continues the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

# A reason is stored with the deferral and repeated in the last error. The task's log has its full text.
_LONGEST_REASON = 400  # characters


@dataclass(frozen=True)
class Search:
    """Choices are paths (vendor/region/instance-type/size).

    :param started: when it began, seconds since the epoch: the limit on the start counts from here, for all together.
    :param tried: pairs of a choice and why it failed.
    """

    left: tuple[str, ...]
    started: float
    at: str | None = None
    tried: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """The search in a deferral's state, if there are choices."""
        if stored is None:
            return None
        tried = tuple((str(path), str(why)) for path, why in stored.get("tried", ()))
        return cls(left=tuple(stored["left"]), started=stored["started"], at=stored.get("at"), tried=tried)

    def stored(self) -> dict[str, Any]:
        """For a deferral's kwargs: lists, texts and numbers only."""
        return {**asdict(self), "left": list(self.left), "tried": [list(pair) for pair in self.tried]}

    def go_on(self) -> Self | None:
        """The same at the next choice; None if no choice is left."""
        return replace(self, at=self.left[0], left=self.left[1:]) if self.left else None

    def failed(self, why: str) -> Self:
        """The same, with the reason why the current choice failed."""
        assert self.at is not None
        first_line = why.strip().partition("\n")[0]
        short = first_line if len(first_line) <= _LONGEST_REASON else first_line[:_LONGEST_REASON] + "…"
        return replace(self, tried=(*self.tried, (self.at, short)))

    def report(self) -> str:
        """What was tried and why it failed, a line each."""
        return "\n".join(f"  {number}. {path}: {why}" for number, (path, why) in enumerate(self.tried, 1))
