"""The batch from a shell, where its surroundings are odd: a terminal of another encoding, arguments in files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.batch import EXIT_USAGE, main
from tests.contract.batch_play import questions, write_rows
from tests.contract.inference_server import echo, serving


def arguments(url: str, folder: Path, *more: str, output: str = "out.jsonl") -> list[str]:
    given = ["--url", url, "--task", "chat-completion", "--input", str(folder / "in.jsonl"), "--quiet"]
    return [*given, "--output", str(folder / output), "--prompt", "{text}", *more]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("name", ["é.jsonl", "a\udcff.jsonl"])
def test_a_report_is_printed_on_every_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    """Also the name of a file that is no text: the batch is finished, and its status must not say otherwise."""
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
        assert EXIT_USAGE == main(arguments(server.url, tmp_path, "--token-file", str(tmp_path / "token")))
        assert [] == server.requests
    assert "error: --token-file cannot be read: " in capsys.readouterr().err


def test_arguments_nested_too_deeply_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the option, as any other text that is not JSON."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments("http://h", tmp_path, "--parameters", "[" * 100_000))
    assert "argument --parameters: no JSON" in capsys.readouterr().err
