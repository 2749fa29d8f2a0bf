"""What an operator with a batch tells of its lineage: the methods that OpenLineage's provider calls, and hook lineage.

OpenLineage's provider calls the methods in the task's process, after the task has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.lineage.moved import moved
from airflow_provider_hf_endpoints.lineage.openlineage import lineage_of

log = logging.getLogger(__name__)


class ReportsLineage:
    """A base of operators that have an `input_path`."""

    asked: InferenceEndpoint | None = None  # the endpoint, once it has answered
    reported: Mapping[str, Any] | None = None  # the batch's report, once it has ended well

    def get_openlineage_facets_on_start(self) -> Any:
        """What will be read. The output's files are known at the end."""
        return self._lineage()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What was read and written, with rows, bytes and cost."""
        return self._lineage()

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """What was read. Unfinished output has no files that others may read."""
        return self._lineage()

    def paths_read(self) -> Any:
        """The files of the input, where they are known. A query of a database is not a file."""
        task: Any = self
        return task.input_path or []

    def _lineage(self) -> Any:
        return lineage_of(moved(self.paths_read(), self.asked, self.reported), self.asked, self.reported)

    def collect_lineage(self) -> None:
        """Tell Airflow's collector of hook lineage, which keeps nothing unless a plugin reads it."""
        try:
            found = moved(self.paths_read(), self.asked, self.reported)
            collector: Any = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
            for each in found.inputs:
                collector.add_input_asset(context=self, uri=each.uri)
            for each in found.outputs:
                collector.add_output_asset(context=self, uri=each.uri)
        except Exception as error:  # noqa: BLE001 - lineage is no reason to fail a task that has paid for its rows
            log.warning("Could not report the lineage: %s: %s", type(error).__name__, error)
