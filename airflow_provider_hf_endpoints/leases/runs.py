"""Whether the DAG run of a lease has ended, or its `acquire` has failed. Such a lease is neither used nor released.

A person may mark `acquire` as failed while it runs. Then it still takes its lease, and Airflow runs no release after
it. A crash, a release that gave up and a run that a person ended leave such leases too. Airflow is asked only about
leases of this Airflow, because another Airflow may have a run of the same name.

A paused DAG does not end its runs: they continue when the DAG is switched on again. Until then Airflow starts none of
their tasks, the release included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_hf_endpoints._airflow import ENDED_BADLY, AirflowRuntimeError, state_word
from airflow_provider_hf_endpoints.kept import KeptAt
from airflow_provider_hf_endpoints.leases.holders import index_of_holder, run_of_holder, task_of_holder
from airflow_provider_hf_endpoints.leases.records import Lease

_ENDED = frozenset({"success", "failed"})


def origin_of(kept_at: KeptAt) -> str:
    """The identity of this Airflow among those that share a lease path; "" if no path is shared."""
    return "" if kept_at.path is None else str(conf.get("api", "base_url", fallback="") or "")


class RunStates:
    """What Airflow says of DAG runs.

    :param task_instance: the task SDK's, which asks Airflow; None if Airflow cannot be asked
    :param kept_at: where the connection's leases are
    """

    def __init__(self, task_instance: Any, kept_at: KeptAt) -> None:
        self._ask = getattr(task_instance, "get_dagrun_state", None)
        self._ask_tasks = getattr(task_instance, "get_task_states", None)
        self._ask_dag = getattr(task_instance, "get_dag", None)  # None on Airflow 3.0
        self._origin = origin_of(kept_at)

    def ended(self, dag_id: str, run_id: str) -> bool | None:
        """Whether the run has ended; None where this Airflow does not know it, or does not say."""
        if self._ask is None:
            return None
        try:
            state = self._ask(dag_id=dag_id, run_id=run_id)
        except AirflowRuntimeError:
            return None
        return state_word(state) in _ENDED

    def paused(self, dag_ids: Iterable[str]) -> list[str]:
        """Which of these DAGs are paused. Empty if this Airflow does not know the DAGs, or does not answer."""
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

    def _never_began(self, who: str) -> bool:
        """Whether the task that took the lease has failed; False where this Airflow does not say."""
        run, task_id = run_of_holder(who), task_of_holder(who)
        if self._ask_tasks is None or run is None:
            return False
        try:
            told = self._ask_tasks(dag_id=run[0], task_ids=[task_id], run_ids=[run[1]], map_index=index_of_holder(who))
        except AirflowRuntimeError:
            return False
        states = [state_word(state) for state in (told.get(run[1]) or {}).values()]
        # If it ended badly, neither the work behind it nor the release runs.
        return bool(states) and all(state in ENDED_BADLY for state in states)

    def over(self, leases: Iterable[Lease]) -> frozenset[str]:
        """The holders of those whose run has ended, or whose use has never begun."""
        asked: dict[tuple[str, str], bool] = {}
        found = set()
        for lease in leases:
            run = self.run_of(lease)
            if run is None:
                continue
            if run not in asked:
                asked[run] = self.ended(*run) is True
            if asked[run] or self._never_began(lease.who):
                found.add(lease.holder)
        return frozenset(found)
