"""The rows of runs and task instances, kept as the objects of one session: read again only if they may be stale.

Airflow reads them many times in each loop of its scheduler, which is most of the cost of a loop. All changes go
through one session here, so its objects are current. Statements that change rows without it are noticed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import event, select

RunKey = tuple[str, str]  # DAG, run
Place = tuple[str, str, str, int]  # DAG, run, task, map index


class Tables:
    """The runs and task instances of one world."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._runs: dict[RunKey, Any] = {}
        self._tis: dict[RunKey, dict[tuple[str, int], Any]] = {}
        self._stale: set[RunKey] = set()
        event.listen(session, "do_orm_execute", self._notice_statement)
        event.listen(session, "after_flush", self._notice_flush)

    def close(self) -> None:
        """Notice nothing any more."""
        event.remove(self._session, "do_orm_execute", self._notice_statement)
        event.remove(self._session, "after_flush", self._notice_flush)

    def add(self, run: Any) -> None:
        """A new run, whose task instances are in the database."""
        key = (run.dag_id, run.run_id)
        self._runs[key] = run
        self._stale.add(key)
        self._runs = dict(sorted(self._runs.items(), key=lambda each: (each[0][0], each[1].logical_date)))

    def runs(self, *states: str) -> list[Any]:
        """The DAG runs, oldest first."""
        return [run for run in self._runs.values() if not states or run.state in states]

    def run(self, dag_id: str, run_id: str) -> Any:
        """One of them; None where there is no such run."""
        return self._runs.get((dag_id, run_id))

    def tis(self, dag_id: str | None = None, run_id: str | None = None, states: Collection[Any] = ()) -> list[Any]:
        """Task instances, those in `states` where some are given."""
        keys = [key for key in self._runs if dag_id in (None, key[0]) and run_id in (None, key[1])]
        found = [ti for key in keys for ti in self._of(key).values()]
        return [ti for ti in found if ti.state in states] if states else found

    def ti(self, place: Place) -> Any:
        """One of them; None where it is gone."""
        dag_id, run_id, task_id, map_index = place
        key = (dag_id, run_id)
        return self._of(key).get((task_id, map_index)) if key in self._runs else None

    def forget(self, everything: bool = False) -> None:
        """What is not over may have changed; what is over, where a person does something."""
        over = () if everything else ("success", "failed")
        self._stale.update(key for key, run in self._runs.items() if key not in self._tis or run.state not in over)

    def _of(self, key: RunKey) -> dict[tuple[str, int], Any]:
        if key in self._stale:
            self._stale.discard(key)
            self._session.flush()
            dag_id, run_id = key
            query = (
                select(TaskInstance)
                .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
                .order_by(TaskInstance.task_id, TaskInstance.map_index)
                .execution_options(populate_existing=True)
            )
            self._tis[key] = {(ti.task_id, ti.map_index): ti for ti in self._session.scalars(query).unique()}
        return self._tis[key]

    def _notice_statement(self, statement: Any) -> None:
        if not (statement.is_update or statement.is_delete or statement.is_insert):
            return
        mapper = statement.bind_mapper
        if mapper is None or mapper.class_ in (TaskInstance, DagRun):
            self.forget()

    def _notice_flush(self, session: Any, _: Any) -> None:
        for each in (*session.new, *session.deleted):
            if isinstance(each, TaskInstance):
                self._stale.add((each.dag_id, each.run_id))
