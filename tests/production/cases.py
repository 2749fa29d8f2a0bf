"""What the production tests do again and again: begin a run, look at what it left, keep a line for the table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from dev.production.stack import ProductionAirflow
from dev.task_processes import task_process

TOKEN = "hf_productionTestsSecretToken"
STORE = "object_store"  # the id of the connection to S3
AN_HOUR = 3600.0  # seconds of the emulator's clock: longer than any test, unless the clock is put forward
ROWS = 1000  # of a batch
LATENCY = 1.0  # seconds for each, two at a time, until a test lets the endpoint hurry
ANSWERED = 10  # rows, when something happens to a batch
#: States in which an endpoint costs nothing.
FREE = {"pending", "paused", "scaledToZero", "failed", "deleted"}
#: Tasks of a group that are none of its start and work.
_AROUND = ("release", "released", "watch", "work_ended")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    case: str
    outcome: str
    billed: float

    @staticmethod
    def table(rows: Iterable[Row]) -> list[str]:
        """All lines, ready to be quoted."""
        lines = [f"| {row.case} | {row.outcome} | {row.billed:.1f} |" for row in rows]
        return ["| case | outcome | seconds billed after the end |", "|---|---|---|", *lines]


@dataclass
class Run:
    """A run of a DAG on an endpoint of its own."""

    production: Production
    dag: str
    id: str
    endpoint: str
    emulator: Emulator
    output: UPath

    def wait_for_task(self, task: str, *states: str) -> None:
        """Wait until a task is in one of the states."""
        self.production.airflow.wait_for_task(self.dag, self.id, task, *states)

    def end(self) -> str:
        """Wait until the run has ended."""
        return self.production.airflow.wait_for_run(self.dag, self.id)

    def asked(self) -> int:
        """How many rows the endpoint has answered."""
        return int(self.emulator.meter(self.endpoint)["requests"])

    def hurry(self) -> None:
        """The endpoint answers at once from now on. Some of the rows were not answered before."""
        assert self.asked() < ROWS
        self.emulator.behave(self.endpoint, latency_seconds=0.0)

    def ready(self) -> None:
        """The endpoint's start is over at once."""
        self.emulator.advance(AN_HOUR)
        self.production.advanced += AN_HOUR

    def instances(self) -> list[dict[str, Any]]:
        """The tasks as the API shows them."""
        path = f"/dags/{self.dag}/dagRuns/{self.id}/taskInstances"
        return list(self.production.airflow.api.call("GET", path)["task_instances"])

    def states(self) -> dict[str, str | None]:
        """The state of each task."""
        return {each["task_id"].removeprefix("use."): each["state"] for each in self.instances()}

    def process(self, task: str) -> int:
        """The process that runs a task."""
        airflow = self.production.airflow
        (attempt,) = [each for each in airflow.api.tasks(self.dag, self.id) if each.task_id == task]
        return task_process(airflow, attempt)

    def messages(self) -> str:
        """What the tasks have logged, for a test that fails."""
        airflow = self.production.airflow
        tasks = [each["task_id"] for each in self.instances()]
        lines = [f"{task}: {line}" for task in tasks for line in airflow.task_messages(self.dag, self.id, task)]
        return "\n".join([f"tasks: {self.states()}, ended by themselves: {airflow.ended}", *lines])

    def billed_after(self, *runs: Run) -> float:
        """Seconds that the endpoint cost after the last of the work, of this run and of others that shared it."""
        ends = [
            datetime.fromisoformat(each["end_date"]).timestamp()
            for run in (self, *runs)
            for each in run.instances()
            if each["end_date"] and each["task_id"].removeprefix("use.") not in _AROUND
        ]
        ahead = self.production.advanced if self.emulator is self.production.starting else 0.0
        return billed_since(self.emulator.history(self.endpoint), max(ends) + ahead)

    def expect_all_rows(self) -> None:
        """Each row is in the output once, in order, with the answer to its own question."""
        lines = [json.loads(line) for line in self.output.read_text().splitlines()]
        expected = [(n, f"Echo: question {n} of {self.endpoint}", None) for n in range(ROWS)]
        assert expected == [(line["index"], line["output"], line["error"]) for line in lines]

    def expect_over(self, case: str, state: str = "success") -> None:
        """The run ends in this state, its endpoint is paused by then, and the table has a line for it."""
        end = self.end()
        self.production.rows.append(Row(case, end, self.billed_after()))
        assert (state, "paused") == (end, self.emulator.states(self.endpoint)[-1]), self.messages()

    def expect_paused_in_the_end(self, case: str, state: str) -> None:
        """The same where a person ends the run before its tasks: the pause may come after the run's end."""
        self.production.airflow.wait_until(self._is_paused, f"{self.endpoint} is paused ({case})")
        self.expect_over(case, state)

    def _is_paused(self) -> bool:
        return self.emulator.states(self.endpoint)[-1] == "paused"


