"""Outputs whose files are links on a disk: each link stays, and the file that it names is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped
from airflow_provider_hf_endpoints.inference.merge import merge_shards
from tests.contract.batch_play import job_of, planned, prompt_of, questions, results, run_shards, slow_after, write_rows
from tests.contract.inference_server import Reply, Request, echo, serving

FILES = ["results-00000.jsonl", "errors.jsonl", "manifest.json"]


def one_fails(request: Request) -> Reply:
    return Reply(400, {"error": "no"}) if "3" in prompt_of(request) else echo(request)


def link(folder: Path, *names: str, target: Path | None = None) -> dict[Path, Path]:
    """Links to files in another folder, which does not have the files yet."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "elsewhere").mkdir(exist_ok=True)
    links = {folder / "out" / name: target or folder / "elsewhere" / f"my-{name}" for name in names}
    for path, to in links.items():
        path.symlink_to(to)
    return links


def assert_kept(links: dict[Path, Path]) -> None:
    """Each link is one, and its file is there."""
    assert [str(to) for to in links.values()] == [os.readlink(path) for path in links]
    assert all(to.is_file() and not to.is_symlink() for to in links.values())


@pytest.mark.parametrize("on_existing", ["resume", "overwrite"])
def test_what_a_link_names_is_written(tmp_path: Path, on_existing: Any) -> None:
    """Results, errors and manifest, new or in place of an older file; nothing else is left beside them."""
    write_rows(tmp_path, questions(9))
    links = link(tmp_path, *FILES)
    if on_existing == "overwrite":
        for to in links.values():
            to.write_text("older")
    with serving(one_fails) as server:
        report = run_batch(job_of(server.url, tmp_path, on_existing=on_existing))
        assert (9, 1) == (report.rows, report.failed)
        assert_kept(links)
        assert 0 == run_batch(job_of(server.url, tmp_path)).requests
    assert sorted(FILES) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [f"my-{name}" for name in sorted(FILES)] == sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    assert len(results(tmp_path)) == 9


def test_a_partial_output_goes_where_the_link_leads(tmp_path: Path) -> None:
    """A batch that was stopped, and its resume, write the same file."""
    write_rows(tmp_path, questions(40))
    links = link(tmp_path, *FILES[:2])
    with serving(slow_after(9)) as server:
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path, max_concurrency=2), stop=lambda: len(server.posts) >= 9)
        assert_kept(links)
        assert 40 == run_batch(job_of(server.url, tmp_path)).rows
    assert_kept(links)


def test_parquet_goes_where_the_link_leads(tmp_path: Path) -> None:
    """Whatever the name of the link's file is."""
    pq = pytest.importorskip("pyarrow.parquet")
    write_rows(tmp_path, questions(5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/r.parquet").symlink_to("../table")
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "out/r.parquet"))
    assert "../table" == os.readlink(tmp_path / "out/r.parquet")
    assert 5 == pq.read_table(tmp_path / "table").num_rows


def test_shards_are_merged_where_the_link_leads(tmp_path: Path) -> None:
    """The merge writes the whole output."""
    write_rows(tmp_path, questions(20))
    links = link(tmp_path, *FILES)
    with serving(echo) as server:
        run_shards(job_of(server.url, tmp_path), planned(tmp_path, shards=2))
    merge_shards(tmp_path / "out")
    assert_kept(links)
    assert 20 == len(results(tmp_path))


def test_half_written_files_go_where_the_link_leads(tmp_path: Path) -> None:
    """A killed run leaves them beside the file that it was to replace."""
    write_rows(tmp_path, questions(5))
    links = link(tmp_path, *FILES)
    for to in links.values():
        (to.parent / f".{to.name}.0123.tmp").write_text("half")
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
    assert 3 == len(list((tmp_path / "elsewhere").iterdir()))


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("results-00000.jsonl", "gone/file.jsonl", r"is a link to .*gone.*, but the folder .*gone does not exist"),
        ("errors.jsonl", "gone/file.jsonl", "but the folder .*gone does not exist"),
        ("manifest.json", "results-00000.jsonl", "are the same file"),
        ("errors.jsonl", "errors.jsonl", "leads back to itself"),
        ("manifest.json", "/dev/null", "a link to /dev/null, is a device"),
        ("results-00000.jsonl", ".", "is a folder, but the output needs a file"),
        ("results-00000.jsonl", "../in.jsonl", "would read the output as input"),
        ("errors.jsonl", "../in.jsonl", "would read the output as input"),
        ("manifest.json", "../in.jsonl", "would read the output as input"),
        ("_journal", "gone", "is a link to gone, which does not exist"),
        ("_journal", "../in.jsonl", "is a file, but the output .*_journal needs a folder"),
        ("results-00000.jsonl", "x" * 250, "has a name of 250 bytes"),
    ],
)
@pytest.mark.parametrize("on_existing", ["resume", "overwrite"])
def test_a_link_that_leads_nowhere_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str, target: str, words: str, on_existing: Any
) -> None:
    """And nothing changes: neither the link nor what it names."""
    path = write_rows(tmp_path, questions(3))
    before = path.read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(target)
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=words) as error:
            run_batch(job_of(server.url, tmp_path, on_existing=on_existing))
        assert not server.posts
    assert any(word in str(error.value) for word in ("another", "shorter"))
    assert (target, before) == (os.readlink(tmp_path / "out" / name), path.read_bytes())


def test_an_output_folder_that_is_a_link_to_the_input_is_refused(tmp_path: Path) -> None:
    """A later run would read the results, by whatever name their folder goes."""
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in", questions(3))
    (tmp_path / "link").symlink_to("in")
    for given, output in (("in/*.jsonl", "link/out.jsonl"), ("link", "in/out.jsonl"), ("link/*", "in/o.jsonl")):
        job = job_of("http://127.0.0.1:9", tmp_path, input_path=tmp_path / given, output_path=tmp_path / output)
        with pytest.raises(BatchInputError, match="would read the output as input"):
            run_batch(job)


def test_an_output_folder_that_is_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    """A disk that is not there: nothing is made in its place."""
    write_rows(tmp_path, questions(3))
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    with pytest.raises(BatchInputError, match=r"out is a link to .*gone, which does not exist"):
        run_batch(job_of("http://127.0.0.1:9", tmp_path))
    assert not (tmp_path / "gone").exists()


def test_a_journal_on_another_disk_stays_a_link(tmp_path: Path) -> None:
    """Its content is deleted at the end, and not the link."""
    write_rows(tmp_path, questions(5))
    (tmp_path / "out").mkdir()
    (tmp_path / "fast").mkdir()
    (tmp_path / "out/_journal").symlink_to(tmp_path / "fast")
    with serving(echo) as server:
        assert 5 == run_batch(job_of(server.url, tmp_path)).rows
    assert ([], True) == (list((tmp_path / "fast").iterdir()), (tmp_path / "out/_journal").is_symlink())
