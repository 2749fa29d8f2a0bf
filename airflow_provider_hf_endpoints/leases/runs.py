"""Whether the DAG run of a lease has ended: then nobody uses the endpoint by it, and nobody will leave it.

A crash, a release that has given up and a run that a person has ended leave such leases behind. Asked is Airflow, and
only of leases that were taken in this Airflow: another one may have a run of the same name.

A DAG that is paused is not an end: its runs go on when it is switched on again. Until then Airflow begins none of their
tasks, the release neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints.leases.holders import run_of_holder
from airflow_provider_hf_endpoints.leases.records import Lease

_ENDED = frozenset({"success", "failed"})


def origin_of(lease_path: str | None) -> str:
    """What tells this Airflow from others that keep leases at the same path; "" where no other one can."""
    return "" if lease_path is None else str(conf.get("api", "base_url", fallback="") or "")


class RunStates:
    """What Airflow says of DAG runs.

    :param ask: the task SDK's `get_dagrun_state(dag_id=…, run_id=…)`; None where nobody can be asked
    :param lease_path: the connection's
    :param ask_dag: the task SDK's `get_dag(dag_id=…)`; None where it has none (Airflow 3.0)
    """

    def __init__(
        self, ask: Callable[..., Any] | None, lease_path: str | None, ask_dag: Callable[..., Any] | None = None
    ) -> None:
        self._ask, self._ask_dag = ask, ask_dag
        self._origin = origin_of(lease_path)

    def ended(self, dag_id: str, run_id: str) -> bool | None:
        """Whether the run has ended; None where this Airflow does not know it, or does not say."""
        if self._ask is None:
            return None
        try:
            state = self._ask(dag_id=dag_id, run_id=run_id)
        except AirflowRuntimeError:
            return None
        return str(getattr(state, "value", state)) in _ENDED

    def paused(self, dag_ids: Iterable[str]) -> list[str]:
        """Which of these DAGs are switched off; none where this Airflow does not know them, or does not say."""
        return [dag_id for dag_id in sorted(set(dag_ids)) if self._is_paused(dag_id)]

    def _is_paused(self, dag_id: str) -> bool:
        if self._ask_dag is None:
            return False
        try:
            return bool(self._ask_dag(dag_id=dag_id).is_paused)
        except AirflowRuntimeError:
            return False

    def run_of(self, lease: Lease) -> tuple[str, str] | None:
        """DAG and run of a lease; None where no run of this Airflow has taken it."""
        return run_of_holder(lease.who) if lease.origin in ("", self._origin) else None

    def over(self, leases: Iterable[Lease]) -> frozenset[str]:
        """The holders of those whose run has ended."""
        asked: dict[tuple[str, str], bool] = {}
        found = set()
        for lease in leases:
            run = self.run_of(lease)
            if run is None:
                continue
            if run not in asked:
                asked[run] = self.ended(*run) is True
            if asked[run]:
                found.add(lease.holder)
        return frozenset(found)
