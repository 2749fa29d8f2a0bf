"""HTTP/1.1 answers, cut into pieces in every way."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.errors import AnswerTooLargeError, CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.http import http1
from airflow_provider_hf_endpoints.inference.http.heads import Head
from airflow_provider_hf_endpoints.inference.http.http1 import MAX_HEAD, AnswerParser
from airflow_provider_hf_endpoints.inference.wire import WireResponse
from tests.unit.inference.http_answers import NOTHING, answers, by_h11, fault, shrink

pytestmark = pytest.mark.once

LENGTH = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"a": "b\xc3\xbc"'
CHUNKS = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{"a":\r\n6\r\n "b\xc3\xbc"\r\n0\r\nX: y\r\n\r\n'
)
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH


def parse(*pieces: bytes) -> WireResponse | None:
    parser = AnswerParser()
    answer = None
    for piece in pieces:
        assert answer is None
        answer = parser.feed(piece)
    return answer


@pytest.mark.parametrize("raw", [LENGTH, CHUNKS, HINTS])
@given(data=st.data())
def test_an_answer_is_the_same_however_it_is_cut(raw: bytes, data: st.DataObject) -> None:
    """Pieces of any size give the whole, with the last byte and not before."""
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=10))))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    answer = parse(*pieces)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b'{"a": "b\xc3\xbc"')


@pytest.mark.parametrize("raw", [LENGTH, CHUNKS])
def test_a_connection_that_ends_early_gave_no_answer(raw: bytes) -> None:
    """At whatever byte."""
    for size in range(1, len(raw)):
        parser = AnswerParser()
        assert parser.feed(raw[:size]) is None
        with pytest.raises(CutAnswerError):
            parser.eof()


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """As HTTP/1.0 has it; the connection is not used again."""
    parser = AnswerParser()
    assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\nhello") is None
    assert parser.eof().body == b"hello"
    assert not parser.keep_alive


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: not-close\r\n", True),
    ],
)
def test_whether_a_connection_is_kept(head: bytes, kept: bool) -> None:
    """By version and header."""
    parser = AnswerParser()
    assert parser.feed(head + b"Content-Length: 0\r\n\r\n") is not None
    assert kept is parser.keep_alive


@pytest.mark.parametrize("raw", [LENGTH, CHUNKS, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_bytes_after_the_answer_spoil_the_connection(raw: bytes) -> None:
    """The answer counts, the connection is not used again."""
    for behind, kept in ((b"", True), (b"HTTP/1.1 200 OK\r\n", False), (b"\r\n", False)):
        parser = AnswerParser()
        assert parser.feed(raw + behind) is not None
        assert kept is parser.keep_alive


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", b"ab"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 \r\nContent-Length: 2, 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2 \r\nab\r\n0\r\nX: y\r\n\r\n", b"ab"),
        (b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (b"HTTP/1.1 304 OK\r\nContent-Length: 5\r\n\r\n", b""),
    ],
)
def test_what_is_odd_and_clear_is_read(raw: bytes, body: bytes) -> None:
    """As h11 reads it: bare line feeds in a head, a length that is given twice, folded values, no reason."""
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        answer = parse(*pieces)
        assert answer is not None
        assert body == answer.body


def test_lines_of_one_name_are_one_value() -> None:
    """Joined with commas and without the line break of a folded one."""
    answer = parse(b"HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nx:c\r\nContent-Length: 0\r\n\r\n")
    assert answer is not None
    assert answer.headers["x"] == "a b, c"


def test_headers_of_one_answer_are_not_those_of_the_next() -> None:
    """Lines that stand in both are read once, and what one answer adds or changes is not in the other."""
    first = parse(b"HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 1, 1\r\n\r\nb")
    second = parse(b"HTTP/1.1 200 OK\r\nX: a\r\nY: c\r\nContent-Length: 1\r\n\r\nb")
    assert first is not None
    assert second is not None
    assert {"x": "a", "content-length": "1"} == first.headers
    assert {"x": "a", "y": "c", "content-length": "1"} == second.headers


def test_a_head_of_many_lines_is_read_as_a_short_one() -> None:
    """Also where its size is far beyond that of usual ones."""
    lines = "".join(f"X-{number}: {'v' * 90}\r\n" for number in range(500))
    answer = parse(f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n".encode())
    assert answer is not None
    assert {f"x-{number}": "v" * 90 for number in range(500)} | {"content-length": "0"} == answer.headers


def test_an_answer_to_head_has_no_body() -> None:
    """Its headers tell the length of a body that does not come."""
    parser = AnswerParser("HEAD")
    answer = parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    assert answer is not None
    assert (b"", True) == (answer.body, parser.keep_alive)


def test_two_ways_to_frame_a_body_end_the_connection() -> None:
    """The chunks count, as RFC 9112 has it, and nothing that comes behind them is believed."""
    parser = AnswerParser()
    answer = parser.feed(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    )
    assert answer is not None
    assert (b"a", False) == (answer.body, parser.keep_alive)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:])),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
    ],
)
def test_a_packed_body_is_unpacked_and_a_cut_one_refused(name: str, pack: Callable[[bytes], bytes]) -> None:
    """Some proxies compress although the request forbids it; deflate has zlib's header in some, and none in others."""
    packed = pack(b"hello" * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    answer = parse(head % (name.encode(), len(packed)) + packed)
    assert answer is not None
    assert answer.body == b"hello" * 100
    with pytest.raises(CutAnswerError):
        parse(head % (name.encode(), len(packed) - 5) + packed[:-5])


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 29\r\n\r\n" + gzip.compress(b"x" * 1001),
    ],
)
def test_a_body_above_its_bound_is_refused(raw: bytes) -> None:
    """As soon as that is known: by its length, by its chunks, by what has come, or when it is unpacked."""
    parser = AnswerParser(max_bytes=1000)
    with pytest.raises(AnswerTooLargeError, match="1000 bytes"):
        parser.feed(raw)


