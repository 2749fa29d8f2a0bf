"""The operator that loads the results of a finished batch into a table. Thin: `tables/` does the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Context, ObjectStoragePath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchError, BatchStoreError, OutputBusyError
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered, checked
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.common.keyed import KeyedOutput
from airflow_provider_hf_endpoints.operators.requesting.rows import check_table_of
from airflow_provider_hf_endpoints.operators.requesting.storage import storage_at
from airflow_provider_hf_endpoints.tables.rendering import RendersTables
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable


class LoadBatchResultsOperator(RendersTables, KnownArguments, KeyedOutput, BaseOperator):
    """Load the results of a finished batch into a table, each row once, however often the task is tried.

    Nothing is sent, and no endpoint is needed: the task may run after the endpoint was released.

    :param results: the batch's `output_path`, or the result of the batch or of the merge: `results=batch.output`.
        (templated)
    :param output_table: the table, as `SqlTable`. (templated)
    """

    template_fields: Sequence[str] = ("results", "output_table")
    ui_color = "#ffe9a8"

    result_keys = ("rows", "loaded", "failed", "already")

    @checked
    def __init__(
        self,
        *,
        results: str | PathLike[str] | ObjectStoragePath | Mapping[str, Any],
        output_table: SqlTable,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.results = results
        self.output_table = output_table
        self._killed = False
        check_table_of(output_table, None)

    def execute(self, context: Context) -> dict[str, Any]:
        """Load, and return how many rows went where."""
        from airflow_provider_hf_endpoints.inference.results import finished_output
        from airflow_provider_hf_endpoints.tables.loading import load_results  # imports Airflow's hooks

        self._killed = False
        try:
            check_rendered(self)
            check_table_of(self.output_table, None)  # again: it may be the result of a task
            path = storage_at("results", self._path())
            found = patiently_here(lambda: finished_output(path), "looking for the results", sent=False)
            return asdict(load_results(self.output_table, found, go_on=self._check_on))
        except (BatchStoreError, OutputBusyError):
            raise  # it passes
        except (BatchError, ValueError, TypeError) as error:
            raise AirflowFailException(str(error)) from error

    def on_kill(self) -> None:
        """End the load between two groups. Runs in a signal handler: only a flag."""
        self._killed = True

    def _check_on(self) -> None:
        if self._killed:
            raise TaskKilledError(f"The task was killed while it loaded results into {self.output_table.table!r}.")

    def _path(self) -> Any:
        if not isinstance(self.results, Mapping):
            return self.results
        path = self.results.get("output_path")
        if not path:
            raise ValueError(
                f"results is a mapping without output_path: {sorted(map(str, self.results))}. Give the result of a "
                "BatchInferenceOperator or a MergeBatchShardsOperator, or the output_path itself."
            )
        return path
