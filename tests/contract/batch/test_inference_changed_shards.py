"""Shards that were changed between their end and the merge: nothing of them is published, and the error names what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchInputError,
    JournalCorruptError,
    OutputConflictError,
)
from airflow_provider_hf_endpoints.inference.shards import ids as shard_ids
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from tests.contract.batch_play import job_of, planned, prompt_of, questions, write_rows
from tests.contract.inference_server import Reply, Request, echo, serving

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished shards of a batch, one of them with a failed row."""
    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder, questions(40))

    def answer(request: Request) -> Reply:
        refused = request.method == "POST" and prompt_of(request) == "question 17"
        return Reply(400, {"error": "no"}) if refused else echo(request)

    with serving(answer) as server:
        job = job_of(server.url, folder, id_column="id", max_error_rate=None, concurrent_shards=1)
        for shard in planned(folder, 3):
            run_batch(replace(job, shard=shard))
    return folder


def shard(out: Path, number: int) -> Path:
    return out / f"_shards/{number:05d}-of-00003"


def lines(change: Callable[[list[bytes]], list[bytes]], name: str = "results-00000.jsonl") -> Change:
    """A change of the lines of the second shard."""

    def changed(out: Path) -> None:
        path = shard(out, 1) / name
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return changed


def manifest(change: Callable[[Any], object]) -> Change:
    """A change of the manifest of the second shard."""

    def changed(out: Path) -> None:
        path = shard(out, 1) / "manifest.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return changed


def swap(out: Path, name: str = "") -> None:
    """Exchange two shards, or a file of theirs."""
    one, two, aside = shard(out, 0) / name, shard(out, 1) / name, out / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def remove(folder: Path) -> Path:
    """A folder that is there no longer."""
    shutil.rmtree(folder)
    return folder


FILES: dict[str, Change] = {
    "its last line is cut": lines(lambda all_of_it: [*all_of_it[:-1], all_of_it[-1][:-10]]),
    "a line twice in place of another": lines(lambda all_of_it: [*all_of_it[:-1], all_of_it[-2]]),
    "two lines exchanged": lines(lambda all_of_it: [all_of_it[1], all_of_it[0], *all_of_it[2:]]),
    "another text of the same length": lines(lambda all_of_it: [each.replace(b"noit", b"NOIT") for each in all_of_it]),
    "a line that is none": lines(lambda all_of_it: [b"#" * (len(all_of_it[0]) - 1) + b"\n", *all_of_it[1:]]),
    "a line less": lines(lambda all_of_it: all_of_it[1:]),
    "empty": lines(lambda all_of_it: []),
    "zeros": lines(lambda all_of_it: [bytes(len(each)) for each in all_of_it]),
    "a dead letter is cut": lines(lambda all_of_it: [all_of_it[0][:-9]], "errors.jsonl"),
    **{f"{name} is missing": (lambda out, name=name: (shard(out, 1) / name).unlink())  # type: ignore[misc]
       for name in ("results-00000.jsonl", "errors.jsonl")},
    "results of another shard": lambda out: swap(out, "results-00000.jsonl"),
}  # fmt: skip

MANIFESTS: dict[str, tuple[Change, str]] = {
    "folders exchanged": (swap, "is that of shard 1 of 3, in the folder of shard 00000-of-00003"),
    "a folder copied": (
        lambda out: shutil.copytree(shard(out, 0), remove(shard(out, 1))),
        "is that of shard 0 of 3, in the folder of shard 00001-of-00003",
    ),
    **{
        name: (manifest(change), "00001-of-00003/manifest.json is not the manifest of a finished shard")
        for name, change in {
            "of a batch by one worker": lambda it: it.pop("shard"),
            "no count": lambda it: it["report"].pop("rows"),
            "a count that is none": lambda it: it["report"].update(failed="1"),
            "no times": lambda it: it.pop("started_at"),
            "a time that is none": lambda it: it.update(finished_at="now"),
            "no lines": lambda it: it["shard"].pop("lines"),
            "no limits": lambda it: it.pop("limits"),
            "vectors that are none": lambda it: it["shard"].update(vectors=[1]),
        }.items()
    },
}


def copied(finished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(finished / "out", folder / "out", copy_function=shutil.copy2))


