"""HTTP/1.1 answers made at random, right and wrong ones, and what h11 and the batch's own parser read out of them.

The test and `benchmarks/http_fuzz.py` share it. Answers come from a grammar, are then damaged, and are cut into pieces
anywhere; `faults` says where the two readers differ, and `shrink` makes a case small enough to be read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h11

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.http.http1 import MAX_HEAD, AnswerParser

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Case:
    """An answer to one request, as the pieces in which it arrives; the connection ends behind the last."""

    raw: bytes
    method: str = "POST"
    cuts: tuple[int, ...] = ()

    @property
    def pieces(self) -> list[bytes]:
        cuts = sorted({cut for cut in self.cuts if 0 < cut < len(self.raw)})
        return [self.raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(self.raw)], strict=True) if a < b]


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader made of an answer: `status` is `refused` where it took it for none."""

    status: int | str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    kept: bool = False


NOTHING = Read(REFUSED)


def by_h11(case: Case) -> Read:
    """What h11 reads. A connection with bytes behind the answer, which h11 leaves to its caller, is not kept."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method=case.method, target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(case.raw)
    body, ended = bytearray(), False
    heads: list[h11.Response | h11.InformationalResponse] = []
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response() | h11.InformationalResponse():
                    heads.append(event)
                case h11.Data(data=data):
                    body += data
                case _:
                    assert event is h11.NEED_DATA
                    assert not ended
                    ended = True
                    connection.receive_data(b"")
    except h11.RemoteProtocolError:
        return NOTHING
    head = heads[-1]
    assert isinstance(head, h11.Response)
    if any(not each.http_version.startswith(b"1.") for each in heads):
        return NOTHING  # ours is stricter: no other version was asked for
    kept = connection.our_state is h11.DONE is connection.their_state and not connection.trailing_data[0] and not ended
    headers: dict[str, list[str]] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode(), []).append(value.decode("latin-1"))
    joined = tuple(sorted((name, ", ".join(values)) for name, values in headers.items()))
    if {"transfer-encoding", "content-length"} <= headers.keys():
        kept = False  # ours is stricter, as RFC 9112, 6.3 asks: the sender is broken or an attacker
    return Read(head.status_code, joined, bytes(body), kept)


def by_ours(case: Case) -> Read:
    """What the batch's parser reads; an exception that is not one of its errors escapes."""
    parser = AnswerParser(case.method)
    pieces = case.pieces
    try:
        for number, piece in enumerate(pieces):
            answer = parser.feed(piece)
            if answer is not None:
                kept = parser.keep_alive and number == len(pieces) - 1
                return Read(answer.status, tuple(sorted(answer.headers.items())), bytes(answer.body), kept)
        answer = parser.eof()
    except InferenceError:
        return NOTHING
    return Read(answer.status, tuple(sorted(answer.headers.items())), bytes(answer.body), False)


def fault(case: Case) -> str | None:
    """What kind of difference there is between the two readers; None without a difference."""
    theirs = by_h11(case)
    try:
        ours = by_ours(case)
    except Exception as error:  # noqa: BLE001 - any that escapes is a finding
        return f"escaped: {type(error).__name__}"
    if ours == theirs:
        return None
    if theirs == NOTHING:
        return "taken where h11 refuses"
    if ours == NOTHING:
        return "refused where h11 takes it"
    return " and ".join(
        name for name in ("status", "headers", "body", "kept") if getattr(ours, name) != getattr(theirs, name)
    )


# --- answers

_LINE_ENDS = ["\r\n"] * 180 + ["\n", "\n", "\r", "\r\r\n", " \r\n", "\t\n"]
_VERSIONS = (
    ["HTTP/1.1"] * 90
    + ["HTTP/1.0"] * 4
    + ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.10", "HTTP/1", "HTTP/11"]
)
_STATUSES = (
    ["200"] * 60
    + ["201", "204", "304", "400", "404", "429", "500", "503", "301"]
    + [
        *("99", "000", "099", "2000", "+20", "2 0", "0x2", "101", "100", "199", "999", "", "²00"),
    ]
)
_REASONS = [" OK"] * 50 + ["", " ", " Not\tFound", " \x01", " \x00", " caf\xe9", "  ", "\tOK", " O\x0bK"]
_OTHERS = [
    "Content-Type: application/json", "Server: uvicorn", "X-Empty:", "X: a  b\tc", "X:a", "x-y_z~!: \t v \t", "Date: x",
    "Retry-After: 5", "Retry-After: 6", "X-Latin: \xe9\x80\xa0", "X-Ctl: a\x01b\x7f", "Connection: keep-alive",
]  # fmt: skip
_ODD_OTHERS = [
    "No colon", ": no name", "Sp ace: x", "X : x", "X\t: x", "X: a\x00b", "X: a\x0bb", "X: a\rb", "\xe9: x", "(x): y",
    "x@y: z", " folded", "\tfolded twice", "Connection: close", "Connection: Close, x", "Connection: not-close",
    "Connection: x,close", "Connection: keep-alive, close", "Upgrade: h2c", "Trailer: X",
    "Content-Length : 3", "Transfer-Encoding : chunked",
    '"q": x',
]  # fmt: skip
_SIZES = ["{:x}"] * 30 + ["{:X}", "0{:x}", "{:x} ", "{:x}\t", "{:x};a=b", "{:x} ;a", "{:x};a\nb", "{:x};\r"]
_ODD_SIZES = [
    "0x{:x}",
    "+{:x}",
    " {:x}",
    "-{:x}",
    "{:x}_0",
    "{:x}g",
    "{:021x}",
    "{:020x}",
    "f" * 20,
    "",
    ";",
    "1{:016x}",
    "{:x}\x0c",
]
_ODD_LENGTHS = [
    "+{}", "-{}", " {}", "{} ", "0x{:x}", "{}.0", "{},{}", "{}, {}", "{},9", "0{}", "{:020d}", "{:021d}", "1e1", "",
    ",", "{},", "{}\xa0", "\u00b2", "1_0", "9" * 25, "{};x",
]  # fmt: skip
_CODINGS = [
    "Chunked",
    "CHUNKED",
    " chunked ",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "xchunked",
    "chunked;q=1",
    "chunked,",
    "",
    "\x0bchunked",
]
_BYTES = b"\r\n\r\n\r\n \t:;,0123456789abcfxX+-\x00\x0b\x7f\x80\xa0\xff"


