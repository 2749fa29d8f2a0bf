"""No secret is anywhere in Airflow: a search through its logs and its whole database after a run full of failures."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.local_airflow import LocalAirflow
from tests.airflow.cases import Case
from tests.airflow.conftest import CANARIES, TOKEN

pytestmark = pytest.mark.extended


def places(home: Path) -> Iterator[tuple[str, str]]:
    """Everything that Airflow has written, by where it stands: each table, each file of a log."""
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        for line in database.iterdump():
            yield f"database: {line[:60]}", line
    for file in (home / "logs").rglob("*"):
        if file.is_file():
            yield str(file.relative_to(home)), file.read_text(errors="replace")


def found(home: Path, secrets: dict[str, str]) -> list[str]:
    """Where each secret stands, with what is around it."""
    return [
        f"{name} in {place}: …{text[max(0, text.index(secret) - 120) : text.index(secret) + 40]}…"
        for place, text in places(home)
        for name, secret in secrets.items()
        if secret in text
    ]


def test_no_secret_is_anywhere(airflow: LocalAirflow, case: Case) -> None:
    """Token, secrets given inline, by connection and by variable, and a registry's password: printed by a container
    that fails, quoted by create, sensors, update and resume, deferred and not, on both attempts."""
    # By the names that the container knows them by; a registry's password it never has.
    names = {"inline": "API_KEY", "vault": "VAULT", "variable": "VARIABLE"}
    printed = "\n".join(f"{name}={CANARIES[which]}" for which, name in names.items())
    case.emulator.behave(
        case.endpoint, fail=f"exit 1 after {printed}", logs=("Booting", *printed.splitlines(), f"token {TOKEN}")
    )
    run = case.trigger("canary")
    airflow.wait_for_run("canary", run)  # its last tasks run in any case, and by these Airflow judges the run
    states = airflow.task_states("canary", run)
    assert {states[task] for task in ("create", "watch", "poke")} == {"failed"}
    quoted = "\n".join(
        line for task in ("create", "watch", "poke") for line in airflow.task_messages("canary", run, task)
    )
    assert quoted.count("Booting") >= 3, "the container's log is quoted, or the search proves nothing"
    assert found(airflow.home, {"a word that is there": "Booting"}), "the search finds what is there"
    assert [] == found(airflow.home, {**CANARIES, "token": TOKEN})
