"""What has to hold of a batch, whatever its rows, its server and its store did. Each check returns what is wrong."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_hf_endpoints.inference.batch_errors import BatchError, BatchInputError, OutputConflictError
from tests.hostile import tasks
from tests.hostile.cases import (
    BAD_LINES,
    BROKEN_BODIES,
    GIVEN_UP,
    MAY_BE_EMPTY,
    REFUSAL_BODIES,
    REFUSED_WRAPS,
    UNPACKED,
    Broken,
    Case,
    Good,
    Raises,
    Refusal,
    Row,
    Slow,
    word_of,
)
from tests.hostile.server import PASSING, SCORED, WITHOUT_SCORES, Exchange, message_of, text_of
from tests.hostile.tables import cell, id_of, utf8
from tests.hostile.world import Outcome

#: Simulated seconds; the most that one run of so few rows may take by the job's own limits, with room.
LONGEST = 1500.0
#: Statuses and bodies that speak of the endpoint, and of no row.
ENDPOINT_STATUSES = {
    *(401, 403, 406, 407, 408, 409, 411, 415, 420, 421, 423, 424, 426, 429, 431, 444, 449, 460, 498, 499),
    *(500, 502, 503, 504, 511, 529),
}
#: Of the error of a merge whose shards have vectors of different lengths.
_TWO_LENGTHS = "Another model has probably answered one of the shards"
ENDPOINT_WORDS = ("in error", "Invalid state", "is paused")


def ends_are_typed(outcome: Outcome) -> Iterator[str]:
    """A run ends in a report or a `BatchError`, never in anything else; nothing hangs."""
    for number, run in enumerate(outcome.runs):
        if run.error is None or isinstance(run.error, BatchError):
            continue
        cancelled = number == 0 and outcome.case.cancel_after is not None
        if cancelled and isinstance(run.error, asyncio.CancelledError):
            continue
        yield f"run {number} ended in {type(run.error).__name__}: {str(run.error)[:300]}"


def time_is_bounded(outcome: Outcome) -> Iterator[str]:
    """No answer can hold the batch for longer than its own limits allow."""
    for number, run in enumerate(outcome.runs):
        if run.seconds > LONGEST:
            yield f"run {number} took {run.seconds:.0f} simulated seconds"


def the_output_is_whole(outcome: Outcome) -> Iterator[str]:
    """In a world that is well again the batch comes to its end: one line a row, in the order of the input.

    An input that is refused before anything was sent is an end, too.
    """
    case, report = outcome.case, outcome.runs[-1].report
    if case.wrap in REFUSED_WRAPS and case.input_format.endswith((".gz", ".zst")) and report is not None:
        yield f"an input that is packed so was taken: {case.wrap}"
    sent = outcome.server.exchanges and not outcome.case.shards  # of which each looks at its own part
    if isinstance(outcome.runs[-1].error, BatchInputError) and not sent:
        return
    if outcome.replaced:
        if not isinstance(outcome.runs[-1].error, OutputConflictError):
            yield f"finished with other rows than those of the input: {outcome.runs[-1]!r}"
        return
    if case.shards and _has_a_longer_vector(case) and _TWO_LENGTHS in str(outcome.runs[-1].error):
        return  # it was the first of a shard, and a merge must not publish two lengths
    if report is None or not report.complete:
        yield f"not finished after {len(outcome.runs)} runs: {outcome.runs[-1].error!r}"
        return
    if [line["index"] for line in outcome.lines] != list(range(len(outcome.rows))):
        yield f"lines of the output: {[line['index'] for line in outcome.lines]}, rows: {len(outcome.rows)}"


def ids_are_those_of_the_rows(outcome: Outcome) -> Iterator[str]:
    """Each line has the id of its row, as the input has it; an input whose ids are none, or are the same, is refused
    before anything is sent, and no other is for its ids."""
    case = outcome.case
    if not case.ids:
        return
    table = case.input_format.startswith(("csv", "tsv", "parquet"))
    rows = [(n, row) for n, row in enumerate(outcome.rows) if table or row.bad is None]
    rows = [(n, row) for n, row in rows if row.bad is None or case.input_format == "parquet"]
    ids = {n: _id_in(case, row, n) for n, row in rows}
    nameless = not table and any(row.bad == _ROW_WITHOUT_ID for row in outcome.rows)
    valid = not nameless and all(isinstance(each, str | int) and not isinstance(each, bool) for each in ids.values())
    unique = len({_in_parquet(each) for each in ids.values()}) == len(ids)
    refused = isinstance(outcome.runs[-1].error, BatchInputError)
    if not (valid and unique) and (not refused or outcome.server.exchanges):
        yield f"ids {list(ids.values())} were taken"
    if valid and unique and refused and re.search(r"\bids? ", str(outcome.runs[-1].error)):
        yield f"ids {list(ids.values())} were refused: {outcome.runs[-1].error}"
    text = case.output_format == "parquet"
    for line in outcome.lines:
        known = ids.get(line["index"]) if line["index"] < len(outcome.rows) else f"row-{line['index']}"
        wanted = _in_parquet(known) if text and known is not None else known
        if line["id"] is not None and (line["id"] != wanted or type(line["id"]) is not type(wanted)):
            yield f"row {line['index']} has the id {line['id']!r}, in the input {known!r}"
        if line["id"] is None and line["error"] is None:
            yield f"row {line['index']} has no id"


def _in_parquet(value: Any) -> str:
    """An id as an output has it that has texts alone."""
    return str(value).encode("utf-8", "surrogatepass").decode("utf-8", "replace")


_ROW_WITHOUT_ID = BAD_LINES.index(b'{"q": NaN}')


def _id_in(case: Case, row: Row, number: int) -> Any:
    """A row's id as its file has it."""
    value = id_of(row, number)
    if case.input_format == "parquet":
        return utf8(value)
    if case.input_format.startswith(("csv", "tsv")):
        return cell(value).encode(case.table.codec, "replace").decode(case.table.codec) or None
    return value


