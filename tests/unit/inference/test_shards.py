"""How a batch is divided: every byte belongs to one shard, in order; shares of the limit add up."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.ids import hash_id
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines
from airflow_provider_hf_endpoints.inference.job.shard import Shard, share
from airflow_provider_hf_endpoints.inference.limit.limiter import START_PER_REPLICA, Limiter
from airflow_provider_hf_endpoints.inference.shards import ids as shard_ids
from airflow_provider_hf_endpoints.inference.shards.cost import cost_of_whole
from airflow_provider_hf_endpoints.inference.shards.moved_lines import Move
from airflow_provider_hf_endpoints.inference.shards.plan import Piece, Plan, PlannedFile, plan_shards
from airflow_provider_hf_endpoints.inference.wire import Load

FILES = st.lists(st.tuples(st.integers(0, 5000), st.booleans()), min_size=1, max_size=8).map(
    lambda given: [PlannedFile(f"part-{n}.jsonl", size, "v1", splits) for n, (size, splits) in enumerate(given)]
)


# What lines are made of, so that ends of lines of every kind, and none, are often next to each other.
BITS = [b"\n", b"\r\n", b"\r", b" ", b"\t", b"{}", b'{"a":1}', "é€😀".encode(), b"\xef\xbb\xbf", b"\x00", b"x" * 30]
SOLID = [b"|\n", b"{}", "é€😀".encode()]
CONTENTS = st.lists(st.sampled_from(BITS), max_size=40).map(b"".join)


@given(contents=st.lists(CONTENTS, min_size=1, max_size=4), count=st.integers(1, 30))
def test_parts_of_files_hold_every_line_once(contents: list[bytes], count: int) -> None:
    """Wherever the cuts are: blank lines, CRLF, a BOM, no end of line at the end, cuts inside of a character."""
    folder = UPath("memory://shards")
    files = [InputFile(folder / f"{number}.jsonl", f"{number}.jsonl") for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.path.write_bytes(content)
    whole = [(line.place, line.raw) for line in read_lines(Input(tuple(files)))]
    parts = plan_shards([PlannedFile(str(n), len(each)) for n, each in enumerate(contents)], shards=count)
    read: list[tuple[int, bytes]] = []
    for pieces in parts:
        before = len(read)
        part = tuple(replace(files[int(p.file.path)], start=p.start, end=p.end) for p in pieces)
        read += [(before + line.place, line.raw) for line in read_lines(Input(part))]
    assert whole == read


@given(bits=st.lists(st.sampled_from(SOLID), max_size=40), start=st.integers(0, 60), length=st.integers(1, 60))
def test_lines_of_a_part_are_counted(
    tmp_path_factory: pytest.TempPathFactory, bits: list[bytes], start: int, length: int
) -> None:
    """As for a whole file: exact where no line is blank."""
    content = b"".join(bits)
    if start >= len(content):
        return
    path = tmp_path_factory.getbasetemp() / "counted.jsonl"
    path.write_bytes(content)
    part = InputFile(UPath(path), path.name, start=start, end=min(len(content), start + length))
    assert len(list(read_lines(Input((part,))))) == count_lines(Input((part,)))


def bytes_of(pieces: tuple[Piece, ...]) -> list[tuple[str, int, int]]:
    """Name, first and end byte of each piece."""
    return [(p.file.path, p.start, p.file.size if p.end is None else p.end) for p in pieces]


@given(files=FILES, count=st.integers(1, 50))
def test_every_byte_belongs_to_one_shard(files: list[PlannedFile], count: int) -> None:
    """The shards' pieces, one after the other, are the files: nothing missing, nothing twice, none of them empty."""
    shards = plan_shards(files, shards=count)
    pieces = [piece for shard in shards for piece in bytes_of(shard)]
    covered = [
        (name, first, second)
        for name, group in itertools.groupby(pieces, key=lambda piece: piece[0])
        for _, first, second in group
    ]
    by_file = {file.path: [(a, b) for name, a, b in covered if name == file.path] for file in files}
    for file in files:
        edges = by_file[file.path]
        assert ([0] if file.size else []) == [a for a, _ in edges[:1]]
        assert [file.size] * bool(file.size) == [b for _, b in edges[-1:]]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
    assert [file.path for file in files if file.size] == list(dict.fromkeys(name for name, _, _ in pieces))
    total = sum(file.size for file in files)
    assert len(shards) <= count
    assert all(shards)
    assert bool(shards) == bool(total)


