"""The documentation: its links lead somewhere, its code compiles, its parameter tables say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.endpoints import errors as control_errors
from airflow_provider_hf_endpoints.endpoints.models import EndpointSummary
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.inference import batch_errors
from airflow_provider_hf_endpoints.inference import errors as inference_errors
from airflow_provider_hf_endpoints.inference.inputs.formats import NAMES, SUFFIXES, InputFormat
from airflow_provider_hf_endpoints.inference.job.output_form import RESULT_SUFFIXES
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.operators import endpoints as operators
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    InferenceOperator,
    LoadBatchResultsOperator,
    MergeBatchShardsOperator,
    PlanBatchShardsOperator,
)
from airflow_provider_hf_endpoints.operators.requesting import batch, options
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.tables import SqlTable
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Arguments that a table describes in words.
WORDS = {"deferrable", "retry_delay"}

PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "reference/operators/create.md": operators.CreateInferenceEndpointOperator,
    "reference/operators/update.md": operators.UpdateInferenceEndpointOperator,
    "reference/operators/pause.md": operators.PauseInferenceEndpointOperator,
    "reference/operators/resume.md": operators.ResumeInferenceEndpointOperator,
    "reference/operators/scale_to_zero.md": operators.ScaleToZeroInferenceEndpointOperator,
    "reference/operators/delete.md": operators.DeleteInferenceEndpointOperator,
    "reference/operators/inference.md": InferenceOperator,
    "reference/batch.md": BatchInferenceOperator,
    "how_to/many_workers.md": (PlanBatchShardsOperator, MergeBatchShardsOperator),
    "how_to/tables.md": LoadBatchResultsOperator,
    "reference/sensor.md": InferenceEndpointSensor,
    "how_to/events.md": InferenceEndpointEventTrigger,
}


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading that is in it."""
    text = re.sub(r"```.*?```|``.*?``|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert [] == broken


def code_blocks() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE), 1):
            yield pytest.param(code, id=f"{page_id(page)}-{number}")


@pytest.mark.parametrize("code", code_blocks())
def test_python_in_the_pages_is_python(code: str) -> None:
    """It compiles, and what it imports from here is there."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow_provider_hf_endpoints"):
            try:
                module = __import__(str(node.module), fromlist=["_"])
            except AirflowOptionalProviderFeatureException as reason:  # the page says from which Airflow on
                pytest.skip(str(reason))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_readme_s_dag_is_one() -> None:
    """What a reader copies first loads, and its release is the teardown of its start."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    dag: DAG = namespace["dag"]
    tasks = dag.task_dict
    ours = ("acquire", "start", "watch", "work_ended", "release", "released")
    assert {f"my-llm.{name}" for name in (*ours, "summarise")} == set(tasks)
    assert tasks["my-llm.start"].is_setup
    assert tasks["my-llm.release"].is_teardown
    assert {f"my-llm.{name}" for name in ("acquire", "start", "work_ended")} == tasks[
        "my-llm.release"
    ].upstream_task_ids
    assert tasks["my-llm.start"].task_id in tasks["my-llm.summarise"].upstream_task_ids


def own_parameters(kind: type) -> dict[str, Any]:
    """What an operator takes and BaseOperator does not, with the defaults."""
    found: dict[str, Any] = {}
    for cls in kind.__mro__:
        if cls.__module__.startswith("airflow_provider_hf_endpoints") and "__init__" in vars(cls):
            for name, parameter in inspect.signature(cls.__init__).parameters.items():  # type: ignore[misc]
                if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found.setdefault(name, parameter.default)
    return found


def documented(text: str, columns: int) -> dict[str, str]:
    """Parameters and defaults of the tables that begin with `parameter` and have so many columns."""
    found = {}
    head = r"\| parameter \|" + (r" default \|" if columns == 3 else "") + r" meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)"
    for table in re.findall(head, text):
        for row in table.splitlines():
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            for name in re.findall(r"`(\w+)`", cells[0]):
                found[name] = cells[1] if columns == 3 else "`None`"
    return found


def shown(default: Any) -> str:
    return "required" if default is inspect.Parameter.empty else f"`{default!r}`".replace("'", '"')


COMMON = documented((ROOT / "docs" / "reference" / "operators" / "index.md").read_text(encoding="utf-8"), 3)