def counts_are_those_of_the_lines(outcome: Outcome) -> Iterator[str]:
    """The report counts what stands in the output."""
    report = outcome.runs[-1].report
    if report is None:
        return
    failed = sum(line["error"] is not None for line in outcome.lines)
    if (report.rows, report.failed, report.succeeded) != (len(outcome.lines), failed, len(outcome.lines) - failed):
        yield f"report: {report.rows} rows, {report.failed} failed; output: {len(outcome.lines)}, {failed} failed"


def answers_are_the_servers(outcome: Outcome) -> Iterator[str]:
    """What stands as a row's answer is what the server answered to that row, whole."""
    answered: dict[int, list[Exchange]] = {}
    for exchange in outcome.server.exchanges:
        for row in exchange.rows if exchange.returned else ():
            answered.setdefault(row, []).append(exchange)
    for line in outcome.lines:
        if line["error"] is not None:
            continue
        if outcome.case.input_format == "openai":
            bodies = [_body(each) for each in answered.get(line["index"], [])]
            if line["response"]["body"] not in bodies:
                yield f"row {line['index']} has {str(line['response'])[:80]!r}, which the server never answered to it"
            continue
        known = [_outputs(each, outcome, line["index"]) for each in answered.get(line["index"], [])]
        if not any(_said(line) in outputs for outputs in known):
            yield f"row {line['index']} has {str(_said(line))[:80]!r}, which the server never answered to it"


BESIDE = ("tool_calls", "refusal", "reasoning_content")


def _said(line: dict[str, Any]) -> tuple[Any, Any]:
    """A line's output and what stands beside it, as values, in whichever form the output has."""
    output, extra = line["output"], line.get("extra")
    if line.get("embedding") is not None:  # in Parquet, a single vector has a column of its own
        output = [line["embedding"]]
    return _as_it_is(output), _as_it_is(extra)


