"""The service that the waiting benchmark waits for: the emulator in a separate process, full of endpoints."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_emulator import LocalEmulator

TOKEN = "hf_benchmark"
NAMESPACE = "acme"
A_DAY = 86_400.0  # seconds of the emulator's clock until an endpoint is ready, unless the clock is put forward


class Service:
    """A running emulator and what reached it."""

    def __init__(self, emulator: LocalEmulator) -> None:
        self.url = emulator.url
        self._http = httpx.Client(base_url=emulator.url, timeout=60.0, trust_env=False)
        self._advanced = 0.0

    @staticmethod
    def start(folder: Path) -> LocalEmulator:
        """The emulator, to be used in a `with`."""
        arguments = ["--token", TOKEN, "--namespace", NAMESPACE, "--pending-seconds", "0"]
        return LocalEmulator(folder / "emulator.log", [*arguments, "--initializing-seconds", str(A_DAY)])

    def create(self, names: list[str]) -> None:
        """Endpoints that start, and take a day to get ready."""
        with EndpointsClient(TOKEN, base_url=self.url, namespace=NAMESPACE) as client:
            for name in names:
                client.create_inference_endpoint(
                    name,
                    repository="gpt2",
                    framework="pytorch",
                    accelerator="cpu",
                    instance_size="x2",
                    instance_type="intel-icl",
                    region="us-east-1",
                    vendor="aws",
                )

    def make_ready(self) -> None:
        """Put the clock forward by a day: everything that was created gets ready at once."""
        self._http.post("/_emulator/clock", json={"advance": A_DAY}).raise_for_status()
        self._advanced += A_DAY

    def requests(self) -> list[dict[str, Any]]:
        """The latest requests (the emulator keeps 10,000)."""
        answer = self._http.get("/_emulator/requests")
        answer.raise_for_status()
        return list(answer.json()["items"])

    def control_requests(self) -> Counter[str]:
        """GETs of the control plane so far: list pages, and endpoints by name."""
        prefix = f"/v2/endpoint/{NAMESPACE}"
        paths = [each["path"].partition("?")[0] for each in self.requests() if each["method"] == "GET"]
        return Counter("pages" if path == prefix else "singles" for path in paths if path.startswith(prefix))

    def asked(self) -> int:
        """How many those are."""
        return self.control_requests().total()

    def first_health(self) -> float:
        """When the first health check after the endpoints got ready was answered, by the clock on the wall."""
        checks = [each for each in self.requests() if each["path"].startswith("/endpoints/")]
        return float(min(each["at"] for each in checks)) - self._advanced
