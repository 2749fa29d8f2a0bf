"""Every code block and every command of README and docs is run, or is marked on its page as not run."""

from __future__ import annotations

import json
import linecache
import os
import shlex
import subprocess
import sys
import tomllib
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.definitions._internal.contextmanager import DagContext

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators import endpoints, inference
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import FAST, MODEL, TEI, TOKEN, VLLM, connected, create, run
from tests.contract.pages_play import ROOT, Block, blocks, localised, play, write_files
from tests.contract.tables_play import database
from tests.unit.task_groups.test_inference_endpoint import stored

# Endpoints that pages take for there; who creates one of these names takes it up.
THERE = ("support-llm", "shared-llm", "my-llm", "nightly", "experiment-42")
EMBEDDER = "my-embedder"
LABELLER = "my-labeller"
PYTHON = [block for block in blocks("python") if not block.marked]
SHELL = [block for block in blocks("bash", "sh", "console") if not block.marked]


def named(blocks_of_a_kind: list[Block]) -> list[Any]:
    """Each with its page and its place there."""
    places: dict[str, int] = {}
    found = []
    for block in blocks_of_a_kind:
        places[block.page] = places.get(block.page, 0) + 1
        found.append(pytest.param(block, id=f"{block.page}-{places[block.page]}"))
    return found


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The service, the files, and a folder of the test's own to run in."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    warehouse = database("sqlite", tmp_path, monkeypatch)
    warehouse.run("create table tickets (id integer, text text, day text)")
    warehouse.fill("tickets", [(1, "The printer is on fire.", "2026-11-30"), (2, "All is well.", "2026-11-30")])
    with connected(monkeypatch) as running:
        yield running


def vocabulary(emulator: Emulator, dag: DAG, folder: Path) -> dict[str, Any]:
    """What a block may use without saying where it comes from: earlier blocks of its page, and the reader's own."""
    files = {"input_path": str(folder / "tickets.jsonl"), "output_path": str(folder / "out.jsonl")}
    public = {name: getattr(module, name) for module in (endpoints, inference) for name in module.__all__}
    start = public["CreateInferenceEndpointOperator"](task_id="start_of_another_block", name="support-llm", **MODEL)
    return public | {
        "InferenceEndpointSensor": InferenceEndpointSensor,
        "inference_endpoint": inference_endpoint,
        "EmptyOperator": EmptyOperator,
        "timedelta": timedelta,
        "pytest": pytest,
        "Emulator": Emulator,
        "emulator": emulator,
        "dag": dag,
        "name": "support-llm",
        "NAME": "support-llm",
        "create": start,
        "pause": public["PauseInferenceEndpointOperator"](task_id="pause_of_another_block", endpoint="support-llm"),
        "batch": EmptyOperator(task_id="batch_of_another_block"),
        "settings": {"name": "support-llm", **MODEL},
        "work": {"task": "text-generation", "prompt": "{text}", **files},
        "files": files,
        "rest": {"prompt": "{text}", "output_path": files["output_path"]},
    }


@pytest.mark.parametrize("block", named(PYTHON))
def test_python_runs(block: Block, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as it stands; the DAGs that it makes are stored as Airflow stores them, and their tasks are played."""
    for each in [name for name in THERE if f'name="{name}"' not in block.code]:
        run(create(each, custom_image=VLLM))
    if EMBEDDER in block.code:
        run(create(EMBEDDER, custom_image=TEI))
    if LABELLER in block.code:
        run(create(LABELLER, framework="pytorch", task="image-classification"))
    if "read_table" in block.code:
        _write_answers(tmp_path)
    code = localised(block.code, tmp_path, emulator.endpoint("my-llm")["status"]["url"], TOKEN)
    made: set[tuple[DAG, Any]] = set()
    monkeypatch.setattr(DagContext, "autoregistered_dags", made)
    monkeypatch.setattr(DagContext, "current_autoregister_module_name", __name__)
    # Only what the block itself makes is played.
    with warnings.catch_warnings(), DAG("page", schedule=None, default_args=FAST) as dag:
        warnings.simplefilter("error", UserWarning)
        words = vocabulary(emulator, dag, tmp_path)
        before = set(dag.task_dict)
        # Airflow stores the source of a callback with its DAG.
        linecache.cache[block.page] = (len(code), None, code.splitlines(keepends=True), block.page)
        try:
            exec(compile(code, block.page, "exec"), words)
        except AirflowOptionalProviderFeatureException as reason:  # the page says from which Airflow on
            pytest.skip(str(reason))
    for page in {dag, *(own for own, _ in made)}:
        assert set(page.task_dict) == set(stored(page).task_dict)
        list(play(page, leave=before))


def _write_answers(folder: Path) -> None:
    """An output of a batch in Parquet."""
    out = str(folder / "answers.parquet")
    job: dict[str, Any] = {"input_path": str(folder / "tickets.jsonl"), "output_path": out, "prompt": "{text}"}
    run(
        inference.BatchInferenceOperator(task_id="batch", endpoint="support-llm", task="chat-completion", **job, **FAST)
    )


@pytest.mark.parametrize("block", named(SHELL))
def test_commands_run(block: Block, tmp_path: Path) -> None:
    """What needs no network and no whole Airflow is run; of the rest it is checked that it names what is there."""
    write_files(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    if block.language == "console":
        _listens(block.code, env)
        return
    script = "\n".join(line for line in block.code.splitlines() if not _checked(line))
    if "export AIRFLOW_CONN" in script:
        script += f"\n{sys.executable} -c '{_HAS_A_TOKEN}'"
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert 0 == done.returncode, done.stderr


_HAS_A_TOKEN = (
    "from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook as Hook; "
    'assert Hook.get_connection("hf_endpoints_default").password.startswith("hf_")'
)


def _checked(line: str) -> bool:
    """Whether the line is one that would change this machine, or take long: what it names is there."""
    if not line.startswith(("make ", "pip ", "airflow ", ".venv/", "HF_TOKEN=")):
        return False
    words = [word for word in shlex.split(line, comments=True) if "=" not in word or word.startswith("-")]
    match words:
        case ["make", target, *_]:
            subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, timeout=60)
        case ["pip", "install", *what]:
            assert all(_can_be_installed(each) for each in what), line
        case ["airflow", *arguments]:
            get_parser().parse_args(arguments)
        case [python, "-m", "pytest", *arguments] if python.endswith("python"):
            assert all((ROOT / each).exists() for each in arguments if not each.startswith("-")), line
        case _:
            return False
    return True


def _can_be_installed(what: str) -> bool:
    """This package with extras that it has, or another one, which an extra or the page names."""
    name, _, extras = what.rstrip("]").partition("[")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return name != "airflow-provider-hf-endpoints" or set(filter(None, extras.split(","))) <= set(known)


def _listens(code: str, env: dict[str, str]) -> None:
    """A program that serves: its first line is the one that the page shows, but for the port."""
    command, shown = code.splitlines()[:2]
    words = command.removeprefix("$ ").replace("python ", f"{sys.executable} ", 1).replace("8484", "0").split()
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            said, expected = json.loads(program.stdout.readline()), json.loads(shown)
        finally:
            program.terminate()
    assert {**expected, "url": None} == {**said, "url": None}


def test_what_is_not_run_is_little() -> None:
    """A mark is for what needs a network, a whole Airflow, or a reader's own code."""
    assert len([block for block in blocks("python", "bash", "sh", "console") if block.marked]) <= 12
