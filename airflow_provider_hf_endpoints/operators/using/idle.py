"""The task that limits how long an endpoint may wait for its work. It needs no worker.

If a pool is full or a DAG is paused, work may begin in days or never, and the endpoint bills in the meantime. The same
cause must not stop the watch. So this task begins and ends in the triggerer. `idle_trigger.py` has what it watches and
what it does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, Context
from airflow.triggers.base import StartTriggerArgs

from airflow_provider_hf_endpoints.endpoints.upkeep.release import AfterUse

log = logging.getLogger(__name__)

_TRIGGER = "airflow_provider_hf_endpoints.operators.using.idle_trigger.IdleTrigger"
# Airflow's own limit on the deferral is later than ours by this much, because an unavailable triggerer must not fail a
# run.
SPARE = timedelta(days=1)


class WatchIdleOperator(BaseOperator):
    """Release an acquired endpoint if no work has begun within a time limit, and fail.

    :param acquire_task_id, start_task_id: the tasks of the same use
    :param work: the ids of the tasks that use the endpoint: the first that begins ends the watch
    :param max_idle: seconds from the end of the start
    :param max_startup: seconds that the start may take. If its end is not known, the limit is the sum of both
    :param release: what happens to the endpoint
    """

    start_from_trigger = True
    ui_color = "#f2f2f2"

    def __init__(
        self,
        *,
        acquire_task_id: str,
        start_task_id: str,
        work: Sequence[str],
        max_idle: float,
        max_startup: float,
        release: AfterUse | None,
        hf_endpoints_conn_id: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        limit = timedelta(seconds=max_startup + max_idle)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=_TRIGGER,
            trigger_kwargs={
                "acquire_task_id": acquire_task_id,
                "start_task_id": start_task_id,
                "work": work,
                "max_idle": max_idle,
                "release": release,
                "hf_endpoints_conn_id": hf_endpoints_conn_id,
            },
            next_method="execute_complete",
            timeout=limit + SPARE,
        )

    def execute(self, context: Context) -> None:
        """On a worker, as in `dag.test()`, where tasks run one after the other: the work waits for nothing else."""
        log.info("Nothing to watch: the tasks of this run are executed one after the other.")

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> None:
        """Never called: the trigger ends the task itself."""
