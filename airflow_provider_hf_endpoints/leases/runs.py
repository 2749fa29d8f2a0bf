"""Whether the DAG run of a lease has ended: then nobody uses the endpoint by it, and nobody will leave it.

A crash, a release that has given up and a run that a person has ended leave such leases behind. Asked is Airflow, and
only of leases that were taken in this Airflow: another one may have a run of the same name.
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
    """

    def __init__(self, ask: Callable[..., Any] | None, lease_path: str | None) -> None:
        self._ask = ask
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

    def over(self, leases: Iterable[Lease]) -> frozenset[str]:
        """The holders of those whose run has ended."""
        asked: dict[tuple[str, str], bool] = {}
        found = set()
        for lease in leases:
            run = run_of_holder(lease.who)
            if run is None or lease.origin not in ("", self._origin):
                continue
            if run not in asked:
                asked[run] = self.ended(*run) is True
            if asked[run]:
                found.add(lease.holder)
        return frozenset(found)
