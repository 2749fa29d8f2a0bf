"""docs/messages.md is up to date, and messages, docstrings and comments are written in plain English."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator

import pytest

from dev.messages import PACKAGE, PAGE, Message, docstrings, messages, page

TESTS = PAGE.parent.parent / "tests"

pytestmark = pytest.mark.once

# Phrases that a reader has to read twice, each with what to write. `there is no …` and `is no longer` are plain.
HABITS = {
    r"(?<![Tt]here )\b(?:is|are|was|were) (?:no|none)\b(?! longer| more| fewer| less)": "is not a …; does not exist",
    r"\bwho comes\b": "the caller, the next task",
    r"\bwhat becomes? of\b|\bbecame of\b": "what happens to",
    r"\bcan't be had\b": "is not available",
    r"\banew\b": "again",
    r"\bfor good\b": "permanently; without a retry",
    r"\bas far as\b": "if, or where",
    r"\ban other\b": "another",
    r"\bsuch a one\b": "the noun",
    r"\b(?:came|come|comes) to nothing\b": "failed",
    r"\bfrom here on\b|\bgoes on elsewhere\b": "now; another process continues",
    r"\bpass(?:es)? for\b": "is taken for",
    r"\bin vain\b": "without a result; failed",
    r"\ball the same\b": "nevertheless; still",
    r"\b[Ww]ho(?:ever)? (?:starts|stops|releases|acquires|pays) [^?,]*, (?:stops|starts|pays)\b": "the task that …",
    r"\ba (?:pod template|handler|text|token) of your own\b": "your own …",
}
# Of errors and log lines only: a docstring may tell what a lease holds.
HABITS_OF_MESSAGES = {
    r"\bcan't be (?:told|asked)\b": "could not read …, could not determine …",
    r"\b(?:is|was|been) told\b": "was given",
    r"\bof its own\b": "its own …; a separate …",
    r"\b[Nn]obody\b": "no run, no user: the noun",
    r"\bwhoever\b": "the owner of …",
    r"\bit is one of\b": "… is not valid. Use one of …",
    r"\bwithout a word\b": "silently",
}
# Of docstrings and comments, private ones too.
HABITS_OF_COMMENTS = {
    r"\bso it does\b": "say what it does",
    r"\bwho (?:comes|asks|waits|goes|looks|leaves|begins|keeps)\b": "the caller, the task that waits",
    r"\b[Ww]hoever\b": "the noun",
    r"\b[Nn]obody\b": "no run, no task: the noun",
    r"\b[Ww]here there (?:is|are) (?:none|no)\b": "if there is no …; without …",
    r"\bcan't be (?:had|told|asked|meant)\b": "is not available, is not known, is not valid",
    r"\bis told when the DAG is read\b": "is an error when the DAG is parsed",
    r"\bfor ever\b": "forever",
    r"\bwhat goes on\b|\bgoes on (?:where|from|with)\b": "continues",
    r"\blikes to\b": "often does",
    r"\bof (?:its|their) own\b": "its own …; a separate …",
    r"\bas it came\b": "unchanged",
    r"\bjust now\b": "at the moment, a moment ago",
    r"\b(?:has|have|is|are|was|were) told\b": "was given, was reported",
    r"\bis to be (?:had|told|asked|seen)\b": "is available, is known, must be read",
}
# Of the docstrings of tests, too.
HABITS_OF_TESTS = {
    r"\b(?:[Nn]obody|[Ww]hoever)\b": "no run, no task, the caller: the noun",
    r"\banew\b": "again",
    r"\bfor ever\b": "forever",
    r"\bfor good\b": "without a retry; by SIGKILL; permanently",
    r"\bwithout a word\b": "silently",
    r"(?<![Tt]here )\b(?:is|are) no(?! longer| more| fewer| less)\b": "is not a …",
    r"\bthat is none\b|\bwhat is none\b": "is not valid",
    r"\bof (?:its|their) own\b": "separate; its …",
    r"\bcan't be (?:had|told|asked|meant)\b": "is not available, is unknown",
    r"\bas far as\b": "only; if",
    r"\bwhat becomes of\b": "what happens to",
}
# What the emulator answers are the real service's and the engines' words.
QUOTED = ("emulator/",)
SENTENCE = 45  # words; a sentence above this holds more than one thought


def told() -> list[Message]:
    """The texts that are this package's own."""
    return [each for each in messages() if not each.place.startswith(QUOTED)]


