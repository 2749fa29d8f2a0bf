"""Files that take their place whole, on a disk and on an object store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.output.writers import writing_rows
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing


@pytest.fixture(params=["local", "object store"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    return UPath(tmp_path if request.param == "local" else f"memory://{tmp_path.name}") / "out" / "results.jsonl"


@pytest.mark.parametrize("lines", [3, 300_000])
def test_a_file_that_was_written_is_there(path: UPath, lines: int) -> None:
    """Whole, whatever its size, in place of the one before."""
    for text in (b"before\n", b"a line of the output\n" * lines):
        with replacing(path) as file:
            file.write(text)
        assert text == path.read_bytes()


def _write_half(path: UPath) -> None:
    with writing_rows(path) as rows:
        rows.write(b"{}\n" * 400_000)
        raise KeyboardInterrupt


def test_an_error_leaves_nothing_half_written(path: UPath) -> None:
    """A block that raises publishes nothing: what was there stays, and where nothing was there is nothing."""
    for before in (None, b"before\n"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            _write_half(path)
        assert before == (path.read_bytes() if path.exists() else None)


def test_an_upload_that_breaks_off_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it is on the store when the connection breaks: the half is deleted, and the error is told."""
    path = UPath(f"memory://{tmp_path.name}/results.jsonl")

    def breaking(source: Any, target: Any, size: int) -> None:
        target.write(source.read(size))
        raise ConnectionResetError("the store hung up")

    monkeypatch.setattr(shutil, "copyfileobj", breaking)
    with pytest.raises(ConnectionResetError, match="hung up"), replacing(path) as file:
        file.write(b"x" * (3 << 20))
    assert not path.exists()
