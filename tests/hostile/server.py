"""The server of a hostile world: a transport that answers as the case says, and remembers what it answered to whom."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import ConnectionFailedError, CutAnswerError, InferenceTimeoutError
from airflow_provider_hf_endpoints.inference.http.http1 import AnswerParser
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.wire import WireResponse
from tests.hostile import tasks
from tests.hostile.cases import BROKEN_BODIES, REFUSAL_BODIES, Answer, Broken, Good, Raises, Refusal, Slow, Task

RAISED: list[Any] = [
    lambda: ConnectionFailedError("connection refused", path="/v1/chat/completions"),
    lambda: InferenceTimeoutError("none within 600 s", path="/v1/chat/completions"),
    lambda: CutAnswerError("the connection was closed", path="/v1/chat/completions"),
    lambda: ValueError("a transport's own mistake"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: OSError(24, "Too many open files"),
    lambda: ssl.SSLCertVerificationError("certificate verify failed"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]
#: Exceptions that say nothing of the row: after them it may be sent again.
PASSING = (0, 1, 2, 5, 6)


@dataclass
class Exchange:
    """One request and what became of it.

    :param rows: the numbers of the rows that asked; none where the body does not tell
    :param run: in which run of the batch
    :param returned: the answer reached the batch
    """

    number: int
    run: int
    rows: tuple[int, ...]
    answer: Answer
    body: Any
    route: str = "/v1/chat/completions"
    returned: bool = False
    sent: Any = field(default_factory=dict)


def text_of(answer: Good, number: int, *, schema: bool) -> str:
    """The text of an answer, which names the request that it answers wherever there is any."""
    plain = f"a{number};"
    match answer.content:
        case "text":
            return json.dumps({"a": plain}) if schema else plain
        case "empty":
            return ""
        case "surrogate":
            return plain + "\ud800"
        case "nul":
            return plain + "\x00\u2028"
        case "long":
            return plain + "x" * 20_000
        case "json":
            return json.dumps({"a": plain})
        case "deep json":
            return "[" * 3000
        case "json list":
            return json.dumps([1.5, number])
        case "fenced":
            return f"```json\n{json.dumps({'a': plain})}\n```"
        case "words again":
            return plain + "la la " * 3000
        case "json again":
            return '{"a": "' + "a" * 5000
        case "letters again":  # which no pattern with a repetition in a repetition comes to an end with
            return json.dumps({"a": "a" * 60 + "!"})
        case "thinking":
            return f"<think>hm</think>{json.dumps({'a': plain})}"


def message_of(answer: Good, text: str) -> Any:
    tools = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    match answer.message:
        case "content":
            return {"role": "assistant", "content": text}
        case "null content":
            return {"role": "assistant", "content": None, "reasoning_content": text}
        case "tool calls":
            return {"role": "assistant", "content": None, "tool_calls": tools}
        case "tools beside text":
            return {"role": "assistant", "content": text, "tool_calls": tools}
        case "refusal":
            return {"role": "assistant", "content": None, "refusal": text}
        case "list content":
            return {"role": "assistant", "content": [{"type": "text", "text": text}]}
        case "thinking part":
            parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
            return {"role": "assistant", "content": parts}
        case "missing":
            return {"role": "assistant"}


class HostileServer(Transport):
    """Answers the first requests as `answers` says, the others well."""

    def __init__(self, answers: list[Answer], *, schema: bool, task: Task = "chat") -> None:
        self._answers = list(answers)
        self._schema = schema
        self._task: Task = task
        self.run = 0
        self.exchanges: list[Exchange] = []
        self.on_request: Any = lambda count: None

    def heal(self) -> None:
        """From now on every answer is good."""
        self._answers.clear()

    async def send(self, request: HttpRequest) -> WireResponse:
        if request.method == "GET":
            body = {"object": "list", "data": [{"id": "org/model", "owned_by": "vllm"}]}
            found = request.route == "/v1/models"
            return WireResponse(200 if found else 404, {}, json.dumps(body if found else {}).encode())
        asked = json.loads(request.body)
        number = len(self.exchanges)
        answer = self._answers.pop(0) if self._answers else Good()
        exchange = Exchange(number, self.run, _rows_of(asked), answer, asked, request.route)
        self.exchanges.append(exchange)
        self.on_request(number + 1)
        await asyncio.sleep(0.1)
        if isinstance(answer, Slow):
            if answer.seconds > request.timeout:
                await asyncio.sleep(request.timeout)
                raise InferenceTimeoutError(f"none within {request.timeout:g} s", path=request.route)
            await asyncio.sleep(answer.seconds)
            answer = Good()
        response = self._response(exchange, answer)
        exchange.returned = True
        return response

    def _response(self, exchange: Exchange, answer: Answer) -> WireResponse:
        match answer:
            case Raises(what=what):
                raise RAISED[what]()
            case Broken(body=body):
                return WireResponse(200, {"content-type": "application/json"}, BROKEN_BODIES[body])
            case Refusal(status=status, body=body, retry_after=retry_after, packing=packing):
                headers = {} if retry_after is None else {"retry-after": retry_after}
                return _received(status, headers, REFUSAL_BODIES[body], packing)
            case _:
                assert isinstance(answer, Good)
        if self._task != "chat":
            exchange.sent = tasks.answer_to(self._task, answer, exchange.number, exchange.body)
            return _received(200, {}, json.dumps(exchange.sent).encode(), answer.packing)
        if exchange.route in SCORED:
            exchange.sent = _scores(answer, exchange.route)
            return _received(200, {}, json.dumps(exchange.sent).encode(), answer.packing)
        text = text_of(answer, exchange.number, schema=self._schema)
        choice = {"index": 0, "message": message_of(answer, text), "finish_reason": answer.reason}
        exchange.sent = {"model": "org/model", "choices": [choice], "usage": answer.usage}
        return _received(200, {}, json.dumps(exchange.sent).encode(), answer.packing)


def _scores(answer: Good, route: str) -> dict[str, Any]:
    """The scores of two pairs; some contents make other numbers of them than there have to be."""
    scores: list[Any] = [0.5, 0.25]
    match answer.content:
        case "empty":
            scores = []
        case "surrogate":
            scores[1] = None
        case "nul":
            scores[1] = float("nan")
        case "deep json":
            scores = scores * 2
    data = [{"index": place, "object": "score", "score": score} for place, score in enumerate(scores)]
    if route == "/v1/rerank":
        results = [{"index": each["index"], "relevance_score": each["score"]} for each in data]
        return {"model": "org/model", "results": results, "usage": answer.usage}
    return {"object": "list", "model": "org/model", "data": data, "usage": answer.usage}


#: Routes whose answers are scores.
SCORED = ("/v1/score", "/v1/rerank")
#: Contents of which no scores come that can be taken.
WITHOUT_SCORES = ("empty", "surrogate", "nul", "deep json")


def _received(status: int, headers: dict[str, str], body: bytes, packing: str | None) -> WireResponse:
    """The answer, as the package's own reader of HTTP takes it from the bytes of a connection where it is packed."""
    if packing is None or status < 200 or status in (204, 304):
        return WireResponse(status, headers, body)
    packer = zlib.compressobj(wbits=-15 if packing == "bare deflate" else 15 if packing == "deflate" else 31)
    packed = packer.compress(body) + packer.flush()
    match packing:
        case "cut gzip":
            packed = packed[: len(packed) // 2]
        case "twice gzip":
            packed = gzip.compress(packed)
        case "junk behind gzip":
            packed += b"junk"
    name = packing.rpartition(" ")[2]
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(packed)}", f"content-encoding: {name}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    answer = AnswerParser().feed("\r\n".join([*lines, "", ""]).encode() + packed)
    assert answer is not None
    return answer


def _rows_of(asked: Any) -> tuple[int, ...]:
    try:
        if "input" in asked or "inputs" in asked:
            return tuple(int(text.partition("|")[0]) for text in tasks.texts_in(asked))
        text = asked.get("text_1", asked.get("query"))
        text = asked["messages"][-1]["content"] if text is None else text
        return (int(text.partition("|")[0]),)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return ()
