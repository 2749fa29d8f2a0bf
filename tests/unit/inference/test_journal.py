"""The journal: what a crash leaves behind, and what a resume makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.journal import compaction
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import (
    COPY,
    Record,
    decode_record,
    discarded,
    encode_record,
    read_head,
    row_key,
)
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.stores.folders import names_in


def record(place: int, text: str = "x") -> Record:
    return Record(place, 1000 + place, 0, 1, 2, b'{"index":%d,"output":"%b"}' % (place, text.encode()))


def group(*records: Record) -> list[tuple[Record, bytes]]:
    return [(one, encode_record(one)) for one in records]


def written(folder: UPath, *groups: list[tuple[Record, bytes]]) -> None:
    """What a run leaves that is killed after some groups."""
    journal = Journal(folder)
    assert list(journal.open()) is not None
    for one in groups:
        journal.append(one)
    journal.close()


def found(folder: UPath) -> dict[int, Record]:
    journal = Journal(folder)
    records = {}
    for place in {place for place, _ in journal.open()}:
        one = journal.read(place)
        assert one is not None
        records[place] = one
    journal.close()
    return records


@pytest.fixture(params=["local", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    return UPath(tmp_path / "journal") if request.param == "local" else UPath(f"memory://{tmp_path.name}/journal")


def test_what_was_appended_is_there_for_the_next_run(folder: UPath) -> None:
    """Over several runs, in any order, the last record of a row being the one that counts."""
    written(folder, group(record(3), record(1)), group(record(2)))
    written(folder, group(record(1, "newer"), record(7)))
    expected = {3: record(3), 1: record(1, "newer"), 2: record(2), 7: record(7)}
    assert expected == found(folder)


def test_a_group_can_be_read_back_before_the_end(folder: UPath) -> None:
    """The output is made from the journal of the running batch."""
    journal = Journal(folder)
    assert list(journal.open()) == []
    journal.append(group(record(0), record(1)))
    journal.append(group(record(2, "ü")))
    assert [record(0), record(1), record(2, "ü"), None] == [journal.read(n) for n in range(4)]
    journal.remove()
    assert not list(folder.parent.glob("journal/*"))


def test_torn_at_every_byte_of_its_last_two_records(tmp_path: Path) -> None:
    """Whole records survive, torn ones are gone, and nothing is raised."""
    lines = [encode_record(record(n, "text")) for n in range(4)]
    whole = b"".join(lines)
    ends = [sum(len(line) for line in lines[: n + 1]) for n in range(4)]
    segment = tmp_path / "000001-abcdef01.log"
    for size in range(ends[1], len(whole) + 1):
        segment.write_bytes(whole[:size])
        assert [n for n in range(4) if ends[n] <= size] == sorted(found(UPath(tmp_path)))


def test_parts_are_torn_and_damaged_on_their_own(tmp_path: Path) -> None:
    """A part of an object store whose end is gone costs its last rows, whatever parts follow it; damage in it stops."""
    folder = UPath(f"memory://{tmp_path.name}/parts")
    parts = [b"".join(encode_record(record(3 * n + m)) for m in range(3)) for n in range(2)]
    for cut in range(0, len(parts[0]) + 1, 7):
        (folder / "000001-abcdef01-000000.log").write_bytes(parts[0][: len(parts[0]) - cut])
        (folder / "000001-abcdef01-000001.log").write_bytes(parts[1])
        whole = parts[0][: len(parts[0]) - cut].count(b"\n")
        assert [*range(whole), 3, 4, 5] == sorted(found(folder))
    (folder / "000001-abcdef01-000000.log").write_bytes(parts[0].replace(b'"index":0', b'"index":9'))
    with pytest.raises(JournalCorruptError, match="Delete the journal"):
        found(folder)


def test_rows_after_a_torn_tail_go_to_a_segment_of_their_own(tmp_path: Path) -> None:
    """A resume never writes behind torn bytes, so the tail stays a tail."""
    lines = encode_record(record(0)) + encode_record(record(1))[:-5]
    (tmp_path / "000001-abcdef01.log").write_bytes(lines)
    written(UPath(tmp_path), group(record(1), record(2)))
    assert {0, 1, 2} == set(found(UPath(tmp_path)))


@settings(max_examples=150, deadline=None)
@given(bit=st.integers(0, 8 * 4 * len(encode_record(record(0, "text"))) - 1))
def test_a_flipped_bit_is_never_taken_for_a_row(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    """In the last record it reads as torn; before a good one it stops the resume loudly."""
    folder = tmp_path_factory.mktemp("flipped")
    records = [record(n, "text") for n in range(4)]
    data = bytearray(b"".join(encode_record(one) for one in records))
    data[bit // 8] ^= 1 << bit % 8
    (folder / "000001-abcdef01.log").write_bytes(data)
    size = len(data) // 4
    try:
        survived = found(UPath(folder))
    except JournalCorruptError:
        assert bit // 8 < 3 * size
    else:
        # Nothing but rows as they were written, and only the last two can be missing: a line that lost its end takes
        # the next one with it.
        assert survived == {place: one for place, one in enumerate(records) if place in survived}
        assert {0, 1} <= set(survived)
        assert bit // 8 >= 3 * size - 1


def test_tokens_of_every_answer_are_counted_once(folder: UPath) -> None:
    """Of one that was discarded, which is not a row; of a row that was done again; not those of a copy."""
    written(folder, group(record(0), discarded(1, 50, 7)))
    written(folder, group(record(2)._replace(flags=COPY), record(1), record(1)))
    journal = Journal(folder)
    assert {0, 1, 2} == {place for place, _ in journal.open()}
    assert (3 * 1 + 50, 3 * 2 + 7) == (journal.prompt_tokens, journal.completion_tokens)
    journal.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_resume_of_many_checkpoints_opens_few_files(folder: UPath) -> None:
    """Whether each is a segment of a killed run or of one group; every row is read back."""
    rows = 1100
    for number in range(rows):
        (folder / f"{number:06d}-abcdef01-000000.log").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}-abcdef01-000000.log").write_bytes(encode_record(record(number)))
    journal, before = Journal(folder), open_files()
    assert rows == len(list(journal.open()))
    assert [record(n) for n in range(rows)] == [journal.read(n) for n in range(rows)]
    assert record(0) == journal.read(0)
    assert open_files() - before <= 40
    journal.append(group(record(rows)))
    assert record(rows) == journal.read(rows)
    journal.close()
    assert open_files() <= before


def test_hours_of_small_groups_leave_tens_of_objects(tmp_path: Path) -> None:
    """Six hours of a group every five seconds: small segments become larger ones on the way, and each row is read
    back before and after."""
    folder = UPath(f"memory://{tmp_path.name}/hours")
    groups = 6 * 3600 // 5
    journal = Journal(folder)
    assert [] == list(journal.open())
    for number in range(groups):
        journal.append(group(record(number)))
    assert len(names_in(folder)) <= 4 + 31 + 31
    assert [record(n) for n in (0, 1023, 4000, groups - 1)] == [journal.read(n) for n in (0, 1023, 4000, groups - 1)]
    journal.close()
    later = found(folder)
    assert {place: record(place) for place in range(groups)} == later


def test_large_segments_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number costs little beside their size."""
    monkeypatch.setattr(compaction, "LARGEST", 1000)
    folder = UPath(f"memory://{tmp_path.name}/large")
    written(folder, *(group(record(n, "x" * 100)) for n in range(70)))
    assert 70 == len(names_in(folder))
    assert 70 == len(found(folder))


