"""The checks of a job's arguments. Every error names the argument, its value, and what is allowed.

Each check is about one argument, or a few together, as plain values. `job.py` decides which checks a job must
pass.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from airflow_provider_hf_endpoints.inference.engines import dialect_of, traits
from airflow_provider_hf_endpoints.inference.engines.asking.spelling import misspelt
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, CLASSIFY, EMBED, GENERATE, canonical_task
from airflow_provider_hf_endpoints.inference.engines.parameters import contradiction, mean_the_same
from airflow_provider_hf_endpoints.inference.http.address import endpoint_url
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath


def one_of(name: str, value: object, known: Sequence[object]) -> None:
    """
    :raises ValueError: the value is not a known one
    """
    if value not in known:
        raise ValueError(f"{name}={value!r} is not valid. Use one of {', '.join(map(str, known))}")


def kinds(job: object, hints: Mapping[str, Any]) -> None:
    """
    :param hints: the annotation of each argument; only numbers, texts and mappings are checked
    :raises ValueError: an argument has another type, or is not a finite number
    """
    for name, hint in hints.items():
        value, alternatives = getattr(job, name), _alternatives(hint)
        if any(_is_of(value, each) for each in alternatives):
            continue
        expected = " or ".join(dict.fromkeys(_called(each) for each in alternatives))
        raise ValueError(f"{name} must be {expected}, not {value!r}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return True  # the allowed words are checked by name
    if kind is NoneType:
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bool):
        return isinstance(value, kind)
    return isinstance(value, Mapping) if get_origin(kind) is Mapping else True


def _called(kind: Any) -> str:
    names = {NoneType: "None", float: "a number", int: "an integer", str: "a text", bool: "True or False"}
    return names.get(kind, "a mapping")


def not_empty(**values: str | None) -> None:
    """
    :raises ValueError: one of the values is an empty text
    """
    for name, value in values.items():
        if value is not None and not value.strip():
            raise ValueError(f"{name} is an empty text, perhaps from a template. Give a name, or leave {name} out")


def url(value: str) -> None:
    """
    :raises ValueError: it is not an HTTP URL
    """
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError(f"url must start with https:// or http://, not {value!r}")
    try:
        _ = urlsplit(endpoint_url(value)).port
    except ValueError as error:
        raise ValueError(f"url is not valid ({error}): {value!r}") from None


def listed(name: str, value: object) -> None:
    """
    :raises ValueError: it is a text, whose letters would count as entries, or not a list of texts
    """
    if isinstance(value, str):
        raise ValueError(f"{name} must be a list, not the text {value!r}. Give [{value!r}]")
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} must be a list of texts, not {value!r}")


def paths(name: str, value: object) -> None:
    """
    :param value: a path, or a list of paths
    :raises ValueError: one of them is not a path
    """
    for each in value if isinstance(value, list | tuple) else [value]:
        try:
            path = str(as_upath(each))
            if "\0" in path:
                raise ValueError("it contains a NUL")
            os.fsencode(path)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a path or a list of paths, not {value!r}: {error}") from None


def seconds(**values: float) -> None:
    """
    :raises ValueError: one of the values is not above 0
    """
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} must be greater than 0 seconds, not {value!r}")


def at_least_zero(**values: float) -> None:
    """
    :raises ValueError: one of the values is less
    """
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must be 0 or greater, not {value!r}")


def share(name: str, value: float | None) -> None:
    """
    :raises ValueError: it is not between 0 and 1
    """
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} must be a share of the rows from 0 to 1, such as 0.2, or None, not {value!r}")


def at_least_one(**values: int) -> None:
    """
    :raises ValueError: one of the values is less
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value!r}")


def max_concurrency(value: object) -> None:
    """
    :raises ValueError: neither "auto" nor a number of requests
    """
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f'max_concurrency must be "auto" or at least 1, not {value!r}')


def hedge_after(value: Any) -> None:
    """
    :raises ValueError: neither None, "auto" nor seconds
    """
    if value not in (None, "auto") and not (_is_of(value, float) and value > 0):
        raise ValueError(f'hedge_after must be greater than 0 seconds, "auto" or None, not {value!r}')


def order_window(value: int) -> None:
    """
    :raises ValueError: it is not a number of rows
    """
    if value < 0:
        raise ValueError(f"order_window must be a number of rows (0 for the input's order), not {value!r}")