@pytest.mark.parametrize("name", FILES)
def test_a_shard_whose_files_were_changed_is_not_merged(finished: Path, tmp_path: Path, name: str) -> None:
    """Not even where there are as many lines as before: a row would be lost, doubled or another's."""
    out = copied(finished, tmp_path)
    FILES[name](out)
    words = r"of shard 0000[01]-of-00003 .* changed since the shard ended\. Remove the folder of the shard, and run"
    with pytest.raises(JournalCorruptError, match=words):
        merge_shards(out)
    assert not list(out.glob("*.json*"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_of_another_shard_or_of_none_is_not_merged(finished: Path, tmp_path: Path, name: str) -> None:
    """Its rows would stand in the places of others, or its counts be wrong. The error blames no store."""
    out = copied(finished, tmp_path)
    change, words = MANIFESTS[name]
    change(out)
    with pytest.raises(OutputConflictError, match=words):
        merge_shards(out)
    assert not list(out.glob("*.json*"))


def ids(change: Callable[[bytes], bytes]) -> Change:
    """A change of the ids that the second shard has stored."""

    def changed(out: Path) -> None:
        path = shard(out, 1) / "ids.bin"
        path.write_bytes(change(path.read_bytes()))

    return changed


IDS: dict[str, Change] = {
    "a bit is another": ids(lambda stored: bytes([stored[0] ^ 1, *stored[1:]])),
    "the highest bit is another": ids(lambda stored: bytes([*stored[:7], stored[7] ^ 0x80, *stored[8:]])),
    "cut within a hash": ids(lambda stored: stored[:-3]),
    "cut between hashes": ids(lambda stored: stored[:-8]),
    "empty": ids(lambda stored: b""),
    "zeros": ids(lambda stored: bytes(len(stored))),
    "twice": ids(lambda stored: stored * 2),
    "without a digest": ids(lambda stored: stored[:-8] + stored[:8]),
    "of another shard": lambda out: shutil.copy(shard(out, 0) / "ids.bin", shard(out, 1)),
    "missing": lambda out: (shard(out, 1) / "ids.bin").unlink(),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_that_were_changed_are_read_from_the_results(finished: Path, tmp_path: Path, name: str) -> None:
    """The rows are paid for, so the shard need not run again."""
    out = copied(finished, tmp_path)
    IDS[name](out)
    assert 40 == merge_shards(out).rows


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished shards of which two have the same id, because none has compared its ids."""
    folder = tmp_path_factory.mktemp("doubled")
    rows = questions(40)
    rows[20]["id"] = rows[2]["id"]
    write_rows(folder, rows)
    with pytest.MonkeyPatch.context() as patch, serving(echo) as server:
        patch.setattr(shard_ids, "COMPARED_AT_MOST", 0)
        for each in planned(folder, 3):
            run_batch(job_of(server.url, folder, id_column="id", concurrent_shards=1, shard=each))
    return folder


@pytest.mark.parametrize("name", IDS)
def test_a_doubled_id_is_found_behind_damaged_ids(doubled: Path, tmp_path: Path, name: str) -> None:
    """A changed hash would hide it, and one out of order all that come after it."""
    out = copied(doubled, tmp_path)
    IDS[name](out)
    with pytest.raises(BatchInputError, match="id 'q2' appears in row 2 and in row 20"):
        merge_shards(out)


@pytest.mark.parametrize("name", IDS)
def test_damaged_ids_of_another_shard_stop_no_shard(
    finished: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does a shard find its own ids in a copy of them. The log names the file."""
    out = copied(finished, tmp_path)
    IDS[name](out)
    remove(shard(out, 0))
    first = planned(finished, 3)[0]
    with serving(echo) as server:
        job = job_of(server.url, finished, output_path=out, id_column="id", concurrent_shards=1, shard=first)
        assert 0 == run_batch(job).failed
    told = [each for each in caplog.messages if "ids.bin does not contain the ids of its shard" in each]
    assert (0 if name == "missing" else 1) == len(told)


def test_shards_of_an_earlier_release_are_merged(finished: Path, tmp_path: Path) -> None:
    """Their manifests say neither the lengths of vectors nor what the lines were."""
    out = copied(finished, tmp_path)
    manifest(lambda it: (it["shard"].pop("digest"), it["shard"].pop("vectors"), it.pop("sizes")))(out)
    report = merge_shards(out)
    assert (40, 1) == (report.rows, report.failed)