def test_killed_while_it_makes_a_larger_segment_a_run_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small ones that are still there, all or some, stand in the large one."""
    folder = UPath(f"memory://{tmp_path.name}/killed")
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "delete_files", lambda folder, names: None)
        written(folder, *(group(record(n)) for n in range(40)))
    assert 41 == len(names_in(folder))
    for gone in (0, 1, 31):
        for name in [name for name in names_in(folder) if name.endswith(f"-{gone:06d}.log") and name.count("-") == 2]:
            (folder / name).unlink()
        journal = Journal(folder)
        assert list(range(40)) == sorted(place for place, _ in journal.open())
        assert (40, 80) == (journal.prompt_tokens, journal.completion_tokens)
        journal.close()


def test_a_store_that_fails_while_segments_are_made_larger_fails_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The groups are durable as they are; it is tried again with a later one."""
    folder = UPath(f"memory://{tmp_path.name}/failing")

    def fails(folder: UPath, names: list[str]) -> None:
        raise OSError("the store deletes nothing now")

    journal = Journal(folder)
    assert [] == list(journal.open())
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "delete_files", fails)
        for number in range(40):
            journal.append(group(record(number)))
    journal.append(group(record(40)))
    assert 1 + 41 - 32 == len(names_in(folder))
    journal.close()
    assert 41 == len(found(folder))


