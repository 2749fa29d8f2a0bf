"""What a hostile world is made of, as values that hypothesis draws and shrinks: rows, answers, faults of the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.inputs.unpack import can_zstd

# --- rows

ODD_TEXTS = [
    "",
    " ",
    "\x00",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "é\u2028",
    "{x}",
    "x" * 5000,
]
#: Values of the column `extra`, which is kept, and of `q`, which is sent.
ODD_VALUES: list[Any] = [None, True, 0, -1, 1e300, 2**70, [], {}, [[1]], {"a": {"b": None}}, *ODD_TEXTS]
#: Whole lines that are no row.
BAD_LINES = [
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'"x"',
    b'{"q": "a"',
    b"{} {}",
    b"[" * 3000 + b"]" * 3000,
    b'{"q": NaN}',
]


@dataclass(frozen=True)
class Row:
    """One line of the input.

    :param bad: the line is no row: its place in `BAD_LINES`
    :param extra: value of the column that is kept
    :param question: value of `q`, "" for a plain one
    :param missing: the row has no column `q`
    :param odd_id: where rows have ids, the place of this one's in `ODD_IDS`, None for a plain one
    """

    bad: int | None = None
    extra: Any = "e"
    question: Any = "plain"
    missing: bool = False
    odd_id: int | None = None


#: Some are the same text, some are none at all.
ODD_IDS: list[Any] = [
    *(1, "1", "01", 1.0, True, None, "", " ", "a", "A", "a ", "\u00e9", "e\u0301", 2**70, "x" * 300, [1], {}),
    *("\ud800", "\ud801", "\x00", "{n}", "a\u2028b", "null"),
]


@dataclass(frozen=True)
class Table:
    """How rows stand in a CSV or Parquet file.

    :param codec: of a CSV file
    :param column: the type of `extra` in a Parquet file, by its place in `tables.COLUMNS`
    :param doubled: two of its columns have one name
    :param group: rows in each of its groups
    """

    delimiter: str = ","
    codec: str = "utf-8"
    line_end: str = "\n"
    quotes_all: bool = False
    column: int = 0
    doubled: bool = False
    group: int = 1000


tables = st.builds(
    Table,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quotes_all=st.booleans(),
    column=st.integers(0, 21),
    doubled=st.sampled_from([False] * 9 + [True]),
    group=st.sampled_from([1, 3, 1000]),
)
rows = st.lists(
    st.one_of(
        st.builds(Row),
        st.builds(Row, extra=st.sampled_from(ODD_VALUES), question=st.sampled_from(ODD_VALUES)),
        st.builds(Row, missing=st.just(True)),
        st.builds(Row, odd_id=st.one_of(st.none(), st.integers(0, len(ODD_IDS) - 1))),
        st.builds(Row, bad=st.integers(0, len(BAD_LINES) - 1)),
    ),
    min_size=1,
    max_size=30,
)

# --- answers

Content = Literal[
    "text",
    "empty",
    "surrogate",
    "nul",
    "long",
    "json",
    "deep json",
    "json list",
    "fenced",
    "thinking",
    "words again",
    "json again",
    "letters again",
]
#: What packs a body: names of content encodings, of which a batch knows the first four; a body that is cut, one that is
#: packed twice although its headers say once, one with junk behind it.
Packing = Literal[
    "gzip", "x-gzip", "deflate", "bare deflate", "zstd", "br", "cut gzip", "twice gzip", "junk behind gzip"
]
UNPACKED = (None, "gzip", "x-gzip", "deflate", "bare deflate")
#: What stands in a choice's message beside or in place of a text.
Message = Literal[
    "content", "null content", "tool calls", "tools beside text", "refusal", "list content", "thinking part", "missing"
]
USAGES: list[Any] = [
    {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    None,
    {},
    {"prompt_tokens": None},
    {"prompt_tokens": "3", "completion_tokens": 2.5},
    {"prompt_tokens": -3, "completion_tokens": 2**70},
    {"prompt_tokens": 3.0, "completion_tokens": 2.0},
    [],
    "x",
]
REASONS: list[Any] = [
    *(
        "stop",
        "length",
        "MAX_TOKENS",
        "abort",
        "Aborted",
        "timed_out",
        "USER_CANCEL",
        "content_filter",
        "CONTENT_FILTER",
        "tool_calls",
        None,
        3,
        [],
    ),
    *({"a": 1}, {"type": "stop"}, {"type": "abort"}, {"type": "length"}),
]
#: Of these, by their words in lower case, what the text is: withheld or cut, so that it may be empty; given up.
MAY_BE_EMPTY = ("length", "max_tokens", "content_filter")
GIVEN_UP = ("abort", "aborted", "timed_out", "user_cancel")


def word_of(reason: Any) -> str:
    """A reason as one word in lower case, whatever its form."""
    word = reason.get("type") if isinstance(reason, dict) else reason
    return word.lower() if isinstance(word, str) else ""


@dataclass(frozen=True)
class Good:
    """An answer of status 200, in one of the shapes that engines give."""

    content: Content = "text"
    message: Message = "content"
    usage: Any = field(default_factory=lambda: dict(USAGES[0]))
    reason: Any = "stop"
    packing: Packing | None = None


#: What stands behind a whole answer.
BEHIND = [b"junk", b"\x00\x00", b"\n{}", b"<html>", b"]", b"\xff"]
#: Bodies of a 200 that are no answer.
BROKEN_BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"<html>",
    b'{"choices": []}',
    b'{"choices": null}',
    b'{"choices": [null]}',
    b'{"choices": [{}]}',
    b'{"choices": {"0": 1}}',
    b'{"choices": [{"message": null, "index": null}, {"message": {"content": "x"}, "index": "a"}]}',
    b'{"choices": [{"index": null, "message": {"content": "x"}}, {"index": 0, "message": {"content": "y"}}]}',
    b'{"error": {"message": "out of memory", "code": 500}}',
    b"\xff\xfe\x00",
    b"[" * 3000 + b"]" * 3000,
    b'{"choices": [{"message": {"content": ' + b"[" * 3000 + b"]" * 3000 + b"}}]}",
    b'{"choices": [{"message": {"content": "cut',
    b"\x1f\x8b\x08\x00broken",
    *(b'{"choices": [{"message": {"content": ' + b"[" * deep + b"]" * deep + b"}}]}" for deep in (400, 700, 950)),
    b'{"choices": [{"message": {"content": "x"}, "finish_reason": {"type": "abort"}}]}',
    *(b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}' + behind for behind in BEHIND),
    b'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
]


@dataclass(frozen=True)
class Broken:
    """A 200 whose body is no answer, by its place in `BROKEN_BODIES`."""

    body: int = 0


@dataclass(frozen=True)
class Refusal:
    """An answer of another status.

    :param retry_after: the header, None for none
    """

    status: int = 503
    body: int = 0
    retry_after: str | None = None
    packing: Packing | None = None


REFUSAL_BODIES = [
    b"",
    b'{"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"}',
    b'{"error": {"message": "bad", "type": "BadRequestError", "code": 400}}',
    b'{"error":"Bad Request: Your endpoint is in error, check its status","code":"BAD_REQUEST"}',
    b'{"error":"Bad Request: Invalid state"}',
    b'{"error":"Endpoint is paused"}',
    b'{"detail": [{"loc": ["body", "max_tokens"], "msg": "no"}]}',
    b'{"error": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b"upstream connect error",
    b"\xff\xfe",
    b'{"detail": [{"loc": null, "msg": "no"}]}',
    b'{"detail": [{"loc": 5, "msg": [1]}, null]}',
    *(b'{"error": ' * deep + b'"no"' + b"}" * deep for deep in (400, 700, 950)),
    b"<" * 20_000,
]
STATUSES = [
    100,
    204,
    301,
    302,
    400,
    401,
    402,
    403,
    404,
    406,
    407,
    408,
    409,
    411,
    413,
    415,
    418,
    420,
    421,
    422,
    423,
    424,
    426,
    429,
    431,
    444,
    449,
    460,
    498,
    499,
    500,
    502,
    503,
    504,
    511,
    529,
    600,
]
RETRY_AFTERS = [None, "1", "0", "-5", "abc", "86400", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "nan", "inf", ""]


@dataclass(frozen=True)
class Raises:
    """The transport raises, by its place in `world.RAISED`."""

    what: int = 0


@dataclass(frozen=True)
class Slow:
    """A good answer after so many seconds."""

    seconds: float = 30.0


Answer = Good | Broken | Refusal | Raises | Slow

packings = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(get_args(Packing)))
answers = st.one_of(
    st.builds(Good),
    st.builds(
        Good,
        content=st.sampled_from(get_args(Content)),
        message=st.sampled_from(get_args(Message)),
        usage=st.sampled_from(USAGES),
        reason=st.sampled_from(REASONS),
        packing=packings,
    ),
    st.builds(Broken, body=st.integers(0, len(BROKEN_BODIES) - 1)),
    st.builds(
        Refusal,
        status=st.sampled_from(STATUSES),
        body=st.integers(0, len(REFUSAL_BODIES) - 1),
        retry_after=st.sampled_from(RETRY_AFTERS),
        packing=packings,
    ),
    st.builds(Raises, what=st.integers(0, 7)),
    st.builds(Slow, seconds=st.sampled_from([1.0, 200.0, 5000.0])),
)

# --- stores


@dataclass(frozen=True)
class StoreFault:
    """An operation of the store that fails.

    :param operation: what fails: `write` an object or file, `read` (the opening of one), `fetch` (a part of one),
        `list`, `delete`, or `sync` (a local disk)
    :param first: the so-manieth such operation, from 0
    :param count: how many of them in a row
    :param how: the error, by its place in `stores.ERRORS`
    :param after: the operation was done before it failed
    """

    operation: Literal["write", "read", "fetch", "list", "delete", "sync"] = "write"
    first: int = 0
    count: int = 1
    how: int = 0
    after: bool = False


store_faults = st.lists(
    st.builds(
        StoreFault,
        operation=st.sampled_from(["write", "read", "fetch", "list", "delete", "sync"]),
        first=st.integers(0, 12),
        count=st.sampled_from([1, 1, 1, 3, 50]),
        how=st.integers(0, 11),
        after=st.booleans(),
    ),
    max_size=2,
)

# --- the whole

InputKind = Literal["jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "tsv", "parquet", "openai"]
INPUT_KINDS = [kind for kind in get_args(InputKind) if can_zstd() or not kind.endswith(".zst")]
#: How an input is packed, where its name says that it is.
Wrap = Literal["once", "in parts", "zeros behind", "twice", "junk behind", "cut"]
REFUSED_WRAPS = ("twice", "junk behind", "cut")
Layout = Literal["file", "link", "linked folder", "folder", "pattern", "list"]
Schema = Literal["plain", "pattern", "unique"]
Change = Literal["touch", "append", "edit"]
Task = Literal["chat", "embed", "embed base64", "embed tei", "classify tei"]


@dataclass(frozen=True)
class Case:
    """A world and what is asked of a batch in it.

    :param answers: what the server does with its first requests, one after the other; afterwards it is well
    :param remote: the output is on the object store; `remote_input` the input
    :param layout: how `input_path` leads to the rows; other than `file` on a local disk alone
    :param name: of the files of input and output, by its place in `places.NAMES`
    :param folder: the same of the folder with the input
    :param wrap: how the input is packed
    :param route: of lines of an OpenAI Batch
    :param schema: which one the answers have to fit, see `world.SCHEMAS`
    :param ids: the rows have ids
    :param change: what happens to the input before the second run
    :param task: what is asked; all but `chat` in `tasks.py`
    :param together: rows per request of such a task
    :param shards: how many jobs the batch is divided among, one after the other, 0 for one job
    :param stop_after: the run is asked to stop after so many requests, None not
    :param cancel_after: the same by a cancellation
    """

    rows: list[Row]
    answers: list[Answer] = field(default_factory=list)
    store_faults: list[StoreFault] = field(default_factory=list)
    remote: bool = False
    remote_input: bool = False
    input_format: InputKind = "jsonl"
    layout: Layout = "file"
    name: int = 0
    folder: int = 0
    wrap: Wrap = "once"
    route: Literal["/v1/chat/completions", "/v1/score", "/v1/rerank"] = "/v1/chat/completions"
    table: Table = field(default_factory=Table)
    output_format: Literal["jsonl", "jsonl.gz", "parquet"] = "jsonl"
    schema: Schema | None = None
    ids: bool = False
    change: Change | None = None
    keep: bool = True
    concurrency: int | Literal["auto"] = 3
    task: Task = "chat"
    together: int | Literal["auto"] = "auto"
    shards: int = 0
    stop_after: int | None = None
    cancel_after: int | None = None


cases = st.builds(
    Case,
    rows=rows,
    answers=st.lists(answers, max_size=25),
    store_faults=st.one_of(st.just([]), store_faults),
    remote=st.booleans(),
    remote_input=st.booleans(),
    input_format=st.sampled_from(["jsonl", "jsonl", "parquet", *INPUT_KINDS]),
    layout=st.one_of(st.just("file"), st.sampled_from(get_args(Layout))),
    name=st.one_of(st.just(0), st.integers(0, 15)),
    folder=st.one_of(st.just(0), st.integers(0, 15)),
    wrap=st.one_of(st.just("once"), st.sampled_from(get_args(Wrap))),
    route=st.sampled_from(["/v1/chat/completions", "/v1/score", "/v1/rerank"]),
    table=tables,
    output_format=st.sampled_from(["jsonl", "jsonl", "jsonl.gz", "parquet"]),
    schema=st.sampled_from([None] * 9 + ["plain"] * 7 + ["pattern", "unique"]),
    ids=st.sampled_from([False, False, True]),
    change=st.sampled_from([None, None, None, *get_args(Change)]),
    keep=st.booleans(),
    concurrency=st.sampled_from([1, 3, "auto"]),
    task=st.one_of(st.just("chat"), st.sampled_from(get_args(Task))),
    together=st.sampled_from(["auto", 1, 2, 4]),
    shards=st.sampled_from([0, 0, 0, 2, 3]),
    stop_after=st.one_of(st.none(), st.none(), st.integers(0, 20)),
    cancel_after=st.one_of(st.none(), st.none(), st.integers(0, 20)),
)
