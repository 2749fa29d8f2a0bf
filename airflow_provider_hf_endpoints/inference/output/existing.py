"""What an output path already contains: this job's finished or unfinished output, or another job's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, OutputConflictError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.versions import digest_of
from airflow_provider_hf_endpoints.inference.job.identity import CONTENT, FORMAT, VERSIONS, differences
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.journal.segments import hold_records
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.manifest import changed_files, read_manifest, report_in

log = logging.getLogger(__name__)

#: In a journal's description, beside the identity of its job: which results it is for, and who began it.
RUN = "run"


def finished_earlier(job: BatchJob, layout: OutputLayout, source: Input) -> BatchReport | None:
    """The report of the same job, finished earlier. For a shard that is already merged, see `shards/merged.py`.

    :raises OutputConflictError: the existing output must not be changed
    """
    manifest = read_manifest(layout, lenient=job.on_existing == "overwrite")
    if manifest is None:
        if job.on_existing == "fail" and (layout.results.exists() or layout.journal.exists()):
            raise OutputConflictError(
                f"{job.output_path} contains an unfinished output, and on_existing is 'fail'. Choose another "
                'output_path, or on_existing="resume"'
            )
        return None
    if job.on_existing == "overwrite" and not _finished_in_this_attempt(manifest, job, source):
        return None
    if job.on_existing == "fail":
        raise OutputConflictError(
            f"{job.output_path} contains a finished output, and on_existing is 'fail'. Choose another output_path, or "
            'on_existing="resume"'
        )
    same_job(manifest.get("identity", {}), job, source, _but_for(manifest, job, source))
    _same_listing(manifest, job, source)
    results_there(manifest, layout)
    return replace(report_in(manifest, layout), requests=0, retries=0)


def _finished_in_this_attempt(manifest: Mapping[str, Any], job: BatchJob, source: Input) -> bool:
    """Whether what stands there is what this job itself has written in place of an older output."""
    if not job.attempt_key or manifest.get("attempt") != job.attempt_key:
        return False
    if _differences(manifest, job, source, _but_for(manifest, job, source)):
        return False
    return not source.is_listed or digest_of(source) == manifest.get("rows_digest")


def _differences(manifest: Mapping[str, Any], job: BatchJob, source: Input, but_for: Sequence[str]) -> list[str]:
    return differences({**manifest.get("identity", {}), "format": FORMAT}, job.identity(source), but_for)


def _but_for(manifest: Mapping[str, Any], job: BatchJob, source: Input) -> Sequence[str]:
    """What may differ between a finished output and the job: the versions of files that have the same rows as then.

    A file that was copied, or downloaded once more, has another time. Its rows are paid already. They are read only
    where nothing else differs.
    """
    digest = manifest.get("rows_digest")
    if digest is None or not _differences(manifest, job, source, ()) or _differences(manifest, job, source, VERSIONS):
        return ()
    log.info(
        "the input of %s was written again since then; comparing its rows with those that were sent", job.output_path
    )
    try:
        return VERSIONS if digest_of(source) == digest else ()
    except BatchInputError as error:
        log.warning("the rows of the input cannot be compared: %s", error)
        return ()


def _same_listing(manifest: Mapping[str, Any], job: BatchJob, source: Input) -> None:
    """Refuse a finished output of a folder that contains other files by now. Lists the folder.

    :raises OutputConflictError: a file was added, removed or replaced
    """
    digest = manifest.get("rows_digest")
    if source.is_listed and digest is not None and digest_of(source) != digest:
        raise OutputConflictError(
            f"{job.output_path} contains the output of {source} with other files: a file was added, removed or "
            'replaced since. Choose another output_path, or set on_existing="overwrite" to send all files again'
        )


def results_there(manifest: Mapping[str, Any], layout: OutputLayout) -> None:
    """Check that the results of a finished output exist.

    :raises OutputConflictError: the manifest belongs to results in another form, or they are missing
    """
    name = manifest.get("files", {}).get("results", layout.results.name)
    end = 'choose another output_path, or set on_existing="overwrite" to send all rows again'
    if name != layout.results.name:
        raise OutputConflictError(
            f"{layout.manifest} belongs to the results in {name}, not to {layout.results.name}: {end}"
        )
    for file in changed_files(manifest, layout):
        missing = file.size is None
        if missing and (file.written == 0 or (file.what == "errors" and not manifest["report"].get("failed"))):
            continue  # a missing list of errors that was empty is no loss
        now = "are missing" if missing else f"were changed since: the file {file.how}"
        raise OutputConflictError(
            f"{layout.manifest} says that the output is finished, but its {file.what} {file.path} {now}. Restore "
            f"them, {end}"
        )


def refuse_foreign(layout: OutputLayout) -> None:
    """Refuse to overwrite results that, by manifest and journal, no batch wrote.

    :raises OutputConflictError: there are some
    """
    for path in layout.any_results:
        if path.exists():
            raise OutputConflictError(
                f"{path} already exists, and no manifest or journal shows that a batch wrote it. Move it away, choose "
                'another output_path, or set on_existing="overwrite" to replace it'
            )


def may_resume(begun: Mapping[str, Any], job: BatchJob, source: Input, layout: OutputLayout) -> bool:
    """Whether to continue with a journal; otherwise it is thrown away.

    :param begun: the journal's description of the job that began it
    :raises OutputConflictError: it is another job's, or its form is unknown
    """
    run = begun.get(RUN)
    run = run if isinstance(run, Mapping) else {}
    identity = {name: value for name, value in begun.items() if name != RUN} | {"format": FORMAT}
    different = differences(identity, job.identity(source), CONTENT)
    if job.on_existing == "overwrite":
        # Begun by an earlier try of the same attempt, so it is not the output to throw away.
        return run.get("attempt") == job.attempt_key and begun.get("format") == FORMAT and not different
    same_results = run.get("results", layout.results.name) == layout.results.name
    # `a.jsonl` and `a.parquet` have one journal. That it has no rows says nothing about results with another name.
    if different and same_results and not hold_records(layout.journal):
        # The job was corrected before any row was done. Nothing is lost.
        log.info("%s was begun by another job, and has no rows. It begins again with this job", job.output_path)
        return False
    _refuse_other_job(different, job)
    same_format(begun.get("format"), job)
    if not same_results:
        raise OutputConflictError(
            f"{layout.journal} belongs to an unfinished output in another format, {run['results']}. Finish that "
            'batch, choose another output_path, or set on_existing="overwrite" to send all rows again'
        )
    return True


def description_of(job: BatchJob, source: Input, layout: OutputLayout) -> dict[str, Any]:
    """The description, in a journal, of the job that began it."""
    overwrites = {"attempt": job.attempt_key} if job.on_existing == "overwrite" else {}
    return {**job.identity(source), RUN: {"results": layout.results.name, **overwrites}}


def same_job(old: Mapping[str, Any], job: BatchJob, source: Input, but_for: Sequence[str] = ()) -> None:
    """Refuse to change another job's output.

    :param but_for: names of the identity that may differ
    :raises OutputConflictError: it is another job's
    """
    _refuse_other_job(differences({**old, "format": FORMAT}, job.identity(source), but_for), job)


def _refuse_other_job(different: Sequence[str], job: BatchJob) -> None:
    if different:
        raise OutputConflictError(
            f"{job.output_path} contains the output of another job: {'; '.join(different)}. Choose another "
            'output_path, or set on_existing="overwrite" to discard that output'
        )


def same_format(found: object, job: BatchJob) -> None:
    """Refuse to continue with a journal of another form.

    :raises OutputConflictError: its form is that of another release
    """
    if found != FORMAT:
        raise OutputConflictError(
            f"another version of this provider began the unfinished output in {job.output_path} (journal format "
            f"{found}; this version has {FORMAT}). Finish it with that version, or discard it with "
            'on_existing="overwrite"'
        )