@given(files=FILES, count=st.integers(1, 50))
def test_what_cannot_be_split_stays_whole(files: list[PlannedFile], count: int) -> None:
    """A packed file, a CSV, is read by one shard from its beginning to its end."""
    pieces = [piece for shard in plan_shards(files, shards=count) for piece in shard]
    assert all(piece == Piece(piece.file, 0, None) for piece in pieces if not piece.file.splits)


@given(sizes=st.lists(st.integers(1, 10**12), min_size=1, max_size=6), count=st.integers(1, 64))
def test_shards_of_lines_are_of_equal_size(sizes: list[int], count: int) -> None:
    """Where every file splits, sizes differ by no more than a byte."""
    files = [PlannedFile(str(n), size) for n, size in enumerate(sizes)]
    parts = [sum(piece.size for piece in shard) for shard in plan_shards(files, shards=count)]
    assert len(parts) == min(count, sum(sizes))
    assert max(parts) - min(parts) <= 1


def test_bytes_per_shard() -> None:
    """The number follows from the size, the last one no smaller than the rest for it."""
    parts = plan_shards([PlannedFile("a", 1000)], bytes_per_shard=300)
    assert [250, 250, 250, 250] == [sum(piece.size for piece in shard) for shard in parts]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exclude each other"),
        ({"shards": 2, "bytes_per_shard": 5}, "exclude each other"),
        ({"shards": 0}, "shards must be an integer of at least 1, not 0"),
        ({"shards": True}, "shards must be an integer"),
        ({"shards": "4"}, "'4'"),
        ({"bytes_per_shard": -1}, "bytes_per_shard must be an integer of at least 1"),
        ({"shards": 100_000}, "99999"),
    ],
)
def test_a_division_that_is_none_is_refused(arguments: dict[str, int], words: str) -> None:
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=words):
        plan_shards([PlannedFile("a", 10)], **arguments)


def plan(**changes: object) -> Plan:
    files = (PlannedFile("a.jsonl", 1000, "v1"), PlannedFile("b.csv", 10, None, splits=False))
    given = {"input_path": "in/*", "input_format": "auto", "files": files, "shards": plan_shards(files, shards=3)}
    return Plan(**{**given, **changes})  # type: ignore[arg-type]


def test_a_plan_survives_json() -> None:
    """What one worker writes another one reads, with the same digest."""
    again = Plan.from_dict(json.loads(json.dumps(plan().as_dict())))
    assert plan() == again
    assert plan().digest == again.digest
    assert ["00000-of-00003", "00001-of-00003", "00002-of-00003"] == [shard.name for shard in again.refs()]
    assert plan().refs() == [Shard.parse(json.loads(json.dumps(shard.as_dict()))) for shard in plan().refs()]
    later = plan().refs(began=5.0)
    assert [5.0] * len(later) == [Shard.parse(shard.as_dict()).began for shard in later]
    assert plan().refs() == later, "when it was planned is no part of which shard it is"


def test_another_size_version_or_cut_is_another_plan() -> None:
    """So shards of two plans are never taken for one batch."""
    files = plan().files
    changed = [
        plan(files=(PlannedFile("a.jsonl", 1001, "v1"), files[1])),
        plan(files=(PlannedFile("a.jsonl", 1000, "v2"), files[1])),
        plan(input_format="csv"),
        plan(shards=plan_shards(files, shards=2)),
    ]
    changed[:2] = [plan(files=each.files, shards=plan_shards(each.files, shards=3)) for each in changed[:2]]
    assert len({plan().digest, *(each.digest for each in changed)}) == 5


@pytest.mark.parametrize("value", [{"format": 2}, {"format": 1}, {"format": 1, "files": [], "shards": [[[0, 0, 1]]]}])
def test_what_is_no_plan_is_refused(value: dict[str, object]) -> None:
    """Of another version, or cut short."""
    with pytest.raises(ValueError, match="plan"):
        Plan.from_dict(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        {"number": 1},
        {"number": 2, "of": 2, "plan": "x"},
        {"number": -1, "of": 2, "plan": "x"},
        {"number": "0", "of": 2, "plan": "x"},
        {"number": 0, "of": 2, "plan": None},
        {"number": 0, "of": 2, "plan": "x", "began": "yesterday"},
    ],
)
def test_what_is_no_shard_is_refused(value: object) -> None:
    """The error says what a shard is."""
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(value)


