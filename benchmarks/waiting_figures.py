"""One row of the waiting benchmark's table, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figures:
    """One row of the table; None where it was not measured."""

    what: str
    waits: int
    lookups: int | None = None
    all_waiting: float | None = None  # seconds from the start
    start_requests: int | None = None  # of the control plane, until all wait
    interval_requests: float | None = None  # per LONGEST_POLL seconds, in steady state
    cpu: float | None = None  # share of a core, in steady state
    # Seconds that the event loop was held at most: until all wait, in steady state, while all of them end at once.
    held: list[float | None] = field(default_factory=lambda: [None] * 3)  # by the wall clock, other processes included
    own: list[float | None] = field(default_factory=lambda: [None] * 3)  # CPU of one callback of this provider's
    other: list[float | None] = field(default_factory=lambda: [None] * 3)  # the same of Airflow's
    collector: list[float | None] = field(default_factory=lambda: [None] * 3)  # of one garbage collection
    memory: float | None = None  # bytes per wait
    all_resumed: float | None = None  # seconds from the poll that saw them ready
    ended: int = 0  # waits that are over
    same_deadlines: bool = True  # as before the triggerer was killed

    def line(self) -> str:
        """The row as text."""
        return " | ".join([f"{self.what:<34}", *(f"{text:>12}" for text in self._cells())])

    def _cells(self) -> list[str]:
        def shown(value: float | None, form: str, factor: float = 1) -> str:
            return "-" if value is None else format(value * factor, form)

        return [
            str(self.waits),
            shown(self.lookups, "d"),
            shown(self.all_waiting, ".1f"),
            shown(self.start_requests, "d"),
            shown(self.interval_requests, ".1f"),
            shown(self.cpu, ".1f", 100),
            *(
                "/".join(shown(phase, ".0f", 1000) for phase in each)
                for each in (self.own, self.other, self.collector, self.held)
            ),
            shown(self.memory, ".1f", 1 / 1024),
            shown(self.all_resumed, ".1f"),
        ]


HEADINGS = (
    "waits",
    "lookups",
    "all wait s",
    "req. start",
    "req./30 s",
    "CPU %",
    "own ms",
    "Airflow ms",
    "gc ms",
    "held ms",
    "KB each",
    "resumed s",
)


def heading() -> str:
    """The table's first line."""
    return " | ".join([f"{'':<34}", *(f"{each:>12}" for each in HEADINGS)])


def take_held(figures: Figures, lines: list[dict[str, Any]], ready_at: float) -> None:
    """How long the loop was held, from the probe's lines: while the waits began, then, and from `ready_at` on."""
    begun = next((number for number, line in enumerate(lines, 1) if line["waiting"] >= figures.waits), len(lines))
    steady = [line for line in lines[begun:] if line["at"] <= ready_at]
    ending = [line for line in lines if line["at"] > ready_at]
    for name in ("held", "own", "other", "collector"):
        phases = [max((line[name] for line in phase), default=None) for phase in (lines[:begun], steady, ending)]
        setattr(figures, name, phases)
