"""The operators before and after the shards of a batch: the plan of the input, and the merge of the outputs. Thin:
`inference/` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    BaseOperator,
    Context,
    ObjectStoragePath,
    conf,
)

from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchError,
    BatchStoreError,
    OutputBusyError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.inputs.formats import InputFormat
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.plan import TooManyShardsError, check_division
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.checking.paths import check_apart
from airflow_provider_hf_endpoints.operators.common.assets import describe
from airflow_provider_hf_endpoints.operators.common.keyed import KeyedOutput
from airflow_provider_hf_endpoints.operators.requesting.batch import BatchInferenceOperator, attempt_of
from airflow_provider_hf_endpoints.operators.requesting.rows import check_one_input, snapshot_of
from airflow_provider_hf_endpoints.operators.requesting.storage import storage_at, storages_at
from airflow_provider_hf_endpoints.tables.rendering import RendersTables
from airflow_provider_hf_endpoints.tables.sql_rows import SqlRows

_MOST_BY_DEFAULT = 1024  # Airflow's own default of [core] max_map_length


class PlanBatchShardsOperator(RendersTables, KnownArguments, BaseOperator):
    """Divide a batch's input among mapped tasks: `BatchInferenceOperator.partial(…).expand(shard=plan.output)`.

    It looks at names and sizes, but reads no rows. The plan is kept next to the output; the result is a list of
    `{"number", "of", "plan", "began"}`, one for each shard. Run again with the same input it plans the same, and a new
    budget of all shards begins.

    :param input_path: as in `BatchInferenceOperator`. (templated)
    :param input_rows: as in `BatchInferenceOperator`. The planner reads the query; the shards do not. (templated)
    :param output_path: the same that the batch has. (templated)
    :param shards: how many; fewer where files cannot be split. Only JSON Lines that are not compressed can be
        split. (templated)
    :param bytes_per_shard: instead of `shards`: the approximate bytes of input for each. (templated)
    :param input_format: as in `BatchJob`; default `auto`.
    :param on_existing: something else is planned or written there: `resume` (default) and `fail` refuse, `overwrite`
        throws it away; `fail` also refuses to go on with the same plan.
    """

    template_fields: Sequence[str] = ("input_path", "input_rows", "output_path", "shards", "bytes_per_shard")
    ui_color = "#ffe9a8"

    @checked
    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath,
        input_path: str
        | PathLike[str]
        | ObjectStoragePath
        | Sequence[str | PathLike[str] | ObjectStoragePath]
        | None = None,
        input_rows: SqlRows | None = None,
        shards: int | str | None = None,
        bytes_per_shard: int | str | None = None,
        input_format: InputFormat = "auto",
        on_existing: Literal["resume", "overwrite", "fail"] = "resume",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_path = input_path
        self.input_rows = input_rows
        self.output_path = output_path
        self.shards = shards
        self.bytes_per_shard = bytes_per_shard
        self.input_format = input_format
        self.on_existing = on_existing
        check_one_input(input_path, input_rows, {"input_format": input_format})
        check_apart(input_path or (), output_path)
        literal = {
            name: None if is_template(value) else _number(name, value)
            for name, value in (("shards", shards), ("bytes_per_shard", bytes_per_shard))
        }
        if not is_template(shards) and not is_template(bytes_per_shard):
            check_division(**literal)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Plan, and log how much each shard reads."""
        most = conf.getint("core", "max_map_length", fallback=_MOST_BY_DEFAULT)
        try:
            shards, size = _number("shards", self.shards), _number("bytes_per_shard", self.bytes_per_shard)
            output = storage_at("output_path", self.output_path)
            planned = plan_batch(
                self._source(output, attempt_of(context["ti"])),
                output,
                shards=shards,
                bytes_per_shard=size,
                input_format=self.input_format,
                on_existing=self.on_existing,
                most=most,
            )
        except TooManyShardsError as error:
            raise AirflowFailException(
                f"{error} Airflow allows at most {most} mapped tasks ([core] max_map_length). Use fewer or larger "
                "shards, or raise this setting."
            ) from error
        except (BatchStoreError, OutputBusyError):
            raise  # it passes
        except (BatchError, ValueError, TypeError) as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("Planned %d shards, next to %s", len(planned), self.output_path)
        return [shard.as_dict() for shard in planned]

    def _source(self, output: Any, attempt: str) -> Any:
        """The files that the shards read."""
        if self.input_rows is None:
            return storages_at("input_path", self.input_path)
        return snapshot_of(self.input_rows, output, on_existing=self.on_existing, attempt=attempt)


class MergeBatchShardsOperator(KnownArguments, KeyedOutput, BaseOperator):
    """Put the outputs of all shards together: one line per row in the order of the input, errors, and a manifest.

    The files are the same as those of a batch by one worker. The result is the report of the whole, as
    `BatchInferenceOperator` has it; `fail_on_errors` and `max_error_rate` of the shards are judged here, over all rows.
    A merge that was killed starts again; one that is finished does nothing.

    :param output_path: the same that the planner and the batch have. (templated)
    :param keep_shards: leave the shards' own outputs; default False.
    :param unique_ids: fail if an id is in two shards; default True.
    """

    template_fields: Sequence[str] = ("output_path",)
    ui_color = "#ffe9a8"

    result_keys = BatchInferenceOperator.result_keys

    @checked
    def __init__(
        self,
        *,
        output_path: str | PathLike[str] | ObjectStoragePath,
        keep_shards: bool = False,
        unique_ids: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.keep_shards = keep_shards
        self.unique_ids = unique_ids

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, and return the report of the whole."""
        try:
            report = merge_shards(
                storage_at("output_path", self.output_path), keep_shards=self.keep_shards, unique_ids=self.unique_ids
            )
        except (ShardsMissingError, OutputBusyError):
            raise  # the shards, or another merge, may be done meanwhile: a retry of this task then finds them
        except (BatchError, ValueError, TypeError) as error:
            raise AirflowFailException(str(error)) from error
        counts = {"rows": report.rows, "succeeded": report.succeeded, "failed": report.failed}
        describe(context, self.outlets, str(self.output_path), counts)
        return report.as_dict()


def _number(name: str, value: int | str | None) -> int | None:
    """A number that may have come through a template."""
    if not isinstance(value, str):
        return value
    if value.strip() in ("", "None"):
        return None
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} is not an integer. Give an integer") from None
