"""A misspelt option of a command is named, with the option that is meant."""

from __future__ import annotations

import threading

import pytest

from airflow_provider_hf_endpoints.command.batch import run as batch
from airflow_provider_hf_endpoints.emulator.__main__ import parser


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prot", "8484"], "unknown option --prot. Did you mean --port?"),
        (["--endpoints=my-llm"], "unknown option --endpoints. Did you mean --endpoint?"),
        (["--xyz"], "unknown option --xyz. --help lists the options."),
    ],
)
def test_the_emulator(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with the status of wrong arguments."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert 2 == caught.value.code
    assert words in capsys.readouterr().err


def test_a_batch_whose_required_options_are_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the unknown option, and not a required one as missing."""
    arguments = ["--url", "https://a.example", "--task", "chat", "--input-path", "in.jsonl", "--output-path", "out"]
    with pytest.raises(SystemExit):
        batch(arguments, threading.Event())
    assert "unknown option --input-path. Did you mean --input?" in capsys.readouterr().err


def test_options_that_argparse_takes() -> None:
    """A name that is cut, one with its value, and a value with blanks."""
    assert 8090 == parser().parse_args(["--po", "8090"]).port
    assert ["a", "b"] == parser().parse_args(["--endpoint=a", "--endpoint", "b"]).endpoint
