"""Outputs in places that are closed to the user of the process: told before anything is sent, without a second try."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped, BatchStoreError
from tests.contract.batch_play import job_of, questions, slow_after, write_rows
from tests.contract.inference_server import echo, serving
from tests.nobody import as_nobody, open_folder

MODES = [0, 0o444, 0o555]  # nothing; names only; read only


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        write_rows(path, questions(20)).chmod(0o644)
        yield path


def refused(folder: Path, caplog: pytest.LogCaptureFixture, **options: object) -> str:
    """The error of a batch that sends nothing and tries nothing again."""
    caplog.clear()
    with serving(echo) as server:
        with (
            as_nobody(),
            caplog.at_level(logging.WARNING),
            pytest.raises((BatchInputError, BatchStoreError)) as error,
        ):
            run_batch(job_of(server.url, folder, **options))
        assert not server.posts
    assert "trying again" not in caplog.text
    return str(error.value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("closed", ["out", "out/_journal", "out/_journal/job.json"])
def test_an_unfinished_output_that_is_closed_is_told_at_once(
    folder: Path, caplog: pytest.LogCaptureFixture, closed: str, mode: int
) -> None:
    """Whatever of it is closed: the error names the path and what to do, and after that the batch resumes."""
    with serving(slow_after(5)) as server, as_nobody(), pytest.raises(BatchStopped):
        run_batch(job_of(server.url, folder, max_concurrency=2), stop=lambda: len(server.posts) >= 5)
    path = folder / closed
    before = path.stat().st_mode
    if path.is_file() and mode:
        return  # a file that may be read, in a folder where the user may write, is written
    path.chmod(mode)
    told = refused(folder, caplog)
    assert closed in told
    assert "permission" in told
    path.chmod(before)
    with serving(echo) as server, as_nobody():
        assert 20 > run_batch(job_of(server.url, folder)).requests


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("closed", ["out", "out/_journal"])
def test_a_new_output_in_a_closed_folder_is_told_at_once(
    folder: Path, caplog: pytest.LogCaptureFixture, closed: str, mode: int
) -> None:
    """The folder was made by another user."""
    (folder / closed).mkdir(parents=True)
    (folder / "out").chmod(0o777)
    (folder / closed).chmod(mode)
    told = refused(folder, caplog)
    assert closed in told
    assert "permission" in told


@pytest.mark.parametrize("name", ["results-00000.jsonl", "errors.jsonl", "manifest.json"])
def test_a_link_into_a_closed_folder_is_told_at_once(folder: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Not when everything is paid."""
    for each in ("out", "closed"):
        (folder / each).mkdir()
    (folder / "out" / name).symlink_to(folder / "closed" / name)
    (folder / "out").chmod(0o777)
    (folder / "closed").chmod(0o555)
    assert f"no permission to write into the folder {folder / 'closed'}" in refused(folder, caplog)


def test_a_finished_output_that_may_only_be_read_is_finished(folder: Path) -> None:
    """Its report is read, and nothing is written."""
    with serving(echo) as server, as_nobody():
        run_batch(job_of(server.url, folder))
        (folder / "out").chmod(0o555)
        assert (20, 0) == ((report := run_batch(job_of(server.url, folder))).rows, report.requests)
    shutil.rmtree(folder / "out")
