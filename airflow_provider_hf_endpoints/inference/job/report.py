"""The report of a batch: the counts that it returns and that its manifest contains."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The outcome of a batch, small enough for an XCom.

    A count (`int`) is the sum of the shards' counts in the report of a merge. What follows from other fields is a field
    without an argument (`field(init=False)`), computed in `__post_init__`.

    :param output_path: as the job was given it
    :param results_path: the file of the results, also where `output_path` is a folder
    :param errors_path: the file of the rows that failed
    :param manifest_path: the file that is written last
    :param rows: rows with a line in the output; all rows of the input when `complete`
    :param succeeded: rows with an answer
    :param failed: rows with an error
    :param truncated: answers that stop at a token limit (`finish_reason` `length`)
    :param filtered: answers that the engine withheld
    :param empty: answers without any text
    :param prompt_tokens: of all answers, in all runs, as counted by the engine
    :param completion_tokens: the same for generated tokens
    :param discarded_tokens: of both, those of answers that are not in the output: they did not match the schema, were
        not valid, or their row changed afterwards
    :param resumed: rows that an earlier run of the same job finished
    :param requests: requests that this run sent, with retries; 0 if the job was already finished
    :param retries: of those, the ones beyond a row's first
    :param hedges: of those, second requests for rows whose first was in flight
    :param errors: failed rows by kind of error
    :param seconds: duration of this run
    :param cost: what the endpoint's replicas cost while the batch ran, in all its runs: `replica_minutes`,
        `price_per_hour`, `usd`, `usd_per_1000_rows`, `usd_per_million_tokens`, `rows_per_replica_second`
    :param engine: its name by the service, else its dialect
    :param model: its name in requests
    :param complete: whether every row of the input has its line; false if the batch stopped early
    """

    output_path: str
    errors_path: str
    manifest_path: str
    results_path: str = ""
    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    truncated: int = 0
    filtered: int = 0
    empty: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    discarded_tokens: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    hedges: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = True
    engine: str | None = None
    model: str | None = None
    cost: dict[str, Any] | None = None

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def summary(self) -> str:
        """One line for a log."""
        state = "finished" if self.complete else "not finished"
        rate = self.rows / self.seconds if self.seconds else 0.0
        return (
            f"batch {state}: {self.rows} rows in {self.seconds:.1f} s ({rate:.1f}/s), {self.succeeded} answered, "
            f"{self.failed} failed {self.errors or ''}, {self.truncated} truncated, {self.empty} empty, "
            f"{self.resumed} done before, {self.requests} requests ({self.retries} retries), "
            f"{self.prompt_tokens} prompt and {self.completion_tokens} completion tokens, to {self.output_path}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return asdict(self)