def found(habits: dict[str, str], texts: list[tuple[str, str]]) -> list[str]:
    """Each place of a habit, with what to write instead."""
    return [
        f"{place}: {match[0]!r}, write: {better}"
        for place, text in texts
        for habit, better in habits.items()
        if (match := re.search(habit, text))
    ]


def test_the_page_is_up_to_date() -> None:
    """After a change of a text, `python -m dev.messages` writes the page."""
    assert page() == PAGE.read_text(encoding="utf-8")


def test_what_the_package_shows_is_on_the_page() -> None:
    """Errors, every level of a log in use, and help texts are found, with their values as placeholders."""
    kinds = {each.kind for each in messages()}
    assert {"error", "info", "warning", "help", "phrase"} <= kinds
    texts = {each.text for each in messages()}
    assert "Hardware %s failed: %s" in texts
    assert "Could not write the lease of endpoint %s; other DAGs may pause it: %s" in texts


@pytest.mark.parametrize("habits", [HABITS, HABITS_OF_MESSAGES], ids=["general", "messages"])
def test_messages_are_plain_english(habits: dict[str, str]) -> None:
    """No message has a phrase that a native reader has to read twice."""
    assert [] == found(habits, [(f"{each.place}:{each.line}", each.text) for each in told()])


def test_a_sentence_of_a_message_holds_one_thought() -> None:
    """By its length: sentences end at a period, a colon or a semicolon."""
    long = [
        f"{each.place}:{each.line}: {sentence}"
        for each in told()
        if each.kind != "help"
        for sentence in re.split(r"[.:;?!](?:\s|$)", each.text)
        if len(re.sub(r"\{[^{}]*\}", "X", sentence).split()) > SENTENCE
    ]
    assert [] == long


def test_an_error_that_ends_a_task_says_what_to_do() -> None:
    """An error about a refused value that is two words long is not enough: it needs a second part."""
    refusals = [each for each in told() if each.kind == "error" and "is not valid" in each.text]
    assert refusals
    assert [] == [
        f"{each.place}:{each.line}: {each.text}"
        for each in refusals
        if not re.search(r"is not valid.*[.:] +\S", each.text)
    ]


def comments() -> Iterator[tuple[str, str]]:
    """Every docstring and comment of the package, with its place."""
    yield from ((f"{place}:{line}", " ".join(text.split())) for place, line, text in docstrings())
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        with path.open("rb") as file:
            found = [each for each in tokenize.tokenize(file.readline) if each.type == tokenize.COMMENT]
        yield from ((f"{place}:{each.start[0]}", each.string) for each in found)


def test_comments_are_plain_english() -> None:
    """A reader of the code reads it once, too."""
    assert [] == found(HABITS_OF_COMMENTS, list(comments()))


def test_docstrings_of_tests_are_plain_english() -> None:
    """A test's docstring says what the test checks, so that a failure is understood at the first reading."""
    texts = [
        (f"{path.relative_to(TESTS)}:{getattr(node, 'lineno', 1)}", " ".join(text.split()))
        for folder in ("unit", "contract")
        for path in sorted((TESTS / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        and (text := ast.get_docstring(node))
    ]
    assert texts
    assert [] == found(HABITS_OF_TESTS, texts)


def test_docstrings_are_plain_english() -> None:
    """They become the reference of the API."""
    assert [] == found(HABITS, [(f"{place}:{line}", " ".join(text.split())) for place, line, text in docstrings()])


def test_pages_are_plain_english() -> None:
    """README, CONTRIBUTING and docs, but not the page of the messages, which are tested above."""
    pages = [*PAGE.parent.parent.glob("*.md"), *PAGE.parent.rglob("*.md")]
    lines = [
        (f"{path.relative_to(PAGE.parent.parent)}:{number}", line)
        for path in pages
        if path != PAGE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]
    assert [] == found(HABITS | HABITS_OF_COMMENTS, lines)
