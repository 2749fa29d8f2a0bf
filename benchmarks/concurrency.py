"""What `max_concurrency="auto"` reaches on simulated fleets, against the best fixed number found by search."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.inference.concurrency import Limiter
from tests.unit.inference.fleet import Replica, simulate

FIXED = (8, 16, 32, 48, 64, 80, 100, 128, 192, 256, 384, 512, 768, 1000)
ROWS = 20000


def grow(slots: int, queue: int | None) -> list[tuple[float, Callable[[list[Replica]], None]]]:
    """One replica, four, two."""

    def to_four(fleet: list[Replica]) -> None:
        while len(fleet) < 4:
            fleet.append(Replica(slots, queue, clock=fleet[0].clock))

    def to_two(fleet: list[Replica]) -> None:
        del fleet[2:]

    return [(120.0, to_four), (400.0, to_two)]


def slow(slots: int, queue: int | None) -> list[tuple[float, Callable[[list[Replica]], None]]]:
    """A third of the speed for a while."""

    def to_third(fleet: list[Replica]) -> None:
        fleet[0].slowness = 3.0

    def back(fleet: list[Replica]) -> None:
        fleet[0].slowness = 1.0

    return [(120.0, to_third), (300.0, back)]


def main() -> None:
    """Print the table."""
    print(
        f"{'fleet':34} {'best fixed':>10} {'s':>6} {'auto s':>7} {'share':>6} {'waiting':>8} {'refused':>8} "
        f"{'late':>6} {'end limit':>9}"
    )
    for slots in (8, 64, 256):
        for queue, header in ((None, True), (None, False), (slots // 4, False)):
            for name, changes in (("steady", None), ("1-4-2", grow), ("slow", slow)):
                options: dict[str, Any] = {"slots": slots, "queue": queue, "header": header}
                make = (lambda s=slots, q=queue, c=changes: c(s, q)) if changes else (lambda: None)
                rows = ROWS if slots > 8 else ROWS // 4
                fixed = {n: simulate(Limiter(n), rows, changes=make(), **options) for n in FIXED}
                best = min(fixed, key=lambda n: fixed[n].seconds)
                auto = simulate(Limiter(), rows, changes=make(), **options)
                kind = "header" if header else "refusing" if queue is not None else "silent"
                print(
                    f"{slots:4d} slots, {kind:8}, {name:14} {best:10d} {fixed[best].seconds:6.0f} {auto.seconds:7.0f} "
                    f"{fixed[best].seconds / auto.seconds:6.2f} {auto.waiting_share:8.2f} "
                    f"{auto.refused / rows:8.3f} {auto.refused_late / rows:6.3f} {auto.limits[-1][1]:9d}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
