"""How an endpoint is left, and what that costs, however its use ends: `python benchmarks/matrix.py`.

A live Airflow and the emulator, whose meter is what the cost is held against. Cells run side by side, but for those
that kill a process that all share. Exit 1 where one is not as it is to be. README.md tells of the columns.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.leases.records import CLOCK_SKEW
from benchmarks.matrix_cells import KILLS, Act, Cell, cells
from benchmarks.matrix_meter import Meters
from dev.airflow_api import TaskState
from dev.local_airflow import AirflowFailed, LocalAirflow
from dev.processes import signals_raise
from dev.task_processes import task_process
from tests.airflow.cases import Case
from tests.airflow.test_workers import clear_work

DAGS = Path(__file__).resolve().parents[1] / "tests" / "airflow" / "dags"
HANG = 240.0  # seconds; a hang bound
SIDE_BY_SIDE = 4  # cells
# Two writers in one API server on SQLite may wait for each other: who triggers, marks or clears does so alone.
WRITING = threading.Lock()
NEAR = 0.03  # of the meter
LIMIT = 12.0  # seconds: of what is to take too long
RUN_LIMIT = 72.0  # seconds: a run has to come to its work in it, on a busy machine too
# What is not a sign of having been switched off; the second may still wait for the start.
LEFT_ON = ("", "pending", "initializing", "running")
# A scheduler that is gone, and a worker that is: what Airflow waits for 300 s by default.
NOTICED = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
}
# The work of many cells waits, each on a worker.
WIDE = {
    "AIRFLOW__CORE__PARALLELISM": "10",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "100",
    "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "100",
}


@dataclass
class Use:
    """One run of one DAG on the endpoint."""

    dag: str
    run: str
    gate: Path

    @property
    def ended(self) -> float | None:
        """When the work itself noted its end."""
        note = Path(f"{self.gate}.ended")
        return note.stat().st_mtime if note.exists() else None


@dataclass
class Trial:
    """One cell as it is tried: `begin`, then `act` (or somebody kills what all share), then `finish`."""

    cell: Cell
    case: Case
    folder: Path
    uses: list[Use] = field(default_factory=list)
    acted: float | None = None
    ends: list[str] = field(default_factory=list)
    between: str = ""  # the endpoint's state when the first of two users was done, or before it is swept
    problem: str = ""

    @property
    def airflow(self) -> LocalAirflow:
        """Where it runs."""
        return self.case.airflow

    def begin(self) -> None:
        """Up to the moment at which something is to happen."""
        case, row = self.case, self.cell.row
        if self.cell.column in ("resumed", "found running"):
            self._behave(0.1)
            case.create()
            self._wait(lambda: case.state() == "running", "it runs")
            if self.cell.column == "resumed":
                with case.client() as client:
                    client.pause_inference_endpoint(case.endpoint)
            case.begin()
        self._behave(self.cell.start)
        self.airflow.wait_for_dag("matrix_sweep")
        first = self._trigger(self.cell.dag, fail=row.fail, defer=row.defer)
        if row.moment in ("end", "ended"):
            first.gate.touch()
        if self.cell.column == "shared":
            self._wait(lambda: "create" in case.calls(), "the endpoint is there")
            second = self._trigger("matrix_other_resume", defer=row.defer)
            if row.dag != "_limited_start" and row.moment != "starting":
                self._wait(lambda: Path(f"{second.gate}.begun").exists(), "the second works")
        if row.moment == "starting":
            over = ("success", "failed", "upstream_failed")
            waits = "running" if row.dag == "_on_worker" else "deferred"
            seen = self.airflow.wait_for_task(first.dag, first.run, "use.start", waits, *over, limit=HANG)
            if seen in over:
                raise AirflowFailed(f"the start is {seen} before anything has happened to it")
            if waits == "deferred":
                # On SQLite, which locks no rows, a mark while Airflow writes the deferral is overwritten by it.
                self.airflow.wait_for_handover(first.dag, first.run, "use.start")
            case.wait_for_a_look()
        elif row.moment == "working":
            self._wait(lambda: Path(f"{first.gate}.begun").exists(), "it works")
        elif row.moment == "ended":
            self.airflow.wait_for_run(first.dag, first.run, limit=HANG)

    def act(self) -> None:
        """What a person, or an accident, does."""
        first, api = self.uses[0], self.airflow.api
        self.acted = time.time()
        match self.cell.row.act:
            case "clear":
                Path(f"{first.gate}.mended").touch()
                clear_work(self.airflow, first.dag, first.run, WRITING)
                first.gate.touch()
            case "mark":
                task = "use.start" if self.cell.row.moment == "starting" else "use.work"
                with WRITING:
                    api.set_task_state(first.dag, first.run, task, "failed")
            case "mark run":
                with WRITING:
                    api.set_run_state(first.dag, first.run, "failed")
            case "worker":
                task = "use.start" if self.cell.row.moment == "starting" else "use.work"
                os.kill(task_process(self.airflow, self._attempt(task)), signal.SIGKILL)
            case "machine":
                process = psutil.Process(task_process(self.airflow, self._attempt("use.work")))
                supervisor = process.parent()
                assert supervisor is not None
                supervisor.kill()
                process.kill()
            case _:
                self.acted = None

    def finish(self) -> None:
        """To the end of all its runs."""
        first = self.uses[0]
        if self.cell.row.act == "everything":
            self.ends.append("deleted")
            time.sleep(LIMIT + CLOCK_SKEW)  # its lease expires
        else:
            if self.cell.row.act in KILLS:
                first.gate.touch()
            self._end(first)
        for second in self.uses[1:]:
            self.between = self.case.state()
            second.gate.touch()
            self._end(second)
        if self.cell.row.swept:
            self._sweep()
        time.sleep(1.0)

    def _end(self, use: Use) -> None:
        """A run may be judged before its teardown has ended; a run at its limit leaves its teardown without a state."""
        self.ends.append(self.airflow.wait_for_run(use.dag, use.run, limit=HANG))
        if use.dag.endswith("_limited_run"):
            return
        over = ("success", "failed", "skipped", "upstream_failed")
        self.airflow.wait_for_task(use.dag, use.run, "use.release", *over, limit=HANG)

    def forget(self) -> None:
        """Nothing is left of its runs in Airflow's database, as if that were restored from before them."""
        with contextlib.closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=30.0)) as database:
            for use in self.uses:
                for table in ("task_instance", "dag_run"):
                    database.execute(f"DELETE FROM {table} WHERE dag_id = ? AND run_id = ?", (use.dag, use.run))
            database.commit()

    def _sweep(self) -> None:
        """What was left running is, and then the sweeper looks at it. A second use has released it at its own end."""
        if len(self.uses) == 1:
            self.between = self.case.state()
        with WRITING:
            run = self.airflow.api.trigger("matrix_sweep", {"namespace": self.case.namespace})
        self.airflow.wait_for_run("matrix_sweep", run, limit=HANG)

    def over(self) -> float | None:
        """When the last work had ended: by its own note, else when it was ended, else when its start was given up."""
        last = self.uses[-1]
        noted = last.ended
        if self.acted is not None and len(self.uses) == 1:
            return self.acted if noted is None or self.cell.row.act in ("mark", "mark run", "everything") else noted
        if noted is None and self.cell.row.dag == "_limited_start":
            return self._moment(last, "use.start", "start_date") + LIMIT
        if noted is None and self.cell.row.dag == "_limited_run":
            return self._moment(last, "use.acquire", "start_date") + RUN_LIMIT
        return noted

    def costs(self, meters: Meters) -> list[tuple[float, float]]:
        """For each run, dollars that it reported and dollars on the meter in its time."""
        found: list[tuple[float, float]] = []
        for number, use in enumerate(self.uses):
            if self.cell.row.swept and number == 0:
                continue  # its release did not run, and reports nothing
            cost = self.airflow.api.xcom(use.dag, use.run, "use.release", "cost")
            run = self.airflow.api.call("GET", f"/dags/{use.dag}/dagRuns/{use.run}")
            last = number == len(self.uses) - 1 and not self.cell.row.swept
            goes_on = self.cell.column == "found running" or not last
            stop = _seconds(cost["stop"]) if goes_on else time.time()
            found.append((cost["usd"], meters.billed(self.case.endpoint, _seconds(run["start_date"]), stop)[1]))
        return found

    def _trigger(self, dag: str, **params: object) -> Use:
        gate = self.folder / f"{self.case.endpoint}-{len(self.uses)}"
        self.airflow.wait_for_dag(dag)
        with WRITING:
            run = self.airflow.api.trigger(dag, {**self.case.conf, "gate": str(gate), **params})
        self.uses.append(Use(dag, run, gate))
        return self.uses[-1]

    def _attempt(self, task_id: str) -> TaskState:
        use = self.uses[0]
        return next(each for each in self.airflow.api.tasks(use.dag, use.run) if each.task_id == task_id)

    def _moment(self, use: Use, task_id: str, which: str) -> float:
        path = f"/dags/{use.dag}/dagRuns/{use.run}/taskInstances/{task_id}"
        return _seconds(self.airflow.api.call("GET", path)[which])

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self.airflow.wait_until(condition, f"{what} ({self.case.title})", limit=HANG)

    def _behave(self, seconds: float) -> None:
        self.case.emulator.behave(self.case.endpoint, initializing_seconds=seconds)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def guarded(trial: Trial, *steps: Callable[[], None]) -> None:
    """Take the steps one after the other. A failure is the result of this cell, and does not stop the others."""
    try:
        for step in steps:
            if not trial.problem:
                step()
    except (AirflowFailed, httpx.HTTPError, RuntimeError, ValueError, OSError, psutil.Error) as error:
        trial.problem = f"{type(error).__name__}: {error}".splitlines()[0]


