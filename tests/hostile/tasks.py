"""Tasks whose answers are no text: several rows in one request, and what a server answers to them, right and odd."""

from __future__ import annotations

import base64
import struct
from typing import Any, Literal

from tests.hostile.cases import UNPACKED, Good, Task

#: How a job names the task and the engine, and what else it sends.
JOBS: dict[Task, dict[str, Any]] = {
    "embed": {"task": "feature-extraction"},
    "embed base64": {"task": "feature-extraction", "parameters": {"encoding_format": "base64"}},
    "embed tei": {"task": "feature-extraction", "engine": "tei"},
    "classify tei": {"task": "text-classification", "engine": "tei"},
}
Part = Literal["all", "none", "but the last"]
#: For each content of an answer that is not right, which rows still get what is theirs.
_RIGHT_FOR: dict[str, Part] = {
    "empty": "none",
    "surrogate": "none",
    "fenced": "none",
    **dict.fromkeys(("nul", "long", "deep json", "json list", "words again", "json again"), "but the last"),
}


#: What a class's label begins with; None for a label that is a number.
ODD_LABELS = ["", None, "\x00", "é\u2028", "\ud800", '"', "{n}", "[1]", "null "]


def texts_in(body: Any) -> list[str]:
    """The texts of a request, each of which begins with the number of its row."""
    given = body["input"] if "input" in body else body["inputs"]
    given = [given] if isinstance(given, str) else given
    return [each[0] if isinstance(each, list) else each for each in given]


def is_array(body: Any) -> bool:
    """Whether the texts of a request are in a list."""
    return not isinstance(body.get("input", body.get("inputs")), str)


def entry(task: Task, row: int, number: int) -> Any:
    """What is right for a row as the answer to a request: it names both."""
    if task == "classify tei":
        odd = ODD_LABELS[number % len(ODD_LABELS)]
        return [
            {"label": f"row {row}", "score": 0.5},
            {"label": number if odd is None else f"{odd}request {number}", "score": 0.25},
        ]
    return _packed([row + 0.5, number + 0.25, 1.0], task)


def _packed(vector: list[Any], task: Task) -> Any:
    if task != "embed base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def answer_to(task: Task, answer: Good, number: int, body: Any) -> Any:
    """The whole answer to a request."""
    rows = [int(text.partition("|")[0]) for text in texts_in(body)]
    entries = _spoilt(task, answer.content, [entry(task, row, number) for row in rows], rows[-1], number)
    if task == "classify tei":
        return entries if is_array(body) else entries[0] if entries else []
    if task == "embed tei":
        return entries
    data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(entries)]
    if answer.content == "json":
        data = [{**each, "index": 0} for each in data]
    if answer.content == "thinking":
        data = [{"embedding": each["embedding"]} for each in data]
    elif answer.content != "letters again":
        data = data[::-1]
    return {"object": "list", "model": "org/model", "data": data, "usage": answer.usage}


def _spoilt(task: Task, content: str, entries: list[Any], last: int, number: int) -> list[Any]:
    classes = task == "classify tei"
    odd: Any
    match content:
        case "empty":
            return []
        case "surrogate":
            return entries[:-1]
        case "fenced":
            return [*entries, entries[-1]]
        case "nul":
            odd = [{"label": "a", "score": float("nan")}] if classes else _packed([1.0, float("nan"), 2.0], task)
        case "long" if not classes:
            odd = long_one(task, last, number)
        case "deep json":
            odd = None
        case "json list":
            odd = ["text"] if classes else [1.0, "text", 2.0]
        case "words again":
            odd = {}
        case "json again":
            odd = [{"label": "a"}] if classes else [True, 2.0, 3.0]
        case _:
            return entries
    return [*entries[:-1], odd]


def long_one(task: Task, row: int, number: int) -> Any:
    """A vector of another length than all others; right if it is the first."""
    return _packed([row + 0.5, number + 0.25, 1.0, 1.0], task)


def outputs_of(task: Task, answer: Good, number: int, body: Any, row: int) -> list[Any]:
    """What may be recorded of an answer for a row; nothing where it is no answer to the row."""
    rows = [int(text.partition("|")[0]) for text in texts_in(body)]
    if answer.packing not in UNPACKED:
        return []
    part = _RIGHT_FOR.get(answer.content, "all")
    if answer.content == "json" and len(rows) > 1 and task in ("embed", "embed base64"):
        part = "none"
    if task == "classify tei" and (answer.content == "long" or (answer.content == "fenced" and not is_array(body))):
        part = "all"
    own = entry(task, row, number)
    if answer.content == "long" and row == rows[-1] and part != "all":
        own = long_one(task, row, number)
    elif part == "none" or (part == "but the last" and row == rows[-1]):
        return []
    return [own if task == "classify tei" else [own]]