@pytest.mark.parametrize("fanout", [3, 100], ids=["merged", "small"])
@pytest.mark.parametrize("keep", [0, 1, 2], ids=["all", "all but one", "all but two"])
def test_objects_that_somebody_deletes_are_written_again_with_the_next_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fanout: int, keep: int
) -> None:
    """Those of earlier runs and of this one, merged or not; nothing is counted twice."""
    monkeypatch.setattr(compaction, "FANOUT", fanout)
    folder = UPath(f"memory://{tmp_path.name}/deleted")
    written(folder, *(group(record(n)) for n in range(5)))
    journal = Journal(folder)
    assert 5 == len(list(journal.open()))
    seen: list[set[str]] = []
    journal.describe = lambda names: seen.append(set(names))
    for place in range(5, 20):
        for name in sorted(names_in(folder))[keep:]:
            (folder / name).unlink()
        journal.append(group(record(place)))
    journal.close()
    assert [keep] * 14 == [len(names) for names in seen[1:]]
    assert {n: record(n) for n in range(20)} == found(folder)
    again = Journal(folder)
    assert 20 == len(list(again.open()))
    assert 40 == again.completion_tokens
    again.close()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """Only segments are read."""
    (tmp_path / "job.json").write_text("{}")
    (tmp_path / "000001-abcdef01.log.tmp").write_text("junk")
    assert found(UPath(tmp_path)) == {}


@given(
    st.integers(0, 2**40),
    st.integers(1, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 127),
    st.binary(max_size=200).filter(lambda raw: b"\n" not in raw),
)
def test_a_record_reads_back_as_it_was_written(place: int, key: int, line_key: int, flags: int, payload: bytes) -> None:
    """Whatever is in the output line."""
    one = Record(place, key, flags, 5, 6, payload)
    assert one == decode_record(encode_record(one))
    assert decode_record(encode_record(one)[:-1]) is None
    assert (place, key, line_key, flags, 5, 6) == read_head(encode_record(one, line_key))
    assert read_head(encode_record(one)[:-1]) is None


def test_a_key_is_of_the_row_and_of_its_request() -> None:
    """The same prompt under another id, or another prompt under the same id, is another row."""
    keys = {row_key(a, b) for a in (b"", b"a", b"b", b"x" * 100, b"x" * 101) for b in (b"p", b"q")}
    assert len(keys) == 10
    assert row_key(b"a", b"p") == row_key(b"a", b"p")


def test_rows_that_moved_are_found_once_each(tmp_path: Path) -> None:
    """Two rows with the same key are two rows: each record serves one place."""
    same = [record(n)._replace(key=7) for n in (0, 1)]
    written(UPath(tmp_path), group(record(5), *same))
    resume = Resume(Journal(UPath(tmp_path)), ids_are_places=True)
    emitted: list[Record] = []
    resume.emit = lambda record, line_key: emitted.append(record)
    assert resume.read_journal() == 3
    assert [
        resume.has(Line(0, 1, b""), 1005, 0),
        resume.has(Line(1, 1, b""), 7, 0),
        resume.has(Line(2, 1, b""), 7, 0),
        resume.has(Line(3, 1, b""), 7, 0),
    ] == [True, True, True, False]
    assert [one.place for one in emitted] == [0, 1, 2]
    assert b'"id":2' in emitted[2].payload
