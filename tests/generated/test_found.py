"""Each case that the search has found, played again: it holds, or is marked with why it does not yet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.generated.found import FOUND, Found
from tests.generated.play import play
from tests.generated.written import read


def _cases() -> list[Any]:
    return [
        pytest.param(
            each, id=each.name, marks=pytest.mark.xfail(reason=each.open, strict=True) if each.open is not None else ()
        )
        for each in FOUND
    ]


@pytest.mark.parametrize("found", _cases())
def test_what_was_found(found: Found) -> None:
    """The case breaks nothing; or its DAG is refused at parse, which is an answer too."""
    played = play(found.case)
    assert [] == played.faults, read(found.case)
