"""HTTP/1.1 answers, cut into pieces in every way."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.errors import CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.http.http1 import MAX_HEAD, AnswerParser
from airflow_provider_hf_endpoints.inference.wire import WireResponse

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
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_a_connection_is_kept(head: bytes, kept: bool) -> None:
    """By version and header."""
    parser = AnswerParser()
    assert parser.feed(head + b"Content-Length: 0\r\n\r\n") is not None
    assert kept is parser.keep_alive


def test_bytes_after_the_answer_spoil_the_connection() -> None:
    """The answer counts, the connection is not used again."""
    parser = AnswerParser()
    answer = parser.feed(LENGTH + b"HTTP/1.1 200 OK\r\n")
    assert answer is not None
    assert not parser.keep_alive


def test_a_packed_body_is_unpacked_and_a_cut_one_refused() -> None:
    """Some proxies pack although they were told not to."""
    packed = gzip.compress(b"hello" * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    answer = parse(head % len(packed) + packed)
    assert answer is not None
    assert answer.body == b"hello" * 100
    with pytest.raises(CutAnswerError):
        parse(head % (len(packed) - 9) + packed[:-9])


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * (MAX_HEAD + 1),
    ],
)
def test_what_is_not_understood_is_refused(raw: bytes) -> None:
    """Never guessed."""
    with pytest.raises(MalformedAnswerError):
        AnswerParser().feed(raw)
