"""How cases are drawn: small ones first, so that a failure shrinks to a DAG that a person can read.

Numbers are sampled, because hypothesis prefers for `integers` the numbers in the source, and a seed would draw other
cases after each change of a file.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.generated import versions
from tests.generated.shapes import Alone, Case, Dag, Group, Part, Person, Task
from tests.generated.wire import Trouble

DEEDS = ["fail", "kill", "clear", "succeed", "terminate", "lose"]
DEEDS += ["fail run", "trigger", "pause dag", "succeed run"]
ENDS = st.sampled_from(["ok", "ok", "ok", "fail", "skip", "fail for good"])
SECONDS = st.sampled_from([60, 20, 240, 900])
RULES = st.sampled_from(
    [None] * 5
    + ["all_done", "none_failed", "one_failed", "all_skipped", "always", "one_success", "one_done", "none_skipped"]
    + ["none_failed_min_one_success", "all_failed"]
)
KINDS = ["work"] * 5 + ["branch", "short circuit", "latest only", "skips", "sensor"]
KINDS += ["call", "batch", "update", "delete", "scale to zero", "sweep"]
KINDS += ["approval"] if versions.ApprovalOperator is not None else []
TAKERS = st.sampled_from(["work", "work", "call", "batch", "sensor"])
NAMES = st.sampled_from(["demo", "demo", "other"])
RARELY = st.sampled_from([False, False, False, True])
NEARLY_NEVER = st.sampled_from([False] * 11 + [True])
LIMITS = st.sampled_from([None, None, None, 30])


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """A user's task: mostly work."""
    kind = draw(st.sampled_from(KINDS))
    if kind in ("branch", "short circuit", "approval", "skips"):
        return Task(kind=kind, picks=draw(st.sampled_from(["next", "nothing", "outside"])))  # type: ignore[arg-type]
    if kind != "work":
        return _of_this_provider(draw, kind)
    return Task(
        seconds=draw(SECONDS),
        ends=tuple(draw(st.lists(ENDS, min_size=1, max_size=2))),
        rule=draw(RULES),
        retries=draw(st.sampled_from([0, 0, 1])),
        past=draw(RARELY),
        mapped=draw(st.sampled_from([0, 0, 0, 2])),
        pool=draw(RARELY),
        limit=draw(LIMITS),
        over=draw(NEARLY_NEVER),
        keyed=draw(RARELY),
    )


def _of_this_provider(draw: st.DrawFn, kind: str) -> Task:
    limit = draw(LIMITS) if kind in ("call", "batch", "sensor") else None
    return Task(kind=kind, retries=draw(st.sampled_from([0, 1])), endpoint=draw(NAMES), limit=limit)  # type: ignore[arg-type]


@st.composite
def takers(draw: st.DrawFn) -> Task:
    """A task outside of a group that takes the endpoint of the group."""
    kind = draw(TAKERS)
    if kind != "work":
        return replace(_of_this_provider(draw, kind), takes=True)
    ends = tuple(draw(st.lists(ENDS, min_size=1, max_size=2)))
    return Task(seconds=draw(SECONDS), ends=ends, retries=draw(st.sampled_from([0, 0, 1])), takes=True)


@st.composite
def groups(draw: st.DrawFn, depth: int = 0) -> Group:
    """`inference_endpoint`, at times with another one inside."""
    inside = st.one_of(tasks(), tasks(), tasks(), tasks(), groups(depth + 1)) if depth == 0 else tasks()
    return Group(
        name=draw(NAMES),
        create=draw(st.sampled_from([True, True, False])),
        release=draw(st.sampled_from([None, None, "pause", "scale_to_zero", "delete", "restore", "keep"])),
        tasks=tuple(draw(st.lists(inside, min_size=1, max_size=2))),
        parallel=draw(st.booleans()),
        mapped=draw(st.sampled_from([0, 0, 0, 2])) if depth == 0 else 0,
        deferrable=draw(st.sampled_from([True, True, False])),
        retries=draw(st.sampled_from([0, 0, 1])),
    )


