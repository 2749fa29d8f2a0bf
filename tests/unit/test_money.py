"""Amounts of money as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints._money import usd

PACKAGE = Path(__file__).resolve().parents[2] / "airflow_provider_hf_endpoints"


@pytest.mark.parametrize(
    ("amount", "places", "expected"),
    [
        (5.0, 0, "$5"),
        (0.064, 0, "$0.064"),
        (1e-05, 0, "$0.00001"),
        (0.0, 0, "$0"),
        (1234567.0, 0, "$1234570"),
        (0.064, 4, "$0.0640"),
        (1e-05, 4, "$0.00001"),
        (0.0000188939, 4, "$0.000019"),
        (0.0, 4, "$0.0000"),
    ],
)
def test_an_amount_has_no_exponent(amount: float, places: int, expected: str) -> None:
    """A small one keeps digits that say something."""
    assert expected == usd(amount, places=places)


def test_amounts_are_written_in_one_way() -> None:
    """`$%g` and `${amount:g}` write $1e-05."""
    written = re.compile(r"\$%[.\d]*[gef]|\$\{[^}]*:[.\d]*[gef]\}")
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "_money.py"]
    assert [] == [path.name for path in files if written.search(path.read_text(encoding="utf-8"))]
