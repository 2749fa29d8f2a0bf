"""CONTRIBUTING.md leads a newcomer right: its places exist and have room, and its examples are what the code takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines.dialects import Traits
from airflow_provider_hf_endpoints.inference.engines.names import EMBED
from airflow_provider_hf_endpoints.inference.inputs.formats import FileFormat
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Attempt, Sent
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator
from tests.unit.test_architecture import MOST_FILES

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_hf_endpoints"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HOW_TO_ADD = TEXT.partition("\n## How to add\n")[2].partition("\n## ")[0]
ROOM_FOR = 3  # further files


#: What is explained by an example.
TOPICS = (
    *("A route of the control plane.", "An argument of create.", "A dialect of an engine", "An input format"),
    *("An output format", "A policy", "A field of the operators' result.", "An operator."),
)
MOST_LINES = 10


def example(words: str) -> str:
    """The code block of the paragraph that begins with these bold words."""
    found = re.search(rf"^\*\*{re.escape(words)}\*\*.*?```\w*\n(.*?)```", HOW_TO_ADD, re.DOTALL | re.MULTILINE)
    assert found, words
    return found[1]


@pytest.mark.parametrize("words", TOPICS)
def test_each_example_is_short(words: str) -> None:
    """It is one that a reader takes in at a glance."""
    assert 0 < len([line for line in example(words).splitlines() if line.strip()]) <= MOST_LINES


@pytest.mark.parametrize("words", [words for words in TOPICS if "\n# " in f"\n{example(words)}"])
def test_an_example_from_the_code_is_what_the_code_says(words: str) -> None:
    """Behind the name of a file, each line of an example is a line of that file, and the lines are in its order."""
    rest: list[str] = []
    for line in filter(None, map(str.strip, example(words).splitlines())):
        if line.startswith("# "):
            rest = [each.strip() for each in (PACKAGE / line[2:]).read_text(encoding="utf-8").splitlines()]
        elif line != "}":
            assert line in rest, f"{line!r} is not in the file, or not behind the line before"
            rest = rest[rest.index(line) + 1 :]


def test_the_example_of_an_operator_is_one() -> None:
    """Its attempt looks at the endpoint that the operator names."""
    found: dict[str, Any] = {each.__name__: each for each in (EndpointOperator, Attempt, Action, Sent, dataclass)}
    found["__name__"] = __name__
    exec(example("An operator."), found)
    operator = found["LookOperator"](task_id="look")
    operator.endpoint = "demo"
    attempt = operator._begin({}, 1.0, None)
    assert ("demo", 1.0) == (attempt.action.name, attempt.action.began)
    assert isinstance(attempt.action, Action)


class Anything:
    """A module of a dialect that does not exist yet."""

    def __getattr__(self, name: str) -> str:
        return name


def test_a_room_that_is_to_get_a_file_has_room_for_it() -> None:
    """A newcomer's file must not fail the test of the architecture for the files that were there before."""
    rooms = [PACKAGE / name for name in re.findall(r"a file in `([a-z_/]+)/`", HOW_TO_ADD)]
    rooms = [room for room in rooms if room.parent != PACKAGE]
    assert {"dialects", "readers"} <= {room.name for room in rooms}
    for room in rooms:
        files = [path for path in room.glob("*.py") if path.stem != "__init__"]
        assert 0 < len(files) <= MOST_FILES - ROOM_FOR, f"{room} has {len(files)} files: give it rooms"


def test_every_file_that_is_named_is_there() -> None:
    """By its path from the repository or the package, or from a room of the package."""
    named = set(re.findall(r"`((?:\w+/)+\w+\.\w+|(?:\w+/)+)`", HOW_TO_ADD))
    assert len(named) > 10
    bases = [ROOT, PACKAGE, *(path for path in PACKAGE.iterdir() if path.is_dir())]
    assert [] == [name for name in sorted(named) if not any((base / name).exists() for base in bases)]


def test_the_example_of_a_dialect_is_what_the_table_takes() -> None:
    """All traits without a default are in it, and no unknown one."""
    names: dict[str, Any] = {"Traits": Traits, "EMBED": EMBED, "sglang": Anything()}
    (found,) = eval(example("A dialect of an engine").partition("Dialect.SGLANG: ")[2], names)
    assert ("build", "REFUSES", True) == (found.build, found.refuses, found.lists_models)


def test_the_example_of_an_input_format_is_what_the_table_takes() -> None:
    """All properties without a default are in it, and no unknown one."""
    (found,) = eval(example("An input format"), {"FileFormat": FileFormat})
    assert ("excel", (".xlsx",), "excel") == (found.name, found.suffixes, found.reader)