def test_a_small_body_does_not_fill_the_memory_when_unpacked() -> None:
    """A gigabyte of zeros packs into a megabyte; unpacking stops at the bound."""
    packed = gzip.compress(bytes(50_000_000), 1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    parser = AnswerParser(max_bytes=1_000_000)
    tracemalloc.start()
    with pytest.raises(AnswerTooLargeError):
        parser.feed(head + packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "line", [b"X:" + b" " * 90_000 + b"\x00", b"x" * 90_000, b"X: " + b"a " * 45_000 + b"\x00", b" " * 90_000]
)
def test_a_hostile_line_is_refused_at_once(line: bytes) -> None:
    """Reading a line takes time in proportion to its length, or one answer would hold up the whole batch."""
    began = time.process_time()
    with pytest.raises(MalformedAnswerError):
        AnswerParser().feed(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n")
    with pytest.raises(MalformedAnswerError):
        AnswerParser().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + line + b"\n\r\n")
    assert time.process_time() - began < 5  # by squares, each would take minutes


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x15\x03\x01",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1. 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 21 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * (MAX_HEAD + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * (MAX_HEAD + 1),
        b"HTTP/1.1 200 " + b"x" * (MAX_HEAD + 1) + b"\r\n\r\n",
    ],
)
def test_what_is_not_understood_is_refused(raw: bytes) -> None:
    """Never guessed."""
    with pytest.raises(MalformedAnswerError):
        AnswerParser().feed(raw)


def test_h11_reads_the_same_out_of_answers_made_at_random() -> None:
    """Refused or read right, as h11 does: status, headers, body, and whether the connection is kept.

    `benchmarks/http_fuzz.py` runs a million of them.
    """
    taken = 0
    kind: str | None = None
    for case in answers(seed=7, count=10_000):
        kind = fault(case)
        assert kind is None, (kind, shrink(case, lambda other: fault(other) == kind))  # noqa: B023 - called at once
        taken += by_h11(case) != NOTHING
    assert taken > 3_000  # or the answers are too odd to show anything


def test_the_comparison_finds_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that takes every head for one without a body is found out, and the case is made small."""
    monkeypatch.setattr(http1, "read_head", lambda text, method: Head(200, {}, "length", 0, True))
    found = next(case for case in answers(seed=7, count=100) if fault(case) == "taken where h11 refuses")
    small = shrink(found, lambda other: fault(other) == "taken where h11 refuses")
    assert len(small.raw) <= 12
