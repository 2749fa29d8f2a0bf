"""A batch in a hostile world: a first run in which everything happens, further ones in a world that is well again."""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, arun_batch
from airflow_provider_hf_endpoints.inference.journal import lock
from airflow_provider_hf_endpoints.inference.requests.schema_process import SchemaProcess
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here
from tests.hostile import clock, places, tasks
from tests.hostile.cases import Case, Row
from tests.hostile.server import HostileServer
from tests.hostile.stores import Faults, HostileFileSystem, local_disk

#: What answers may have to fit. The check of the second takes for ever on some texts; so might that of the third.
SCHEMAS: dict[str, Any] = {
    "plain": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "pattern": {"type": "object", "properties": {"a": {"pattern": "^(a+)+[0-9]*;$"}}, "required": ["a"]},
    "unique": {"type": "object", "properties": {"a": {"uniqueItems": True}}, "required": ["a"]},
}
CHECK_SECONDS = 0.02  # for the check of one answer
REAL_BOUND = 300.0  # seconds; a run takes some milliseconds
MOST_RUNS = 4  # in the world that is well again, before the output has to be whole
LOCK_BEAT = 0.001  # real seconds: the lock's thread does not live in simulated time
LOCK_PATIENCE = 0.1


@dataclass
class Run:
    """How one run of the batch ended.

    :param seconds: simulated
    """

    report: BatchReport | None = None
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass
class Outcome:
    """All that is known after the last run."""

    case: Case
    server: HostileServer
    faults: Faults
    runs: list[Run] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """Of the input that the batch was finished with."""
        report = self.runs[0].report
        return self.case.rows if report is not None and report.complete else places.changed(self.case)

    @property
    def replaced(self) -> bool:
        """Whether the batch was finished when its input was replaced by another one."""
        return self.rows != places.changed(self.case)


def live(case: Case) -> Outcome:
    """Run the case's batch in its world, then heal the world and run the batch until it is finished."""
    if case.input_format == "openai":  # which has its own output, and no room for a schema
        case = replace(case, schema=None, keep=False, ids=False, output_format="jsonl", task="chat")
    if case.task != "chat":
        case = replace(case, schema=None)
    if case.shards:  # of which some are sent before an input that cannot be taken is found further on
        case = replace(case, ids=False, change=None)
    server = HostileServer(case.answers, schema=case.schema is not None, task=case.task)
    faults = Faults(case.store_faults)
    outcome = Outcome(case, server, faults)
    with tempfile.TemporaryDirectory() as folder, _world(case, Path(folder), faults) as (given, files, output):
        job = _job(case, given, output)
        outcome.runs.append(_run_whole(job, server, case, faults, chaotic=True))
        faults.on = False
        places.change(case, files, given if case.remote_input else None)
        server.heal()
        for _ in range(MOST_RUNS):
            server.run += 1
            outcome.runs.append(_run_whole(job, server, case, faults, chaotic=False))
            report = outcome.runs[-1].report
            if report is not None and report.complete:
                break
        outcome.lines = _read(UPath(output))
        if case.input_format == "openai":  # whose lines are in the input's order and do not say their place
            outcome.lines = [{"index": place, **line} for place, line in enumerate(outcome.lines)]
    return outcome


@contextmanager
def _world(case: Case, folder: Path, faults: Faults) -> Iterator[tuple[Any, list[Path], str]]:
    """The job's input, the files that hold its rows, and its output."""
    place = f"/{uuid.uuid4().hex}"
    name = places.name_of(case)
    given, files = places.put(replace(case, layout="file") if case.remote_input else case, folder)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(SchemaProcess.__init__, "__defaults__", (CHECK_SECONDS,)))
        if case.remote or case.remote_input:
            stack.enter_context(mock.patch.object(HostileFileSystem, "faults", faults))
            stack.enter_context(mock.patch.multiple(lock, BEAT=LOCK_BEAT, PATIENCE=LOCK_PATIENCE))
            stack.enter_context(
                mock.patch.object(
                    lock.OutputLock.__init__, "__kwdefaults__", {"beat": LOCK_BEAT, "patience": LOCK_PATIENCE}
                )
            )
        if case.remote_input:
            faults.on = False
            given = f"hostile:/{place}/{files[0].name}"
            UPath(given).write_bytes(files[0].read_bytes())
            faults.on = True
        if case.remote:
            yield given, files, f"hostile:/{place}/out/{name}.{case.output_format}"
        else:
            (folder / "out").mkdir()
            stack.enter_context(local_disk(folder / "out", faults))
            yield given, files, str(folder / "out" / f"{name}.{case.output_format}")
        for path in [each for each in HostileFileSystem.store if each.startswith(place)]:
            del HostileFileSystem.store[path]


