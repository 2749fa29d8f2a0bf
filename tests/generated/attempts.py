"""One process of one try of a task, or its replacement if the scheduler itself has deferred the task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.generated.hub import Process
    from tests.generated.tables import Place


@dataclass
class Attempt:
    """One process of one try of a task."""

    ti_id: Any
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    began: float
    first_reschedule: datetime | None = None
    process: Process | None = None
    runtime: Any = None
    ended: float | None = None
    end: str = "running"
    told: bool = False  # whether its supervisor has sent SIGTERM

    @property
    def place(self) -> Place:
        """The task instance, whatever its attempt."""
        return (self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def alive(self) -> bool:
        """Whether its process may still do something."""
        return self.process is not None and not self.process.over

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped} try {self.try_number}"