def _body(exchange: Exchange) -> Any:
    """The whole answer, as a line of an OpenAI Batch's output holds it."""
    if isinstance(exchange.answer, Broken):
        return json.loads(BROKEN_BODIES[exchange.answer.body]) if exchange.answer.body in _BROKEN else None
    if not isinstance(exchange.answer, Good | Slow):
        return None
    without = isinstance(exchange.answer, Good) and exchange.answer.content in WITHOUT_SCORES
    return None if exchange.route in SCORED and without else exchange.sent


def _outputs(exchange: Exchange, outcome: Outcome, row: int) -> list[tuple[Any, Any]]:
    """What the exchange's answer may be recorded as for a row; nothing where it is no answer."""
    answer = Good() if isinstance(exchange.answer, Slow) else exchange.answer
    if outcome.case.task != "chat":
        if not isinstance(answer, Good):
            return []
        of_row = tasks.outputs_of(outcome.case.task, answer, exchange.number, exchange.body, row)
        return [(_whole(each), None) for each in of_row for _whole in (_as_it_is, _as_utf8)]
    if isinstance(answer, Broken):
        return _BROKEN.get(answer.body, [])
    if not isinstance(answer, Good) or word_of(answer.reason) in GIVEN_UP:
        return []
    text = text_of(answer, exchange.number, schema=outcome.case.schema is not None)
    message = message_of(answer, text)
    if answer.packing not in UNPACKED:
        return []
    extra = {name: message[name] for name in BESIDE if message.get(name)} or None
    outputs: list[Any]
    match answer.message:
        case "thinking part":
            outputs, extra = [text], {"content": message["content"][:1]}
        case "content" | "list content" | "tools beside text":
            outputs = [text]
        case "tool calls":
            outputs, extra = [{"tool_calls": message["tool_calls"]}], None
        case _:
            outputs = [""] if extra or word_of(answer.reason) in MAY_BE_EMPTY else []
    if outcome.case.schema:
        again = answer.content == "letters again" and outcome.case.schema != "pattern"
        fits = again or answer.content in ("text", "json", "fenced", "thinking")
        outputs = [json.loads(text) if again else {"a": f"a{exchange.number};"}] if fits and outputs == [text] else []
    return [(_whole(each), _whole(extra)) for each in outputs for _whole in (_as_it_is, _as_utf8)]


def _as_it_is(value: Any) -> Any:
    """The value, decoded where it is JSON in a text: an output in Parquet holds it so."""
    if not isinstance(value, str) or not value.startswith(("{", "[")) or value.startswith("[["):
        return value
    try:
        return json.loads(value)
    except ValueError:  # a text that only begins as JSON does
        return value


