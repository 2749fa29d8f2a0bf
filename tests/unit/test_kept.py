"""Small records in an Airflow Variable or below a path: what is written is there, whoever else writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints import kept
from airflow_provider_hf_endpoints.kept import Records, StoreError, document_at, records_at
from tests.variables import Variables


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    stand_in = Variables()
    monkeypatch.setattr(kept, "Variable", stand_in)
    monkeypatch.setattr(kept, "_SETTLE", 0.2)
    return stand_in


def in_variable(most: int | None = None) -> Records:
    return records_at(None, ("folder",), key="the.key", description="of a test", most=most)


@pytest.fixture(params=["variable", "path"])
def make(request: pytest.FixtureRequest, variables: Variables, tmp_path: Path) -> Callable[[], Records]:
    """Records in either place."""
    if request.param == "variable":
        return in_variable
    return lambda: records_at(f"file://{tmp_path}", ("folder",), key="the.key", description="of a test")


def test_records_of_several_writers_are_all_there(make: Callable[[], Records]) -> None:
    """Six that begin at the same moment: whoever finds its own gone writes it again."""
    ready = threading.Barrier(6)

    def write(number: int) -> None:
        ready.wait()
        make().write(f"writer-{number}", {"number": number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"writer-{number}": {"number": number} for number in range(6)} == make().read()


def test_a_record_is_replaced_and_removed(make: Callable[[], Records]) -> None:
    """By its key; removing one that is not there is no error, and nothing is there before the first."""
    assert {} == make().read()
    make().write("one", 1)
    make().write("two", 2)
    make().write("one", 3)
    make().remove(["two", "never"])
    assert {"one": 3} == make().read()


def test_a_full_variable_makes_room(variables: Variables, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest goes, which is said; one that was written again counts as new."""
    records = in_variable(most=2)
    for key in ("one", "two", "one", "three"):
        records.write(key, key)
    assert {"one": "one", "three": "three"} == records.read()
    assert "1 oldest records make room" in caplog.text


def test_a_place_that_fails_says_which(variables: Variables, tmp_path: Path) -> None:
    """Whatever the storage or Airflow raises."""
    variables.broken = True
    with pytest.raises(StoreError, match=r"'the\.key' can't be read: ConnectionError: no API server"):
        in_variable().read()
    (tmp_path / "file").touch()
    document = document_at(f"file://{tmp_path}/file", (), "note", key="k", description="d")
    with pytest.raises(StoreError, match=r"note\.json can't be written"):
        document.write({})


def test_half_a_document_is_none(variables: Variables, tmp_path: Path) -> None:
    """A file that is being written, or a Variable that a person has edited."""
    (tmp_path / "note.json").write_text('{"half')
    variables.values["k"] = '{"half'
    for path in (None, f"file://{tmp_path}"):
        assert document_at(path, (), "note", key="k", description="d").read() is None
