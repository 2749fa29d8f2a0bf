"""The settings of a batch: `BatchJob`, and what follows from its fields. The checks of a field are in `checks.py`."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from airflow_provider_hf_endpoints import __version__
from airflow_provider_hf_endpoints._redact import redacting
from airflow_provider_hf_endpoints.inference.engines import canonical_task, dialect_of, traits
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.formats import FILES, CsvForm, InputFormat
from airflow_provider_hf_endpoints.inference.job import checks
from airflow_provider_hf_endpoints.inference.job.budget import Budget, SharedBudget
from airflow_provider_hf_endpoints.inference.job.identity import FORMAT, digest
from airflow_provider_hf_endpoints.inference.job.output_form import OutputFormat, suffix_of_results
from airflow_provider_hf_endpoints.inference.job.shard import Shard, share
from airflow_provider_hf_endpoints.inference.requests import openai_batch, structured
from airflow_provider_hf_endpoints.inference.requests.template import Template
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, as_upath
from airflow_provider_hf_endpoints.inference.wire import MAX_MEDIA_BYTES, MAX_RESPONSE_BYTES, TransportName


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """Many rows for one endpoint.

    :param url: the endpoint's URL
    :param token: sent with every request; never shown
    :param task: `chat-completion`, `text-generation`, `feature-extraction` … as `InferenceClient.run` takes
        it
    :param input_path: the rows, in any of the formats of `input_format`, also compressed (`.gz`, `.zst`): a file, a
        folder, a pattern (`data/*.jsonl`) or a list of them; text, Path, UPath or ObjectStoragePath
    :param output_path: the results file, if the name ends in `.jsonl`, `.parquet` or another ending of
        `output_form.RESULT_SUFFIXES`; any other path is a folder for the results
    :param input_format: the format of all files, such as `csv`, see `inputs.formats.InputFormat`; `auto` uses each
        file's name, and JSONL if the name does not say
    :param encoding: of CSV files, as Python names it; None for UTF-8. Text that is in another encoding is refused
    :param delimiter: one character between the values of CSV files, None for the comma, in `.tsv` the tab
    :param output_format: of the results in a folder: `jsonl`, which is the default, or `parquet`; the name of an output
        that is a file tells its own
    :param engine: key of the endpoint's `model.image`; None to detect the engine
    :param model: model name in requests; None to read it from `/v1/models`
    :param prompt: template over columns, `"Summarise: {text}"`
    :param messages: template of a chat's messages
    :param body: template of the whole body, for routes and fields that the task does not know
    :param system: template of a system prompt before `prompt` or `messages`
    :param route: path to post `body` to, None for the task's own
    :param id_column: column with a unique id in every row; None for the position of the row
    :param keep_columns: columns to carry into the output, under `columns`
    :param keep_response: keep the engine's whole response, under `response`. Such rows do not share requests
    :param parameters: sent with every row, under OpenAI's or TGI's names
    :param row_parameters: parameters that differ from row to row, as templates over columns: `{"seed": "{seed}"}` sends
        the value of the column `seed`. Such rows do not share requests
    :param response_schema: JSON schema or pydantic model that every text has to match; `output` is then the parsed
        value. A text that does not match is requested again, up to `max_attempts` times
    :param rows_per_request: rows per request, if the engine accepts arrays (embeddings; classification on TEI): a
        number, or `auto` for the engine's maximum, and fewer after a refusal
    :param order_window: number of rows within which the batch may reorder requests: rows with the same beginning are
        sent together, so the engine can use its prefix cache, and at the end long rows go first. 0 for the input's
        order
    :param max_concurrency: requests in flight, or `auto` to find the number
    :param concurrency_ceiling: maximum for `auto`
    :param max_attempts: attempts per row when the engine fails
    :param retry_budget: maximum number of retries after engine failures, as a share of the rows begun (the first 100,
        and twice the limit, do not count); above it the batch stops. None for no limit
    :param request_timeout: maximum seconds for one response; after 100 responses, the first attempt of a row gets four
        times the slowest latency so far
    :param row_timeout: seconds after which a row fails if every attempt was refused
    :param hedge_after: seconds after which a row without a response is sent a second time; the first response counts.
        `auto` for three times the 95th percentile of the last 500 latencies; None for never
    :param startup_timeout: seconds to wait for an endpoint that is not ready, at the start or later; at most 120 for a
        host that no name server knows
    :param probe_interval: seconds between two requests to an endpoint that is not ready
    :param job_timeout: seconds for the whole run, all waiting included, until its last answer; what is done is written
        after that
    :param drain_timeout: seconds that requests in flight may still take when the batch has to stop
    :param shard: the part of the input that this job does, as `plan_batch` returned it; its output goes below
        `output_path` until `merge_shards` puts all of them together
    :param concurrent_shards: how many shards run at the same time at most; default all. `max_concurrency` and
        `concurrency_ceiling` are of all shards together
    :param on_bad_input: a line that is not a row: `error_row` writes an error in its place, `stop` ends the batch
    :param on_empty: an input without a row: `fail`, or `succeed` with an empty output
    :param on_existing: what to do if the output exists: `resume` the same job, `overwrite` it, or `fail`
    :param max_error_rate: share of failed rows above which the batch stops, None for never
    :param max_error_rate_after: rows before `max_error_rate` counts
    :param fail_on_errors: raise `BatchFailed` at the end when any row failed
    :param max_cost: USD for all runs of the job together; needs `price_per_hour`. The batch stops when the budget is
        spent, or early if the budget will not cover the remaining rows; finished rows are kept
    :param max_runtime: seconds of wall-clock time for all runs of the job together. For a shard, both limits are for
        all shards together, and count from the planning of the batch
    :param price_per_hour: USD per replica and hour of the endpoint; also used for the cost in the report
    :param rows_per_replica_second: an earlier run's pace, as its report has it under `cost`: a batch that does not fit
        into the budget at that pace is refused before it sends anything
    :param budget_key: a run with another key starts a new budget
    :param attempt_key: with `on_existing="overwrite"`, names the attempt that overwrites: a later run with the same key
        resumes it
    :param shared_budgets: further budgets, for the cost of the endpoint by all its users
    :param checkpoint_interval: seconds between two durable groups on an object store; at most 1 on a local
        disk
    :param progress_interval: seconds between two lines in the log
    :param transport: HTTP client: `auto` for this package's own client, or httpx behind a proxy; `httpx` for httpx
        always
    :param max_response_bytes: maximum size of one response in bytes; a larger response is an error of its row
    :param max_media_bytes: maximum size of one image, sound or video of a row in bytes; a larger file is an error of
        its row
    """

    url: str
    token: str | None = field(default=None, repr=False)
    task: str
    input_path: PathLike | Sequence[PathLike]
    output_path: PathLike
    input_format: InputFormat = "auto"
    encoding: str | None = None
    delimiter: str | None = None
    output_format: OutputFormat | None = None
    engine: str | None = None
    model: str | None = None
    prompt: str | None = None
    messages: Any = None
    body: Any = None
    system: str | None = None
    route: str | None = None
    id_column: str | None = None
    keep_columns: tuple[str, ...] = ()
    keep_response: bool = False
    parameters: Mapping[str, Any] | None = None
    row_parameters: Mapping[str, Any] | None = None
    response_schema: Any = None
    rows_per_request: int | Literal["auto"] = "auto"
    order_window: int = 2000
    max_concurrency: int | Literal["auto"] = "auto"
    concurrency_ceiling: int = 1000
    max_attempts: int = 5
    retry_budget: float | None = 0.2
    request_timeout: float = 600.0
    row_timeout: float = 3600.0
    hedge_after: float | Literal["auto"] | None = None
    startup_timeout: float = 1200.0
    probe_interval: float = 5.0
    job_timeout: float = 7 * 24 * 3600.0
    drain_timeout: float = 30.0
    shard: Shard | None = None
    concurrent_shards: int | None = None
    on_bad_input: Literal["error_row", "stop"] = "error_row"
    on_empty: Literal["fail", "succeed"] = "fail"
    on_existing: Literal["resume", "overwrite", "fail"] = "resume"
    max_error_rate: float | None = 0.5
    max_error_rate_after: int = 100
    fail_on_errors: bool = False
    max_cost: float | None = None
    max_runtime: float | None = None
    price_per_hour: float | None = None
    rows_per_replica_second: float | None = None
    budget_key: str = ""
    attempt_key: str = ""
    shared_budgets: tuple[SharedBudget, ...] = ()
    checkpoint_interval: float = 5.0
    progress_interval: float = 10.0
    transport: TransportName = "auto"
    max_response_bytes: int = MAX_RESPONSE_BYTES
    max_media_bytes: int = MAX_MEDIA_BYTES

    @redacting()
    def __post_init__(self) -> None:
        if not self.url:
            raise ValueError(
                "the endpoint has no URL: it is not deployed yet, or was deleted. Create or resume it first"
            )
        checks.kinds(self, _hints())
        checks.not_empty(task=self.task, model=self.model, id_column=self.id_column)
        checks.url(self.url)
        dialect_of(self.engine)
        for name in ("parameters", "row_parameters", "body", "messages"):
            object.__setattr__(self, name, plain(name, getattr(self, name)))
        _ = self.template, self.budget, self.csv_form
        for shared in self.every_shared_budget:
            shared.spending(self.price_per_hour, self.rows_per_replica_second, shared.began, 0.0)
        checks.listed("keep_columns", self.keep_columns)
        checks.paths("input_path", self.input_path)
        checks.paths("output_path", (self.output_path,))
        checks.one_of("on_bad_input", self.on_bad_input, ("error_row", "stop"))
        checks.one_of("on_empty", self.on_empty, ("fail", "succeed"))
        checks.one_of("on_existing", self.on_existing, ("resume", "overwrite", "fail"))
        checks.one_of("input_format", self.input_format, get_args(InputFormat))
        checks.one_of("output_format", self.output_format, (None, *get_args(OutputFormat)))
        checks.one_of("transport", self.transport, get_args(TransportName))
        suffix_of_results(as_upath(self.output_path), self.output_format)
        self._check_requests()
        self._check_pace()
        self._check_shard()

    def _check_requests(self) -> None:
        checks.rows_per_request(self.rows_per_request, may_share=self._may_share_requests)
        checks.body_alone(self.body, self.parameters)
        checks.rows_own(parameters=self.parameters, row_parameters=self.row_parameters)
        checks.no_stream(parameters=self.parameters, row_parameters=self.row_parameters, body=self.body)
        checks.parameters_spelt(self.engine, parameters=self.parameters, row_parameters=self.row_parameters)
        checks.parameters_agree(parameters=self.parameters, row_parameters=self.row_parameters)
        checks.parameters_apart(self.parameters or {}, self.row_parameters or {})
        if self.response_schema is not None:
            structured.as_json_schema(self.response_schema)
            checks.has_texts("response_schema", self.task)
            if self.body is not None or self._has_whole_requests:
                raise ValueError("body is given together with response_schema. Write the schema into the body")
        if self._has_whole_requests:
            checks.lines_alone(
                self.prompt,
                self.messages,
                self.body,
                self.system,
                self.route,
                self.id_column,
                self.parameters,
                self.row_parameters,
            )

    def _check_pace(self) -> None:
        checks.max_concurrency(self.max_concurrency)
        checks.seconds(
            request_timeout=self.request_timeout,
            row_timeout=self.row_timeout,
            startup_timeout=self.startup_timeout,
            job_timeout=self.job_timeout,
            probe_interval=self.probe_interval,
        )
        checks.hedge_after(self.hedge_after)
        checks.order_window(self.order_window)
        checks.at_least_one(
            max_attempts=self.max_attempts,
            concurrency_ceiling=self.concurrency_ceiling,
            max_response_bytes=self.max_response_bytes,
            max_media_bytes=self.max_media_bytes,
        )
        checks.retry_budget(self.retry_budget)
        checks.share("max_error_rate", self.max_error_rate)
        checks.at_least_zero(
            drain_timeout=self.drain_timeout,
            checkpoint_interval=self.checkpoint_interval,
            progress_interval=self.progress_interval,
            max_error_rate_after=self.max_error_rate_after,
        )

    def _check_shard(self) -> None:
        if self.concurrent_shards is not None and self.concurrent_shards < 1:
            raise ValueError(f"concurrent_shards must be at least 1, not {self.concurrent_shards!r}")
        if self.shard is None:
            return
        object.__setattr__(self, "shard", Shard.parse(self.shard))
        _ = self.limits
        if self.output_format is not None:
            raise ValueError(
                "output_format is not allowed for a shard: the merge uses the suffix of output_path. Leave it out"
            )
        if self.on_existing != "resume":
            raise ValueError(f"on_existing={self.on_existing!r} is not allowed for a shard. Give it to the planner")

    @property
    def _has_whole_requests(self) -> bool:
        """Whether a line of the input is a whole request."""
        return self.input_format == "openai-batch"

    @property
    def _may_share_requests(self) -> bool:
        whole = self.body is not None or self._has_whole_requests
        return (
            not whole
            and not self.row_parameters
            and not self.keep_response
            and canonical_task(self.task) in (EMBED, CLASSIFY)
        )

    def may_share_requests(self, target: Target) -> bool:
        """Whether several rows may share a request to this engine."""
        return self._may_share_requests and canonical_task(self.task) in traits(target.dialect).array_tasks

    @property
    def template(self) -> Template:
        """Which parts of a row go into its request."""
        return Template(
            task=self.task,
            prompt=self.prompt,
            messages=self.messages,
            body=self.body,
            system=self.system,
            route=self.route,
            row_parameters=self.row_parameters,
            rows_are_files=self.input_format == FILES.name,
        )

    @property
    def csv_form(self) -> CsvForm | None:
        """The form of CSV files; None if the job does not say."""
        unsaid = self.encoding is None and self.delimiter is None
        return None if unsaid else CsvForm.of(self.encoding, self.delimiter)

    @property
    def budget(self) -> Budget:
        """The budget of all its runs together; for a shard, see `every_shared_budget`."""
        alone = self.shard is None
        return Budget(
            max_cost=self.max_cost if alone else None,
            max_runtime=self.max_runtime if alone else None,
            price_per_hour=self.price_per_hour,
            rows_per_replica_second=self.rows_per_replica_second,
            key=self.budget_key,
        )

    @property
    def every_shared_budget(self) -> tuple[SharedBudget, ...]:
        """The shared budgets, with that of the shards. Shards count from the planning on, so all end together."""
        if self.shard is None or (self.max_cost is None and self.max_runtime is None):
            return self.shared_budgets
        began = time.time() if self.shard.began is None else self.shard.began
        return (*self.shared_budgets, SharedBudget.of_shards(began, self.max_cost, self.max_runtime))

    @property
    def senders(self) -> int:
        """How many jobs send to the endpoint at the same time, with this one."""
        return 1 if self.shard is None else min(self.shard.of, self.concurrent_shards or self.shard.of)

    @property
    def limits(self) -> tuple[int | None, int]:
        """Requests in flight, None to find the number, and the maximum: for a shard, its share of both.

        :raises ValueError: there is less than one request per shard
        """
        fixed = None if self.max_concurrency == "auto" else self.max_concurrency
        if self.shard is None:
            return fixed, self.concurrency_ceiling
        try:
            own = share(fixed or self.concurrency_ceiling, self.shard, self.senders)
        except ValueError as error:
            name = "concurrency_ceiling" if fixed is None else "max_concurrency"
            raise ValueError(f"{name}: {error}. Raise it, or set concurrent_shards") from error
        return (None if fixed is None else own), own

    @property
    def columns(self) -> list[str]:
        """Columns that every row must have."""
        return openai_batch.COLUMNS if self._has_whole_requests else self.template.columns

    @property
    def reads_columns(self) -> list[str]:
        """All columns that the job uses."""
        if self._has_whole_requests:
            return [*openai_batch.COLUMNS, "method"]
        return [*self.columns, *([self.id_column] if self.id_column else []), *self.keep_columns]

    @property
    def names_rows_by(self) -> str | None:
        """The column with the ids of rows, None for their places."""
        return openai_batch.ID_COLUMN if self._has_whole_requests else self.id_column

    def identity(self, source: Input) -> dict[str, Any]:
        """Everything that affects requests and output, without address and speed, which may change.

        :param source: the files that `input_path` means
        """
        # The name of an output file has its form. A folder has JSON lines if the job does not say.
        folder_of_parquet = self.output_format == "parquet" and not as_upath(self.output_path).name.endswith(".parquet")
        form = {"output_format": "parquet"} if folder_of_parquet else {}
        versions = {path: list(version) for path, version in source.versions.items()}
        inputs = {"inputs": versions} if versions else {}
        return {"format": FORMAT, "input_path": source.names, **inputs, **form, **self._requests()}

    def fingerprint_of_requests(self, target: Target) -> bytes:
        """Everything that makes a request from a line of the input: if it is equal, equal lines give equal
        requests."""
        return repr((__version__, digest(self._requests()), self.on_bad_input, target)).encode()

    def _requests(self) -> dict[str, Any]:
        """What affects requests and output, except for the input."""
        return {
            "task": self.task,
            "input_format": self.input_format,
            **({} if self.encoding is None else {"encoding": self.encoding}),
            **({} if self.delimiter is None else {"delimiter": self.delimiter}),
            "engine": self.engine,
            "model": self.model,
            "prompt": self.prompt,
            "messages": self.messages,
            "body": self.body,
            "system": self.system,
            "route": self.route,
            "id_column": self.id_column,
            "keep_columns": list(self.keep_columns),
            **({"keep_response": True} if self.keep_response else {}),
            "parameters": dict(self.parameters or {}),
            **({"row_parameters": dict(self.row_parameters)} if self.row_parameters else {}),
            "response_schema": None
            if self.response_schema is None
            else structured.as_json_schema(self.response_schema),
            **({} if self.shard is None else {"plan": self.shard.plan}),
        }


@functools.cache
def _hints() -> dict[str, Any]:
    """The annotations of the arguments."""
    return get_type_hints(BatchJob)
