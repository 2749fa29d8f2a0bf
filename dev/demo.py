"""`make demo`: a real Airflow runs the first example DAG on the emulator, in front of your eyes.

Starts the emulator with llama.cpp behind it and an Airflow, runs the DAG, tells what happens as it happens, and ends
with a report of what came out (`demo_report.py`). Exit status 1 when anything is not as it should be. Everything that
was started is ended again, however the demo ends; with --keep it waits for Ctrl-C first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dev.demo_report import Batch, Evidence, Meter, Moment, problems, read_lines, render
from dev.local_airflow import USERNAME, LocalAirflow, message_of
from dev.local_emulator import LocalEmulator
from dev.processes import signals_raise

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "example_dags"
DAG_ID = "hf_endpoints_batch_text_generation"
TICKETS = EXAMPLES / "data" / "support_tickets.jsonl"
OUTPUT_VARIABLE = "HF_ENDPOINTS_EXAMPLE_OUTPUT"
BATCHES = ("summaries", "classes")
RUN_LIMIT = 900.0  # seconds; a hang bound, the run takes one or two minutes
# A start that can be watched; on the real service these take minutes.
# The start takes twenty seconds: Airflow fails a task whose deferral is over before its scheduler, which may take more
# than five for a turn, has read that the worker is done.
EMULATOR = ("--engine", "llamacpp", "--pending-seconds", "4", "--initializing-seconds", "16")


@dataclass
class Story:
    """Tells each thing once, when it is first seen, with the seconds since the demo began."""

    began: float = field(default_factory=time.monotonic)
    told: set[tuple[str, ...]] = field(default_factory=set)

    def tell(self, who: str, what: str) -> None:
        """A line of the story."""
        print(f"{time.monotonic() - self.began:7.1f} s   {who:<26} {what}", flush=True)

    def tell_once(self, who: str, what: str, *key: object) -> None:
        """A line of the story, unless it was already printed with the same key."""
        mark = (who, what, *map(str, key))
        if mark not in self.told:
            self.told.add(mark)
            self.tell(who, what)


def watch(story: Story, airflow: LocalAirflow, emulator: LocalEmulator, run_id: str) -> str:
    """Tell what happens until the run has ended; returns how."""
    for _ in airflow.poll("the demo's run ends", RUN_LIMIT):
        # The run's state is asked first: when it has ended, what follows is complete.
        state = airflow.api.run_state(DAG_ID, run_id)
        for task in airflow.api.tasks(DAG_ID, run_id):
            if task.state not in (None, "scheduled", "queued"):
                story.tell_once(f"task {task.task_id}", str(task.state), task.try_number)
        for meter in emulator.meters():
            for number, moment in enumerate(emulator.history(meter["name"], meter["namespace"])):
                story.tell_once(f"endpoint {meter['name']}", moment["state"], number)
        for task_id in airflow.task_states(DAG_ID, run_id):
            for record in airflow.task_log(DAG_ID, run_id, task_id):
                if _is_worth_telling(record):
                    story.tell_once(f"log of {task_id}", message_of(record), record.get("timestamp"))
        if state in ("success", "failed"):
            return state
    raise AssertionError("unreachable: poll only ends by raising")


def _is_worth_telling(record: dict[str, Any]) -> bool:
    """What the provider itself says, and every error; not Airflow's other lines."""
    return "airflow_provider_hf_endpoints" in str(record.get("logger", "")) or record.get("level") in (
        "error",
        "critical",
    )


def read_batch(output: Path, name: str) -> Batch:
    """What a batch of the DAG wrote; the DAG writes into a folder of the run's own."""
    files = list(output.glob(f"*/{name}.jsonl"))
    return Batch(name, read_lines(files[0]) if files else ())


def gather(airflow: LocalAirflow, emulator: LocalEmulator, run_id: str, state: str, output: Path) -> Evidence:
    """Everything that the report is made of."""
    meter = next(iter(emulator.meters()), None)
    evidence = Evidence(
        run_state=state,
        task_states=airflow.task_states(DAG_ID, run_id),
        rows=read_lines(TICKETS),
        batches=tuple(read_batch(output, name) for name in BATCHES),
    )
    if meter is None:
        return evidence
    name, namespace = meter["name"], meter["namespace"]
    history = emulator.history(name, namespace)
    endpoint = emulator.endpoint(name, namespace)
    compute = endpoint["compute"]
    return replace(
        evidence,
        endpoint=f"{namespace}/{name}",
        model=endpoint["model"]["repository"],
        history=tuple(Moment(m["seconds"] - history[0]["seconds"], m["state"]) for m in history),
        final_state=endpoint["status"]["state"],
        meter=Meter(
            usd=meter["usd"],
            billed_seconds=meter["billed_seconds"],
            price_per_hour=meter["price_per_hour"],
            instance=f"{compute['instanceType']} {compute['instanceSize']}",
        ),
    )


@contextmanager
def run_folder() -> Iterator[Path]:
    """A temporary folder for one demo; the batch's output and the logs move to `.demo/` at its end."""
    folder = Path(tempfile.mkdtemp(prefix="hf-endpoints-demo-"))
    try:
        yield folder
    finally:
        kept = ROOT / ".demo" / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
        for part in ("output", "airflow/logs", "emulator.log"):
            if (folder / part).exists():
                kept.mkdir(parents=True, exist_ok=True)
                shutil.move(folder / part, kept / Path(part).name)
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Output and logs: {kept}", flush=True)


def keep(airflow: LocalAirflow, emulator: LocalEmulator) -> None:
    """Leave everything up until Ctrl-C."""
    print(f"\nAirflow's UI: {airflow.url}  user {USERNAME}, password {airflow.password}")
    print(f"The emulator: {emulator.url}")
    print("Ctrl-C ends everything.", flush=True)
    try:
        while emulator.running and all(component.running for component in airflow.components.values()):
            time.sleep(0.5)
        print("A component has ended by itself.", flush=True)
    except KeyboardInterrupt:
        print("\nEnding everything.", flush=True)


def demo(folder: Path, keep_up: bool) -> bool:
    """Run the demo in `folder`; true when all is as it should be."""
    story = Story()
    output = folder / "output"
    story.tell("demo", "starting the emulator: llama.cpp serves SmolLM2-135M-Instruct")
    with LocalEmulator(folder / "emulator.log", EMULATOR) as emulator:
        story.tell("demo", f"the emulator listens on {emulator.url}; starting Airflow")
        airflow = LocalAirflow(
            folder / "airflow",
            [EXAMPLES],
            connections={"hf_endpoints_default": emulator.connection},
            variables={OUTPUT_VARIABLE: str(output)},
        )
        with airflow:
            story.tell("demo", f"Airflow listens on {airflow.url}")
            airflow.wait_for_dag(DAG_ID)
            run_id = airflow.api.trigger(DAG_ID)
            story.tell("demo", f"the DAG {DAG_ID} runs")
            state = watch(story, airflow, emulator, run_id)
            evidence = gather(airflow, emulator, run_id, state, output)
            print(f"\n{render(evidence)}", flush=True)
            if keep_up:
                keep(airflow, emulator)
    return not problems(evidence)


def main() -> int:
    """Run the demo; the exit status says whether all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave Airflow and the emulator up until Ctrl-C")
    arguments = parser.parse_args()
    with signals_raise():
        try:
            with run_folder() as folder:
                return 0 if demo(folder, arguments.keep) else 1
        except KeyboardInterrupt:
            print("\nInterrupted; everything that was started has been ended.", flush=True)
            return 130


if __name__ == "__main__":
    sys.exit(main())
