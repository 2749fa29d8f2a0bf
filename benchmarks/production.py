"""Airflow as people run it, under random faults, several at a time.

    .venv-production/bin/python benchmarks/production.py --minutes 60 --seed 1

Rounds follow each other until the time is over, on the stack of `make test-production`. Each has a batch, a deferred
start and two uses of one endpoint. Then something happens: processes are killed, servers are away for 30 seconds, a
person clears. What came of each is a line: case, outcome, seconds billed after the end of the work.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from upath import UPath

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dev.local_airflow import AirflowFailed  # noqa: E402
from dev.production.stack import PROGRAMS, SERVERS  # noqa: E402
from tests.contract.s3_server import s3_server  # noqa: E402
from tests.production.cases import Production, Row, Run, on_store  # noqa: E402
from tests.production.world import production_world  # noqa: E402

MOST_FAULTS = 4  # of a round
LONGEST_GAP = 8.0  # seconds between two of them
LATE = 300.0  # seconds for which a pause may come after its run's end
Act = Callable[[], None]


@dataclass
class Round:
    """What runs while things happen."""

    production: Production
    number: int
    batch: Run = field(init=False)
    start: Run = field(init=False)
    uses: list[Run] = field(init=False)

    def begin(self) -> None:
        """The batch has answers, the start waits in a triggerer, the uses work until the gate is open."""
        name, gate = f"round-{self.number}", self._gate
        store = ("default", "s3", "files")[self.number % 3]
        self.production.service.behave(f"{name}-use", initializing_seconds=1.0)
        self.uses = [self.production.use(store, f"{name}-use", on_store(gate)) for _ in range(2)]
        self.start = self.production.start(f"{name}-start")
        self.batch = self.production.batch(f"{name}-batch")
        for use in self.uses:
            use.wait_for_task("use.work", "running", "success")

    def let_go(self) -> None:
        """The endpoint that starts is ready, and the uses end."""
        self._gate.write_text("open")
        self.start.ready()

    @property
    def _gate(self) -> UPath:
        return self.production.folder / f"gate-round-{self.number}"


def kills(one: Round) -> dict[str, Act]:
    """What can be killed, or done by a person, at this moment; the victims are found before anything happens."""
    airflow = one.production.airflow
    process = psutil.Process(one.batch.process("use.batch"))
    child = process.parent()
    found: dict[str, Act] = {
        "SIGKILL of the batch": lambda: _kill(process.pid),
        "SIGKILL of its pool child": lambda: _kill(child.pid if child else process.pid),
        "a person clears the batch": lambda: airflow.api.clear(one.batch.dag, one.batch.id, "use.batch"),
    }
    for name in PROGRAMS:
        if name != "api-server":
            found[f"SIGKILL of {name}"] = lambda name=name: airflow.replace_component(name)  # type: ignore[misc]
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def disturb(one: Round, draw: random.Random) -> list[str]:
    """Let a few things happen; returns which."""
    possible = kills(one)
    count = draw.randint(2, MOST_FAULTS)
    away = draw.sample(SERVERS, draw.choice((0, 1, 1, 2)))
    chosen = draw.sample(sorted(possible), max(0, count - len(away)))
    inside = [each for each in chosen if not each.startswith("a person") and draw.random() < 0.7]
    for each in chosen:
        if each not in inside:
            possible[each]()
            time.sleep(draw.uniform(0.0, LONGEST_GAP))
    with contextlib.ExitStack() as stack:
        if away:
            stack.enter_context(one.production.airflow.outage(*away))
        for each in inside:
            time.sleep(draw.uniform(0.0, LONGEST_GAP))
            possible[each]()
        one.let_go()
    return [*(f"no {name} for 30 s" for name in away), *chosen]


def outcome(one: Round, run: Run) -> str:
    """How a run ended, in which state its endpoint is, and for a batch whether each row is there once."""
    try:
        end = run.end()
        one.production.airflow.wait_until(lambda: run.emulator.states(run.endpoint)[-1] == "paused", "paused", LATE)
    except AirflowFailed as error:
        return f"NOT OVER: {str(error).splitlines()[0]}; {run.states()}"
    parts = [end, run.emulator.states(run.endpoint)[-1]]
    if run is one.batch:
        try:
            run.expect_all_rows()
            parts.append("all rows once")
        except (AssertionError, OSError) as error:
            parts.append(f"ROWS: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}")
    return ", ".join(parts)


def play(one: Round, draw: random.Random) -> list[tuple[Row, list[str]]]:
    """One round: its lines, each with the faults that it stands for."""
    one.begin()
    faults = disturb(one, draw)
    with contextlib.suppress(AssertionError):  # it has answered all its rows
        one.batch.hurry()
    lines = []
    for kind, run, others in (
        ("batch", one.batch, []),
        ("start", one.start, []),
        *(("use", each, [other for other in one.uses if other is not each]) for each in one.uses),
    ):
        came = outcome(one, run)
        lines.append((Row(f"{kind}: {' + '.join(faults)}", came, run.billed_after(*others)), faults))
        print(Row.table([lines[-1][0]])[-1], flush=True)
        if not came.startswith("success, paused"):
            print(run.messages()[-6000:], flush=True)
    return lines


def summary(lines: list[tuple[Row, list[str]]]) -> None:
    """A line for each fault: how often it was among those of a case, how many ended well, what was billed."""
    print("\n| fault | cases | success and paused | billed after the end, median and most (s) |\n|---|---|---|---|")
    for fault in sorted({fault for _, faults in lines for fault in faults}):
        rows = [row for row, faults in lines if fault in faults]
        billed = [row.billed for row in rows]
        well = sum(row.outcome.startswith("success, paused") for row in rows)
        print(f"| {fault} | {len(rows)} | {well} | {statistics.median(billed):.1f}, {max(billed):.1f} |")


def main() -> int:
    """Play rounds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    lines: list[tuple[Row, list[str]]] = []
    rows: list[Row] = []
    with s3_server() as s3, production_world(s3, rows) as production:
        production.airflow.many_ends = 10_000
        until, number = time.monotonic() + 60.0 * given.minutes, 0
        print(*Row.table([]), sep="\n", flush=True)
        while time.monotonic() < until:
            lines += play(Round(production, number), draw)
            number += 1
        print(f"\n{number} rounds, {len(lines)} cases; ended or killed, and started again: {production.airflow.ended}")
    summary(lines)
    return 0 if all(row.outcome.startswith("success, paused") for row, _ in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
