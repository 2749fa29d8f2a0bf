"""Turns what `make demo` printed into the picture of the README: an SVG of its report, as a terminal shows it.

The tickets and their answers are left out: they fill a screen, and a model of 135 million parameters is not the point.

    make demo | tee demo.txt; .venv/bin/python -m dev.demo_picture demo.txt > docs/pictures/demo.svg
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 20, 24  # pixels
CHARACTER = 8.43  # pixels a column takes in the usual fonts of one width
COLUMNS = 100
# What a line begins with, and its colour. The first that fits counts.
COLOURS = (("$", "#7ee787"), ("Everything is as it should be", "#7ee787"), ("  ", "#c9d1d9"), ("", "#79c0ff"))


def report_of(printed: str) -> list[str]:
    """The report: what stands between its two bars. Raises `ValueError` if the demo printed none."""
    lines = printed.splitlines()
    bars = [number for number, line in enumerate(lines) if line and set(line) == {"="}]
    if len(bars) != 2:
        raise ValueError(f"The text has {len(bars)} bars of '=', and a report stands between two: did the demo end?")
    return lines[bars[0] + 1 : bars[1]]


def without_answers(report: list[str]) -> list[str]:
    """The report without the rows and what the model made of them."""
    first = next((number for number, line in enumerate(report) if line.startswith("Some of the")), len(report))
    last = next((number for number, line in enumerate(report) if line.startswith("What it came to")), first)
    return report[:first] + report[last:]


def picture(lines: list[str]) -> str:
    """The lines as an SVG that loads nothing."""
    width = round(COLUMNS * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + (number + 1) * LINE_HEIGHT - 6}" fill="{_colour(line)}">{_kept(line)}</text>'
        for number, line in enumerate(lines)
        if line
    ]
    style = f"font:{FONT_SIZE}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{style}">',
            f'<rect width="{width}" height="{height}" rx="10" fill="#0d1117"/>',
            *texts,
            "</svg>\n",
        ]
    )


def _kept(line: str) -> str:
    """The line with its blanks, of which SVG would keep one."""
    return escape(line).replace(" ", "\N{NO-BREAK SPACE}")


def _colour(line: str) -> str:
    return next(colour for start, colour in COLOURS if line.startswith(start))


def main() -> None:
    """Read the file that holds what the demo printed, and print the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("printed", type=Path, help="a file with what `make demo` printed")
    text = parser.parse_args().printed.read_text(encoding="utf-8")
    sys.stdout.write(picture(["$ make demo", "", *without_answers(report_of(text))]))


if __name__ == "__main__":
    main()