def kill(airflow: LocalAirflow, act: Act, turn: list[Trial]) -> None:
    """SIGKILL to what all cells share, and start it again. No other cell may look at it meanwhile."""
    for trial in turn:
        trial.acted = time.time()
    if act != "everything":
        airflow.kill_component(act)
        airflow.start_component(act)
        return
    names = tuple(airflow.components)
    for name in names:
        airflow.kill_component(name)
    for trial in turn:  # a scheduler would go on with them
        guarded(trial, trial.forget)
    airflow.start_component("api-server", "--port", airflow.url.rpartition(":")[2])
    airflow.wait_until(lambda: answers(airflow), "the API server answers again")
    for name in names:
        if name != "api-server":
            airflow.start_component(name)


def answers(airflow: LocalAirflow) -> bool:
    """Whether the API server does."""
    with contextlib.suppress(httpx.TransportError):
        return bool(airflow.api.dag_ids())
    return False


def line(trial: Trial, meters: Meters) -> tuple[bool, str]:
    """One line of the table, and whether the cell is as it is to be."""
    cell, faults = trial.cell, [trial.problem] if trial.problem else []
    try:
        seen = trial.case.state()
    except InferenceEndpointError as error:
        seen = type(error).__name__
    billed = cost = "-"
    if not trial.problem:
        off = [abs(said / metered - 1) if metered else float(said != 0) for said, metered in trial.costs(meters)]
        cost = " ".join(f"{each:.1%}" for each in off) or "-"
        faults += ["cost"] if max(off, default=0.0) > NEAR else []
        over = trial.over()
        if cell.column != "found running" and over is not None:
            billed = f"{meters.billed(trial.case.endpoint, over, time.time())[0]:.1f}"
        faults += ["run"] if cell.row.ends and trial.ends[0] not in cell.row.ends else []
        faults += ["second run"] if trial.ends[1:] not in ([], ["success"]) else []
        faults += [f"{trial.between} before its time"] if trial.between not in LEFT_ON else []
    if cell.column == "shared" and trial.case.calls().count("pause") > 1 and cell.row.act != "clear":
        faults.append("paused under the second")
    faults += ["state"] if seen != cell.expected else []
    calls = " ".join(trial.case.calls())
    parts = [cell.row.title, cell.column, "/".join(trial.ends), f"{cell.expected}/{seen}", calls, billed, cost]
    return not faults, "| " + " | ".join([*parts, "ok" if not faults else f"MISS: {', '.join(faults)}"]) + " |"


