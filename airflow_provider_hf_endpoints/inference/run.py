"""One run of a job, from an earlier run's journal to the manifest. Its maker has the lock of the output."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow_provider_hf_endpoints import __version__
from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.inference.engines import discovery
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.http.address import without_secrets
from airflow_provider_hf_endpoints.inference.http.transport import Transport
from airflow_provider_hf_endpoints.inference.input_errors import BatchError, BatchStoreError, OutputBusyError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.job.budget import Notice, Spent
from airflow_provider_hf_endpoints.inference.job.ends import (
    BatchAborted,
    BatchFailed,
    BatchStopped,
    BudgetExceeded,
    judge,
)
from airflow_provider_hf_endpoints.inference.job.identity import FORMAT, digest
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.output_form import answers_vectors
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.limit.pace import Pace
from airflow_provider_hf_endpoints.inference.output.existing import description_of, may_resume, refuse_foreign
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout, told_of
from airflow_provider_hf_endpoints.inference.output.leftovers import clear_half_written
from airflow_provider_hf_endpoints.inference.output.manifest import write_manifest
from airflow_provider_hf_endpoints.inference.output.publish import count, publish
from airflow_provider_hf_endpoints.inference.runs.accounts import Accounts, account_path
from airflow_provider_hf_endpoints.inference.runs.discover import EndpointAwayError, discover_target
from airflow_provider_hf_endpoints.inference.runs.sender import Engine, Sender, put_together
from airflow_provider_hf_endpoints.inference.runs.stops import Stops, WhyStop
from airflow_provider_hf_endpoints.inference.sending.progress import Observer, Progress
from airflow_provider_hf_endpoints.inference.sending.state import Tally
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import encoded, read_document
from airflow_provider_hf_endpoints.inference.stores.folders import remove_folder
from airflow_provider_hf_endpoints.inference.stores.paths import remove_file
from airflow_provider_hf_endpoints.inference.stores.patience import patiently, patiently_here, to_its_end

log = logging.getLogger(__name__)

DESCRIPTION = "job.json"  # in a journal: of the job that began it
REMOVE_PATIENCE = 10.0  # seconds
LOCK_TICK = 0.25  # seconds between two looks whether this run still has its output


class Run:
    """One run of a job, from an earlier run's journal to the manifest."""

    def __init__(self, job: BatchJob, layout: OutputLayout, source: Input, lock: OutputLock) -> None:
        self._job = job
        self._lock = lock
        self._input = source
        self._identity = job.identity(source)
        self._layout = layout
        self._started = time.monotonic()
        self._began = datetime.now(UTC)
        self._resume = Resume(Journal(layout.journal, lock), ids_are_places=job.names_rows_by is None)
        self._source = LineSource(source)
        self._target: discovery.Target | None = None
        self._sender: Sender | None = None
        self._vectors: Callable[[], dict[str, dict[str, int]]] = dict  # tells their lengths
        self._transport: Transport | None = None
        self._lines_digest = ""  # of the published results
        self.accounts = Accounts(job, account_path(layout), lock.check, lambda: self._tally.done)
        fixed, ceiling = job.limits
        self.limiter = Limiter(fixed, ceiling=ceiling, senders=job.senders)
        #: Called when the run is over.
        self.closes: list[Callable[[], None]] = [self._source.close, self._resume.journal.close]

    @classmethod
    def begin(cls, job: BatchJob, layout: OutputLayout, source: Input, lock: OutputLock) -> Run:
        """A run that has begun its journal, or has read the journal of an earlier run of the same job.

        :param lock: of the output, which this run has
        """
        run = cls(job, layout, source, lock)
        try:
            run._begin_or_resume()
        except BaseException:
            run.close()
            raise
        return run

    def _begin_or_resume(self) -> None:
        layout, job, check = self._layout, self._job, self._lock.check
        check()
        description = layout.journal / DESCRIPTION
        found = read_document(description, lenient=job.on_existing == "overwrite")
        resumes = found is not None and may_resume(found, job, self._input, layout)
        if job.on_existing == "overwrite" and not resumes:
            for path in (layout.manifest, *layout.any_results, layout.errors):
                remove_file(path)
            remove_folder(layout.journal)
        clear_half_written(layout)
        if found is None and job.on_existing != "overwrite":
            refuse_foreign(layout)
        if not resumes:
            self._describe()
        self._resume.journal.describe = self._describe_again
        done = self._resume.read_journal()
        if done:
            log.info("resuming an earlier run: %d rows are done and are not sent again", done)

    def _describe(self) -> None:
        """Write whose journal it is. Without that, no later run knows its rows."""
        with replacing(self._layout.journal / DESCRIPTION, self._lock.check) as file:
            file.write(encoded(description_of(self._job, self._input, self._layout)))

    def _describe_again(self, names: Collection[str]) -> None:
        """Write it again if somebody has deleted or moved the journal while the batch runs.

        :param names: of the files in the journal's folder
        """
        if DESCRIPTION not in names:
            log.warning("%s was deleted or moved while the batch runs. It is written again", self._layout.journal)
            self._describe()

    async def refuse_to_begin(self, why_stop: Stops) -> None:
        """
        :raises BatchStopped: reading the input and waiting for the lock have taken all of the job's time
        """
        if (why := why_stop()) is not None:
            raise BatchStopped(await asyncio.to_thread(self._unsent), f"{why} before anything was sent")

    async def discover(self, transport: Transport, why_stop: Stops) -> discovery.Target:
        """Find out how to speak to the endpoint, waiting for it as long as the job allows.

        :raises BatchAborted: it does not come, or refuses
        :raises BatchStopped: as `why_stop` says
        """
        try:
            self._target = await discover_target(self._job, transport, why_stop)
        except EndpointAwayError as away:
            report = await asyncio.to_thread(self._unsent)
            clean = away.last.without(self._job.token)
            if away.why is None:
                raise BatchAborted(report, clean) from away.last
            raise BatchStopped(report, f"{away.why}, and the endpoint was not ready: {clean}") from away.last
        except InferenceError as error:
            report = await asyncio.to_thread(self._unsent)
            raise BatchAborted(report, error.without(self._job.token)) from error
        if self._target.slots is not None:
            self.limiter.knows_slots(self._target.slots)
        return self._target

    def sender(self, engine: Engine, why_stop: WhyStop, observer: Observer | None) -> Sender:
        """What sends the rows."""
        self._transport = engine.transport
        if engine.shape.lengths is not None:
            self._vectors = engine.shape.lengths.told
        pace = Pace(Gate(self._job.probe_interval, self._job.startup_timeout), self.limiter)
        progress = Progress(time.monotonic(), observer)
        self._sender = put_together(
            self._job, engine, self._source, self._resume, pace, why_stop=why_stop, progress=progress
        )
        return self._sender

    async def begin_spending(self, before: Spent) -> None:
        """Start the account, unless the budget will clearly not cover the remaining rows.

        :raises BudgetExceeded: nothing was sent
        """
        total = await asyncio.to_thread(self._source.count)
        self._log_beginning(total)
        done = self._resume.journal.index.done
        await self.accounts.begin(before, None if total is None else max(0, total - done))
        if (refusal := self.accounts.refusal()) is not None:
            budget, notice = refusal
            raise BudgetExceeded(await asyncio.to_thread(self._unsent), notice.text, budget)

    def _log_beginning(self, total: int | None) -> None:
        job = self._job
        limits = [f"max_cost {usd(job.max_cost)}"] if job.max_cost is not None else []
        limits += [f"max_runtime {job.max_runtime:g} s"] if job.max_runtime is not None else []
        limits += [each.name for each in job.every_shared_budget]
        log.info(
            "batch starts: %s rows of task %s to %s (engine %s, model %s), results in %s, %s requests in flight, %s",
            "an unknown number of" if total is None else total,
            job.task,
            without_secrets(job.url),
            self._engine,
            (self._target.model if self._target else None) or job.model or "the endpoint's own",
            self._layout.results,
            "an adaptive number of" if job.max_concurrency == "auto" else job.max_concurrency,
            f"budget: {', '.join(limits)}" if limits else "no budget",
        )

    async def follow_spending(self) -> None:
        """Watch the budgets while the batch runs."""

        def end(notice: Notice) -> None:
            if self._sender is not None:
                self._sender.ending.end_early(stopped=notice.text)

        await self.accounts.follow(end)

    async def follow_lock(self) -> None:
        """End the batch when another run has taken its output over."""
        assert self._sender is not None
        ending = self._sender.ending
        while not ending.over:
            await asyncio.sleep(LOCK_TICK)
            if self._lock.is_sure():
                continue
            try:
                await to_its_end(self._lock.check)
            except OutputBusyError as error:
                ending.end_early(error)
            except Exception as error:  # noqa: BLE001 - stores raise what they like; nothing is sent until they work
                log.warning("could not check the lock of the output (%s: %s)", type(error).__name__, error)

    @property
    def _tally(self) -> Tally:
        return self._sender.tally if self._sender is not None else Tally()

    async def finish(self) -> BatchReport:
        """Publish the output, and return the report.

        :raises BatchError: the batch stopped early, or more rows failed than it allows
        """
        sender = self._sender
        assert sender is not None
        ending = sender.ending
        try:
            report = await patiently(partial(self._conclude, complete=not ending.early), "writing the output")
        except BatchStoreError as error:
            raise (ending.cause if isinstance(ending.cause, BatchError) else error) from error
        return self._judge(report, sender)

    def _conclude(self, *, complete: bool) -> BatchReport:
        """Publish, and delete the journal of a complete output. If that fails, the batch still succeeds."""
        report = self._publish(complete=complete)
        if complete:
            try:
                patiently_here(self._resume.journal.remove, "deleting the journal", patience=REMOVE_PATIENCE)
            except BatchStoreError as error:
                log.warning("%s. The output is finished. Run the same job again to delete the journal", error)
        return report

    def _judge(self, report: BatchReport, sender: Sender) -> BatchReport:
        ending = sender.ending
        log.info("%s", sender.progress.table(report, sender.tally))
        match ending.cause:
            case None:
                pass
            case InferenceError() if self.accounts.are_exceeded():
                pass  # another user of the endpoint has released it for the same reason a moment before
            case InferenceError() as error:
                raise BatchAborted(report, error) from error
            case BatchError() as error:
                raise error
            case error:
                raise BatchAborted(report, error) from error
        if ending.too_many_errors:
            raise BatchFailed(report, ending.stopped or "too many rows failed", sender.tally.first_words)
        if self.accounts.exceeded is not None:
            name, notice = self.accounts.exceeded
            raise BudgetExceeded(report, notice.text, name)
        if ending.stopped is not None:
            raise BatchStopped(report, ending.stopped)
        return judge_job(self._job, report, sender.tally.first_words)

    def publish_partial(self) -> None:
        """Publish the finished rows for readers. The journal stays, and no manifest is written."""
        if self._sender is not None:
            self._publish(complete=False)

    def _publish(self, *, complete: bool) -> BatchReport:
        layout = self._layout
        source, resume = self._source, self._resume
        # If this run stopped early, rows that earlier runs finished further on are in the partial output too.
        rows = source.read if complete or source.exhausted else max(source.read, resume.rows)
        vectors, lines = answers_vectors(self._job.task), hashlib.sha256()
        written = None if self._job.shard is None else lines.update  # only a merge compares the digest
        totals = publish(layout, resume, rows, complete=complete, vectors=vectors, written=written)
        self._lines_digest = lines.hexdigest()
        report = self._report(complete=complete, **totals)
        if complete:
            write_manifest(layout, self._manifest(report), self._lock.check)
        return report

    def _unsent(self) -> BatchReport:
        """The report of a run that ends before its first row: the rows that earlier runs finished."""
        return self._report(complete=False, **count(self._resume.journal))

    def _report(self, *, complete: bool, **totals: Any) -> BatchReport:
        tally = self._tally
        return BatchReport(
            **told_of(self._job, self._layout),
            resumed=tally.resumed,
            requests=tally.requests + self._resent(),
            retries=tally.retries + self._resent(),
            hedges=tally.hedges,
            seconds=round(time.monotonic() - self._started, 3),
            complete=complete,
            cost=self.accounts.report(totals),
            engine=self._engine,
            model=self._target.model if self._target else None,
            **totals,
        )

    @property
    def _engine(self) -> str | None:
        """The engine's name by the control plane, else by itself, else its dialect."""
        named = self._job.engine
        if named is None and self._target is not None:
            named = self._target.engine or self._target.dialect.value
        return named

    def _manifest(self, report: BatchReport) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "job": digest(self._identity),
            "identity": self._identity,
            "report": report.as_dict(),
            "endpoint": without_secrets(self._job.url),
            "started_at": self._began.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {"results": self._layout.results.name, "errors": self._layout.errors.name},
            "version": __version__,
            **({"attempt": self._job.attempt_key} if self._job.attempt_key else {}),
            **self._of_shard(),
        }

    def _of_shard(self) -> dict[str, Any]:
        """Of a shard what a merge has to know; of a batch by one worker what tells its rows."""
        job = self._job
        if job.shard is None:
            return {"rows_digest": self._source.digest.hexdigest()}
        places = job.names_rows_by is None
        # Without an id column, the file was left by a job that this one has replaced.
        ids = not places and self._layout.ids.exists()
        return {
            "shard": {
                **replace(job.shard, began=None).as_dict(),
                "ids_are_places": places,
                "ids": ids,
                "lines": self._source.lines,
                "vectors": self._vectors(),
                "digest": self._lines_digest,
                "earlier_replica_seconds": self.accounts.earlier_replica_seconds,
            },
            "limits": {"fail_on_errors": job.fail_on_errors, "max_error_rate": job.max_error_rate},
        }

    def _resent(self) -> int:
        return self._transport.resent if self._transport is not None else 0

    def close(self) -> None:
        """Close the files, and what was started for the run."""
        for close in self.closes:
            close()


def judge_job(job: BatchJob, report: BatchReport, first_words: Mapping[str, str] | None = None) -> BatchReport:
    """The report of a job that has sent all rows.

    :param first_words: the first message of each kind of error, if known
    :raises BatchFailed: more of its rows failed than it allows
    """
    if job.shard is not None:
        return report  # the limit is for all rows of the batch, which only the merge knows
    return judge(report, fail_on_errors=job.fail_on_errors, max_error_rate=job.max_error_rate, first_words=first_words)
