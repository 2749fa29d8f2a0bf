"""The README's picture: the demo's report as an SVG that is valid and complete."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dev.demo_picture import picture, report_of
from dev.demo_report import WIDTH, Evidence, Moment, render

pytestmark = pytest.mark.once


def test_the_picture_holds_the_report_line_by_line() -> None:
    """What the demo prints around its report is left out, and no line of the report is."""
    moments = (Moment(0.0, "running"),)
    report = render(Evidence(run_state="failed <&>", task_states={}, rows=(), batches=(), history=moments))
    lines = report_of(f"   0.1 s   demo   starting\n{report}\nOutput and logs: elsewhere\n")
    svg = ElementTree.fromstring(picture(["$ make demo", *lines]))
    shown = ["".join(text.itertext()).replace("\N{NO-BREAK SPACE}", " ") for text in svg if text.tag.endswith("text")]
    assert ["$ make demo", *(line for line in lines if line)] == shown
    assert "failed <&>" in "\n".join(shown)
    assert max(map(len, shown)) <= WIDTH


def test_a_demo_that_did_not_end_makes_no_picture() -> None:
    """The error names the cause, and no partial picture is drawn."""
    with pytest.raises(ValueError, match="did the demo end"):
        report_of("   0.1 s   demo   starting\n")
