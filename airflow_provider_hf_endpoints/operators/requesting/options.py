"""What a batch takes beside the operator's own arguments, checked when the DAG is read and not when the endpoint bills.

The rules for values are those of `inference.job`; here is which names there are, and who gives what.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.operators.checking.names import did_you_mean

#: Fields of a job that are arguments of the operator and also options in `job_options`.
BOTH = (
    "input_format",
    "encoding",
    "delimiter",
    "keep_columns",
    "max_response_bytes",
    "on_existing",
    "response_schema",
    "transport",
)
# Fields that no DAG gives, by who does.
TOLD = {
    "url": "the operator reads it from the endpoint",
    "token": "it comes from the connection",
    "price_per_hour": "the operator reads it from the service",
    "budget_key": "the operator sets it from the task's tries",
    "shared_budgets": "the group and the planner set it",
    "job_timeout": "use the argument batch_timeout",
}
# What other tools call an option.
_MEANT = {"max_retries": "max_attempts", "retries": "max_attempts", "num_retries": "max_attempts"}
FIELDS = {field.name: field.default for field in fields(BatchJob)}


def options_of(given: Mapping[str, Any] | None, arguments: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """The options of a job: those of `job_options`, and those that are arguments of the operator and are not at their
    default.

    :param given: `job_options`
    :param arguments: the values of `BOTH` as the operator got them
    :param own: the other arguments of the operator
    :raises ValueError: a name or a value is not valid
    """
    options = dict(given or {})
    for name in options:
        _check_name(name, own)
    for name, value in arguments.items():
        if value == FIELDS[name]:
            continue
        if name in options:
            raise ValueError(f"{name} is given both as an argument and in job_options. Give it only once.")
        options[name] = value
    _check_values(options)
    return options


def _check_name(name: str, own: Collection[str]) -> None:
    if name in own:
        raise ValueError(f"job_options: {name!r} is an argument of the operator. Give it as {name}=….")
    if name in TOLD:
        raise ValueError(f"job_options: {name!r} cannot be set here: {TOLD[name]}.")
    if name not in FIELDS:
        known = sorted(set(FIELDS) - set(own) - set(TOLD))
        meant = _MEANT.get(name, name)
        hint = did_you_mean(meant, known, otherwise=" The options are listed in docs/reference/batch.md.")
        raise ValueError(f"job_options: unknown {name!r}.{hint}")


def _check_values(options: Mapping[str, Any]) -> None:
    """By a job that has nothing else: what depends on templates, input and endpoint is checked when the task runs."""
    shares = options.get("rows_per_request", "auto") != "auto"
    apart = {"route", "response_schema"} if shares else {"route"}
    BatchJob(
        url="https://endpoint.invalid",
        task="feature-extraction" if shares else "text-generation",
        input_path="in.jsonl",
        output_path="out",
        prompt=None if options.get("input_format") == "openai-batch" else "{text}",
        **{name: value for name, value in options.items() if name not in apart},
    )
