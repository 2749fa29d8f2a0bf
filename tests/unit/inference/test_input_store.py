"""An input on a store that fails while its rows are read: nothing is lost, and nothing read twice."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStoreError
from airflow_provider_hf_endpoints.inference.inputs import source as source_module
from airflow_provider_hf_endpoints.inference.inputs import unpack
from airflow_provider_hf_endpoints.inference.inputs.files import Input, find_input
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.inputs.versions import versions_of
from airflow_provider_hf_endpoints.inference.runs.preflight import check_input
from airflow_provider_hf_endpoints.inference.stores import patience

ROWS = 2000


class Failing:
    """A file that fails at some of the reads of all files of the test."""

    reads = 0
    fails: Any = frozenset()
    error: Exception = ConnectionResetError("reset by the store")

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> Any:
        Failing.reads += 1
        if Failing.reads in Failing.fails:
            raise Failing.error
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture(autouse=True)
def failing_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(unpack, "READ_BYTES", 4096)
    monkeypatch.setattr(Failing, "reads", 0)
    opened = unpack.open_path
    with mock.patch.object(unpack, "open_path", lambda path: Failing(opened(path))):
        yield


def write(folder: Path, name: str) -> Path:
    lines = [json.dumps({"text": f"{n}"}) for n in range(ROWS)] if "jsonl" in name else ["text", *map(str, range(ROWS))]
    data = "".join(f"{line}\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


def read(source: LineSource) -> list[int]:
    """The rows' numbers, and each row's place beside its number."""

    async def main() -> list[int]:
        found = []
        while not source.exhausted:
            await source.fill()
            while (line := source.next_line()) is not None:
                assert line.place == int(json.loads(line.raw)["text"])
                found.append(line.place)
        return found

    try:
        return asyncio.run(main())
    finally:
        source.close()


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv"])
@pytest.mark.parametrize("fails", [{1}, {3}, {2, 3, 4}, {4, 9}, set(range(2, 30, 3))])
@pytest.mark.parametrize("error", [ConnectionResetError("reset"), RuntimeError("SlowDown"), TimeoutError("slow")])
def test_a_store_that_fails_for_a_moment_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fails: set[int], error: Exception
) -> None:
    """The input is read again up to the earlier place, and continues there."""
    monkeypatch.setattr(Failing, "fails", fails)
    monkeypatch.setattr(Failing, "error", error)
    assert list(range(ROWS)) == read(LineSource(find_input(write(tmp_path, name))))


def test_a_store_that_does_not_come_right_ends_the_batch_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the patience is used up, in the store's own words."""
    monkeypatch.setattr(Failing, "fails", range(2, 1_000_000))
    bounded = lambda work, doing, **options: patience.patiently_here(work, doing, patience=0.01, **options)  # noqa: E731
    monkeypatch.setattr(source_module, "patiently_here", bounded)
    with pytest.raises(BatchStoreError, match=r"reading the input failed: .*reset"):
        read(LineSource(find_input(write(tmp_path, "in.jsonl"))))


def test_a_file_that_was_changed_meanwhile_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines are others: rows would be left out, or done twice."""
    path = write(tmp_path, "in.jsonl")
    found = find_input(path)
    known = versions_of(found)
    source = LineSource(Input(found.files, versions=known))
    monkeypatch.setattr(Failing, "fails", {3})
    path.write_text(path.read_text() + "\n")
    with pytest.raises(BatchInputError, match="was changed while the batch read it"):
        read(source)


def test_rows_that_cannot_be_counted_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the log needs their number."""
    source = LineSource(find_input(write(tmp_path, "in.jsonl")))
    monkeypatch.setattr(Failing, "fails", {1})
    assert source.count() is None
    assert ROWS == source.count()
    source.close()


async def drained(source: LineSource) -> None:
    while not source.exhausted:
        await source.fill()


@pytest.mark.parametrize("begins", [0, 900])
def test_a_file_that_is_cut_while_it_is_read_is_no_whole_input(tmp_path: Path, begins: int) -> None:
    """Another process rewrites it in place: the read ends early, and looks like the end of the file."""
    path = write(tmp_path, "in.jsonl")
    found = find_input(path)
    source = LineSource(Input(found.files, versions=versions_of(found)))
    asyncio.run(source.fill())
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:begins]))
    with pytest.raises(BatchInputError, match=r"in\.jsonl was changed while the batch read it"):
        asyncio.run(drained(source))
    source.close()


def test_a_column_of_ids_is_seen_without_a_further_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first row was read already by the check of the input."""
    (tmp_path / "in.jsonl").write_text('{"id": 1, "text": "a"}\n')
    job = BatchJob(
        url="http://x", task="chat-completion", input_path=tmp_path / "in.jsonl", output_path=tmp_path, prompt="{text}"
    )
    opened, counts = unpack.open_path, []
    for suggest in (False, True):
        opens: list[Any] = []
        counting = mock.patch.object(unpack, "open_path", lambda path, opens=opens: opens.append(path) or opened(path))
        with counting, caplog.at_level("INFO"):
            check_input(job, suggest=suggest)
        counts.append(len(opens))
        assert suggest == ("set id_column" in caplog.text)
    assert counts[0] == counts[1] > 0