@st.composite
def alones(draw: st.DrawFn) -> Alone:
    """A start and a pause without a group."""
    return Alone(
        name=draw(NAMES),
        create=draw(st.booleans()),
        teardown=draw(st.sampled_from([True, True, False])),
        deferrable=draw(st.booleans()),
        retries=draw(st.sampled_from([0, 0, 1])),
        tasks=tuple(draw(st.lists(tasks(), max_size=2))),
    )


@st.composite
def dags(draw: st.DrawFn, dag_id: str) -> Dag:
    """A DAG with one or two parts, and its runs: what breaks needs little, and small ones are quick."""
    part: st.SearchStrategy[Part] = st.one_of(groups(), groups(), alones(), takers(), tasks())
    parts: list[Part] = [draw(st.one_of(groups(), groups(), groups(), alones())), *draw(st.lists(part, max_size=1))]
    if draw(RARELY):
        parts.reverse()  # a branch before an endpoint, say
    return Dag(
        dag_id=dag_id,
        parts=tuple(parts),
        parallel=draw(st.booleans()),
        past=draw(RARELY),
        max_active_tasks=draw(st.sampled_from([16, 16, 16, 1, 2])),
        max_active_runs=draw(st.sampled_from([16, 16, 1])),
        runs=tuple(draw(st.lists(st.sampled_from(range(401)), min_size=1, max_size=2))),
        timeout=draw(st.sampled_from([None] * 11 + [200])),
        fail_fast=draw(NEARLY_NEVER),
    )


@st.composite
def people(draw: st.DrawFn) -> Person:
    """Somebody, or an operating system, that interferes."""
    deed = draw(st.sampled_from(DEEDS))
    if deed == "trigger":
        after = draw(st.sampled_from(range(21))) / 10  # around the moment at which the release behind the task begins
        return Person(deed="trigger", task=draw(st.sampled_from(range(7))), state="success", after=after)
    return Person(
        deed=deed,  # type: ignore[arg-type]
        dag=draw(st.sampled_from(range(2))),
        run=draw(st.sampled_from(range(2))),
        task=draw(st.sampled_from(range(7))),
        state=draw(st.sampled_from(["running", "running", "deferred", "success"])),
        after=draw(st.sampled_from([0.05, 0.15, 1.0, 4.0, 20.0, 70.0])),
    )


@st.composite
def troubles(draw: st.DrawFn) -> Trouble:
    """The service misbehaves for a while; never so long that no release could come through."""
    return Trouble(
        what=draw(st.sampled_from(["429", "500", "503", "lost", "unsent", "404"])),
        after=float(draw(st.sampled_from(range(501)))),
        seconds=float(draw(st.sampled_from([10, 60, 300]))),
        hits=draw(st.sampled_from([1, 1, 3, 20])),
        only=draw(st.sampled_from(["any", "change", "read"])),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A whole case."""
    first = draw(dags("a"))
    others = st.sampled_from([None, None, None, "another", "a triggered one", "a sweeper"])
    more: tuple[Dag, ...] = ()
    match draw(others):
        case "another":
            more = (draw(dags("b")),)
        case "a triggered one":
            first = replace(first, parts=(*first.parts, Task(kind="trigger dag", endpoint="b")))
            more = (replace(draw(dags("b")), runs=()),)
        case "a sweeper":
            runs = draw(
                st.lists(st.sampled_from([100, 300, 900, 2500, 4000, 20_000]), min_size=1, max_size=2, unique=True)
            )
            more = (Dag(dag_id="sweeper", parts=(Task(kind="sweep"),), runs=tuple(runs)),)
    return Case(
        dags=(first, *more),
        people=tuple(draw(st.lists(people(), max_size=2))),
        troubles=tuple(draw(st.lists(troubles(), max_size=2))),
        lag=draw(st.sampled_from([0.0, 0.0, 1.0, 5.0])),
        initializing=draw(st.sampled_from([60, 10, 300])),
        loading=draw(st.sampled_from([0, 0, 90])),
        fails_to_start=draw(st.sampled_from([False] * 7 + [True])),
        found=draw(st.sampled_from([None, None, "paused", "running", "scaledToZero"])),
        leases=draw(st.sampled_from(["files", "files", "variables"])),
        kept=("demo",) if draw(RARELY) else (),
        seed=draw(st.sampled_from(range(1001))),
    )