@pytest.mark.parametrize("page", PARAMETERS)
def test_parameter_tables_are_complete_and_right(page: str) -> None:
    """Every parameter is in its page's tables with its default, and nothing else is."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    told = {**documented(text, 2), **documented(text, 3)}
    if "every operator on an endpoint" in text:
        told = {**COMMON, **told}
    told.pop("mode", None)  # Airflow's own, told where it matters
    kinds = PARAMETERS[page]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    taken = {name: shown(default) for kind in kinds for name, default in own_parameters(kind).items()}
    assert set(taken) == set(told)
    assert {name: value for name, value in taken.items() if name not in WORDS} == {
        name: value for name, value in told.items() if name not in WORDS
    }


def test_the_arguments_of_a_table_are_told() -> None:
    """Each with its default."""
    text = (ROOT / "docs" / "how_to" / "tables.md").read_text(encoding="utf-8")
    table = text.partition("| argument | default | meaning |\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()[1:]]
    told = {row[0].strip("`"): row[1] for row in cells}
    taken = inspect.signature(SqlTable).parameters
    assert {name: shown(each.default) for name, each in taken.items()} == told


def test_the_options_of_a_batch_are_told() -> None:
    """The page's second table has every name that `job_options` takes alone, with its default."""
    text = (ROOT / "docs" / "reference" / "batch.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| option \| default \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    known = {name: default for name, default in options.FIELDS.items() if name not in options.BOTH}
    alone = {name: default for name, default in known.items() if name not in batch.OWN | set(options.TOLD)}
    # What an operator finds out by itself has words for a default.
    in_words = {name for name, default in told.items() if not default.startswith("`")}
    assert set(alone) == set(told)
    assert {"engine", "attempt_key"} == in_words
    assert {name: told[name] for name in set(told) - in_words} == {
        name: shown(default) for name, default in alone.items() if name not in in_words
    }


def test_every_setting_of_an_endpoint_is_told() -> None:
    """Create's tables and update's list hold what the service takes."""
    create = (ROOT / "docs" / "reference" / "operators" / "create.md").read_text(encoding="utf-8")
    assert set(EndpointSpec.model_fields) <= {*documented(create, 2), *documented(create, 3)}
    update = (ROOT / "docs" / "reference" / "operators" / "update.md").read_text(encoding="utf-8")
    assert set(EndpointUpdate.model_fields) <= set(re.findall(r"`(\w+)`", update))


def test_the_summary_of_an_endpoint_is_told() -> None:
    """The page's table has the fields of what operators, sensor and events say of an endpoint, in their order."""
    text = (ROOT / "docs" / "reference" / "operators" / "index.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| field \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    assert [each.name for each in fields(EndpointSummary)] == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_the_result_of_a_batch_is_told() -> None:
    """The page's table has every key of the report that a batch returns, and no other."""
    text = (ROOT / "docs" / "reference" / "batch_output.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| key \| \|\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    told = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert sorted(each.name for each in fields(BatchReport)) == sorted(told)


def test_the_result_of_a_call_is_told() -> None:
    """The page has the keys of the result, in their order."""
    text = (ROOT / "docs" / "reference" / "operators" / "inference.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^Its result is `\{(.*?)\}`", text, re.MULTILINE)
    assert list(InferenceOperator.result_keys) == re.findall(r'"(\w+)"', told)


def test_the_formats_of_an_input_are_told() -> None:
    """The table of the page has every format, and the ends of the names of its files."""
    text = (ROOT / "docs" / "reference" / "batch_input.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| `input_format` \| names that end in \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in row.split(" | ")] for row in table.splitlines()]
    assert set(get_args(InputFormat)) - {"auto"} == {row[0][0] for row in rows} == {*NAMES, "files", "openai-batch"}
    assert list(SUFFIXES) == [suffix for row in rows for suffix in row[1] if suffix.startswith(".")]


def test_the_endings_of_results_are_told() -> None:
    """The page names each, in the row of an output that is a file."""
    text = (ROOT / "docs" / "reference" / "batch_output.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^\| `answers\.jsonl` \(also (.*?)\) \|", text, re.MULTILINE)
    assert list(RESULT_SUFFIXES) == [".jsonl", *re.findall(r"`([^`]+)`", told)]


@pytest.mark.parametrize(
    "listed",
    [r"(?i)\bcsv`?( with [a-z ]+)?(,| or| and) (or |and )?`?parquet", r"\.zst`?(,| or| and) (or |and )?`?\.parquet"],
    ids=["input", "output"],
)
def test_formats_are_listed_in_one_place(listed: str) -> None:
    """A list in another text of the package, or on another page, would lack the next format."""
    files = [
        *(ROOT / "airflow_provider_hf_endpoints").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "README.md",
    ]
    texts = {page_id(path): path.read_text(encoding="utf-8") for path in files}
    found = {name for name, text in texts.items() if re.search(listed, re.sub(r"\s+", " ", text))}
    assert found <= {"docs/reference/batch_input.md", "docs/reference/batch_output.md"}


def error_types(module: Any, base: type) -> set[str]:
    return {
        name
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
    }


def test_every_error_is_told_with_whether_to_try_again() -> None:
    """The page of errors names each typed error, and says of it what the code says."""
    text = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    control, calls, batches = re.split(r"^## (?:Calls to an endpoint|Batches)$", text, flags=re.MULTILINE)
    for module, base, part in (
        (control_errors, control_errors.InferenceEndpointError, control),
        (inference_errors, inference_errors.InferenceError, calls),
        (batch_errors, batch_errors.BatchError, batches),
    ):
        assert error_types(module, base) - {base.__name__} <= set(re.findall(r"`(\w+)`", part))
    for module, part, column in ((control_errors, control, 3), (inference_errors, calls, 3)):
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", part, re.MULTILINE)
        assert rows
        for name, rest in rows:
            cells = [name, *rest.split(" | ")]
            kind: Any = getattr(module, name)
            assert (cells[column], name) == ("yes" if kind.retryable else "no", name)
            if module is inference_errors:
                assert cells[1] == f"`{kind().kind}`"
