"""What the demo found, whether that is as it should be, and how it reads. Pure: values in, text out.

The evidence is of two independent kinds: the files that the batches wrote, and what the emulator saw on its side.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 100  # columns
SHOWN_ROWS = 3


@dataclass(frozen=True)
class Moment:
    """An endpoint entered a state, `after` seconds from its first one."""

    after: float
    state: str


@dataclass(frozen=True)
class Meter:
    """The emulator's meter: what the endpoint would have cost."""

    usd: float
    billed_seconds: float
    price_per_hour: float
    instance: str


@dataclass(frozen=True)
class Batch:
    """What one batch of the DAG wrote: the parsed lines of its output file."""

    name: str
    answers: tuple[dict[str, Any], ...]

    @property
    def failed(self) -> int:
        """How many rows have an error instead of an answer."""
        return sum(answer.get("error") is not None for answer in self.answers)

    def tokens(self, kind: str) -> int:
        """The sum of one kind of token over all answers."""
        return sum(int((answer.get("usage") or {}).get(kind) or 0) for answer in self.answers)


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end of the run; `rows` are the parsed lines of the input."""

    run_state: str
    task_states: dict[str, str | None]
    rows: tuple[dict[str, Any], ...]
    batches: tuple[Batch, ...]
    endpoint: str = "none"
    model: str = "none"
    history: tuple[Moment, ...] = ()
    final_state: str = "missing"
    meter: Meter | None = None


def read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    """The lines of a JSONL file; none when it is not there."""
    if not path.is_file():
        return ()
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def problems(evidence: Evidence) -> list[str]:
    """Everything that is not as it should be; empty when the demo did what it says."""
    found = []
    if evidence.run_state != "success":
        found.append(f"the DAG run ended as {evidence.run_state!r}")
    found += [f"task {task} ended as {state!r}" for task, state in evidence.task_states.items() if state != "success"]
    if not evidence.rows:
        found.append("the input has no rows")
    for batch in evidence.batches:
        found += [f"{batch.name}: {problem}" for problem in _problems_of(batch, len(evidence.rows))]
    states = [moment.state for moment in evidence.history]
    if "running" not in states:
        found.append(f"the endpoint was never running: {states}")
    if evidence.final_state != "paused":
        found.append(f"the endpoint is {evidence.final_state!r}, not paused: it would go on billing")
    if evidence.meter is None or evidence.meter.usd <= 0:
        found.append("the emulator's meter has nothing on the endpoint")
    return found


def _problems_of(batch: Batch, expected: int) -> list[str]:
    found = []
    lines = len(batch.answers)
    if [answer.get("index") for answer in batch.answers] != list(range(expected)):
        found.append(f"the output has {lines} lines, not one for each of the {expected} rows in their order")
    if batch.failed:
        first = next(answer for answer in batch.answers if answer.get("error") is not None)
        found.append(f"{batch.failed} rows failed, the first with {first['error']}")
    good = [answer for answer in batch.answers if answer.get("error") is None]
    if silent := [answer.get("index") for answer in good if not _text_of(answer.get("output")).strip()]:
        found.append(f"the model answered nothing to rows {silent}")
    if good and not (batch.tokens("prompt_tokens") and batch.tokens("completion_tokens")):
        found.append("the output counts no tokens")
    return found


def render(evidence: Evidence) -> str:
    """The report as a person reads it."""
    verdict = ["Everything is as it should be."]
    if found := problems(evidence):
        numbered = [_beside(f"{number}.", line) for number, line in enumerate(found, start=1)]
        verdict = ["NOT AS IT SHOULD BE", *numbered]
    sections = [_endpoint(evidence), _answers(evidence), _counts(evidence), verdict]
    bar = "=" * WIDTH
    return f"{bar}\n" + "\n\n".join("\n".join(section) for section in sections) + f"\n{bar}"


def _endpoint(evidence: Evidence) -> list[str]:
    lines = [f"The endpoint {evidence.endpoint} ({evidence.model})"]
    for moment, following in zip(evidence.history, [*evidence.history[1:], None], strict=True):
        lasted = f"for {following.after - moment.after:.1f} s" if following else "since then"
        lines.append(f"  {moment.after:8.1f} s  {moment.state:<13} {lasted}")
    return lines


def _answers(evidence: Evidence) -> list[str]:
    """A few rows, each with what every batch made of it."""
    answered = {batch.name: {answer.get("index"): answer for answer in batch.answers} for batch in evidence.batches}
    step = max(1, len(evidence.rows) // SHOWN_ROWS)
    lines = ["Some of the tickets, and what the model really answered"]
    for index, row in list(enumerate(evidence.rows))[::step][:SHOWN_ROWS]:
        lines += ["", _beside("ticket", _prompt_of(row))]
        for name, answers in answered.items():
            answer = answers.get(index, {"error": "no line in the output"})
            lines.append(
                _beside(name, str(answer.get("error") or _text_of(answer.get("output")).strip() or "(nothing)"))
            )
    return lines


def _prompt_of(row: dict[str, Any]) -> str:
    """What a reader should see of an input row: its longest text, which is what the prompt is about."""
    return max((value for value in row.values() if isinstance(value, str)), key=len, default=json.dumps(row))


def _text_of(output: Any) -> str:
    """An answer's text: chat completions and text generation both come as a string, other tasks as JSON."""
    if output is None:
        return ""
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _counts(evidence: Evidence) -> list[str]:
    lines = ["What it came to"]
    for batch in evidence.batches:
        done, cut = len(batch.answers) - batch.failed, sum(a.get("finish_reason") == "length" for a in batch.answers)
        read, written = batch.tokens("prompt_tokens"), batch.tokens("completion_tokens")
        counts = f"{done} of {len(evidence.rows)} rows done, {batch.failed} failed; "
        counts += f"{read:,} tokens read, {written:,} written"
        lines.append(_beside(batch.name, counts + (f" ({cut} answers cut at their token limit)" if cut else "")))
    if evidence.meter is not None:
        meter = evidence.meter
        what = f"{meter.billed_seconds:.0f} s of {meter.instance} at ${meter.price_per_hour:.3f} an hour"
        lines.append(_beside("cost", f"${meter.usd:.5f} by the emulator's meter: {what}"))
    bills = "it bills nothing" if evidence.final_state == "paused" else "it may go on billing"
    lines.append(_beside("endpoint", f"{evidence.final_state}: {bills}"))
    return lines


def _beside(label: str, text: str) -> str:
    """One paragraph beside its label, however many lines the text had."""
    flat = " ".join(text.split())
    return textwrap.fill(flat, WIDTH, initial_indent=f"  {label:<11} ", subsequent_indent=" " * 14)