@given(limit=st.integers(1, 3000), of=st.integers(1, 200))
def test_shares_add_up_to_the_limit(limit: int, of: int) -> None:
    """With all shards at once, exactly."""
    if limit < of:
        with pytest.raises(ValueError, match="too few"):
            share(limit, Shard(0, of, "x"), of)
    else:
        assert limit == sum(share(limit, Shard(number, of, "x"), of) for number in range(of))


@given(limit=st.integers(1, 3000), of=st.integers(1, 60), at_once=st.integers(1, 60), seed=st.randoms())
def test_shares_of_some_at_once_stay_within_the_limit(limit: int, of: int, at_once: int, seed: object) -> None:
    """Whichever of them run together."""
    if at_once > min(limit, of):
        return
    numbers = seed.sample(range(of), at_once)  # type: ignore[attr-defined]
    shares = [share(limit, Shard(number, of, "x"), at_once) for number in numbers]
    assert limit - at_once < sum(shares) <= limit


def test_each_of_many_senders_begins_with_its_part() -> None:
    """All shards together begin with what one worker would have begun with, also when replicas come."""
    limiters = [Limiter(ceiling=250, senders=4) for _ in range(4)]
    assert sum(limiter.limit for limiter in limiters) == START_PER_REPLICA
    for limiter in limiters:
        limiter.replicas_changed(3, 1.0)
    assert sum(limiter.limit for limiter in limiters) == 3 * START_PER_REPLICA
    assert Limiter(senders=100).limit == 1


def test_each_of_many_senders_takes_its_part_of_the_queue_for_its_own() -> None:
    """The engine reports all waiting requests of all senders: if each of four subtracted all of them, the engine
    would be empty.
    """

    def settled(limiter: Limiter) -> int:
        for answer in range(400):
            limiter.answered(answer * 0.02, limiter.limit, 1.0, answer * 0.02, Load(waiting=0.3))
        return limiter.limit

    assert settled(Limiter()) == START_PER_REPLICA
    assert settled(Limiter(senders=4)) == START_PER_REPLICA // 4
    assert settled(Limiter(ceiling=START_PER_REPLICA // 4)) < START_PER_REPLICA // 4


def test_doubled_ids_are_found_across_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever files hold them, and however little is compared at a time; in one file they count too."""
    monkeypatch.setattr(shard_ids, "IDS_AT_ONCE", 7)
    names: list[list[str | int]] = [[f"a{n}" for n in range(50)], [f"b{n}" for n in range(50)], [], ["a13", 7, "8"]]
    files = []
    for number, ids in enumerate(names):
        files.append(shard_ids.IdFile(UPath(tmp_path / f"{number}.bin"), f"shard {number}"))
        with open(tmp_path / f"{number}.bin", "wb") as file:
            shard_ids.write_hashes(file, sorted(hash_id(each) for each in ids), f"shard {number}")

    def found(files: list[shard_ids.IdFile]) -> set[int]:
        return shard_ids.find_doubled(files, lambda _: ())

    assert found(files) == {hash_id("a13")}
    assert found(files[:3]) == set()
    assert found([]) == set()
    assert len(found([files[0], *files])) == 50


def test_too_many_ids_to_compare_are_told_by_the_first_of_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand shards each would ask the store for all others, which is half a million requests."""
    monkeypatch.setattr(shard_ids, "COMPARED_AT_MOST", 100)
    files = [shard_ids.IdFile(UPath(tmp_path / f"{number}.bin"), "") for number in range(50)]
    for file in files[::2]:
        file.path.write_bytes(bytes(20))
    asked = iter(files)
    assert None is shard_ids.worth_comparing(asked)
    assert files[11:] == list(asked)
    assert files[:9:2] == shard_ids.worth_comparing(files[:10])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id":3,"index":3,"output":"x"}\n', b'{"id":103,"index":103,"output":"x"}\n'),
        (b'{"id":null,"index":0,"output":null}\n', b'{"id":null,"index":100,"output":null}\n'),
        (b'{"id":"a\\",\\"index\\":5","index":7}\n', b'{"id":"a\\",\\"index\\":5","index":107}\n'),
        (b'{"id":"batch_req_1","custom_id":"x","index":3}\n', b'{"id":"batch_req_1","custom_id":"x","index":3}\n'),
    ],
)
def test_a_line_of_a_shard_gets_its_place_in_the_whole(line: bytes, expected: bytes) -> None:
    """Place and, where it is the id, the id; nothing in texts that look like them, nor in OpenAI Batch's form."""
    assert expected == Move(100, 0, ids_are_places=True).line(line)
    assert line == Move(0, 7, ids_are_places=True).line(line)


