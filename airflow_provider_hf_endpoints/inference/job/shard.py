"""One part of a planned batch, as its job knows it: its number, and its share of the requests in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a planned batch, as the planner passes it to a worker: numbers only.

    :param number: from 0
    :param of: the number of shards
    :param plan: the plan's digest
    :param began: when the planner ran, seconds since the epoch: budgets of all shards count from there. Not part of
        of the shard's identity
    """

    number: int
    of: int
    plan: str
    began: float | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name in a folder."""
        return f"{self.number:05d}-of-{self.of:05d}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, for an XCom."""
        began = {} if self.began is None else {"began": self.began}
        return {"number": self.number, "of": self.of, "plan": self.plan, **began}

    @classmethod
    def parse(cls, value: Any) -> Shard:
        """The shard in plain JSON.

        :raises ValueError: the value is not valid
        """
        if isinstance(value, Shard):
            return value
        if not isinstance(value, Mapping) or set(value) - {"began"} != {"number", "of", "plan"}:
            raise ValueError(f"shard must be a result of the planner, with number, of and plan, not {value!r}")
        number, of, plan = value["number"], value["of"], value["plan"]
        for each in (number, of):
            if not isinstance(each, int) or isinstance(each, bool):
                raise ValueError(f"shard: number and of must be integers, not {each!r}")
        if not 0 <= number < of or not isinstance(plan, str):
            raise ValueError(
                f"shard {value!r} is not valid: number must be from 0 to below of, and plan must be a text"
            )
        began = value.get("began")
        if began is not None and (not isinstance(began, int | float) or isinstance(began, bool)):
            raise ValueError(f"shard: began must be seconds since the epoch, not {began!r}")
        return cls(number, of, plan, began)


def share(limit: int, shard: Shard, at_once: int) -> int:
    """How many of the job's requests a shard may have in flight.

    If all shards run at once, the shares add up to exactly the limit. If fewer run, it is not known which:
    then every share is rounded down, so that any `at_once` of them stay within the limit.

    :param at_once: shards that run at the same time, at most
    :raises ValueError: there is less than one request for each
    """
    if limit < at_once:
        raise ValueError(f"{limit} requests in flight are too few for {at_once} shards at once: each shard needs one")
    rest = limit % at_once if at_once >= shard.of else 0
    return limit // at_once + (shard.number < rest)
