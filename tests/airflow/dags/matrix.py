"""DAGs in which the use of an endpoint is ended in every way: of `benchmarks/matrix.py` and of the live tests.

By name: `matrix_<create or resume>`, and with a suffix how they differ: where the start waits, and what has a limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.file import FileTrigger
from airflow.sdk import DAG, BaseOperator, Context, Param

from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

HANG_BOUND = 6000  # tenths of a second
# The cost that a release reports is right only where the service's clock is ours.
CONNECTION = os.environ.get("MATRIX_CONNECTION", "hf_endpoints_default")
LIMIT = float(os.environ.get("MATRIX_LIMIT", "12"))  # seconds: of what is to take too long
RUN_LIMIT = float(os.environ.get("MATRIX_RUN_LIMIT", "72"))  # seconds: a run comes to its work in it on a busy machine
PARAMS = {
    "endpoint": Param("live", type="string"),
    "namespace": Param("acme", type="string"),
    "gate": Param("", type="string"),
    "defer": Param(False, type="boolean"),
    "fail": Param(False, type="boolean"),
}
# Of the start: Airflow may fail a task whose deferral is over as soon as it has begun.
AGAIN: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}
ONCE: dict[str, Any] = {"retries": 0}
MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "task": "text-generation",
    "hardware": ["aws/us-east-1/intel-icl/x2"],
}


class WorkOperator(BaseOperator):
    """Works until the file `gate` is there, in the triggerer where the run's parameters say so, then notes when."""

    template_fields: Sequence[str] = ("endpoint",)

    def __init__(self, *, endpoint: Any, hf_endpoints_conn_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint

    def execute(self, context: Context) -> None:
        """Begin, and wait for the gate."""
        gate = context["params"]["gate"]
        Path(f"{gate}.begun").touch()
        if context["params"]["defer"]:
            self.defer(trigger=FileTrigger(filepath=gate, poke_interval=0.5), method_name="end")
        try:
            for _ in range(HANG_BOUND):
                if Path(gate).exists():
                    break
                time.sleep(0.1)
            self.end(context)
        finally:
            Path(f"{gate}.ended").touch()

    def end(self, context: Context, event: Any = None) -> None:
        """Fail, where that is asked for and has not been mended."""
        gate = context["params"]["gate"]
        Path(f"{gate}.ended").touch()
        if context["params"]["fail"] and not Path(f"{gate}.mended").exists():
            raise ValueError("the work is broken")


def use(dag_id: str, work: dict[str, Any] | None = None, group: dict[str, Any] | None = None, **dag: Any) -> None:
    """One DAG: its endpoint and the work."""
    model = MODEL if "create" in dag_id else {}
    arguments = {
        "poll_interval": 1,
        "group_id": "use",
        "hf_endpoints_conn_id": CONNECTION,
        **AGAIN,
        **model,
        **(group or {}),
    }
    with (
        DAG(dag_id, schedule=None, params=PARAMS, **dag),
        inference_endpoint("{{ params.endpoint }}", namespace="{{ params.namespace }}", **arguments) as endpoint,
    ):
        WorkOperator(task_id="work", endpoint=endpoint, **(work or {}))


for way in ("create", "resume"):
    use(f"matrix_{way}")
    use(f"matrix_{way}_limited_start", group={"max_startup": LIMIT, **ONCE})
    use(f"matrix_{way}_limited_work", work={"execution_timeout": timedelta(seconds=LIMIT)})
    use(f"matrix_{way}_limited_run", dagrun_timeout=timedelta(seconds=RUN_LIMIT))
    use(f"matrix_{way}_on_worker", group={"deferrable": False, **ONCE})
    use(f"matrix_{way}_short_lease", group={"lease": LIMIT, "max_startup": 60.0})
use("matrix_other_resume")

with DAG("matrix_sweep", schedule=None, params={"namespace": Param("acme", type="string")}):
    SweepInferenceEndpointsOperator(
        task_id="sweep",
        only_report=False,
        quiet=timedelta(0),  # how soon it acts is what is measured
        namespaces=["{{ params.namespace }}"],
        hf_endpoints_conn_id=CONNECTION,
    )
