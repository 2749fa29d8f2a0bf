"""What the demo found, whether that is as it should be, and how it reads. Pure: values in, text out.

The evidence is of two independent kinds: the files that the batch wrote, and what the emulator saw on its side.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 100  # columns
SHOWN_ANSWERS = 3


@dataclass(frozen=True)
class Moment:
    """An endpoint entered a state, `after` seconds from the demo's first one."""

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
class Evidence:
    """All that is known at the end of the run. `rows` and `answers` are the parsed lines of input and output."""

    run_state: str
    task_states: dict[str, str | None]
    endpoint: str
    model: str
    history: tuple[Moment, ...]
    final_state: str
    rows: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]
    meter: Meter | None


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
    expected, indexes = len(evidence.rows), [answer.get("index") for answer in evidence.answers]
    if not expected:
        found.append("the input has no rows")
    if indexes != list(range(expected)):
        found.append(f"the output has {len(indexes)} lines, not one for each of the {expected} rows in their order")
    if errors := [answer for answer in evidence.answers if answer.get("error") is not None]:
        found.append(f"{len(errors)} rows failed, the first with {errors[0]['error']}")
    silent = [a["index"] for a in evidence.answers if a.get("error") is None and not text_of(a.get("output")).strip()]
    if silent:
        found.append(f"the model answered nothing to rows {silent}")
    if evidence.answers and not (tokens(evidence, "prompt_tokens") and tokens(evidence, "completion_tokens")):
        found.append("the output counts no tokens")
    states = [moment.state for moment in evidence.history]
    if "running" not in states:
        found.append(f"the endpoint was never running: {states}")
    if evidence.final_state != "paused":
        found.append(f"the endpoint is {evidence.final_state!r}, not paused: it would go on billing")
    if evidence.meter is None or evidence.meter.usd <= 0:
        found.append("the emulator's meter has nothing on the endpoint")
    return found


def text_of(output: Any) -> str:
    """An answer's text: chat completions and text generation both come as a string, other tasks as JSON."""
    if output is None:
        return ""
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def tokens(evidence: Evidence, kind: str) -> int:
    """The sum of one kind of token over all answers."""
    return sum(int((answer.get("usage") or {}).get(kind) or 0) for answer in evidence.answers)


def render(evidence: Evidence) -> str:
    """The report as a person reads it."""
    found = problems(evidence)
    sections = [
        _endpoint(evidence),
        _answers(evidence),
        _counts(evidence),
        ["Everything is as it should be."]
        if not found
        else ["NOT AS IT SHOULD BE", *(_wrapped("- ", line) for line in found)],
    ]
    bar = "=" * WIDTH
    return "\n".join([bar, *("\n".join(section) + "\n" for section in sections if section), bar])


def _endpoint(evidence: Evidence) -> list[str]:
    lines = [f"Endpoint {evidence.endpoint} ({evidence.model})"]
    for moment, following in zip(evidence.history, [*evidence.history[1:], None], strict=True):
        lasted = f"for {following.after - moment.after:.1f} s" if following else "since then"
        lines.append(f"  {moment.after:7.1f} s   {moment.state:<13} {lasted}")
    return lines


def _answers(evidence: Evidence) -> list[str]:
    good = [answer for answer in evidence.answers if answer.get("error") is None]
    if not good:
        return []
    step = max(1, len(good) // SHOWN_ANSWERS)
    lines = [f"Some of what the model answered (all of it is in the output file, {len(good)} lines)"]
    for answer in good[::step][:SHOWN_ANSWERS]:
        row = evidence.rows[answer["index"]] if answer["index"] < len(evidence.rows) else {}
        lines.append(_wrapped("asked    ", _prompt_of(row)))
        lines.append(_wrapped("answered ", text_of(answer["output"])))
        lines.append("")
    return lines[:-1]


def _prompt_of(row: dict[str, Any]) -> str:
    """What a reader should see of an input row: its longest text, which is what the prompt is about."""
    return max((value for value in row.values() if isinstance(value, str)), key=len, default=json.dumps(row))


def _counts(evidence: Evidence) -> list[str]:
    failed = sum(answer.get("error") is not None for answer in evidence.answers)
    truncated = sum(answer.get("finish_reason") == "length" for answer in evidence.answers)
    lines = [
        f"Rows      {len(evidence.answers) - failed} of {len(evidence.rows)} done, {failed} failed"
        + (f", {truncated} answers stopped at their token limit" if truncated else ""),
        f"Tokens    {tokens(evidence, 'prompt_tokens'):,} read, {tokens(evidence, 'completion_tokens'):,} written",
    ]
    if evidence.meter is not None:
        meter = evidence.meter
        lines.append(
            f"Cost      ${meter.usd:.5f} by the emulator's meter: {meter.billed_seconds:.0f} s of {meter.instance}"
            f" at ${meter.price_per_hour:.3f} an hour"
        )
    lines.append(f"Endpoint  {evidence.final_state}" + (", bills nothing" if evidence.final_state == "paused" else ""))
    return lines


def _wrapped(label: str, text: str) -> str:
    """One paragraph under its label, however many lines the text had."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, initial_indent=f"  {label}", subsequent_indent=" " * (2 + len(label))
    )
