"""Likely mistakes in a job, logged before anything is sent. None of them is an error."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from airflow_provider_hf_endpoints.inference.engines.asking.spelling import misspelt
from airflow_provider_hf_endpoints.inference.job.job import BatchJob

log = logging.getLogger(__name__)

_ID = "id"
_DOUBLE_BRACES = re.compile(r"(?<!\{)\{\{\s*(\w+)\s*\}\}(?!\})")


def suggest_otherwise(job: BatchJob, columns: Collection[str]) -> None:
    """Look for an unused `id`, double braces and misspelt parameters.

    :param columns: of the first row
    """
    _suggest_ids(job, columns)
    _warn_of_double_braces(job, columns)
    _warn_of_misspelt_parameters(job)


def _suggest_ids(job: BatchJob, columns: Collection[str]) -> None:
    first_shard = job.shard is None or job.shard.number == 0
    if job.names_rows_by is None and first_shard and _ID in columns:
        log.info(
            "The input has a column %r. The field %r of the output does not contain this column: it contains the "
            "row's place in the input. To use the column, set id_column=%r.",
            _ID,
            _ID,
            _ID,
        )


def _warn_of_double_braces(job: BatchJob, columns: Collection[str]) -> None:
    """Jinja's `{{ text }}` beside a valid `{title}`: every row would be sent with the name and not the value."""
    for argument in ("prompt", "messages", "system", "body"):
        for name in dict.fromkeys(_DOUBLE_BRACES.findall(str(getattr(job, argument)))):
            if name in columns:
                log.warning(
                    "%s contains {{%s}}, so every request contains the text {%s} and not the value of this column. For "
                    "the value, use single braces: {%s}.",
                    argument,
                    name,
                    name,
                    name,
                )


def _warn_of_misspelt_parameters(job: BatchJob) -> None:
    """For engines that may take any name. For others, the request is refused."""
    for argument in ("parameters", "row_parameters"):
        for name, meant in misspelt(getattr(job, argument) or {}):
            log.warning(
                "%s contains %r. Did you mean %r? %r is sent as it is to an engine that may have a custom handler. "
                "Most engines ignore names that they do not know.",
                argument,
                name,
                meant,
                name,
            )
