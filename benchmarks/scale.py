"""Where the provider meets its limits, by simulation: `python benchmarks/scale.py --only waits leases shards midnight`.

Each part runs the code that decides, on a clock, a service or a store that is simulated, and prints its table: what the
page docs/scale.md rests on. About twenty minutes; `--quick` for a tenth of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import scale_leases, scale_midnight, scale_shards, scale_waits  # noqa: E402
from benchmarks.scale_shards import Batch  # noqa: E402
from benchmarks.scale_waits import Fleet  # noqa: E402

PARTS = ("midnight", "waits", "leases", "shards")
FLEETS = (
    Fleet(waits=100, triggerers=1, endpoints=50),
    Fleet(waits=1000, triggerers=2, endpoints=1000, arrivals=5.0),
    Fleet(waits=600, triggerers=20, endpoints=500),
    Fleet(waits=600, triggerers=20, endpoints=500, allowed=1000),
    Fleet(waits=10_000, triggerers=20, endpoints=500),
    Fleet(waits=10_000, triggerers=20, endpoints=500, allowed=1000),
)
HOLDERS = (10, 200)
BATCHES = (
    Batch(rows=1_000_000, shards=10, files=1),
    Batch(rows=10_000_000, shards=100, files=1),
    Batch(rows=100_000_000, shards=1000, files=1),
    Batch(rows=100_000_000, shards=1000, files=1000),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="the small ones only")
    given = parser.parse_args()
    for part in given.only:
        print(f"\n## {part}\n", flush=True)
        match part:
            case "midnight":
                scale_midnight.table(1000, (8, 32, 128, 512))
            case "waits":
                scale_waits.table(FLEETS[:2] if given.quick else FLEETS)
            case "leases":
                scale_leases.table(HOLDERS[:1] if given.quick else HOLDERS)
            case _:
                scale_shards.table(BATCHES)


if __name__ == "__main__":
    main()
