"""Airflow's metadata database for simulated worlds: SQLite in the tests' own Airflow home, made once, emptied for each.

What decides stays Airflow's: DAGs are stored serialized, as the DAG processor does, and the scheduler reads them there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

BUNDLE = "generated"
_EMPTIED = (
    "task_reschedule",
    "task_instance_history",
    "task_instance",
    "trigger",
    "dag_run",
    "serialized_dag",
    "dag_code",
    "dag_version",
    "dag",
    "log",
)


@functools.cache
def open_database() -> Any:
    """The one session of the process: everything here happens in one thread."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import add_default_pool_if_not_exists, synchronize_log_template
    from sqlalchemy import event

    assert settings.engine is not None
    assert settings.Session is not None

    @event.listens_for(settings.engine, "connect")
    def hurry(connection: Any, _: Any) -> None:
        for pragma in ("synchronous=OFF", "journal_mode=MEMORY", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    settings.engine.dispose()
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(settings.engine)
    session = settings.Session()
    add_default_pool_if_not_exists(session=session)
    synchronize_log_template(session=session)
    session.add(DagBundleModel(name=BUNDLE))
    session.commit()
    session.expire_on_commit = False
    return session


def empty() -> None:
    """Forget every DAG and every run."""
    from sqlalchemy import text

    session = open_database()
    session.rollback()
    session.expunge_all()
    for table in _EMPTIED:
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


def set_pools(pools: Iterable[tuple[str, int]]) -> None:
    """Pools beside the default one."""
    from airflow.models.pool import Pool

    session = open_database()
    session.query(Pool).filter(Pool.pool != "default_pool").delete()
    for name, slots in pools:
        session.add(Pool(pool=name, slots=slots, description="", include_deferred=False))
    session.commit()


def store(dag: Any) -> tuple[Any, str]:
    """Write a DAG where the scheduler finds it: as the scheduler sees it, and as the database keeps it."""
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG

    session = open_database()
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
    lazy = LazyDeserializedDAG.from_dag(dag)
    SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
    session.commit()
    stored = lazy.data
    return DagSerialization.from_dict(stored), str(stored)
