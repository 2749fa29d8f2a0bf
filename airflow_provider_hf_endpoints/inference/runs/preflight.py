"""Checks of a job before anything is sent or written: its files, its rows, their ids.

The checks themselves are in `inputs/`; here they get the job's settings. The endpoint's dialect:
`discover.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.check import check_rows, columns_of
from airflow_provider_hf_endpoints.inference.inputs.files import Input, find_input
from airflow_provider_hf_endpoints.inference.inputs.ids import hashes_of
from airflow_provider_hf_endpoints.inference.inputs.versions import versions_of
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.output.layout import layout_of_whole
from airflow_provider_hf_endpoints.inference.output.places import require_places
from airflow_provider_hf_endpoints.inference.output.writers import require_writer
from airflow_provider_hf_endpoints.inference.runs.suggestions import suggest_otherwise
from airflow_provider_hf_endpoints.inference.shards.planner import only_shard
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath, require_scratch, require_store


def find_job_input(job: BatchJob) -> Input:
    """The files that a job reads.

    :raises BatchInputError: there is none, or the job would write into its input
    :raises BatchStoreError: this machine cannot gather the output
    """
    given = job.input_path if isinstance(job.input_path, list | tuple) else [job.input_path]
    for who, path in (*(("input_path", each) for each in given), ("output_path", job.output_path)):
        require_store(who, as_upath(path))
    require_scratch(as_upath(job.output_path))
    source = find_input(job.input_path, job.input_format, job.reads_columns, job.csv_form, job.template.media_columns)
    layout = layout_of_whole(job)
    source.refuse_output(layout.results, layout.errors, layout.manifest)
    require_writer(layout.results)
    require_places(layout)
    if layout.results.name.endswith(".parquet") and job.input_format == "openai-batch":
        raise BatchInputError(
            f"output_path {job.output_path} is not valid: answers in the OpenAI Batch format are JSON lines. Use the "
            "suffix .jsonl"
        )
    if job.shard is not None:
        return only_shard(job, job.shard, source)  # the plan contains the files' versions
    return replace(source, versions=versions_of(source))


def check_input(
    job: BatchJob, source: Input | None = None, go_on: Callable[[], None] = lambda: None, *, suggest: bool = False
) -> list[array[int]]:
    """Refuse an input that is not valid, before anything is sent.

    :param source: the job's files, None to find them
    :param go_on: called at intervals if the whole input is read; may raise
    :param suggest: whether to log likely mistakes, see `suggestions.py`
    :return: the sorted hashes of the ids, if rows have ids
    :raises BatchInputError: there is no file, it is empty or incomplete, its rows lack a column, an id is missing or
        doubled
    """
    source = source or find_job_input(job)
    stop = job.on_bad_input == "stop"
    may_be_empty = job.shard is not None or job.on_empty == "succeed"
    first = check_rows(source, job.columns, keep=job.keep_columns, stop_on_bad=stop, may_be_empty=may_be_empty)
    ids = job.names_rows_by
    # The paths of a listing differ. A shard's are written all the same: a merge compares them.
    differ = source.is_listed and ids == "path" and job.shard is None
    hashes = [] if ids is None or differ else hashes_of(source, ids, stop_on_bad=stop, go_on=go_on)
    if suggest and first is not None:
        suggest_otherwise(job, columns_of(first, source))
    return hashes
