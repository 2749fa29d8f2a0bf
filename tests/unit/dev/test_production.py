"""What `make test-production` needs of the system, and how it counts what an endpoint costs after the work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dev import setup
from tests.production.cases import billed_since


def moments(*states: tuple[float, str]) -> list[dict[str, Any]]:
    return [{"seconds": seconds, "state": state} for seconds, state in states]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([(0, "pending"), (5, "running"), (30, "paused")], 20.0),
        ([(0, "running"), (8, "paused")], 0.0),
        ([(0, "running"), (8, "paused"), (20, "initializing"), (22, "running"), (25, "paused")], 5.0),
        ([(0, "running")], float("inf")),
    ],
)
def test_what_is_billed_after_the_work(states: list[tuple[float, str]], expected: float) -> None:
    """From the work's end to each end of what costs money; what runs on is never over."""
    assert expected == billed_since(moments(*states), 10.0)


def test_where_nothing_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what is missing and what to do."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match=r"postgresql and redis-server not found.*sudo apt-get install"):
        setup.install_servers()
