"""The code blocks of README and docs, and the world in which they are run: an emulator, files, a stand-in for Airflow.

A block that can't be run there is marked on its page, visibly, by a line before it: `*Not run by the tests: why.*`
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from tests.contract.operators.test_operators_use import Run
from tests.contract.operators_play import run_deferred

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = re.compile(r"\*Not run by the tests: [^*]+\*\n+\Z")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What stands in a block for the reader's own: storage, addresses, templates.
_NOW = {
    "ds": "2026-11-30",
    "ds_nodash": "20261130",
    "run_id": "run-1",
    "params.name": "Ada",
    "params.endpoint": "my-llm",
}
_JSONL = '{"text": "The printer is on fire.", "id": "a"}\n{"text": "All is well.", "id": "b"}\n'
_OPENAI = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"messages": [{"role": "user", "content": "Hello"}]}}\n'
)


# Marks do nothing on a worker, and an approval asks a person.
_NOT_PLAYED = ("EndpointReleasedOperator", "WorkEndedOperator", "ApproveHardwareOperator")


@dataclass(frozen=True)
class Block:
    """One fenced block. `marked`: whether its page says that it is not run."""

    page: str
    language: str
    code: str
    marked: bool


def blocks(*languages: str) -> Iterator[Block]:
    """Of all pages, in order."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            if fence[1] in languages:
                marked = MARK.search(text[: fence.start()]) is not None
                yield Block(page.relative_to(ROOT).as_posix(), fence[1], fence[2], marked)


def write_files(folder: Path) -> None:
    """What the blocks read, below `folder`."""
    for name in ("tickets.jsonl", "rows.jsonl", "in.jsonl", "2026-11-30.jsonl", "2026-11-30/a.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(_JSONL)
    (folder / "requests.jsonl").write_text(_OPENAI)
    (folder / "scans" / "2026").mkdir(parents=True)
    (folder / "scans" / "2026" / "page.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "errors.jsonl").write_text('{"row": {"text": "a"}}\n')


def localised(code: str, folder: Path, url: str, token: str) -> str:
    """The block with the reader's storage, address and token in their places, and templates rendered."""
    code = re.sub(r"s3://(?:\w+@)?\w+/", f"file://{folder}/", code)
    code = code.replace('"/data/', f'"{folder}/').replace("https://….endpoints.huggingface.cloud", url)
    code = code.replace('"hf_…"', repr(token))
    for name, value in _NOW.items():
        code = code.replace(f"{{{{ {name} }}}}", value)
    return code


def play(dag: DAG, leave: Collection[str] = ()) -> Iterator[str]:
    """Run every task of ours that is not mapped, each after those before it; the ids of what ran.

    :param leave: ids of tasks that are not run
    """
    results: dict[str, Any] = {}
    left = set(leave)
    world = Run()
    for task in dag.topological_sort():  # type: ignore[no-untyped-call]
        kind = type(task)
        ours = kind.__module__.startswith("airflow_provider_hf_endpoints") and kind.__name__ not in _NOT_PLAYED
        if task.task_id in left or not ours or not _fill_in(task, results):
            # What is mapped is made when it runs, and what comes after it needs its results.
            left |= set() if ours or hasattr(task, "execute") else set(task.downstream_task_ids)
            continue
        results[task.task_id] = run_deferred(task, world.context(task.task_id))
        yield task.task_id


def _fill_in(task: Any, results: Mapping[str, Any]) -> bool:
    """Put the results of other tasks into the arguments; whether all of them are there."""
    for name in (*task.template_fields, "shard"):
        given: Any = getattr(task, name, None)
        of = [value for value in (given if name == "op_args" else [given]) if hasattr(value, "operator")]
        if any(value.operator.task_id not in results for value in of):
            return False
        if of and name == "op_args":  # of a function
            task.op_args = [_value(value, results) if hasattr(value, "operator") else value for value in given]
        elif of:
            setattr(task, name, _value(given, results))
    return True


def _value(asked: Any, results: Mapping[str, Any]) -> Any:
    result = results[asked.operator.task_id]
    return result if asked.key == "return_value" else result[asked.key]