def retry_budget(value: float | None) -> None:
    """
    :raises ValueError: it is not a share
    """
    if value is not None and not value >= 0:
        raise ValueError(f"retry_budget must be a share of the rows, such as 0.2, or None, not {value!r}")


def rows_per_request(value: Any, *, may_share: bool) -> None:
    """
    :param may_share: whether rows of the job may share a request, on an engine that takes arrays
    :raises ValueError: neither "auto" nor a valid number of rows per request
    """
    if value == "auto":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f'rows_per_request must be "auto" or at least 1, not {value!r}')
    if value > 1 and not may_share:
        raise ValueError(
            f"rows_per_request={value} is not possible here. Only {EMBED} and, on TEI, {CLASSIFY} take several rows "
            "in one request, from a prompt or the column `inputs` and without row_parameters. Leave rows_per_request "
            "out"
        )


def no_stream(**given: Any) -> None:
    """
    :param given: arguments that go into requests
    :raises ValueError: one of them requests a stream
    """
    for name, value in given.items():
        if isinstance(value, Mapping) and value.get("stream"):
            raise ValueError(f"{name} contains `stream`, but only complete responses are read here. Leave `stream` out")


def rows_own(**given: Mapping[str, Any] | None) -> None:
    """
    :param given: arguments that go into requests besides the row's values
    :raises ValueError: one of them would replace the row's value, so that all requests would be equal
    """
    for name, value in given.items():
        for own in ("messages", "prompt", "input", "inputs"):
            if own in (value or {}):
                raise ValueError(f"{name}[{own!r}] would replace the {own} of each row. Leave it out")


def has_texts(name: str, task: str) -> None:
    """
    :param name: an argument about the text of an answer
    :raises ValueError: the answers to the task are not texts that an engine can be asked to form
    """
    if canonical_task(task) not in (CHAT, GENERATE):
        raise ValueError(
            f"{name} is given, but task={task!r} does not generate a text that could have a schema. Leave {name} out, "
            f"or use {CHAT} or {GENERATE}"
        )


def body_alone(body: Any, parameters: Mapping[str, Any] | None) -> None:
    """
    :raises ValueError: parameters are given besides a template of the whole body
    """
    if body is not None and parameters:
        raise ValueError("body is given together with parameters. Write the parameters into the body")


def parameters_apart(parameters: Mapping[str, Any], row_parameters: Mapping[str, Any]) -> None:
    """
    :raises ValueError: a row's parameter is also one of all rows, by the same name or another name for it
    """
    for name, of_row in ((name, of_row) for name in parameters for of_row in row_parameters):
        if mean_the_same(name, of_row):
            raise ValueError(
                f"row_parameters[{of_row!r}] and parameters[{name!r}] mean the same to the engine, so one of them "
                "would be ignored. Leave one of them out"
            )


def parameters_agree(**given: Mapping[str, Any] | None) -> None:
    """
    :param given: arguments that go into requests
    :raises ValueError: one of them has two values for one parameter, by two names
    """
    for name, value in given.items():
        if (names := contradiction(value or {})) is not None:
            one, other = names
            raise ValueError(
                f"{name} has {one!r} and {other!r}, which mean the same to the engine, with different values, so one "
                "of them would be ignored. Leave one of them out"
            )


def parameters_spelt(engine: str | None, **given: Mapping[str, Any] | None) -> None:
    """
    :param engine: as the job names it, None if it is not known yet
    :param given: arguments that go into requests
    :raises ValueError: one of them has a misspelt name, and the engine has no custom handler that could take the name
    """
    dialect = dialect_of(engine)
    if dialect is None or traits(dialect).any_names:
        return
    for argument, value in given.items():
        for name, meant in misspelt(value or {}):
            raise ValueError(
                f"{argument} has {name!r}. Did you mean {meant!r}? The engine {engine} would ignore {name!r}, or "
                "refuse it. If the engine has this parameter, send it in a body"
            )


def lines_alone(*others: Any) -> None:
    """
    :param others: arguments from which requests are made
    :raises ValueError: one is given besides lines of an OpenAI Batch
    """
    if any(others):
        raise ValueError(
            "lines of an OpenAI Batch file are complete requests. Remove the template, id_column and parameters"
        )
