"""`python -m dev.messages` writes docs/messages.md: every error, log line and help text of the package, side by side.

The texts are read from the source, so that the page needs no run. `{…}` and `%s` stand where a value will be.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_provider_hf_endpoints"
PAGE = ROOT / "docs" / "messages.md"
HEAD = """# Messages

Every text that the package can show: errors, log lines, help texts, and the phrases that they are built from. `{…}` and
`%s` stand where a value will be. The page is generated: run `python -m dev.messages` after you change a text.
What to do about an error is in [errors](reference/errors.md).
"""
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
_WORDS = re.compile(r"[A-Za-z][a-z']+[,:;]? +(?:\S+ +)*?[a-z']+")  # at least two words: a text, not a key
_PATTERN = re.compile(r"\\[bdsw.]|\(\?|\]\(")  # a regular expression is not a text for a reader
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Message:
    """One text: where it is, what shows it, and its words."""

    place: str  # the file below the package
    line: int
    kind: str  # "error", a log level, "help", or "phrase" for what another text takes in
    text: str

    @property
    def room(self) -> str:
        """The sub-package, the heading under which the page lists the text."""
        return self.place.split("/")[0] if "/" in self.place else "(top)"


@cache
def messages() -> tuple[Message, ...]:
    """Every text of the package, in the order of the files."""
    found: list[Message] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = path.relative_to(PACKAGE).as_posix()
        found += (Message(place, line, kind, text) for line, kind, text in _texts(tree, "phrase"))
    return tuple(found)


def docstrings() -> Iterator[tuple[str, int, str]]:
    """Every docstring of the package: file, line, text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
                yield place, node.body[0].lineno, text


def _texts(node: ast.AST, kind: str) -> Iterator[tuple[int, str, str]]:
    """The texts below `node`; `kind` is that of the nearest call or statement that shows them."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        text = _written(node)
        if _WORDS.search(text) and not _PATTERN.search(text):
            yield node.lineno, kind, " ".join(text.split())
        if isinstance(node, ast.JoinedStr):
            for part in node.values:  # a choice between phrases within the text
                if isinstance(part, ast.FormattedValue):
                    yield from _texts(part.value, "phrase")
        return
    body = getattr(node, "body", None)
    documented = isinstance(node, _DOCUMENTED) and body and isinstance(body[0], ast.Expr)
    for child in ast.iter_child_nodes(node):
        if not (documented and body and child is body[0]):
            yield from _texts(child, _kind(child, kind))


def _kind(node: ast.AST, around: str) -> str:
    """What shows the texts of `node`, if `node` says so; else what shows those around it."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) if name in LEVELS:
            return name
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if re.search("Error|Exception$", name):
            return "error"
        case ast.Raise():
            return "error"
        case ast.keyword(arg="help" | "description"):
            return "help"
        case _:
            return around


def _written(node: ast.expr) -> str:
    """The words of a text, with `{…}` where a value is put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.JoinedStr(values=parts):
            return "".join(map(_written, parts))
        case _:
            return ""


def page() -> str:
    """docs/messages.md, as it has to be."""
    lines = [HEAD]
    for room, of_room in groupby(sorted(messages(), key=lambda each: (each.room, each.place)), lambda each: each.room):
        lines.append(f"\n## {room}\n")
        for place, texts in groupby(of_room, lambda each: each.place):
            lines.append(f"\n`{place}`\n\n| kind | text |\n|---|---|\n")
            lines += (f"| {each.kind} | {_cell(each.text)} |\n" for each in texts)
    return "".join(lines)


def _cell(text: str) -> str:
    """A text in a cell of a table, shown as it is."""
    return "`` " + text.replace("|", "\\|") + " ``"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
