"""A generated case as Python: what is printed for a person is what is executed, so that it is what ran."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tests.generated.shapes import Alone, Case, Dag, Group, Part, Task, as_code

HEAD = """\
from datetime import datetime, timedelta, timezone
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task_group
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator, DeleteInferenceEndpointOperator, PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator, ScaleToZeroInferenceEndpointOperator, UpdateInferenceEndpointOperator)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.generated.tasks import Skips, Work, output_of, picks, rows
from tests.generated.versions import ApprovalOperator

MODEL = {"repository": "gpt2", "task": "text-generation", "hardware": "aws/us-east-1/intel-icl/x2"}
SECRET = {"API_KEY": "canary-of-the-endpoint"}
"""


class _Raw(str):
    """Code, not a text."""


_NAMES = {
    "work": "work",
    "sensor": "sensor",
    "call": "call",
    "batch": "batch",
    "sweep": "sweep",
    "approval": "approval",
    "skips": "skips",
}
_NAMES |= {"update": "update", "delete": "delete", "scale to zero": "zero", "trigger dag": "trigger"}

_ON_ENDPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "call": ("InferenceOperator", {"task": "text-generation", "inputs": "a text"}),
    "batch": (
        "BatchInferenceOperator",
        {"task": "text-generation", "prompt": "{text}", "input_path": _Raw("rows()"), "transport": "httpx"},
    ),
    "update": ("UpdateInferenceEndpointOperator", {"max_replica": 2}),
    "delete": ("DeleteInferenceEndpointOperator", {}),
    "scale to zero": ("ScaleToZeroInferenceEndpointOperator", {}),
}


@dataclass
class _Writer:
    """Writes one DAG's source, line by line."""

    lines: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)  # tasks behind all, for branches that pick outside
    count: int = 0
    taken: str | None = None  # the endpoint that a task outside of a group takes
    rules: bool = True  # whether tasks may have trigger rules

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def part(self, depth: int, part: Part, endpoint: str | None) -> str:
        """Write a part; the name of its variable."""
        match part:
            case Group():
                return self.group(depth, part)
            case Alone():
                return self.alone(depth, part)
            case Task():
                return self.task(depth, part, self.taken if endpoint is None and part.takes else endpoint)

    def task(self, depth: int, task: Task, endpoint: str | None) -> str:
        name = self.new(_NAMES.get(task.kind, "pick"))
        common: dict[str, Any] = {"task_id": name}
        common |= {"trigger_rule": task.rule} if task.rule and self.rules else {}
        common |= {"retries": task.retries} if task.retries else {}
        common |= {"depends_on_past": True} if task.past else {}
        common |= {"pool": "small"} if task.pool else {}
        if task.over:
            common["end_date"] = _Raw("datetime(2026, 1, 2, tzinfo=timezone.utc)")
        if task.limit:
            common["execution_timeout"] = _Raw(f"timedelta(seconds={task.limit})")
        match task.kind:
            case "work":
                given = common | {"seconds": task.seconds, "ends": task.ends}
                by_key = '["name"]' if task.keyed and endpoint and not endpoint.startswith("'") else ""
                given |= {"endpoint": _Raw(f"{endpoint}{by_key}")} if endpoint else {}
                if task.mapped:
                    given.pop("seconds")
                    spread = [task.seconds + 10 * number for number in range(task.mapped)]
                    self.line(depth, f"{name} = Work.partial({_arguments(given)}).expand(seconds={spread})")
                else:
                    self.line(depth, f"{name} = Work({_arguments(given)})")
            case "sensor":
                given = common | {"endpoint": _Raw(endpoint or repr(task.endpoint)), "timeout": 1800}
                self.line(depth, f"{name} = InferenceEndpointSensor({_arguments(given)})")
            case "branch":
                picked = ", ".join({"nothing": [], "next": [], "outside": [repr(f"{name}_out")]}[task.picks])
                given = common | {"python_callable": _Raw(f"picks({picked})")}
                self.line(depth, f"{name} = BranchPythonOperator({_arguments(given)})")
                if task.picks == "outside":
                    self.outside.append(name)
            case "short circuit":
                value = "False" if task.picks == "nothing" else "True"
                given = common | {"python_callable": _Raw(f"lambda: {value}")}
                given |= {"ignore_downstream_trigger_rules": task.picks != "outside"}
                self.line(depth, f"{name} = ShortCircuitOperator({_arguments(given)})")
            case "approval":
                given = common | {"subject": task.picks, "response_timeout": _Raw("timedelta(minutes=30)")}
                self.line(depth, f"{name} = ApprovalOperator({_arguments(given)})")
            case "skips":
                self.line(depth, f"{name} = Skips({_arguments(common)}, skips={task.picks!r})")
            case "trigger dag":
                given = common | {"trigger_dag_id": task.endpoint, "trigger_run_id": f"{name}_of_{{{{ run_id }}}}"}
                given |= {"wait_for_completion": True, "poke_interval": 10}
                self.line(depth, f"{name} = TriggerDagRunOperator({_arguments(given)})")
            case "latest only":
                self.line(depth, f"{name} = LatestOnlyOperator({_arguments(common)})")
            case "sweep":
                self.line(depth, f"{name} = SweepInferenceEndpointsOperator({_arguments(common)}, only_report=False)")
            case _:
                about = {"endpoint": _Raw(endpoint or repr(task.endpoint))}
                operator, given = _ON_ENDPOINTS[task.kind]
                if task.kind == "batch":
                    about["output_path"] = _Raw(f"output_of({name!r})")
                self.line(depth, f"{name} = {operator}({_arguments(common | about | given)})")
        return name

    def group(self, depth: int, group: Group) -> str:
        name = self.new("group")
        given: dict[str, Any] = {"group_id": name}
        given |= {"release": group.release} if group.release else {}
        given |= {} if group.deferrable else {"deferrable": False}
        given |= {"retries": group.retries} if group.retries else {}
        given |= {"max_startup": group.max_startup} if group.max_startup != 3600 else {}
        given |= {"secrets": _Raw("SECRET")} if group.create else {}
        made = f"inference_endpoint({group.name!r}, {_arguments(given)}{', **MODEL' if group.create else ''})"
        if group.mapped:
            self.line(depth, f"@{made}")
            self.line(depth, f"def {name}(endpoint, number):")
            taken = self.taken
            self.inside(depth + 1, _not_mapped(group), "endpoint")
            self.taken = taken  # what a function knows, nobody outside of it does
            self.line(depth, f"{name}_all = {name}.expand(number={list(range(group.mapped))})")
            return f"{name}_all"
        self.taken = f"{name}_endpoint"
        self.line(depth, f"{name} = {made}")
        self.line(depth, f"with {name} as {name}_endpoint:")
        self.inside(depth + 1, group, f"{name}_endpoint")
        return name

    def inside(self, depth: int, group: Group, endpoint: str) -> None:
        names = []
        for number, each in enumerate(group.tasks):
            given = endpoint
            if isinstance(each, Task) and each.rule and self.rules:
                # Airflow takes a trigger rule only where the start is not directly before the task.
                first = group.parallel or number == 0
                each, given = (replace(each, rule=None), endpoint) if first else (each, repr(group.name))
            names.append(self.part(depth, each, given))
        if not group.parallel:
            self.chain(depth, names)

    def alone(self, depth: int, alone: Alone) -> str:
        start, pause = self.new("start"), self.new("pause")
        given: dict[str, Any] = {"task_id": start, "deferrable": alone.deferrable}
        given |= {"retries": alone.retries} if alone.retries else {}
        if alone.create:
            self.line(depth, f"{start} = CreateInferenceEndpointOperator(name={alone.name!r}, {_arguments(given)},")
            self.line(depth, "    framework='pytorch', secrets=SECRET, **MODEL)")
        else:
            self.line(depth, f"{start} = ResumeInferenceEndpointOperator(endpoint={alone.name!r}, {_arguments(given)})")
        tasks = [replace(each, rule=None) if number == 0 else each for number, each in enumerate(alone.tasks)]
        names = [self.task(depth, each, repr(alone.name)) for each in tasks]
        self.line(depth, f"{pause} = PauseInferenceEndpointOperator(task_id={pause!r}, endpoint={alone.name!r},")
        self.line(depth, f"    deferrable={alone.deferrable})")
        self.chain(depth, [start, *names, pause])
        if alone.teardown:
            self.line(depth, f"{pause}.as_teardown(setups={start})")
        return pause

    def chain(self, depth: int, names: list[str]) -> None:
        if len(names) > 1:
            self.line(depth, " >> ".join(names))