def _job(case: Case, path: Any, output: str) -> BatchJob:
    common: dict[str, Any] = {
        "url": "http://127.0.0.1:9",
        "token": "hf_hostile_secret",
        "task": "chat-completion",
        "input_path": path,
        "output_path": output,
        "max_concurrency": case.concurrency,
        "max_error_rate": None,
        "retry_budget": None,
        "row_timeout": 300.0,
        "startup_timeout": 120.0,
        "job_timeout": 1200.0,
    }
    if case.input_format == "openai":
        return BatchJob(**common, input_format="openai-batch")
    if case.task != "chat":
        common |= {"rows_per_request": case.together, **tasks.JOBS[case.task]}
    else:
        common |= {"parameters": {"max_tokens": 5}}
    if case.input_format.startswith(("csv", "tsv")):
        common |= {"delimiter": case.table.delimiter}
        common |= {} if case.table.codec.startswith("utf-8") else {"encoding": case.table.codec}
    return BatchJob(
        **common,
        prompt="{n}|{q}",
        keep_columns=("extra",) if case.keep else (),
        response_schema=None if case.schema is None else SCHEMAS[case.schema],
        id_column="id" if case.ids else None,
    )


def _run_whole(job: BatchJob, server: HostileServer, case: Case, faults: Faults, *, chaotic: bool) -> Run:
    """One run of the batch, or of each of its shards, with their plan and their merge."""
    if not case.shards:
        return _run(job, server, case if chaotic else None)
    seconds = 0.0
    try:
        faults.on = chaotic
        with _without_pauses():
            shards = plan_batch(job.input_path, job.output_path, shards=case.shards, input_format=job.input_format)
        for shard in shards:
            run = _run(replace(job, shard=shard, concurrent_shards=1), server, case if chaotic else None)
            seconds += run.seconds
            if run.error is not None:
                return replace(run, seconds=seconds)
        with _without_pauses():
            return Run(report=merge_shards(job.output_path), seconds=seconds)
    except Exception as error:  # noqa: BLE001 - the invariants say what it may be
        return Run(error=error, seconds=seconds)
    finally:
        faults.on = False


def _without_pauses() -> Any:
    """Plan and merge have no event loop whose time could be simulated: they try a store again at once."""
    return mock.patch.dict(patiently_here.__kwdefaults__, {"sleep": lambda _: None})


def _run(job: BatchJob, server: HostileServer, case: Case | None) -> Run:
    stopping = False

    async def main(loop: clock.SimulatedLoop) -> BatchReport:
        nonlocal stopping
        task = asyncio.ensure_future(arun_batch(job, transport=server, stop=lambda: stopping))

        def on_request(count: int) -> None:
            nonlocal stopping
            stopping = stopping or (case is not None and case.stop_after is not None and count > case.stop_after)
            if case is not None and case.cancel_after is not None and count > case.cancel_after:
                task.cancel()

        server.on_request = on_request
        return await task

    try:
        report, seconds = clock.run(main, real_bound=REAL_BOUND)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Run(error=error)
    return Run(report=report, seconds=seconds)


def _read(output: UPath) -> list[dict[str, Any]]:
    if not output.exists():
        return []
    if output.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        with output.open("rb") as file:
            return list(pq.read_table(file).to_pylist())
    data = output.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if output.name.endswith(".gz") else data).splitlines()]
