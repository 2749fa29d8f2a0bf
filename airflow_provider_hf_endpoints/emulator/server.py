"""The emulator as a running server: `Emulator` is a context manager around a real HTTP server in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import uvicorn

from airflow_provider_hf_endpoints.emulator.app import EmulatorApp
from airflow_provider_hf_endpoints.emulator.control.admin import history_json
from airflow_provider_hf_endpoints.emulator.engines.base import Engine
from airflow_provider_hf_endpoints.emulator.engines.echo import EchoEngine
from airflow_provider_hf_endpoints.emulator.faults import Fault, FaultBook
from airflow_provider_hf_endpoints.emulator.http_server import HttpServer
from airflow_provider_hf_endpoints.emulator.ready_made import make_endpoint
from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from airflow_provider_hf_endpoints.emulator.service.clock import Clock
from airflow_provider_hf_endpoints.emulator.service.service import Service
from airflow_provider_hf_endpoints.emulator.settings import Settings, changed

_TICK = 0.1  # seconds between checks of all endpoints for engines to start or stop
_STOP_PATIENCE = 10.0  # seconds that the server's thread may take to end


class Emulator:
    """A local Inference Endpoints service for tests and demonstrations.

    `with Emulator(token="hf_test", namespace="acme") as emulator:` starts a real HTTP server on a free port of
    `127.0.0.1` and ends it; several may run at a time. Arguments are the fields of `Settings`, and `behaviour` fields
    (`initializing_seconds=2`, `latency_seconds=0.1`, ...) may be given directly. Raises ValueError for other names, and
    `EngineUnavailable` if the llama.cpp engine or its model is not installed. With `clock=Clock(stopped=True)`,
    only the test moves the time.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: Settings | None = None,
        clock: Clock | None = None,
        **changes: Any,
    ) -> None:
        self.settings = _settings(settings or Settings(), changes)
        self.listening = ""  # the address of the server after its start; clients use `url`
        self._host = host
        self._port = port
        self._clock = clock or Clock()
        self._service = Service(self.settings, self._clock)
        self._faults = FaultBook(self.settings.seed)
        self._engine = _engine(self.settings, self._service)
        self._app = EmulatorApp(self._service, self._engine, self._faults, self.settings.max_requests_kept)
        self._server: HttpServer | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    # ------------------------------------------------------------------------------------------- life

    def start(self) -> Self:
        """Listen, and return once requests are answered. Raises OSError if the port is in use."""
        if self._thread is not None:
            raise RuntimeError("the emulator has been started already")
        # The protocol is named because asyncio sets TCP_NODELAY only for a named protocol. Without it, every answer
        # on a kept connection was 40 ms late.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((self._host, self._port))
            self._socket.listen(2048)
        except OSError:
            self._socket.close()
            raise
        self.listening = f"http://{self._host}:{self._socket.getsockname()[1]}"
        self._service.base_url = (self.settings.public_url or self.listening).rstrip("/")
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
        )
        self._server = HttpServer(config)
        # A listening socket has a backlog: requests wait in it until the loop in the thread accepts them.
        self._thread = threading.Thread(target=self._run, name="hf-endpoints-emulator", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the server and all its processes. May be called twice."""
        if self._server is not None:
            self._server.end()
        if self._thread is not None:
            self._thread.join(_STOP_PATIENCE)
            if self._thread.is_alive():
                raise RuntimeError("the emulator's server did not end")
        if self._socket is not None:
            self._socket.close()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        assert self._server is not None
        assert self._socket is not None
        ticker = asyncio.create_task(self._tick())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
            await self._engine.close()

    async def _tick(self) -> None:
        while True:
            await self._engine.follow(self._service.all(), self._service.now())
            await asyncio.sleep(_TICK)

    # ------------------------------------------------------------------------------------------- what tests look at

    @property
    def url(self) -> str:
        """The base address of all routes: `/v2`, `/v3`, `/api`, `/endpoints`, `/_emulator`."""
        return self._service.base_url

    @property
    def token(self) -> str:
        return self.settings.token

    @property
    def namespace(self) -> str:
        return self.settings.namespace

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that was answered, oldest first; the emulator's own routes are left out."""
        return list(self._app.requests)

    def endpoint(self, name: str, namespace: str | None = None) -> dict[str, Any]:
        """The endpoint in the form of GET. Raises KeyError if there is none."""
        found = [e for e in self._service.all(namespace) if e.name == name]
        if not found:
            raise KeyError(name)
        return self._service.json(found[-1])

    def meter(self, name: str, namespace: str | None = None) -> dict[str, Any]:
        """What the endpoint has cost: `usd`, `billed_seconds`, `states`, `replicas`, requests and tokens.

        Also works for a deleted endpoint. Raises KeyError if it never existed.
        """
        return self._service.meter(self._ever(name, namespace))

    def history(self, name: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """The states that the endpoint went through: `at`, `seconds`, `state`, `message`."""
        return history_json(self._ever(name, namespace))

    def states(self, name: str, namespace: str | None = None) -> list[str]:
        """The names of the states that the endpoint went through."""
        return [moment["state"] for moment in self.history(name, namespace)]

    def _ever(self, name: str, namespace: str | None) -> Any:
        endpoint = self._service.ever(name, namespace)
        if endpoint is None:
            raise KeyError(name)
        return endpoint

    # ------------------------------------------------------------------------------------------- what tests set

    def make_endpoint(self, name: str) -> None:
        """An endpoint that exists before the test: vLLM with a small model that chats, running in a moment.

        Raises `ValueError` with the service's words if the service refuses.
        """
        make_endpoint(self.url, self.namespace, self.token, name)

    def add_fault(self, path: str = "", **fault: Any) -> None:
        """Let requests fail whose path matches `path` (a regular expression); for the rest see `Fault`."""
        self._faults.add(Fault(path, **fault))

    def clear_faults(self) -> None:
        self._faults.clear()

    @property
    def faults(self) -> Sequence[dict[str, Any]]:
        """The current faults, with the number of matches and hits of each."""
        return self._faults.report()

    def behave(self, name: str, **behaviour: Any) -> None:
        """Change how the endpoint `name` behaves (fields of `Behaviour`); it may not exist yet."""
        self._service.set_behaviour(name, **behaviour)

    def set_capacity(self, hardware: str, *, available: bool) -> None:
        """Whether an instance type, or one row of the price list by its id, is available."""
        self._service.set_capacity(hardware, available=available)

    def set_quirks(self, *quirks: str) -> None:
        """Replace the quirks (see `settings.QUIRKS`)."""
        self._service.set_quirks(*quirks)

    def set_quota(self, instance_type: str, accelerators: int) -> None:
        self._service.set_quota(instance_type, accelerators)

    def advance(self, seconds: float) -> None:
        """Put the emulator's clock forward: idle timeouts, autoscaling and the meter follow at once."""
        self._clock.advance(seconds)


def _settings(settings: Settings, changes: dict[str, Any]) -> Settings:
    """`settings` with `changes`. Fields of `Behaviour` are set there."""
    fields = set(Settings.__dataclass_fields__)
    own = {name: value for name, value in changes.items() if name in fields}
    rest = {name: value for name, value in changes.items() if name not in fields}
    settings = replace(settings, **own)
    return replace(settings, behaviour=changed(settings.behaviour, rest)) if rest else settings


def _engine(settings: Settings, service: Service) -> Engine:
    if settings.engine == "echo":
        return EchoEngine(service.clock)
    # Imported here, because most emulators use the echo engine and need no HTTP client.
    from airflow_provider_hf_endpoints.emulator.engines.llamacpp import LlamaCppEngine

    return LlamaCppEngine(settings.model_path, service)
