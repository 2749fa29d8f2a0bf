"""The batch from a shell, where its surroundings are odd: a terminal of another encoding, arguments in files."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.batch import main
from airflow_provider_hf_endpoints.command import exits
from tests.contract.batch_play import questions, write_rows
from tests.contract.inference_server import Reply, Request, echo, serving


def arguments(url: str, folder: Path, *more: str, output: str = "out.jsonl") -> list[str]:
    given = ["--url", url, "--task", "chat-completion", "--input", str(folder / "in.jsonl"), "--quiet"]
    return [*given, "--output", str(folder / output), "--prompt", "{text}", *more]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("name", ["é.jsonl", "a\udcff.jsonl"])
def test_a_report_is_printed_on_every_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    """Also if the name of a file is not text: the batch is finished, and its exit status must be 0."""
    write_rows(tmp_path, questions(2))
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding, write_through=True))
    with serving(echo) as server:
        assert 0 == main(arguments(server.url, tmp_path, output=name))
    assert (
        str(tmp_path / name) == json.loads(printed.getvalue().splitlines()[-1])["output_path"]
    )  # Airflow may log there


def test_arguments_in_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As Windows writes them."""
    write_rows(tmp_path, questions(2))
    (tmp_path / "parameters.json").write_text('{"max_tokens": 7}', encoding="utf-8-sig")
    with serving(echo) as server:
        assert 0 == main(arguments(server.url, tmp_path, "--parameters", f"@{tmp_path / 'parameters.json'}"))
        assert {7} == {request.body["max_tokens"] for request in server.requests if request.method == "POST"}


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_token_that_cannot_be_read_is_a_wrong_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """Named by its option, and nothing is sent."""
    write_rows(tmp_path, questions(2))
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with serving(echo) as server:
        assert exits.USAGE == main(arguments(server.url, tmp_path, "--token-file", str(tmp_path / "token")))
        assert [] == server.requests
    assert "error: --token-file cannot be read: " in capsys.readouterr().err


def test_arguments_nested_too_deeply_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the option, as any other text that is not JSON."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments("http://h", tmp_path, "--parameters", "[" * 100_000))
    words = capsys.readouterr().err
    assert "argument --parameters: '[[[" in words
    assert "Write JSON in quotes" in words
    assert len(words) < 4000


COMMAND = [sys.executable, "-m", "airflow_provider_hf_endpoints.batch"]
HANG = 120.0  # seconds


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-concurrency", "many", "must be a whole number of at least 1, or auto, not 'many'"),
        ("--max-concurrency", "0", "must be a whole number of at least 1, or auto, not '0'"),
        ("--rows-per-request", "1.5", "must be a whole number of at least 1, or auto, not '1.5'"),
        ("--hedge-after", "soon", "must be a number of seconds, or auto, not 'soon'"),
    ],
)
def test_a_value_that_is_none_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, words: str
) -> None:
    """With the option and the value, and without names of this package's functions."""
    with pytest.raises(SystemExit) as end:
        main(arguments("http://h", tmp_path, option, value))
    assert exits.USAGE == end.value.code
    assert f"argument {option}: {words}" in capsys.readouterr().err


def as_in_a_terminal() -> None:
    """In the child: signals that the parent of the tests ignores (`nohup`, a background job) end a process."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def test_a_terminal_that_closes_stops_the_batch(tmp_path: Path) -> None:
    """As for the other signals: requests in flight finish and are recorded, and the exit status is that of a stop."""
    write_rows(tmp_path, questions(50))
    child: list[subprocess.Popen[bytes]] = []

    def answer(request: Request) -> Reply:
        if len(server.posts) == 10:
            child[0].send_signal(signal.SIGHUP)
        waits = len(server.posts) >= 10 and child[0].returncode is None  # until the batch has seen the signal
        return replace(echo(request), delay=0.5 if waits else 0.0)

    with serving(answer) as server:
        given = arguments(server.url, tmp_path, "--engine", "tgi", "--max-concurrency", "1")
        quiet = subprocess.DEVNULL
        child.append(subprocess.Popen([*COMMAND, *given], preexec_fn=as_in_a_terminal, stdout=quiet, stderr=quiet))
        assert exits.STOPPED == child[0].wait(HANG)
        before = len(server.posts)
        assert 0 == main(given)
        assert (50, True) == (len(server.posts), before < 50)


def test_a_pipe_that_nobody_reads_does_not_change_the_status(tmp_path: Path) -> None:
    """The batch finishes, whether or not its output is read."""
    write_rows(tmp_path, questions(2))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with serving(echo) as server:
            given = arguments(server.url, tmp_path, "--engine", "tgi")
            ended = subprocess.run(
                [*COMMAND, *given], stdout=writing, stderr=subprocess.PIPE, timeout=HANG, check=False
            )
    finally:
        os.close(writing)
    assert 0 == ended.returncode, ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_signal_while_the_command_is_imported_ends_it_well(tmp_path: Path) -> None:
    """The imports take seconds: no traceback, nothing sent, the status of a stopped batch."""
    write_rows(tmp_path, questions(2))
    # As the signal of a user who has changed his mind: as soon as one of the imports has begun.
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'upath':\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "runpy.run_module('airflow_provider_hf_endpoints.batch', run_name='__main__', alter_sys=True)\n"
    )
    with serving(echo) as server:
        given = arguments(server.url, tmp_path, "--engine", "tgi")
        command = [sys.executable, "-c", code, *given]
        ended = subprocess.run(command, preexec_fn=as_in_a_terminal, capture_output=True, timeout=HANG, check=False)
        assert [] == server.requests
    assert (exits.STOPPED, False) == (ended.returncode, b"Traceback" in ended.stderr), ended.stderr
    assert b"stop requested" in ended.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--prompt", "no column"], "error: --prompt names no column"),
        (["--id-column", "nope"], "'nope'"),
        (["--output", "out.csv"], "has a suffix"),
        (["--rows-per-request", "4"], "error: --rows-per-request 4 is not possible here"),
        (["--max-error-rate", "50"], "error: --max-error-rate must be a share"),
        (["--row-timeout", "0"], "error: --row-timeout must be greater than 0"),
        (["--input", "away.jsonl"], "--input"),
        (["--response-schema", '{"type": 5}'], "error: --response-schema is not a valid JSON schema"),
    ],
)
def test_an_error_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], words: str
) -> None:
    """And no argument of Python that a shell does not have."""
    write_rows(tmp_path, questions(2))
    assert exits.USAGE == main(arguments("http://127.0.0.1:9", tmp_path, *given))
    error = capsys.readouterr().err
    assert words in error
    assert not re.search(r"\b(input_path|output_path|on_existing|id_column|rows_per_request|keep_columns)\b", error)
