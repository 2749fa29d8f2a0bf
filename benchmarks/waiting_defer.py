"""Defers the waiting benchmark's tasks through Airflow's own ORM, in the state in which a worker would leave them.

A worker takes more than a second of CPU for each task on two cores, so that a thousand would be a benchmark of
Airflow's workers. Arguments: the trigger's class, how many tasks.
"""

from __future__ import annotations

import sys
import time

from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils import timezone
from airflow.utils.session import create_session
from sqlalchemy import select

HOUR = 3600.0


def main() -> None:
    """Give each of the first tasks its own trigger; the others stay where they are."""
    classpath, waits = sys.argv[1], int(sys.argv[2])
    now = time.time()
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.dag_id == "waiting").order_by(TaskInstance.map_index)
        for task in session.scalars(query.limit(waits)):
            # As deferred an hour ago: the longest pauses between two looks.
            kwargs = {"endpoint": f"e-{task.map_index}", "started": now - HOUR, "deadline": now + HOUR}
            trigger = Trigger(classpath=classpath, kwargs=kwargs)
            session.add(trigger)
            session.flush()
            task.trigger_id = trigger.id
            task.state = "deferred"
            task.next_method, task.next_kwargs = "execute_complete", {}
            task.start_date, task.try_number = timezone.utcnow(), 1


if __name__ == "__main__":
    main()
