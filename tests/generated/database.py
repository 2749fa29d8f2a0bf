"""Airflow's metadata database for simulated worlds: SQLite in memory, made once, emptied for each.

What decides stays Airflow's: DAGs are stored serialized, as the DAG processor does, and the scheduler reads them there.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from tests.generated import versions

BUNDLE = "generated"
_EMPTIED = (
    "task_reschedule",
    "task_instance_history",
    "task_instance",
    "task_map",
    "trigger",
    "dag_run",
    "serialized_dag",
    "dag_code",
    "dag_version",
    "dag",
    "log",
    "job",
)


class _Shared(sqlite3.Connection):
    """The one connection of all sessions: a rollback in one of them would undo what another has flushed.

    Airflow 3.0 opens sessions of its own that nobody closes; each is rolled back when it is collected as garbage.
    """

    def rollback(self) -> None:
        """Nothing: an empty database is made by emptying it."""


@functools.cache
def _engine() -> Any:
    """The one database of the process, with its tables: everything here happens in one thread."""
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import add_default_pool_if_not_exists, synchronize_log_template

    given = {"check_same_thread": False, "factory": _Shared}
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args=given)

    @event.listens_for(engine, "connect")
    def hurry(connection: Any, _: Any) -> None:
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        add_default_pool_if_not_exists(session=session)
        synchronize_log_template(session=session)
        session.add(DagBundleModel(name=BUNDLE))
        session.commit()
    return engine


@contextmanager
def an_empty_one() -> Iterator[Any]:
    """A session on a database without DAGs and runs; what Airflow opens by itself is on the same one."""
    engine = _engine()
    with engine.begin() as connection:
        for table in _EMPTIED:
            connection.exec_driver_sql(f"DELETE FROM {table}")
    makes = sessionmaker(engine, autoflush=False, expire_on_commit=False)
    with patch("airflow.settings.Session", makes), makes() as session:
        try:
            yield session
        finally:
            session.rollback()


def set_pools(pools: Iterable[tuple[str, int]], session: Any) -> None:
    """Pools beside the default one."""
    from airflow.models.pool import Pool
    from sqlalchemy import delete

    session.execute(delete(Pool).where(Pool.pool != "default_pool"))
    for name, slots in pools:
        session.add(Pool(pool=name, slots=slots, description="", include_deferred=False))
    session.flush()


def store(dag: Any, session: Any) -> tuple[Any, str]:
    """Write a DAG where the scheduler finds it: as the scheduler sees it, and as the database keeps it."""
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel

    dag.fileloc = __file__  # a generated DAG has no file of its own
    limited = any(
        getattr(task, "max_active_tis_per_dag", None) or getattr(task, "max_active_tis_per_dagrun", None)
        for task in dag.tasks
    )
    session.add(
        DagModel(  # type: ignore[no-untyped-call]
            dag_id=dag.dag_id,
            bundle_name=BUNDLE,
            fileloc=dag.fileloc,
            relative_fileloc="generated.py",
            owners="airflow",
            is_paused=False,
            is_stale=False,
            max_active_tasks=dag.max_active_tasks,
            max_active_runs=dag.max_active_runs,
            max_consecutive_failed_dag_runs=0,
            has_task_concurrency_limits=limited,
        )
    )
    session.flush()
    lazy = versions.lazy(dag)
    SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
    session.flush()
    return versions.read(lazy.data), str(lazy.data)


def read(dag_id: str, session: Any) -> Any:
    """The DAG as whoever reads it has it: a copy of its own, and not the scheduler's."""
    from airflow.models.serialized_dag import SerializedDagModel

    session.flush()
    return SerializedDagModel.get_dag(dag_id, session=session)