@dataclass
class Production:
    """The stack and its services. `starting` is the one whose clock is put forward: so far by `advanced` seconds."""

    airflow: ProductionAirflow
    service: Emulator
    starting: Emulator
    folder: UPath
    rows: list[Row] = field(default_factory=list)
    advanced: float = 0.0

    def batch(self, name: str) -> Run:
        """A run whose batch has answers to some of its rows, and not to all."""
        self.service.behave(name, initializing_seconds=1.0, latency_seconds=LATENCY)
        source, output = (self.folder / name / file for file in ("rows.jsonl", "answers.jsonl"))
        source.write_text("".join(json.dumps({"question": f"question {n} of {name}"}) + "\n" for n in range(ROWS)))
        run = self.begin("production_batch", name, self.service, input=on_store(source), output=on_store(output))
        run.output = output
        self.airflow.wait_until(lambda: self._has_answers(run), f"the batch of {name} has answers")
        return run

    def start(self, name: str) -> Run:
        """A run that waits in a triggerer for an endpoint that starts until it is told to be ready."""
        self.starting.behave(name, initializing_seconds=AN_HOUR)
        run = self.begin("production_start", name, self.starting)
        self.airflow.wait_for_handover(run.dag, run.id, "use.start")
        return run

    def wait_for_a_look(self, run: Run) -> None:
        """Wait until a trigger has asked again for an endpoint that is starting."""
        seen = len(self.looks(run))
        self.airflow.wait_until(lambda: len(self.looks(run)) > seen, f"a trigger looks at {run.endpoint}")

    def looks(self, run: Run) -> list[RecordedRequest]:
        """The requests that asked for the endpoint."""
        path = f"/v2/endpoint/acme/{run.endpoint}"
        return [each for each in run.emulator.requests if each.method == "GET" and each.path == path]

    def use(self, store: str, name: str, gate: str = "") -> Run:
        """A run that uses an endpoint which others may use, too, until the object `gate` is there."""
        return self.begin(f"production_use_{store}", name, self.service, gate=gate)

    def begin(self, dag: str, name: str, emulator: Emulator, **params: str) -> Run:
        """A run, triggered."""
        self.airflow.wait_for_dag(dag)
        run = self.airflow.api.trigger(dag, {"endpoint": name, **params})
        return Run(self, dag, run, name, emulator, self.folder)

    def _has_answers(self, run: Run) -> bool:
        if self.airflow.api.run_state(run.dag, run.id) in ("success", "failed"):
            raise AssertionError(f"the run has ended before the test began:\n{run.messages()}")
        known = run.states().get("batch") == "running"
        return known and run.asked() >= ANSWERED


def on_store(path: UPath) -> str:
    """A path on S3 as a task names it: with the connection that knows where S3 is, and the key to it."""
    return str(path).replace("s3://", f"s3://{STORE}@", 1)


def billed_since(history: list[dict[str, Any]], moment: float) -> float:
    """Seconds of states that cost money after a moment of the emulator's clock; infinite while one lasts."""
    total = 0.0
    for state, following in zip(history, [*history[1:], None], strict=True):
        if state["state"] in FREE:
            continue
        if following is None:
            return float("inf")
        total += max(0.0, following["seconds"] - max(state["seconds"], moment))
    return total
