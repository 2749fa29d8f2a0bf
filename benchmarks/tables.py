"""Tables in Markdown, line by line, as a benchmark comes to know them."""

from __future__ import annotations


def head(*columns: str) -> None:
    """Print the head of a table."""
    row(*columns)
    print("|" + "---|" * len(columns), flush=True)


def row(*values: object) -> None:
    """Print a line of it."""
    print(f"| {' | '.join(map(str, values))} |", flush=True)
