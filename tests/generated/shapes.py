"""What a generated case is: DAGs around endpoints, what people do to their runs, and how the service misbehaves.

Values only. `written.py` writes them as the Python that is then executed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.generated.wire import Trouble

OnEndpoint = Literal["call", "batch", "update", "delete", "scale to zero"]
Kind = (
    Literal["work", "branch", "short circuit", "latest only", "approval", "skips", "sensor", "sweep", "trigger dag"]
    | OnEndpoint
)
Deed = Literal[
    "fail", "succeed", "clear", "kill", "lose", "terminate", "fail run", "succeed run", "pause dag", "trigger"
]


@dataclass(frozen=True)
class Task:
    """A task of the user.

    :param endpoint: what it is about, where it stands outside of a group.
    :param picks: what a branch returns: nothing, the task behind it, or one outside of the group. An approval is given
        (next), refused (nothing), or not answered in time (outside). An operator of the user's own that `skips` skips
        no task (next), those directly behind it (nothing), all behind it but teardowns (outside), or all (everything).
    :param takes: outside of a group, it takes the endpoint of the group before it.
    :param mapped: into how many it is expanded; 0: it is not.
    :param keyed: it takes the endpoint's name out of the group's value, by `endpoint["name"]`.
    :param over: whether its `end_date` lies before every run, so that Airflow never runs it.
    """

    kind: Kind = "work"
    seconds: int = 60
    ends: tuple[str, ...] = ("ok",)
    rule: str | None = None
    retries: int = 0
    past: bool = False
    picks: Literal["nothing", "next", "outside", "everything"] = "next"
    mapped: int = 0
    pool: bool = False
    limit: float | None = None  # seconds: execution_timeout
    endpoint: str = "demo"  # of `trigger dag`: which DAG it triggers, and waits for
    over: bool = False
    takes: bool = False
    keyed: bool = False


@dataclass(frozen=True)
class Group:
    """`inference_endpoint` with tasks inside, one after the other or side by side."""

    name: str = "demo"
    create: bool = True
    release: str | None = None
    tasks: tuple[Task | Group, ...] = (Task(),)
    parallel: bool = False
    mapped: int = 0
    deferrable: bool = True
    retries: int = 0
    max_startup: int = 3600


@dataclass(frozen=True)
class Alone:
    """A start and a pause of their own, without a group."""

    name: str = "demo"
    create: bool = True
    teardown: bool = True
    deferrable: bool = True
    retries: int = 0
    tasks: tuple[Task, ...] = (Task(),)


Part = Group | Alone | Task


@dataclass(frozen=True)
class Dag:
    """A DAG and when its runs begin, in seconds."""

    dag_id: str = "a"
    parts: tuple[Part, ...] = (Group(),)
    parallel: bool = False
    past: bool = False  # depends_on_past, from default_args
    max_active_tasks: int = 16
    max_active_runs: int = 16
    runs: tuple[int, ...] = (0,)
    timeout: int | None = None  # seconds: dagrun_timeout
    fail_fast: bool = False  # one task that fails ends all the others; Airflow then takes no trigger rules


@dataclass(frozen=True)
class Person:
    """Somebody or something does something to a task, some seconds after it came to a state.

    `trigger` has the last DAG run once more, as a newcomer does that comes while others leave.
    """

    deed: Deed = "fail"
    dag: int = 0
    run: int = 0
    task: int = 0  # which of the DAG's, counted round and round
    state: Literal["running", "deferred", "success"] = "running"
    after: float = 1.0


@dataclass(frozen=True)
class Case:
    """All of it."""

    dags: tuple[Dag, ...] = (Dag(),)
    people: tuple[Person, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    lag: float = 0.0
    initializing: int = 60
    loading: int = 0
    fails_to_start: bool = False
    found: str | None = None  # the state of the endpoints before: paused, running, scaledToZero; None: there are none
    leases: Literal["files", "variables"] = "files"
    kept: tuple[str, ...] = ()  # the endpoints that a person keeps from sweepers
    seed: int = 0

    def plain(self) -> str:
        """What is not at its default, for a person."""
        return _plain(replace(self, dags=()))


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_plain, value)) + ("," if len(value) == 1 else "") + ")"
    if not hasattr(value, "__dataclass_fields__"):
        return repr(value)
    shown = []
    for name, each in value.__dataclass_fields__.items():
        given = getattr(value, name)
        if given != each.default and not (name == "dags" and given == ()):
            shown.append(f"{name}={_plain(given)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def as_code(case: Case) -> str:
    """The case as an expression that makes it again."""
    return _plain(case)
