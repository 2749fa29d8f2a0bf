"""Likely mistakes in a job, logged before anything is sent. None of them is an error."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from difflib import get_close_matches

from airflow_provider_hf_endpoints.inference.engines.parameters import KNOWN
from airflow_provider_hf_endpoints.inference.job.job import BatchJob

log = logging.getLogger(__name__)

_ID = "id"
_DOUBLE_BRACES = re.compile(r"(?<!\{)\{\{\s*(\w+)\s*\}\}(?!\})")
_NEAR = 0.85  # similarity of two names, by `difflib`: one letter of seven may differ


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
    """Most engines ignore an unknown parameter, so `max_token` would limit nothing."""
    for argument in ("parameters", "row_parameters"):
        for name in getattr(job, argument) or {}:
            near = [] if name in KNOWN else get_close_matches(name, KNOWN, 1, _NEAR)
            if near:
                log.warning(
                    "%s contains %r. Did you mean %r? %r is sent as it is, and most engines ignore names that they do "
                    "not know.",
                    argument,
                    name,
                    near[0],
                    name,
                )