def patient_database(home: Path) -> dict[str, str]:
    """SQLite for so many at a time: readers and the one writer do not wait for each other, and a writer waits long."""
    home.mkdir()
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.resolve()}/airflow.db?timeout=20"}


HEADING = (
    "| how it ends | the endpoint | run | end state, expected/seen | calls that reached the service "
    "| s billed after the work | cost off the meter by | |\n|---|---|---|---|---|---|---|---|"
)


@contextlib.contextmanager
def ending_waits(pool: ThreadPoolExecutor, airflow: LocalAirflow) -> Iterator[None]:
    """A user who interrupts the run does not wait for the cells: without an Airflow theirs end."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        airflow.stop()
        raise


def play(trials: list[Trial], meters: Meters) -> bool:
    """All of them; prints each line when it is known. Returns whether all are as they are to be."""
    fine, lock = [], threading.Lock()
    airflow = trials[0].airflow

    def tell(trial: Trial) -> None:
        with lock:
            try:
                good, text = line(trial, meters)
            except (httpx.HTTPError, RuntimeError, KeyError, TypeError) as error:
                good, text = False, f"| {trial.case.title} | MISS: {type(error).__name__}: {error} |"
            fine.append(good)
            print(text, flush=True)

    def whole(trial: Trial) -> None:
        guarded(trial, trial.begin, trial.act, trial.finish)
        tell(trial)

    alone = [trial for trial in trials if trial.cell.row.act not in KILLS]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool, ending_waits(pool, airflow):
        list(pool.map(whole, alone))
        for act in KILLS:
            turn = [trial for trial in trials if trial.cell.row.act == act]
            if turn:
                list(pool.map(lambda trial: guarded(trial, trial.begin), turn))
                kill(airflow, act, turn)
                list(pool.map(lambda trial: guarded(trial, trial.finish), turn))
                for trial in turn:
                    tell(trial)
    return all(fine)


def main() -> int:
    """Run the cells, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default="", help="only rows with these words")
    parser.add_argument("--columns", default="", help="only columns with these words")
    arguments = parser.parse_args()
    chosen = cells(arguments.rows, arguments.columns)
    names = [f"cell-{number}" for number in range(len(chosen))]
    began = time.monotonic()
    with (
        signals_raise(),
        tempfile.TemporaryDirectory(prefix="hf-endpoints-matrix-", ignore_cleanup_errors=True) as name,
        Emulator(orgs=tuple(names), max_requests_kept=200_000) as emulator,
    ):
        folder = Path(name)
        dags = folder / "dags"
        dags.mkdir()
        (dags / "matrix.py").write_text((DAGS / "matrix.py").read_text())
        connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": emulator.token}
        variables = {**NOTICED, **WIDE, **patient_database(folder / "airflow"), "MATRIX_LIMIT": str(LIMIT)}
        variables["MATRIX_RUN_LIMIT"] = str(RUN_LIMIT)
        with (
            Meters(emulator, names) as meters,
            LocalAirflow(
                folder / "airflow", [dags], connections={"hf_endpoints_default": connection}, variables=variables
            ) as airflow,
        ):
            print(HEADING, flush=True)
            trials = [
                Trial(cell, Case(f"{cell.row.title}, {cell.column}", name, airflow, emulator), folder)
                for cell, name in zip(chosen, names, strict=True)
            ]
            fine = play(trials, meters)
    print(f"{len(chosen)} cells in {(time.monotonic() - began) / 60:.1f} minutes: {'ok' if fine else 'MISS'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
