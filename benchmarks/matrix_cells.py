"""What is tried: every way in which the use of an endpoint can end, with every way in which the endpoint was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Column = Literal["created", "resumed", "found running", "shared"]
ALL: tuple[Column, ...] = ("created", "resumed", "found running", "shared")
STARTED: tuple[Column, ...] = ("created", "resumed")
# Where in its life the use is when something happens to it; `end`: nothing does, it ends by itself.
Moment = Literal["end", "starting", "working", "ended"]
# What happens. The ones in KILLS are done to all their cells at once, in a separate turn.
Act = Literal["nothing", "clear", "mark", "mark run", "worker", "machine", "triggerer", "scheduler", "everything"]
KILLS: tuple[Act, ...] = ("triggerer", "scheduler", "everything")


@dataclass(frozen=True)
class Row:
    """One way to end.

    :param dag: what comes behind `matrix_create` and `matrix_resume` in the DAG's name.
    :param ends: how the run may end; nothing where its state says nothing.
    :param swept: whether only the sweeper can save it.
    """

    title: str
    moment: Moment
    act: Act = "nothing"
    dag: str = ""
    ends: tuple[str, ...] = ("failed",)
    fail: bool = False
    defer: bool = False
    columns: tuple[Column, ...] = ALL
    swept: bool = False


ROWS = (
    Row("success", "end", ends=("success",)),
    Row("task failure", "end", fail=True),
    Row("clear, while it works", "working", "clear", ends=("success",)),
    Row("clear, after it has failed", "ended", "clear", fail=True, ends=("success",)),
    Row("work marked failed", "working", "mark"),
    Row("start marked failed, deferred", "starting", "mark", columns=("created", "resumed", "shared")),
    Row("start marked failed, on its worker", "starting", "mark", "_on_worker", columns=STARTED),
    Row("DAG run marked failed", "working", "mark run"),
    Row("worker SIGKILL: the task", "working", "worker"),
    Row("worker SIGKILL: all of it", "working", "machine"),
    Row("worker SIGKILL, while it starts", "starting", "worker", "_on_worker", columns=STARTED),
    Row("timeout of the start", "end", dag="_limited_start", columns=("created", "resumed", "shared")),
    Row("timeout of the work", "working", dag="_limited_work"),
    Row("triggerer SIGKILL, while it starts", "starting", "triggerer", ends=("success",), columns=STARTED),
    Row("triggerer SIGKILL, deferred work", "working", "triggerer", defer=True, ends=("success",)),
    Row("scheduler SIGKILL and restart", "working", "scheduler", ends=("success", "failed")),
    # Airflow runs no teardown here, so only the sweeper is left.
    Row("sweeper: timeout of the DAG run", "working", dag="_limited_run", swept=True),
    Row(
        "sweeper: all SIGKILL, run deleted",
        "working",
        "everything",
        "_short_lease",
        ends=(),
        columns=("created", "resumed", "found running"),
        swept=True,
    ),
)


@dataclass(frozen=True)
class Cell:
    """One row with one column."""

    row: Row
    column: Column

    @property
    def dag(self) -> str:
        """The DAG's name."""
        # What is shared was created by the first of the two; so somebody has to switch it off in the end.
        return ("matrix_create" if self.column in ("created", "shared") else "matrix_resume") + self.row.dag

    @property
    def expected(self) -> str:
        """The state in which the endpoint is to be in the end."""
        return "running" if self.column == "found running" else "paused"

    @property
    def start(self) -> float:
        """Seconds that the endpoint takes to start."""
        if self.row.dag == "_limited_start":
            return 60.0 if self.column == "shared" else 3600.0  # the other one has the patience
        return 40.0 if self.row.moment == "starting" else 10.0


def cells(rows: str = "", columns: str = "") -> list[Cell]:
    """Those whose row's and column's titles have these words in them."""
    return [Cell(row, column) for row in ROWS for column in row.columns if rows in row.title and columns in column]
