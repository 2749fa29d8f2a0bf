"""A row on its way, and what has become of all of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.inference.inputs.lines import Line, RowId
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest


@dataclass(slots=True)
class Item:
    """A row on its way.

    :param line: what the input has of it
    :param request: the request for this row alone, by which it is known
    :param attempts: requests with it that the engine worked on, or is working on
    """

    line: Line
    key: int
    identity: RowId
    request: RowRequest
    columns: dict[str, Any] | None
    line_key: int = 0
    attempts: int = 0

    @property
    def index(self) -> int:
        """Its place in the input."""
        return self.line.place


@dataclass(slots=True)
class Parcel:
    """What one request carries: a row, or several of them in an array.

    :param failures: how often the engine failed on it
    :param refusals: how often it was not taken at all
    :param first_sent: when it, or what it is a part of, was sent for the first time; 0 for not yet
    :param part: it is a part of one that failed
    """

    rows: list[Item]
    request: RowRequest
    failures: int = 0
    refusals: int = 0
    first_sent: float = 0.0
    part: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of this run, for the log and the report.

    :param begun: rows that were sent at least once
    :param tokens: completion tokens
    :param errors: failed rows by kind of error
    :param faults: requests that failed, by kind of error, whatever became of their rows
    :param first_words: the first message of each kind
    """

    done: int = 0
    failed: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    hedges: int = 0
    begun: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    first_words: dict[str, str] = field(default_factory=dict)