def test_an_id_of_the_rows_stays() -> None:
    """Also where it is a number."""
    expected = b'{"id":3,"index":103}\n'
    assert expected == Move(100, 0, ids_are_places=False).line(b'{"id":3,"index":3}\n')


def test_a_bad_row_says_on_which_line_of_the_file_it_stands() -> None:
    """Not so a text that only looks like it, whatever wrote it."""
    bad = (
        b'"finish_reason":null,"usage":null,"error":{"type":"bad_row","message":"line 3 after byte 99 of a.jsonl is no'
    )
    line = b'{"id":3,"index":3,"output":null,%b line 3 after byte 99 of"}}\n' % bad
    expected = line.replace(b'"id":3,"index":3', b'"id":13,"index":13').replace(
        b'"line 3 after byte 99 of', b'"line 53 of'
    )
    assert expected == Move(10, 50, ids_are_places=True).line(line)
    letter = line[:-2] + b',"file":"a","line":3,"after_byte":99,"row":{"file":"a","line":3,"after_byte":99}}\n'
    tail = b',"file":"a","line":53,"row":{"file":"a","line":3,"after_byte":99}}\n'
    assert expected[:-2] + tail == Move(10, 50, ids_are_places=True).letter(letter, line)
    answered = b'{"id":3,"index":3,"output":{%b"}}}\n' % bad
    assert answered == Move(0, 50, ids_are_places=True).line(answered)


def shard_manifest(began: float, seconds: float, **options: Any) -> dict[str, Any]:
    """What a merge reads of a shard's manifest for its cost; times are seconds of an hour."""
    at = datetime(2026, 11, 30, 12, tzinfo=UTC) + timedelta(seconds=began + seconds)
    earlier, replicas = options.get("earlier", 0.0), options.get("replicas", 1)
    cost = {"replica_minutes": (seconds * replicas + earlier) / 60, "price_per_hour": options.get("price", 3.6)}
    report = {"seconds": seconds, "cost": options.get("cost", cost)}
    return {"report": report, "finished_at": at.isoformat(), "shard": {"earlier_replica_seconds": earlier}}


TOTALS = {"rows": 1000, "prompt_tokens": 600_000, "completion_tokens": 400_000}


@pytest.mark.parametrize(
    ("manifests", "replica_seconds"),
    [
        ([shard_manifest(0, 600), shard_manifest(0, 600)], 600),
        ([shard_manifest(0, 600), shard_manifest(600, 600)], 1200),
        ([shard_manifest(0, 600), shard_manifest(300, 600)], 900),
        ([shard_manifest(0, 600), shard_manifest(100, 60, replicas=2)], 660),
        ([shard_manifest(0, 60), shard_manifest(600, 60)], 120),
        ([shard_manifest(0, 60, earlier=300.0), shard_manifest(0, 60)], 360),
        ([shard_manifest(0, 0.0)], 0),
    ],
    ids=["at once", "one by one", "overlapping", "two replicas", "a pause", "killed before", "already done"],
)
def test_a_moment_of_several_shards_costs_once(manifests: list[dict[str, Any]], replica_seconds: float) -> None:
    """The endpoint is billed by its time, and each shard counts all of it."""
    cost = cost_of_whole(manifests, TOTALS)
    assert cost is not None
    assert replica_seconds / 60 == pytest.approx(cost["replica_minutes"], abs=0.01)
    assert replica_seconds / 1000 == pytest.approx(cost["usd"])
    assert (cost["usd"], cost["usd"]) == (cost["usd_per_1000_rows"], cost["usd_per_million_tokens"])


def test_a_cost_without_a_price_is_time_alone() -> None:
    """Money is null, as in the report of one worker."""
    cost = cost_of_whole([shard_manifest(0, 60, price=None)], TOTALS)
    assert cost is not None
    assert (1.0, None, None) == (cost["replica_minutes"], cost["usd"], cost["usd_per_1000_rows"])


def test_shards_that_know_no_cost_have_none_together() -> None:
    """A part of the cost would be taken for the whole."""
    assert None is cost_of_whole([shard_manifest(0, 60), shard_manifest(0, 60, cost=None)], TOTALS)
