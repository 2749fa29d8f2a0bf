"""The emulator as a separate program, started and ended in one `with`, and what it saw, over its own routes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from dev.processes import ChildProcess

START_LIMIT = 60.0  # seconds; a hang bound


class LocalEmulator:
    """`python -m airflow_provider_hf_endpoints.emulator` with further arguments, its log in `log`."""

    def __init__(self, log: Path, arguments: Sequence[str]) -> None:
        self.url = ""
        self.token = ""
        self.namespace = ""
        self._child = ChildProcess(
            "emulator",
            (sys.executable, "-m", "airflow_provider_hf_endpoints.emulator", "--port", "0", *arguments),
            log=log,
            env=os.environ,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        try:
            self._read_first_line()
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)

    def _read_first_line(self) -> None:
        """Wait for the line that says where it listens."""
        stdout = self._child.process.stdout
        assert stdout is not None
        # Its end is what a blocked readline notices.
        hung = threading.Timer(START_LIMIT, self._child.terminate)
        hung.start()
        try:
            line = stdout.readline()
        finally:
            hung.cancel()
        if not line:
            raise RuntimeError(f"the emulator did not start:\n{self._child.tail()}")
        where = json.loads(line)
        self.url, self.token, self.namespace = where["url"], where["token"], where["namespace"]

    @property
    def running(self) -> bool:
        """True until the emulator has ended."""
        return self._child.running

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection that leads here: a host and a token are all it takes."""
        return {"conn_type": "hf_endpoints", "host": self.url, "password": self.token}

    def meters(self) -> list[dict[str, Any]]:
        """What each endpoint has cost, deleted ones included."""
        return list(self._get("/_emulator/meter")["items"])

    def history(self, name: str, namespace: str) -> list[dict[str, Any]]:
        """The states that an endpoint went through, with `seconds` on a clock of the emulator's own."""
        return list(self._get(f"/_emulator/history/{namespace}/{name}")["items"])

    def endpoint(self, name: str, namespace: str) -> dict[str, Any]:
        """The endpoint as the service's API shows it."""
        return dict(self._get(f"/v2/endpoint/{namespace}/{name}"))

    def _get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(self.url + path, headers=headers, timeout=30.0, trust_env=False, verify=False)
        answer.raise_for_status()
        return answer.json()
