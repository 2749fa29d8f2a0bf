"""The operator that sends a whole file of rows through an endpoint. Thin: `inference/batch.py` does the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, get_args

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Context,
    ObjectStoragePath,
)

from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchAborted,
    BatchError,
    BatchFailed,
    BatchStopped,
    BatchStoreError,
    BudgetExceeded,
    OutputBusyError,
)
from airflow_provider_hf_endpoints.inference.errors import ModelNotFoundError, TlsError
from airflow_provider_hf_endpoints.inference.input_errors import EmptyInputError
from airflow_provider_hf_endpoints.inference.inputs.formats import InputFormat
from airflow_provider_hf_endpoints.inference.job.budget import Budget, SharedBudget
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.runs.preflight import check_input
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, TransportName
from airflow_provider_hf_endpoints.lineage.operator import ReportsLineage
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.checking.paths import check_apart
from airflow_provider_hf_endpoints.operators.checking.settings import is_known
from airflow_provider_hf_endpoints.operators.checking.words import tell_misspelt_parameters
from airflow_provider_hf_endpoints.operators.common.assets import announce, describe, with_alias
from airflow_provider_hf_endpoints.operators.common.metrics import batch_metrics
from airflow_provider_hf_endpoints.operators.requesting.operator import RequestingOperator
from airflow_provider_hf_endpoints.operators.requesting.options import BOTH, FIELDS, TOLD, options_of
from airflow_provider_hf_endpoints.operators.requesting.rows import (
    check_one_input,
    check_output,
    check_table_of,
    load,
    snapshot_of,
    snapshot_taken,
)
from airflow_provider_hf_endpoints.operators.requesting.storage import storage_at, storages_at
from airflow_provider_hf_endpoints.operators.requesting.target import EndpointTarget
from airflow_provider_hf_endpoints.tables.rendering import RendersTables
from airflow_provider_hf_endpoints.tables.sql_rows import SqlRows
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable

OWN = frozenset(
    {"task", "input_path", "output_path", "prompt", "messages", "body", "system", "id_column", "parameters"}
    | {"row_parameters", "max_concurrency", "model", "fail_on_errors", "max_error_rate", "request_timeout"}
    | {"max_cost", "max_runtime", "shard", "startup_timeout", "on_empty"}
)  # a job's fields that are arguments of the operator alone
_NOT_KNOWN_YET = "https://endpoint.invalid"  # RFC 6761: never resolved


class BatchInferenceOperator(ReportsLineage, RendersTables, RequestingOperator):
    """Send every row of an input through an endpoint, and write one line per row, in the input's order.

    A row that fails has its error in its line; the task fails only if `fail_on_errors` or `max_error_rate` say so. A
    retry of the task resumes the batch: finished rows are not sent again.

    The result is the report without the rows, see `inference.job.report.BatchReport`: `rows`, `succeeded`, `failed`,
    `truncated`, `prompt_tokens`, `completion_tokens`, `results_path`, `errors_path`, `manifest_path`, …

    :param endpoint: the endpoint's name. (templated)
    :param task: `chat-completion`, `text-generation`, `feature-extraction`, or any pipeline of the toolkit. (templated)
    :param input_path: the rows, on anything that Airflow's `ObjectStoragePath` reads: a local path,
        `s3://conn_id@bucket/key`, `gs://…`; a file, a folder, a pattern (`s3://conn_id@bucket/*.jsonl`) or a list of
        them. (templated)
    :param input_rows: instead of `input_path`: the rows of a query, as `SqlRows`. (templated)
    :param output_path: the results file, if the path ends in `.jsonl`, `.parquet` or another ending of
        `inference.job.output_form.RESULT_SUFFIXES`; any other path is a folder for the results. (templated)
    :param output_table: a table that receives the results after the end of the batch, as `SqlTable`. (templated)
    :param prompt: a template over the row's columns, e.g. `"Summarise: {text}"`. Not Jinja: `{{` is a literal brace.
    :param messages: the same as a list of chat messages, e.g. `[{"role": "user", "content": "{text}"}]`.
    :param body: the same as a whole request body, for requests that the task does not cover.
    :param system: a system prompt before `prompt` or `messages`.
    :param id_column: a column with a unique id in each row; default the position of the row.
    :param parameters: sent with every row, e.g. `{"max_tokens": 64, "temperature": 0}`. (templated)
    :param row_parameters: parameters that differ from row to row: `{"seed": "{seed}"}` sends the value of the column
        `seed`. (templated)
    :param max_concurrency: requests in flight, or `auto` (default) to find the number.
    :param model: the model's name in requests; default the endpoint's own model. (templated)
    :param fail_on_errors: fail the task when any row failed; default False.
    :param max_error_rate: stop the batch when more than this share of the rows failed; default 0.5, None for never.
    :param request_timeout: seconds for one answer; default 600.
    :param batch_timeout: seconds (or a timedelta) for the whole batch; default 7 days.
    :param max_cost: USD that the endpoint may cost while the batch runs, over all tries of the task; a cleared task
        gets a new budget. At 80 % there is a warning; The batch stops when the budget is spent, or early if the budget
        will not cover the remaining rows. Finished rows are kept, and the task fails without a retry. For shards, the
        budget is for all of them together, from the planner on. Default no limit.
    :param max_runtime: the same in seconds (or a timedelta) of the batch's own time. Default no limit.
    :param on_budget: what then happens to the endpoint: `pause` (default), `scale_to_zero`, `delete` or `none`.
    :param shard: the part of the input that this task does: `.expand(shard=plan.output)` after a
        `PlanBatchShardsOperator`; default the whole input. `max_concurrency` is then shared by the tasks that
        `max_active_tis_per_dagrun` lets run at the same time.
    :param input_format: the format of all files, such as `csv`; `auto` (default) goes by each file's name. The
        annotation has the other formats.
    :param encoding: of CSV files, as Python names it; default UTF-8.
    :param delimiter: one character between the values of CSV files; default the comma.
    :param keep_columns: columns to carry into the output.
    :param response_schema: a JSON schema or a pydantic model that every text has to match.
    :param on_empty: what an input without a row means. `fail` (default): the task fails, because an empty file often
        means that an earlier step failed. `skip`: the task is skipped, and so are the tasks after it. `succeed`: the
        output is written without a row. With `fail` and `skip` the endpoint is not woken.
    :param on_existing: what to do if the output exists: `resume` (default), `overwrite` or `fail`.
    :param transport: the HTTP client: `auto` (default) or `httpx`.
    :param max_response_bytes: maximum size of one response in bytes; default 64 MiB.
    :param job_options: anything else of `inference.batch.BatchJob`, e.g. `{"max_attempts": 3}`.

    Other parameters: see `RequestingOperator`.
    """

    reports_rows = True  # its result has rows and tokens, over which a release spreads the cost
    # `prompt`, `messages`, `body` and `system` are templates over a row's columns, with single braces: Jinja
    # would take `{{text}}` for its own.
    template_fields: Sequence[str] = (
        *RequestingOperator.template_fields,
        "task",
        "input_path",
        "input_rows",
        "output_path",
        "output_table",
        "parameters",
        "row_parameters",
        "model",
    )
    arguments_inside = dict.fromkeys(FIELDS.keys() - OWN - TOLD.keys() - set(BOTH), "job_options")
    result_keys = tuple(field.name for field in fields(BatchReport))

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        task: str,
        output_path: str | PathLike[str] | ObjectStoragePath,
        input_path: str
        | PathLike[str]
        | ObjectStoragePath
        | Sequence[str | PathLike[str] | ObjectStoragePath]
        | None = None,
        input_rows: SqlRows | None = None,
        output_table: SqlTable | None = None,
        prompt: str | None = None,
        messages: Any = None,
        body: Any = None,
        system: str | None = None,
        id_column: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        row_parameters: Mapping[str, Any] | None = None,
        max_concurrency: int | Literal["auto"] = "auto",
        model: str | None = None,
        fail_on_errors: bool = False,
        max_error_rate: float | None = 0.5,
        request_timeout: float = 600.0,
        batch_timeout: float | timedelta = timedelta(days=7),
        max_cost: float | None = None,
        max_runtime: float | timedelta | None = None,
        on_budget: Release = "pause",
        shard: Mapping[str, Any] | None = None,
        input_format: InputFormat = "auto",
        encoding: str | None = None,
        delimiter: str | None = None,
        keep_columns: Sequence[str] = (),
        response_schema: Any = None,
        on_empty: Literal["fail", "skip", "succeed"] = "fail",
        on_existing: Literal["resume", "overwrite", "fail"] = "resume",
        transport: TransportName = "auto",
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        job_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(endpoint=endpoint, **kwargs)
        self.task = task
        self.input_path = input_path
        self.input_rows = input_rows
        self.output_path = output_path
        self.output_table = output_table
        self.prompt = prompt
        self.messages = messages
        self.body = body
        self.system = system
        self.id_column = id_column
        self.parameters = parameters
        self.row_parameters = row_parameters
        self.max_concurrency = max_concurrency
        self.model = model
        self.fail_on_errors = fail_on_errors
        self.max_error_rate = max_error_rate
        self.request_timeout = request_timeout
        self.batch_timeout = batch_timeout
        self.max_cost = max_cost
        self.max_runtime = max_runtime
        self.on_budget = on_budget
        # Bad limits are errors when the DAG is parsed. The price is known when the endpoint is.
        Budget(max_cost=max_cost, max_runtime=seconds_of(max_runtime), price_per_hour=0.0)
        if on_budget not in get_args(Release):
            raise ValueError(f"on_budget={on_budget!r} is not valid. Use one of {', '.join(get_args(Release))}.")
        self.shard = shard
        self.input_format = input_format
        self.encoding = encoding
        self.delimiter = delimiter
        self.keep_columns = keep_columns
        self.response_schema = response_schema
        self.on_empty = on_empty
        self.on_existing = on_existing
        self.transport = transport
        self.max_response_bytes = max_response_bytes
        self.job_options = job_options
        self._check_job()
        self.outlets = with_alias(self.outlets)
        self._stop: threading.Event | None = None  # made when needed: an event cannot be copied with its DAG
        self._attempt = ""  # of the running task

    def execute(self, context: Context) -> Any:
        """Check the input, wait until the endpoint answers, then send."""
        self._attempt = attempt_of(context["ti"])
        return super().execute(context)

    def on_kill(self) -> None:
        """Send nothing new, let what is in flight come in, and keep it. Runs in a signal handler: only flags."""
        super().on_kill()
        if self._stop is not None:
            self._stop.set()

    def _check(self) -> None:
        """The input is there, its rows fit the templates, and ids are unique, before the endpoint is woken."""
        try:
            if self.output_table is not None:
                check_output(self.output_table, self.shard, self._options().get("response_schema"))
            self._take_snapshot()
            job = self._job()
        except (BatchStoreError, OutputBusyError):
            raise  # it passes
        except (BatchError, ValueError, TypeError) as error:  # TypeError: an argument that a job does not have
            raise AirflowFailException(str(error)) from error
        try:
            check_input(job)
        except EmptyInputError as error:
            if self.on_empty == "skip":
                raise AirflowSkipException(f"{error} (on_empty='skip')") from error
            hint = "on_empty='skip' skips the task, and on_empty='succeed' writes an empty output."
            raise AirflowFailException(f"{error}. {hint}") from error
        except BatchStoreError:
            raise  # it passes, or another worker has what this one lacks
        except (BatchError, ValueError) as error:
            raise AirflowFailException(str(error)) from error

    def _send_to(self, context: Context, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint) -> Any:
        self.asked = endpoint  # for the lineage, also of a batch that fails
        return super()._send_to(context, hook, endpoint)

    def _send(self, context: Context, target: EndpointTarget) -> dict[str, Any]:
        price = target.price_per_hour()
        if self.max_cost is not None and self.shard is None and price is None:
            raise AirflowFailException(
                f"max_cost={self.max_cost!r} cannot be checked: the service does not list the price of endpoint "
                f"{self.endpoint!r}'s hardware. Use max_runtime instead of max_cost."
            )
        try:
            job = replace(
                self._job(),
                url=target.url,
                token=target.token.get_secret_value(),
                engine=self._options().get("engine") or target.engine,
                max_cost=self.max_cost if self.shard is None else None,
                max_runtime=seconds_of(self.max_runtime) if self.shard is None else None,
                price_per_hour=price,
                # A clear raises this number and a retry does not, so a retry continues with the same budget.
                budget_key=str(getattr(context["ti"], "max_tries", "")),
                attempt_key=self._options().get("attempt_key") or attempt_of(context["ti"]),
                shared_budgets=tuple(filter(None, (target.use_budget, self._budget_of_shards(target)))),
            )
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        self._stop = threading.Event()
        self._check_on()
        try:
            report = run_batch(
                job,
                stop=self._stop,
                ready_replicas=target.ready_replicas,
                observer=batch_metrics(context, self.endpoint),
            )
        except BatchAborted as error:
            if isinstance(error.cause, TlsError | ModelNotFoundError):  # no retry changes what answers there
                raise AirflowFailException(str(error)) from error
            raise  # finished rows are kept: a retry of the task resumes the batch
        except (BatchStopped, BatchStoreError, OutputBusyError):
            raise  # finished rows are kept: a retry of the task resumes the batch
        except BudgetExceeded as error:
            of_group = target.use_budget is not None and error.budget == target.use_budget.name
            then = "The group releases its endpoint" if of_group else self._release(target)
            raise AirflowFailException(f"{error}. {then}") from error
        except BatchFailed as error:
            raise AirflowFailException(str(error)) from error
        except (BatchError, ValueError) as error:
            raise AirflowFailException(str(error)) from error
        self._load()
        return report.as_dict()

    def _load(self) -> None:
        """Write the results into the table, if there is one."""
        if self.output_table is None:
            return
        try:
            load(self.output_table, storage_at("output_path", self.output_path), self._check_on)
        except (BatchStoreError, OutputBusyError):
            raise  # it passes, and the answers are kept
        except (BatchError, ValueError) as error:
            raise AirflowFailException(str(error)) from error

    def _budget_of_shards(self, target: EndpointTarget) -> SharedBudget | None:
        """What all shards may cost together, from the planner on, with what that is by now."""
        if self.shard is None or (self.max_cost is None and self.max_runtime is None):
            return None
        began = Shard.parse(self.shard).began or time.time()
        usd = None if self.max_cost is None else target.usd_since(began)
        return SharedBudget.of_shards(began, self.max_cost, seconds_of(self.max_runtime), usd, time.time())

    def _release(self, target: EndpointTarget) -> str:
        """What happened to the endpoint, in words: an error of the release must not hide why it was wanted."""
        try:
            return f"Endpoint {self.endpoint} is {target.release(self.on_budget)}"
        except InferenceEndpointError as error:
            return (
                f"Endpoint {self.endpoint} could not be released ({self.on_budget}) and MAY STILL BE BILLING. Pause "
                f"or delete it by hand. {error}"
            )

    def _announce(self, context: Context, endpoint: InferenceEndpoint, result: dict[str, Any]) -> None:
        counts = {name: result[name] for name in ("rows", "succeeded", "failed")}
        state = {"state": str(endpoint.status), "revision": endpoint.revision}
        announce(context, self.outlets, endpoint.namespace, endpoint.name, {**state, **counts})
        describe(context, self.outlets, str(self.output_path), counts)
        self.reported = result
        self.collect_lineage()

    def _take_snapshot(self) -> None:
        """Read the rows of a query, unless an earlier try has; a shard finds what its planner has read."""
        if self.input_rows is None or self.shard is not None:
            return
        options = self._options()
        snapshot_of(
            self.input_rows,
            storage_at("output_path", self.output_path),
            on_existing=options.get("on_existing", "resume"),
            attempt=options.get("attempt_key") or self._attempt,
            go_on=self._check_on,
        )

    def _job(self) -> BatchJob:
        output = storage_at("output_path", self.output_path)
        rows = self.input_rows
        source: Any = storages_at("input_path", self.input_path) if rows is None else snapshot_taken(rows, output)
        paths = {"input_path": source, "output_path": output}
        return BatchJob(**{**self._own(), **paths, **self._shard_options(), **self._options()})

    def _own(self) -> dict[str, Any]:
        """Of a job, what the operator's own arguments say, but for its paths."""
        return {
            "url": _NOT_KNOWN_YET,
            "task": self.task,
            "prompt": self.prompt,
            "messages": self.messages,
            "body": self.body,
            "system": self.system,
            "id_column": self.input_rows.key if isinstance(self.input_rows, SqlRows) else self.id_column,
            "parameters": self.parameters,
            "row_parameters": self.row_parameters,
            "max_concurrency": self.max_concurrency,
            "model": self.model,
            "on_empty": "succeed" if self.on_empty == "succeed" else "fail",
            "fail_on_errors": self.fail_on_errors,
            "max_error_rate": self.max_error_rate,
            "request_timeout": self.request_timeout,
            "startup_timeout": seconds_of(self.startup_timeout),
            "job_timeout": seconds_of(self.batch_timeout),
        }

    def _check_job(self) -> None:
        """What is neither a template, nor depends on the input or the endpoint: an error when the DAG is parsed."""
        given = {"task": self.task, "parameters": self.parameters, "row_parameters": self.row_parameters}
        known = {name: value for name, value in given.items() if is_known(value)}
        tell_misspelt_parameters(**known)
        options = self._options()
        check_table_of(self.output_table, self.shard)
        check_one_input(self.input_path, self.input_rows, {**options, "id_column": self.id_column})
        check_apart(self.input_path or (), self.output_path)
        if float(seconds_of(self.batch_timeout)) <= 0:
            raise ValueError(
                f"batch_timeout={self.batch_timeout!r} is not valid. Give a positive number of seconds, or a timedelta."
            )
        if len(known) < len(given):  # they belong together, and with the options
            return
        paths = {"input_path": "in.jsonl", "output_path": "out"}
        try:
            BatchJob(**{**self._own(), **known, **paths, "model": None, **options})
        except BatchError as error:
            raise ValueError(str(error)) from None

    def _options(self) -> dict[str, Any]:
        arguments = {name: getattr(self, name) for name in BOTH}
        return options_of(self.job_options, arguments | {"keep_columns": tuple(self.keep_columns)}, OWN)

    def _shard_options(self) -> dict[str, Any]:
        """Which part of the batch it is, and how many of them Airflow runs at the same time."""
        if self.shard is None:
            return {}
        bounds = [each for each in (self.max_active_tis_per_dagrun, self.max_active_tis_per_dag) if each]
        return {"shard": Shard.parse(self.shard), "concurrent_shards": min(bounds, default=None)}


def attempt_of(ti: Any) -> str:
    """Names a task's run with all its tries; a clear, which raises `max_tries`, makes it another. Empty for no run."""
    if not getattr(ti, "run_id", None):
        return ""
    names = ("dag_id", "task_id", "run_id", "map_index", "max_tries")
    return "/".join(str(getattr(ti, name, "")) for name in names)