def _as_utf8(value: Any) -> Any:
    """As it reads where half a character has no form."""
    text = json.dumps(value, ensure_ascii=False)
    return _as_it_is(json.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")))


#: The one body that is odd and can be understood: two choices, of which one says no place.
_BROKEN: dict[int, list[Any]] = {11: [(["x", "y"], None)]}


def _has_a_longer_vector(case: Case) -> bool:
    return case.task != "chat" and any(isinstance(each, Good) and each.content == "long" for each in case.answers)


def nothing_done_is_sent_again(outcome: Outcome) -> Iterator[str]:
    """A row whose good answer came while the store was well is not sent again by a later run."""
    case = outcome.case
    if outcome.faults.met or case.cancel_after is not None:
        return
    if _has_a_longer_vector(case):
        return  # a first vector of another length makes all others odd
    done: set[int] = set()
    for exchange in outcome.server.exchanges:
        for row in exchange.rows:
            edited = row == 0 and outcome.rows[:1] != case.rows[:1]
            if exchange.run > 0 and row in done and not edited:
                before = _answer_of(outcome, row)
                yield f"row {row} was answered by request {before}, sent again as {exchange.number}"
        if exchange.returned and exchange.answer == Good() and exchange.run == 0:
            done.update(exchange.rows)


def _answer_of(outcome: Outcome, row: int) -> int:
    return next(each.number for each in outcome.server.exchanges if row in each.rows and each.answer == Good())


def the_endpoints_faults_are_no_rows(outcome: Outcome) -> Iterator[str]:
    """A row that met nothing but faults of the endpoint, the proxy or the network is answered in the end."""
    met: dict[int, list[Exchange]] = {}
    for exchange in outcome.server.exchanges:
        for row in exchange.rows:
            met.setdefault(row, []).append(exchange)
    for line in outcome.lines:
        exchanges = met.get(line["index"], [])
        if line["error"] is not None and exchanges and all(_is_endpoints(each) for each in exchanges):
            answers = [each.answer for each in exchanges]
            kind = line["error"].get("type") or line["error"]["code"]
            yield f"row {line['index']} failed for good ({kind}) of {answers}"


def _is_endpoints(exchange: Exchange) -> bool:
    match exchange.answer:
        case Refusal(status=status, body=body, packing=packing):
            words = REFUSAL_BODIES[body].decode("utf-8", "replace") if packing in UNPACKED else ""
            return status in ENDPOINT_STATUSES or (status == 400 and any(each in words for each in ENDPOINT_WORDS))
        case Raises(what=what):
            return what in PASSING
        case _:
            return False


def errors_say_what_to_do(outcome: Outcome) -> Iterator[str]:
    """Every error of a run and of a row has words, and none of them is a secret or a traceback."""
    texts = [str(run.error) for run in outcome.runs if isinstance(run.error, BatchError)]
    texts += [line["error"]["message"] for line in outcome.lines if line["error"] is not None]
    for text in texts:
        if not text.strip() or "hf_hostile_secret" in text or "Traceback" in text:
            yield f"an error says {text[:200]!r}"


def tokens_are_the_servers(outcome: Outcome) -> Iterator[str]:
    """The report's tokens are those of every answer that came, where the server counted them as numbers."""
    report = outcome.runs[-1].report
    if report is None or outcome.faults.met or outcome.case.cancel_after is not None:
        return
    prompt = completion = 0
    for exchange in outcome.server.exchanges:
        if not exchange.returned or not isinstance(exchange.answer, Good | Slow):
            continue
        if isinstance(exchange.answer, Good) and exchange.answer.packing not in UNPACKED:
            continue  # nobody can read how many they were
        usage = exchange.sent.get("usage") if isinstance(exchange.sent, dict) else None
        if usage not in (
            {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            {"prompt_tokens": 3.0, "completion_tokens": 2.0},
            None,
            {},
            [],
            "x",
        ):
            return
        if isinstance(usage, dict) and usage:
            prompt, completion = prompt + 3, completion + 2
    if (report.prompt_tokens, report.completion_tokens) != (prompt, completion):
        yield f"tokens: report {report.prompt_tokens}+{report.completion_tokens}, server {prompt}+{completion}"


def what_was_changed_is_asked_again(outcome: Outcome) -> Iterator[str]:
    """A row that is another one in the second run has an answer to what it asks then."""
    if outcome.rows[:1] == outcome.case.rows[:1] or not outcome.lines or outcome.lines[0]["error"] is not None:
        return
    asked = [each for each in outcome.server.exchanges if 0 in each.rows and "edited" in str(each.body)]
    if not any(_said(outcome.lines[0]) in _outputs(each, outcome, 0) for each in asked if each.returned):
        yield "row 0 has an answer to what it asked before it was changed"


CHECKS: tuple[Callable[[Outcome], Iterator[str]], ...] = (
    ends_are_typed,
    time_is_bounded,
    the_output_is_whole,
    ids_are_those_of_the_rows,
    what_was_changed_is_asked_again,
    counts_are_those_of_the_lines,
    answers_are_the_servers,
    nothing_done_is_sent_again,
    the_endpoints_faults_are_no_rows,
    errors_say_what_to_do,
    tokens_are_the_servers,
)


def problems(outcome: Outcome) -> list[str]:
    """Everything that is wrong, by the check that says so."""
    return [f"{check.__name__}: {words}" for check in CHECKS for words in check(outcome)]