def _not_mapped(group: Group) -> Group:
    """Airflow expands nothing inside of what is expanded, and a branch there has nothing outside that it could pick."""
    tasks = [
        _not_mapped(replace(each, mapped=0))
        if isinstance(each, Group)
        else replace(each, mapped=0, picks="nothing" if each.picks == "outside" else each.picks)
        for each in group.tasks
    ]
    return replace(group, tasks=tuple(tasks))


def _arguments(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value if isinstance(value, _Raw) else repr(value)}" for name, value in given.items())


def source(dag: Dag) -> str:
    """The DAG as Python."""
    writer = _Writer(rules=not dag.fail_fast)
    given: dict[str, Any] = {"schedule": _Raw("timedelta(days=1)"), "catchup": False}
    given["start_date"] = _Raw("datetime(2026, 1, 1, tzinfo=timezone.utc)")
    given |= {"default_args": {"depends_on_past": True}} if dag.past else {}
    given |= {"max_active_tasks": dag.max_active_tasks} if dag.max_active_tasks != 16 else {}
    given["max_active_runs"] = dag.max_active_runs
    given |= {"fail_fast": True} if dag.fail_fast else {}
    given |= {"dagrun_timeout": _Raw(f"timedelta(seconds={dag.timeout})")} if dag.timeout else {}
    writer.line(0, f"with DAG({dag.dag_id!r}, {_arguments(given)}) as dag:")
    names = [writer.part(1, part, None) for part in dag.parts]
    if not dag.parallel:
        writer.chain(1, names)
    for name in writer.outside:
        writer.line(1, f"{name} >> Work(task_id='{name}_out')")
    return "\n".join(writer.lines)


class RefusedCase(Exception):
    """A DAG is refused where it is read, which is an answer too."""


def build(dag: Dag) -> Any:
    """The DAG itself."""
    names: dict[str, Any] = {}
    try:
        exec(compile(HEAD + source(dag), f"<{dag.dag_id}>", "exec"), names)
    except ValueError as error:
        raise RefusedCase(str(error)) from error
    names["dag"].validate()  # as Airflow does where it reads the file; a DAG that only Airflow refuses is no case
    return names["dag"]


def read(case: Case) -> str:
    """The whole case for a person: its DAGs as Python, and what happens to them."""
    runs = "\n".join(f"# runs of {dag.dag_id!r} begin after {dag.runs} s" for dag in case.dags)
    sources = "\n\n".join(source(dag) for dag in case.dags)
    return f"{HEAD}\n{sources}\n\n{runs}\n# what happens: {case.plain()}\n# again: {as_code(case)}"
