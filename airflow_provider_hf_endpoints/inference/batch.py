"""Many rows through one endpoint: `run_batch(BatchJob(…)) -> BatchReport`.

Joins the parts: checks the input, looks at the output path, takes its lock, opens a transport, and
lets one run of the job (`run.py`) continue from an earlier run's journal to the published output.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from airflow_provider_hf_endpoints.inference.engines.load import ASK
from airflow_provider_hf_endpoints.inference.errors import UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.http.address import without_secrets
from airflow_provider_hf_endpoints.inference.http.open_transport import open_transport
from airflow_provider_hf_endpoints.inference.http.transport import CONNECT_TIMEOUT, Transport
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.check import check_first_rows
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.job.ends import BatchStopped
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.journal.lock import WAIT, OutputLock
from airflow_provider_hf_endpoints.inference.output.existing import finished_earlier
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout, layout_of, told_of
from airflow_provider_hf_endpoints.inference.output.leftovers import clear_finished
from airflow_provider_hf_endpoints.inference.output.places import require_permission
from airflow_provider_hf_endpoints.inference.run import Run, judge_job
from airflow_provider_hf_endpoints.inference.runs.accounts import spent_by_earlier_runs
from airflow_provider_hf_endpoints.inference.runs.preflight import check_input, find_job_input
from airflow_provider_hf_endpoints.inference.runs.sender import Engine
from airflow_provider_hf_endpoints.inference.runs.shape import shape_of
from airflow_provider_hf_endpoints.inference.runs.stops import Stop, Stops, WhyStop
from airflow_provider_hf_endpoints.inference.sending.progress import Observer, Snapshot
from airflow_provider_hf_endpoints.inference.shards.ids import compare_ids
from airflow_provider_hf_endpoints.inference.shards.merged import merged_earlier
from airflow_provider_hf_endpoints.inference.stores.patience import patiently, to_its_end, without_failing

__all__ = ["BatchJob", "BatchReport", "Snapshot", "arun_batch", "run_batch"]

log = logging.getLogger(__name__)

ReadyReplicas = Callable[[], int]
#: Seconds. The default interval of huggingface_hub. A new replica that is not noticed is billed and idle.
REPLICAS_INTERVAL = 5.0


def run_batch(
    job: BatchJob,
    *,
    stop: Stop = None,
    transport: Transport | None = None,
    ready_replicas: ReadyReplicas | None = None,
    observer: Observer | None = None,
) -> BatchReport:
    """Run a batch to its end.

    The same job resumes if it is run again after a kill. If it is run again after it has finished, it returns
    its report without a request. Also works inside a running event loop, in a separate thread.

    :param stop: an event, or a function that returns whether to stop; called every few milliseconds
    :param transport: the HTTP transport, None for the default
    :param ready_replicas: returns the number of ready replicas; called every five seconds, in a thread
    :param observer: gets a `Snapshot` with each line of the log and at the end; must not block
    :raises BatchInputError: the input is missing or empty, or lacks what the templates need; nothing was sent
    :raises OutputConflictError: the output path contains another job's output
    :raises OutputBusyError: another run uses the output for longer than this run waits, or has taken it over
    :raises BatchStoreError: the output's store or disk failed for two minutes; recorded rows are kept
    :raises BatchAborted: the endpoint is paused, deleted, refuses the token or does not start
    :raises BatchStopped: `stop` or `job_timeout`
    :raises BudgetExceeded: `max_cost` or `max_runtime` is used up, or will not cover the remaining rows
    :raises BatchFailed: too many rows failed
    """
    run = partial(arun_batch, job, stop=stop, transport=transport, ready_replicas=ready_replicas, observer=observer)
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
    """`run_batch` for a running event loop; a cancellation stops the batch and keeps finished rows."""
    why_stop = Stops(stop, job.job_timeout)
    layout = layout_of(job)
    source = await patiently(partial(find_job_input, job), "looking for the input", sent=False)
    look = partial(_finished, job, layout, source)
    if (
        finished := await patiently(look, f"looking for a finished output in {job.output_path}", sent=False)
    ) is not None:
        await to_its_end(
            partial(without_failing, partial(clear_finished, layout), "Clearing the journal of a finished output")
        )
        return judge_job(job, finished)
    go_on = partial(_stop_where_asked, job, layout, why_stop)
    ids = await patiently(partial(check_input, job, source, go_on, suggest=True), "checking the input", sent=False)
    await patiently(
        partial(require_permission, layout), f"looking at the folders of the output {job.output_path}", sent=False
    )
    lock = OutputLock(layout.journal)
    try:
        await _take(lock, job, layout, why_stop)
        # The previous holder of the lock may have finished this very job.
        if (
            finished := await patiently(look, f"looking for a finished output in {job.output_path}", sent=False)
        ) is not None:
            return judge_job(job, finished)
        await patiently(partial(compare_ids, job, source, ids), "comparing the ids of shards", sent=False)
        return await _run_locked(job, layout, source, lock, why_stop, transport, ready_replicas, observer)
    finally:
        await to_its_end(partial(without_failing, lock.release, "Giving the lock of the output back"))


def _finished(job: BatchJob, layout: OutputLayout, source: Input) -> BatchReport | None:
    """The report of the same job, if another run has finished it."""
    # The merged output first: a merge deletes those of its shards, and may have been stopped in between.
    finished = merged_earlier(job, source) or finished_earlier(job, layout, source)
    if finished is not None:
        log.info("%s is already finished: %d rows; nothing was sent", layout.manifest, finished.rows)
    return finished


def _stop_where_asked(
    job: BatchJob, layout: OutputLayout, why_stop: WhyStop, doing: str = "while the input was read"
) -> None:
    """
    :raises BatchStopped: this run has to stop; nothing was sent
    """
    why = why_stop()
    if why is not None:
        raise BatchStopped(BatchReport(**told_of(job, layout), complete=False), f"{why} {doing}")


async def _take(lock: OutputLock, job: BatchJob, layout: OutputLayout, why_stop: WhyStop) -> None:
    """Take the lock of the output. If another run has it, wait, because that run may be about to end.

    :raises OutputBusyError: another run still has it
    :raises BatchStopped: this run has to stop while it waits
    """
    look = partial(lock.attempt, WAIT)
    while not await patiently(look, f"taking the lock of the output {job.output_path}", sent=False):
        _stop_where_asked(job, layout, why_stop, f"while another run had the output: {lock.busy}")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _run_locked(
    job: BatchJob,
    layout: OutputLayout,
    source: Input,
    lock: OutputLock,
    why_stop: Stops,
    transport: Transport | None,
    ready_replicas: ReadyReplicas | None,
    observer: Observer | None,
) -> BatchReport:
    spent_before = await patiently(
        partial(spent_by_earlier_runs, job, layout),
        f"reading the budget of earlier runs of {job.output_path}",
        sent=False,
    )
    run = await patiently(
        partial(Run.begin, job, layout, source, lock), f"reading the journal {layout.journal}", sent=False
    )
    own = transport is None
    try:
        await run.refuse_to_begin(why_stop)
        transport = transport or _opened(job, run)
        target = await run.discover(transport, why_stop)
        try:
            shape = shape_of(job, target)
        except UnsupportedTaskError as error:
            raise BatchInputError(str(error)) from error
        run.closes += [shape.close] if shape.close is not None else []
        await patiently(partial(check_first_rows, source, shape.render), "reading the first rows", sent=False)
        sender = run.sender(Engine(transport, target, shape), why_stop, observer)
        await run.begin_spending(spent_before)
        helpers = [
            asyncio.create_task(
                _follow_replicas([run.limiter.replicas_changed, run.accounts.replicas_changed], ready_replicas)
            ),
            asyncio.create_task(run.follow_spending()),
            asyncio.create_task(run.follow_lock()),
        ]
        try:
            await sender.run()
        except asyncio.CancelledError:
            # A cancellation leaves little time. Finished rows are already durable, and are published for readers.
            await to_its_end(
                partial(without_failing, run.publish_partial, "Writing the partial output of a cancelled batch")
            )
            raise
        finally:
            for helper in helpers:
                helper.cancel()
        return await run.finish()
    finally:
        run.close()
        if own and transport is not None:
            await transport.aclose()


def _opened(job: BatchJob, run: Run) -> Transport:
    """
    :raises BatchInputError: the URL, the token, the certificates or the proxy of the environment are not valid
    """
    try:
        return open_transport(
            job.url,
            job.token,
            run.limiter.ceiling,
            ASK,
            name=job.transport,
            max_response_bytes=job.max_response_bytes,
            connect_timeout=min(CONNECT_TIMEOUT, max(1.0, job.startup_timeout)),
        )
    except Exception as error:
        raise BatchInputError(
            f"cannot connect to {without_secrets(job.url)} ({type(error).__name__}: {error}). Check the URL, the "
            "token, the proxy settings, and the variables SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


async def _follow_replicas(tell: Sequence[Callable[[int, float], None]], ready_replicas: ReadyReplicas | None) -> None:
    """Report the number of ready replicas to all listeners, while the batch runs."""
    while ready_replicas is not None:
        try:
            count = await asyncio.to_thread(ready_replicas)
        except Exception as error:  # noqa: BLE001 - whatever the caller's function raises: the batch goes on without
            log.warning("could not read the number of ready replicas: %s", error)
        else:
            for each in tell:
                each(count, time.monotonic())
        await asyncio.sleep(REPLICAS_INTERVAL)
