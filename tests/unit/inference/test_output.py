"""Files that take their place whole, on a disk and on an object store."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStoreError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.output import manifest
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.writers import writing_rows
from airflow_provider_hf_endpoints.inference.runs.preflight import find_job_input
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.operators.requesting import batch as operator_module


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
    """Half of it is in the store when the connection breaks: the half is deleted, and the error is raised."""
    path = UPath(f"memory://{tmp_path.name}/results.jsonl")

    def breaking(source: Any, target: Any, size: int) -> None:
        target.write(source.read(size))
        raise ConnectionResetError("the store hung up")

    monkeypatch.setattr(shutil, "copyfileobj", breaking)
    with pytest.raises(ConnectionResetError, match="hung up"), replacing(path) as file:
        file.write(b"x" * (3 << 20))
    assert not path.exists()


def test_two_writers_of_one_number_do_not_mix(tmp_path: Path) -> None:
    """In containers that share a folder the processes have the same numbers: each file is one writer's."""
    path = UPath(tmp_path / "results.jsonl")
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first\n" * 3)
        second.write(b"second\n")
    assert b"first\n" * 3 == path.read_bytes()
    assert ["results.jsonl"] == [each.name for each in tmp_path.iterdir()]


@pytest.fixture
def no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose file system is read-only, and that has no volume for temporary files.

    :param tmp_path: made before, since pytest makes it in such a folder
    """
    del tmp_path
    take_disk(monkeypatch)


def take_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none/of/these"])


def _job(output: str, tmp_path: Path) -> BatchJob:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "a"}))
    return BatchJob(
        url="http://127.0.0.1:9",  # refuses: whoever gets there gives up at once, with another error
        task="chat-completion",
        prompt="{text}",
        startup_timeout=0.1,
        input_path=str(tmp_path / "in.jsonl"),
        output_path=output,
    )


@pytest.mark.usefixtures("no_disk")
def test_a_machine_without_a_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """Else rows are answered, paid for and lost: nothing can keep them until the store has them."""
    job = _job(f"memory://{tmp_path.name}/out", tmp_path)
    with pytest.raises(BatchStoreError, match=r"temporary file .*No usable temporary directory.*Mount a .*TMPDIR"):
        run_batch(job)


@pytest.mark.usefixtures("no_disk")
def test_a_merge_on_a_machine_without_a_disk_says_so(tmp_path: Path) -> None:
    """The same words, and the shards stay."""
    job = _job(f"memory://{tmp_path.name}/out", tmp_path)
    plan_batch(job.input_path, job.output_path, shards=1)
    with pytest.raises(BatchStoreError, match="temporary file"):
        merge_shards(job.output_path)


def test_a_task_on_a_machine_without_a_disk_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may have one; the endpoint is not woken."""
    # Airflow's own paths know no store in memory.
    monkeypatch.setattr(operator_module, "storage_at", lambda _, path: UPath(path))
    job = _job(f"memory://{tmp_path.name}/out", tmp_path)
    operator = BatchInferenceOperator(
        task_id="batch",
        endpoint="demo",
        task="chat-completion",
        prompt="{text}",
        input_path=job.input_path,
        output_path=job.output_path,
    )
    take_disk(monkeypatch)  # not before: what Airflow 3.0 imports for its first operator looks for the folder
    with pytest.raises(BatchStoreError, match="temporary file"):
        operator._check()


def job_into(output: Path, folder: Path, **given: Any) -> BatchJob:
    """A job of one row, whose input is `in.jsonl` in the folder."""
    (folder / "in.jsonl").write_text('{"text": "a"}\n')
    return BatchJob(
        url="http://127.0.0.1:9",
        task="chat-completion",
        input_path=folder / "in.jsonl",
        output_path=output,
        prompt="{text}",
        **given,
    )


@pytest.mark.parametrize("name", ["x" * 230 + ".jsonl", "x" * 244 + ".jsonl", "é" * 120 + ".jsonl.gz", "x" * 300])
def test_a_name_that_a_disk_may_not_take_is_refused_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    """The output is written under a longer name: it could never be published, after everything was paid."""
    job = job_into(tmp_path / name, tmp_path)
    if "." not in name:  # a folder
        with pytest.raises(BatchStoreError, match="too long"):
            run_batch(job)
        return
    with pytest.raises(BatchInputError, match="Choose a shorter output_path"):
        find_job_input(job)


@pytest.mark.parametrize("name", ["out.jsonl", "out.errors.jsonl", "out.manifest.json"])
@pytest.mark.parametrize("on_existing", ["resume", "overwrite"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_sent(
    tmp_path: Path, on_existing: Any, name: str
) -> None:
    """No file can replace a folder, which would be seen when everything was paid."""
    (tmp_path / name).mkdir()
    job = job_into(tmp_path / "out.jsonl", tmp_path, on_existing=on_existing)
    with pytest.raises(BatchInputError, match=rf"{name} is a folder, but"):
        run_batch(job)


@pytest.mark.parametrize("name", ["in.jsonl/out.jsonl", "in.jsonl/deep/out.jsonl", "afile", "/dev/null"])
@pytest.mark.parametrize("on_existing", ["resume", "overwrite"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_sent(
    tmp_path: Path, on_existing: Any, name: str
) -> None:
    """The path is wrong, and neither the disk nor its owner."""
    (tmp_path / "afile").write_text("mine")
    job = job_into(tmp_path / name, tmp_path, on_existing=on_existing)
    with pytest.raises(BatchInputError, match=r"is a file, but the output .* needs a folder there"):
        run_batch(job)
    assert "mine" == (tmp_path / "afile").read_text()


@pytest.mark.parametrize("argument", ["input_path", "output_path"])
@pytest.mark.parametrize("name", ["a\0b.jsonl", "a\ud800.jsonl"])
def test_a_path_that_no_system_takes_is_refused_by_its_argument(argument: str, name: str) -> None:
    """In place of "embedded null byte"."""
    given: dict[str, Any] = {
        "url": "http://h",
        "task": "chat-completion",
        "input_path": "i",
        "output_path": "o",
        "prompt": "{t}",
    }
    with pytest.raises(ValueError, match=rf"^{argument} must be a path"):
        BatchJob(**{**given, argument: name})


@dataclass(frozen=True)
class WithRate(BatchReport):
    """A report with one more field, which follows from others."""

    rate: float = field(init=False)

    def __post_init__(self) -> None:
        getattr(super(), "__post_init__", lambda: None)()  # computes the report's own such fields, if there are any
        object.__setattr__(self, "rate", self.rows / self.seconds)


def test_a_field_that_follows_from_others_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the manifest and in the result in XCom, and computed again where a finished batch is run again."""
    monkeypatch.setattr(manifest, "BatchReport", WithRate)
    layout = OutputLayout.of("out")
    report = WithRate(output_path="out", **layout.told, rows=10, seconds=4.0)
    assert 2.5 == report.as_dict()["rate"]
    assert report == manifest.report_in({"report": report.as_dict()}, layout)
