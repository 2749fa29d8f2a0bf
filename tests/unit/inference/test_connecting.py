"""Connections to hosts with several addresses, over real sockets; the resolver alone is a stub."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.http import connecting
from airflow_provider_hf_endpoints.inference.http.connecting import Addresses, alternating
from airflow_provider_hf_endpoints.inference.http.streams import StreamsTransport
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest
from tests.contract.inference_server import Reply, serving

HANG = 20.0  # seconds
Place = tuple[str, int]


@contextmanager
def listening(backlog: int = 100) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        yield sock


@contextmanager
def refusing() -> Iterator[Place]:
    """A port at which no server listens, and that no other process gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextmanager
def silent() -> Iterator[Place]:
    """A port at which connections neither open nor fail: its queue is full, and no process takes from it."""
    with ExitStack() as stack:
        sock = stack.enter_context(listening(0))
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
        yield sock.getsockname()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: Place) -> list[str]:
    """Have every host resolve to these; returns the hosts that were asked for."""
    asked: list[str] = []

    def answer(host: str, *others: Any, **options: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def connect(addresses: Addresses, times: int = 1) -> list[Place]:
    """Where connections lead, one after another."""

    async def main() -> list[Place]:
        found = []
        async with asyncio.timeout(HANG):
            for _ in range(times):
                with await addresses.connect() as sock:
                    found.append(sock.getpeername())
        return found

    return asyncio.run(main())


def test_a_dead_address_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses one refuses or never answers: every connection comes about all the same, at the other."""
    for kind in (refusing, silent):
        with kind() as dead, serving(lambda r: Reply(json=r.number, close=True)) as server:
            live = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            resolve_to(monkeypatch, dead, live)

            async def main() -> None:
                transport = StreamsTransport("http://two.example", {})
                for _ in range(6):
                    await transport.send(HttpRequest("POST", "/x", b"{}", HANG))
                await transport.aclose()

            asyncio.run(main())
            assert len(server.requests) == 6
            assert {request.headers["host"] for request in server.requests} == {"two.example"}


def test_an_address_that_failed_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its quarter of a second is waited for once, and not by every second connection."""
    with silent() as dead, listening() as live:
        resolve_to(monkeypatch, dead, live.getsockname())
        addresses = Addresses("two.example", 1)
        connect(addresses)
        monkeypatch.setattr(connecting, "STAGGER", HANG)
        assert [live.getsockname()] * 5 == connect(addresses, 5)


def test_addresses_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are spread over a host's addresses, which are asked for once."""
    with listening() as one, listening() as two:
        asked = resolve_to(monkeypatch, one.getsockname(), two.getsockname())
        places = connect(Addresses("two.example", 1), 6)
        assert [3, 3] == [places.count(each.getsockname()) for each in (one, two)]
    assert ["two.example"] == asked


def test_a_host_that_nobody_answers_for_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the error of every address, and the next connection resolves the name again: the host may have
    moved.
    """
    with refusing() as one, refusing() as two, listening() as live:
        resolve_to(monkeypatch, one, two)
        addresses = Addresses("two.example", 1)
        with pytest.raises(OSError, match=f"{one[1]}.*{two[1]}|{two[1]}.*{one[1]}"):
            connect(addresses)
        resolve_to(monkeypatch, live.getsockname())
        assert [live.getsockname()] == connect(addresses)


def test_a_connection_that_came_second_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both of two are made, one is given back."""
    monkeypatch.setattr(connecting, "STAGGER", 0.0)
    with listening() as one, listening() as two:
        resolve_to(monkeypatch, one.getsockname(), two.getsockname())

        async def main() -> None:
            with await Addresses("two.example", 1).connect() as sock:
                await asyncio.sleep(0.05)
                other = two if sock.getpeername() == one.getsockname() else one
                other.settimeout(0.5)
                try:
                    accepted, _ = other.accept()
                except TimeoutError:
                    return  # it had not even begun
                with accepted:
                    accepted.settimeout(HANG)
                    assert accepted.recv(1) == b""

        asyncio.run(main())


def test_families_alternate() -> None:
    """Where IPv6 is announced and broken, the second try is of IPv4, however many addresses there are."""
    six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, (f"::{n}", 80, 0, 0)) for n in range(3)]
    four = [(socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.1", 80))]
    assert [six[0], four[0], six[1], six[2]] == alternating([*six, *four])
