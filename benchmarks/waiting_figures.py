"""One row of the waiting benchmark's table, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
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
    held_starting: float | None = None  # seconds that the event loop was held at most, until all wait
    held: float | None = None  # the same in steady state
    held_cpu: float | None = None  # of that, by the process itself; the rest is the turn of other processes
    held_ending: float | None = None  # the same while all of them end at once
    memory: float | None = None  # bytes per wait
    all_resumed: float | None = None  # seconds from the poll that saw them ready

    def line(self) -> str:
        """The row as text."""
        return " | ".join([f"{self.what:<34}", *(f"{text:>10}" for text in self._cells())])

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
            shown(self.held_starting, ".0f", 1000),
            shown(self.held, ".0f", 1000),
            shown(self.held_cpu, ".0f", 1000),
            shown(self.held_ending, ".0f", 1000),
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
    "held start",
    "held ms",
    "own ms",
    "held end",
    "KB each",
    "resumed s",
)


def heading() -> str:
    """The table's first line."""
    return " | ".join([f"{'':<34}", *(f"{each:>10}" for each in HEADINGS)])


def take_held(figures: Figures, lines: list[dict[str, Any]], ready_at: float) -> None:
    """How long the loop was held, from the probe's lines: while the waits began, then, and from `ready_at` on."""
    begun = next((number for number, line in enumerate(lines, 1) if line["waiting"] >= figures.waits), len(lines))
    steady = [line for line in lines[begun:] if line["at"] <= ready_at]
    figures.held_starting = max((line["held"] for line in lines[:begun]), default=0.0)
    figures.held = max((line["held"] for line in steady), default=0.0)
    figures.held_cpu = max((line["held_cpu"] for line in steady), default=0.0)
    figures.held_ending = max((line["held"] for line in lines if line["at"] > ready_at), default=None)