def answers(seed: int, count: int) -> Iterator[Case]:
    """`count` cases, always the same for a seed."""
    chance = random.Random(seed)
    for _ in range(count):
        raw = _answer(chance)
        if chance.random() < 0.25:
            raw = _damaged(chance, raw)
        cuts = tuple(chance.randrange(len(raw) + 1) for _ in range(chance.choice((0, 0, 1, 2, 3, 8))))
        if chance.random() < 0.05:
            cuts = tuple(range(len(raw)))
        yield Case(raw, chance.choice(("POST", "POST", "POST", "GET", "HEAD")), cuts)


def _answer(chance: random.Random) -> bytes:
    before = b""
    while chance.random() < 0.15:
        before += _head(chance, chance.choice(("100", "102", "103", "150", "101")), [])
    if chance.random() < 0.02:
        before += chance.choice((b"\r\n", b"\n", b" "))
    content = bytes(chance.choice(_BYTES) for _ in range(chance.choice((0, 1, 2, 5, 17, 40))))
    framing, body = _framed(chance, content)
    raw = before + _head(chance, chance.choice(_STATUSES), framing) + body
    if chance.random() < 0.08:
        raw += chance.choice((b"\r\n", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\x00"))
    return raw


def _framed(chance: random.Random, content: bytes) -> tuple[list[str], bytes]:
    """Headers that frame a body, and the body so framed; either may be wrong."""
    size = len(content)
    length = f"Content-Length: {size}"
    match chance.randrange(12):
        case 0 | 1 | 2 | 3:
            return [length], content
        case 4 | 5 | 6 | 7:
            return ["Transfer-Encoding: chunked"], _chunks(chance, content)
        case 8:
            return [], content
        case 9:
            odd = chance.choice(_ODD_LENGTHS).replace("{}", str(size))
            return ["Content-Length: " + (odd.format(size) if "{" in odd else odd)], content
        case 10:
            return [length, f"content-length: {size + chance.choice((0, 0, 1))}"], content
        case _:
            coding = f"Transfer-Encoding: {chance.choice(('chunked', *_CODINGS))}"
            both = [coding] * chance.choice((1, 1, 2)) + [length] * chance.choice((0, 1))
            return both, _chunks(chance, content)


def _chunks(chance: random.Random, content: bytes) -> bytes:
    out, at = b"", 0
    while at < len(content):
        size = chance.randint(1, len(content) - at)
        out += _size(chance, size) + content[at : at + size] + chance.choice([b"\r\n"] * 30 + [b"\n", b"", b"\r\n\r\n"])
        at += size
    out += _size(chance, 0)
    while chance.random() < 0.15:
        out += (chance.choice((*_OTHERS, *_ODD_OTHERS)) + chance.choice(_LINE_ENDS)).encode("latin-1", "replace")
    return out + chance.choice(_LINE_ENDS).encode()


def _size(chance: random.Random, size: int) -> bytes:
    form = chance.choice(_SIZES) if chance.random() < 0.97 else chance.choice(_ODD_SIZES)
    return (form.format(size) + chance.choice(_LINE_ENDS)).encode()


def _head(chance: random.Random, status: str, framing: list[str]) -> bytes:
    lines = [line for line in _OTHERS if chance.random() < 0.12] + framing
    if chance.random() < 0.1:
        lines.append(chance.choice(_ODD_OTHERS))
    chance.shuffle(lines)
    separator = " " if chance.random() < 0.99 else chance.choice(("", "  ", "\t"))
    lines.insert(0, chance.choice(_VERSIONS) + separator + status + chance.choice(_REASONS))
    text = "".join(line + chance.choice(_LINE_ENDS) for line in [*lines, ""])
    return text.encode("latin-1", "replace")


def _damaged(chance: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at : at + chance.choice((1, 1, 2, 5))]
            case 1:
                data.insert(at, chance.choice(_BYTES))
            case 2:
                data[at : at + 1] = bytes([chance.choice(_BYTES)])
            case 3:
                del data[at:]
            case 4:
                data[at:at] = data[at : at + chance.randrange(12)]
            case _:
                data[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(data)


# --- making a case small


def shrink(case: Case, same: Callable[[Case], bool]) -> Case:
    """A smaller case of which `same` still holds: fewer cuts, a plainer method, then fewer bytes."""
    for simpler in (Case(case.raw, case.method), Case(case.raw, case.method, tuple(range(len(case.raw))))):
        if same(simpler):
            case = simpler
            break
    if same(plain := Case(case.raw, "POST", case.cuts)):
        case = plain
    size = max(1, len(case.raw) // 2)
    while True:
        at, found = 0, False
        while at < len(case.raw):
            less = Case(case.raw[:at] + case.raw[at + size :], case.method, case.cuts)
            if same(less):
                case, found = less, True
            else:
                at += size
        if size == 1 and not found:
            return case
        size = max(1, size // 2)
