"""Many rows through one endpoint: `run_batch(BatchJob(…)) -> BatchReport`.

Puts the parts together: checks the input, finds out how to speak to the endpoint, takes up what an earlier
run left, lets `dispatch.py` run, and publishes output and manifest.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints import __version__
from airflow_provider_hf_endpoints.inference import spending, steps
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchAborted,
    BatchFailed,
    BatchInputError,
    BatchStopped,
    BudgetExceeded,
    OutputConflictError,
)
from airflow_provider_hf_endpoints.inference.budget import Notice, Spending, Spent
from airflow_provider_hf_endpoints.inference.concurrency import Limiter
from airflow_provider_hf_endpoints.inference.dispatch import Dispatcher
from airflow_provider_hf_endpoints.inference.errors import InferenceError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.gate import Gate
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.items import Tally
from airflow_provider_hf_endpoints.inference.job import FORMAT, BatchJob, OutputLayout, differences, digest
from airflow_provider_hf_endpoints.inference.journal import Journal, remove_folder
from airflow_provider_hf_endpoints.inference.leftovers import clear_finished, clear_half_written
from airflow_provider_hf_endpoints.inference.lock import OutputLock
from airflow_provider_hf_endpoints.inference.merge import report_of_shard
from airflow_provider_hf_endpoints.inference.open_transport import open_transport
from airflow_provider_hf_endpoints.inference.output import (
    publish,
    read_manifest,
    replacing,
    write_manifest,
)
from airflow_provider_hf_endpoints.inference.preflight import (
    check_first_rows,
    check_input,
    compare_ids,
    discover_target,
    find_job_input,
)
from airflow_provider_hf_endpoints.inference.progress import Observer, Snapshot
from airflow_provider_hf_endpoints.inference.report import BatchReport, judge
from airflow_provider_hf_endpoints.inference.resume import Resume
from airflow_provider_hf_endpoints.inference.rows import Shape
from airflow_provider_hf_endpoints.inference.shards import Shard
from airflow_provider_hf_endpoints.inference.source import LineSource
from airflow_provider_hf_endpoints.inference.transport import Transport

__all__ = ["BatchJob", "BatchReport", "Snapshot", "arun_batch", "run_batch"]

log = logging.getLogger(__name__)

Stop = Callable[[], bool] | threading.Event | None
ReadyReplicas = Callable[[], int]
REPLICAS_INTERVAL = 10.0  # seconds


def run_batch(
    job: BatchJob,
    *,
    stop: Stop = None,
    transport: Transport | None = None,
    ready_replicas: ReadyReplicas | None = None,
    observer: Observer | None = None,
) -> BatchReport:
    """Run a batch to its end.

    The same job, run again after it was killed, goes on where it was; run again after it finished, it returns
    its report without a request. Works inside a running event loop too, in a thread of its own.

    :param stop: an event, or a function that says whether to stop; asked every few milliseconds
    :param transport: what sends, None for the default
    :param ready_replicas: how many replicas are ready just now; asked every ten seconds, in a thread
    :param observer: is given a `Snapshot` with each line of the log and at the end; must not block
    :raises BatchInputError: the input is missing, empty, or not what the templates need; nothing was sent
    :raises OutputConflictError: another job, or another run, is on the output path
    :raises BatchAborted: the endpoint is paused, gone, refuses the token or does not come up
    :raises BatchStopped: `stop` or `job_timeout`
    :raises BudgetExceeded: `max_cost` or `max_runtime` is used up, or the rows can't be done for it
    :raises BatchFailed: too many rows failed
    """
    run = functools.partial(
        arun_batch, job, stop=stop, transport=transport, ready_replicas=ready_replicas, observer=observer
    )
    if not _in_event_loop():
        return asyncio.run(run())
    outcome: list[BatchReport | BaseException] = []

    def in_thread() -> None:
        try:
            outcome.append(asyncio.run(run()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=in_thread, name="batch")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def arun_batch(
    job: BatchJob,
    *,
    stop: Stop = None,
    transport: Transport | None = None,
    ready_replicas: ReadyReplicas | None = None,
    observer: Observer | None = None,
) -> BatchReport:
    """`run_batch` for a running event loop; cancelling it stops the batch and keeps what is done."""
    layout = job.layout
    source = await asyncio.to_thread(find_job_input, job)
    finished = await asyncio.to_thread(_finished, job, layout, source)
    if finished is not None:
        log.info("%s is finished already: %d rows, nothing sent", layout.manifest, finished.rows)
        await asyncio.to_thread(clear_finished, layout)
        return _judge(job, finished)
    ids = await asyncio.to_thread(check_input, job, source)
    lock = OutputLock(layout.journal)
    await asyncio.to_thread(lock.acquire)
    try:
        await asyncio.to_thread(compare_ids, job, source, ids)
        return await _run_locked(job, layout, source, _as_function(stop), transport, ready_replicas, observer)
    finally:
        lock.release()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _as_function(stop: Stop) -> Callable[[], bool]:
    if stop is None:
        return lambda: False
    return stop.is_set if isinstance(stop, threading.Event) else stop


def _finished(job: BatchJob, layout: OutputLayout, source: Input) -> BatchReport | None:
    """The report of the same job, finished earlier.

    :raises OutputConflictError: what is there is not to be touched
    """
    manifest = read_manifest(layout)
    if manifest is None and job.shard is not None:
        return _merged(job, job.shard, source)
    if manifest is None:
        if job.on_existing == "fail" and (layout.results.exists() or layout.journal.exists()):
            raise OutputConflictError(f"{job.output_path} holds an unfinished output and on_existing is 'fail'")
        return None
    if job.on_existing == "overwrite":
        return None
    if job.on_existing == "fail":
        raise OutputConflictError(f"{job.output_path} holds a finished output and on_existing is 'fail'")
    _same_job(manifest.get("identity", {}), job, source)
    report: BatchReport = replace(BatchReport(**manifest["report"]), requests=0, retries=0)
    return report


def _merged(job: BatchJob, shard: Shard, source: Input) -> BatchReport | None:
    """The report of the same shard, out of the output of all shards, into which it went."""
    whole = OutputLayout.of(job.output_path)
    manifest = read_manifest(whole)
    if manifest is None:
        return None
    _same_job({**manifest.get("identity", {}), "plan": manifest.get("plan")}, job, source)
    return report_of_shard(manifest, shard, whole)


def _same_job(old: Mapping[str, Any], job: BatchJob, source: Input) -> None:
    """Refuse to touch another job's output.

    :raises OutputConflictError: it is another's
    """
    different = differences({**old, "format": FORMAT}, job.identity(source))
    if different:
        raise OutputConflictError(
            f"{job.output_path} holds the output of another job: {'; '.join(different)}. Choose another output_path, "
            'or on_existing="overwrite" to throw that output away'
        )


def _same_format(found: object, job: BatchJob) -> None:
    """Refuse to go on with a journal that cannot be read.

    :raises OutputConflictError: its form is another release's
    """
    if found != FORMAT:
        raise OutputConflictError(
            f"the unfinished output in {job.output_path} was begun by another release of this provider "
            f"(journal format {found}, this one has {FORMAT}): finish it with that release, or throw it away with "
            'on_existing="overwrite"'
        )


def _judge(job: BatchJob, report: BatchReport) -> BatchReport:
    if job.shard is not None:
        return report  # what counts is how many rows of the whole failed, which the merge knows
    return judge(report, fail_on_errors=job.fail_on_errors, max_error_rate=job.max_error_rate)


async def _run_locked(
    job: BatchJob,
    layout: OutputLayout,
    source: Input,
    stop: Callable[[], bool],
    transport: Transport | None,
    ready_replicas: ReadyReplicas | None,
    observer: Observer | None,
) -> BatchReport:
    run = _Run(job, layout, source)
    spent_before = await asyncio.to_thread(run.spent_before)
    await asyncio.to_thread(run.take_up)
    own = transport is None
    transport = transport or open_transport(job.url, job.token, run.limiter.ceiling)
    try:
        target = await run.discover(transport, stop)
        try:
            shape = job.shape(target)
        except UnsupportedTaskError as error:
            raise BatchInputError(str(error)) from error
        await asyncio.to_thread(check_first_rows, source, shape.render)
        dispatcher = run.dispatcher(target, shape, transport, stop, observer)
        await run.begin_spending(spent_before)
        helpers = [
            asyncio.create_task(_follow_replicas([run.limiter.replicas_changed, run.replicas_changed], ready_replicas)),
            asyncio.create_task(run.follow_spending()),
        ]
        try:
            await dispatcher.run()
        finally:
            for helper in helpers:
                helper.cancel()
        return await asyncio.to_thread(run.finish)
    except asyncio.CancelledError:
        # Whoever cancels has little time; what is done is durable already, and is put where a reader finds
        # it.
        run.publish_partial()
        raise
    finally:
        run.close()
        if own:
            await transport.aclose()


async def _follow_replicas(tell: Sequence[Callable[[int, float], None]], ready_replicas: ReadyReplicas | None) -> None:
    """Tell everybody who wants to know how many replicas are ready, as long as the batch runs."""
    while ready_replicas is not None:
        try:
            count = await asyncio.to_thread(ready_replicas)
        except OSError as error:
            log.warning("the number of ready replicas is not known just now: %s", error)
        else:
            for each in tell:
                each(count, time.monotonic())
        await asyncio.sleep(REPLICAS_INTERVAL)


class _Run:
    """One run of a job, from what an earlier one left to the manifest."""

    def __init__(self, job: BatchJob, layout: OutputLayout, source: Input) -> None:
        self._job = job
        self._input = source
        self._identity = job.identity(source)
        self._layout = layout
        self._started = time.monotonic()
        self._began = datetime.now(UTC)
        self._resume = Resume(Journal(layout.journal), ids_are_places=job.names_rows_by is None)
        self._source = LineSource(source)
        self._target: steps.Target | None = None
        self._dispatcher: Dispatcher | None = None
        self._transport: Transport | None = None
        self._spending: Spending | None = None
        self._rows_to_do: int | None = None
        self._over_budget: Notice | None = None
        fixed, ceiling = job.limits
        self.limiter = Limiter(fixed, ceiling=ceiling, senders=job.senders)

    def take_up(self) -> None:
        """Read the journal of an earlier run of the same job, or begin one."""
        layout, job = self._layout, self._job
        if job.on_existing == "overwrite":
            for path in (layout.manifest, layout.results, layout.errors):
                path.unlink(missing_ok=True)
            remove_folder(layout.journal)
        clear_half_written(layout)
        description = layout.journal / "job.json"
        if description.exists():
            found = json.loads(description.read_bytes())
            _same_job(found, job, self._input)
            _same_format(found.get("format"), job)
        else:
            with replacing(description) as file:
                file.write(json.dumps(self._identity, default=str, ensure_ascii=False).encode())
        done = self._resume.load()
        if done:
            log.info("taking up an earlier run: %d rows are done and will not be sent again", done)

    async def discover(self, transport: Transport, stop: Callable[[], bool]) -> steps.Target:
        """Find out how to speak to the endpoint, waiting for it as long as the job allows.

        :raises BatchAborted: it does not come, or refuses
        :raises BatchStopped: `stop`
        """
        try:
            self._target = await discover_target(self._job, transport, stop)
        except InferenceError as error:
            report = self._report(complete=False, rows=self._resume.journal.index.done)
            if stop():
                raise BatchStopped(report, "asked to stop") from error
            raise BatchAborted(report, error.without(self._job.token)) from error
        return self._target

    def dispatcher(
        self,
        target: steps.Target,
        shape: Shape,
        transport: Transport,
        stop: Callable[[], bool],
        observer: Observer | None,
    ) -> Dispatcher:
        """What sends the rows."""
        self._transport = transport
        gate = Gate(self._job.probe_interval, self._job.startup_timeout)
        self._dispatcher = Dispatcher(
            self._job, target, shape, self._source, self._resume, transport, self.limiter, gate, stop, observer
        )
        return self._dispatcher

    def spent_before(self) -> Spent:
        """What earlier runs have cost; asked before an output that is to be overwritten is."""
        return spending.load(self._budget_path, self._job.budget_key)

    async def begin_spending(self, before: Spent) -> None:
        """Begin to count, unless it is clear already that the rest can't fit.

        :raises BudgetExceeded: nothing was sent
        """
        total = await asyncio.to_thread(self._source.count)
        done = self._resume.journal.index.done
        self._rows_to_do = None if total is None else max(0, total - done)
        self._spending = Spending(self._job.budget, time.monotonic(), before)
        await asyncio.to_thread(spending.save, self._budget_path, self._job.budget_key, before)
        refusal = self._spending.refusal(self._rows_to_do)
        if refusal is not None:
            raise BudgetExceeded(self._report(complete=False, rows=done), refusal.text)

    async def follow_spending(self) -> None:
        """Watch the budget, as long as the batch runs."""
        assert self._spending is not None

        def done() -> tuple[int, int | None]:
            rows = self._tally.done
            return rows, None if self._rows_to_do is None else self._rows_to_do - rows

        def end(notice: Notice) -> None:
            self._over_budget = notice
            if self._dispatcher is not None:
                self._dispatcher.end(stopped=notice.text)

        await spending.follow(self._spending, self._budget_path, clock=time.monotonic, done=done, end=end)

    def replicas_changed(self, count: int, now: float) -> None:
        """So many replicas are ready, and billed."""
        if self._spending is not None:
            self._spending.replicas_changed(count, now)

    @property
    def _budget_path(self) -> UPath:
        return self._layout.journal / "budget.json"

    @property
    def _tally(self) -> Tally:
        return self._dispatcher.tally if self._dispatcher is not None else Tally()

    def finish(self) -> BatchReport:
        """Publish, and tell how it ended.

        :raises BatchError: the batch did not come to its end, or more rows failed than it allows
        """
        dispatcher = self._dispatcher
        assert dispatcher is not None
        early = dispatcher.cause is not None or dispatcher.stopped is not None
        report = self._publish(complete=not early)
        log.info("%s", dispatcher.progress.table(report, dispatcher.tally))
        match dispatcher.cause:
            case None:
                pass
            case InferenceError() as error:
                raise BatchAborted(report, error) from error
            case error:
                raise error
        if dispatcher.too_many_errors:
            raise BatchFailed(report, dispatcher.stopped or "too many rows failed")
        if self._over_budget is not None:
            raise BudgetExceeded(report, self._over_budget.text)
        if dispatcher.stopped is not None:
            raise BatchStopped(report, dispatcher.stopped)
        return _judge(self._job, report)

    def publish_partial(self) -> None:
        """Put what is done where a reader finds it; the journal stays, the manifest is not written."""
        if self._dispatcher is not None:
            self._publish(complete=False)

    def _publish(self, *, complete: bool) -> BatchReport:
        layout = self._layout
        totals = publish(layout, self._resume.journal, self._source.read, complete=complete)
        report = self._report(complete=complete, **totals)
        if complete:
            write_manifest(layout, self._manifest(report))
            self._resume.journal.remove()
        return report

    def _report(self, *, complete: bool, **totals: Any) -> BatchReport:
        tally = self._tally
        return BatchReport(
            output_path=str(self._job.output_path if self._job.shard is None else self._layout.results.parent),
            errors_path=str(self._layout.errors),
            manifest_path=str(self._layout.manifest),
            resumed=tally.resumed,
            requests=tally.requests + self._resent(),
            retries=tally.retries + self._resent(),
            hedges=tally.hedges,
            seconds=round(time.monotonic() - self._started, 3),
            complete=complete,
            cost=self._cost(totals),
            engine=self._job.engine or (self._target.dialect.value if self._target else None),
            model=self._target.model if self._target else None,
            **totals,
        )

    def _cost(self, totals: Mapping[str, Any]) -> dict[str, Any] | None:
        if self._spending is None:
            return None
        tokens = totals.get("prompt_tokens", 0) + totals.get("completion_tokens", 0)
        spent = self._spending.spent(time.monotonic(), self._tally.done)
        return self._spending.report(replace(spent, rows=totals.get("rows", spent.rows)), tokens)

    def _manifest(self, report: BatchReport) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "job": digest(self._identity),
            "identity": self._identity,
            "report": report.as_dict(),
            "endpoint": self._job.url,
            "started_at": self._began.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {"results": self._layout.results.name, "errors": self._layout.errors.name},
            "version": __version__,
            **self._of_shard(),
        }

    def _of_shard(self) -> dict[str, Any]:
        """What a merge has to know."""
        job = self._job
        if job.shard is None:
            return {}
        places, ids = job.names_rows_by is None, self._layout.ids.exists()
        return {
            "shard": {**job.shard.as_dict(), "ids_are_places": places, "ids": ids},
            "limits": {"fail_on_errors": job.fail_on_errors, "max_error_rate": job.max_error_rate},
        }

    def _resent(self) -> int:
        return self._transport.resent if self._transport is not None else 0

    def close(self) -> None:
        """Close the files."""
        self._source.close()
        self._resume.journal.close()
