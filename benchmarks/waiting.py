"""What it costs to wait for a thousand endpoints: `python benchmarks/waiting.py`, or `--in-process` for the poll alone.

The emulator is a separate process. What is measured, and how, is in README.md; `waiting_airflow.py` is the part with
a live triggerer.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.poller import poller_for
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, Goal, Ready
from benchmarks import waiting_probe as probe
from benchmarks.waiting_bars import verdicts
from benchmarks.waiting_batches import Batches, batches
from benchmarks.waiting_figures import Figures, heading, take_held
from benchmarks.waiting_service import NAMESPACE, TOKEN, Service
from dev.processes import signals_raise

START_RATE = 50  # waits a second: what Airflow's triggerer starts at best


async def in_process(service: Service, names: list[str], seconds: float, out: Path) -> Figures:
    """The poll itself, without Airflow: this process waits for every name."""
    figures = Figures("the poll, no Airflow", len(names))
    began_waiting = datetime.now(UTC) - timedelta(hours=1)  # as taken up by a new triggerer: the longest pauses
    goal = Goal(started=began_waiting, deadline=datetime.now(UTC) + timedelta(hours=1))

    async def open_client() -> AsyncEndpointsClient:
        probe.seen.lookups += 1
        return AsyncEndpointsClient(TOKEN, base_url=service.url)

    async def wait(name: str) -> bool:
        end = await poller_for("benchmark", NAMESPACE, open_client).wait(name, goal, probe.counting())
        probe.seen.ended += 1
        return isinstance(end, Ready)

    probe.watch()
    process = psutil.Process()
    before = process.memory_full_info().uss
    asked = (await asyncio.to_thread(service.control_requests)).total()
    began = time.monotonic()
    waits = []
    for number, name in enumerate(names):
        waits.append(asyncio.create_task(wait(name)))
        if number % START_RATE == START_RATE - 1:
            await asyncio.sleep(1)
    while probe.seen.waiting < len(names):  # noqa: ASYNC110 -- a figure, not an event
        await asyncio.sleep(0.1)
    figures.all_waiting = time.monotonic() - began
    now_asked = (await asyncio.to_thread(service.control_requests)).total()
    figures.start_requests, asked = now_asked - asked, now_asked
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    lasted = time.monotonic() - began
    figures.cpu = (time.process_time() - used) / lasted
    figures.memory = (process.memory_full_info().uss - before) / len(names)
    now_asked = (await asyncio.to_thread(service.control_requests)).total()
    figures.interval_requests = (now_asked - asked) * LONGEST_POLL / lasted
    ready_at = time.time()
    await asyncio.to_thread(service.make_ready)
    ended = await asyncio.gather(*waits)
    assert all(ended), "a wait ended in another way"
    figures.all_resumed = time.time() - await asyncio.to_thread(service.first_health)
    await asyncio.sleep(1.2)
    figures.lookups = probe.seen.lookups
    take_held(figures, probe.read(out), ready_at)
    return figures


# What is measured: its row's name, the trigger, and how many (None: as many as there are endpoints).
ROWS: tuple[tuple[str, str, int | None], ...] = (
    ("nothing: Airflow's own part", "IdleTrigger", 10),
    ("a client and a lookup each", "PlainTrigger", 10),
    ("the shared poll", "SharedTrigger", 10),
    ("nothing: Airflow's own part", "IdleTrigger", None),
    ("a client and a lookup each", "PlainTrigger", 0),  # 0: `--baseline`
    ("anthropic's batch trigger", "AnthropicTrigger", 0),
    ("Airflow's shared stream", "StreamTrigger", None),
    ("the shared poll", "SharedTrigger", None),
)


def live(service: Service, folder: Path, arguments: argparse.Namespace, rows: list[str], kill: bool) -> list[Figures]:
    """Print a row for each way to wait in a live triggerer; the last ones' endpoints get ready in the end."""
    # Imported here: the other mode needs no Airflow.
    from benchmarks.waiting_airflow import measure, running

    waits: int = arguments.waits
    done: list[Figures] = []
    with batches() as url, running(folder, service, waits, url) as airflow:
        few: dict[str, tuple[int, float]] = {}
        for what, trigger, limit in ROWS:
            if trigger not in rows or (trigger == "AnthropicTrigger" and not has_anthropic()):
                continue
            number = waits if limit is None else limit or arguments.baseline
            last = trigger == "SharedTrigger" and limit is None
            row, memory = measure(
                airflow,
                service,
                Figures(f"{what}, SIGKILL" if kill and last else what, number),
                trigger,
                5.0 if trigger == "IdleTrigger" and limit else arguments.seconds,
                asked=(lambda: Batches.asked) if trigger == "AnthropicTrigger" else None,
                few=few.get(trigger),
                ends=last,
                kill=kill and last,
            )
            few.setdefault(trigger, (number, memory))
            print(row.line(), flush=True)
            done.append(row)
    return done


def has_anthropic() -> bool:
    """Whether that baseline can be measured: `pip install -r benchmarks/waiting-requirements.txt`."""
    try:
        return importlib.util.find_spec("airflow.providers.anthropic") is not None
    except ModuleNotFoundError:
        return False


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-process", action="store_true", help="the poll alone, without an Airflow")
    parser.add_argument("--waits", type=int, default=1000)
    parser.add_argument("--baseline", type=int, default=200, help="waits of the baselines that can't do more")
    parser.add_argument("--seconds", type=float, default=60.0, help="of steady state")
    names = list(dict.fromkeys(trigger for _, trigger, _ in ROWS))
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="the triggers to measure")
    parser.add_argument("--only-ours", action="store_const", dest="rows", const=["SharedTrigger"], help="no baselines")
    parser.add_argument("--kill", action="store_true", help="SIGKILL the triggerer before the endpoints get ready")
    parser.add_argument("--bars", action="store_true", help="everything, with and without the SIGKILL, and a verdict")
    return parser.parse_args()


def one_run(arguments: argparse.Namespace, rows: list[str], kill: bool) -> list[Figures]:
    """A service and a separate Airflow, and their rows."""
    with tempfile.TemporaryDirectory(prefix="hf-endpoints-waiting-", ignore_cleanup_errors=True) as folder:
        out = Path(folder) / "seen.jsonl"
        with Service.start(Path(folder)) as emulator:
            service = Service(emulator)
            names = [f"e-{number}" for number in range(arguments.waits)]
            service.create(names)
            if not arguments.in_process:
                return live(service, Path(folder), arguments, rows, kill)
            os.environ[probe.OUT] = str(out)
            row = asyncio.run(in_process(service, names, arguments.seconds, out))
            print(row.line(), flush=True)
            return [row]


def main() -> int:
    """Measure, and print the table."""
    arguments = parse()
    print(heading(), flush=True)
    with signals_raise():
        done = one_run(arguments, arguments.rows, arguments.kill and not arguments.bars)
        if arguments.bars:
            done += one_run(arguments, ["SharedTrigger"], kill=True)
            print("", *verdicts(done), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
