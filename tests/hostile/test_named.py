"""Worlds that once ended a batch, each as the smallest case that showed it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, get_args

import pytest

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, OutputConflictError
from tests.hostile.cases import (
    BAD_LINES,
    BEHIND,
    BROKEN_BODIES,
    INPUT_KINDS,
    ODD_IDS,
    REFUSAL_BODIES,
    REFUSED_WRAPS,
    UNPACKED,
    USAGES,
    Broken,
    Case,
    Change,
    Content,
    Good,
    Layout,
    Packing,
    Raises,
    Refusal,
    Row,
    StoreFault,
    Task,
    Wrap,
)
from tests.hostile.invariants import problems
from tests.hostile.places import NAMES
from tests.hostile.server import RAISED
from tests.hostile.stores import ERRORS
from tests.hostile.tasks import ODD_LABELS
from tests.hostile.world import live

ROWS = [Row(), Row(), Row()]
LAYOUTS = get_args(Layout)
PAUSED = 5  # of the bodies of refusals


@pytest.mark.parametrize("body", range(len(BROKEN_BODIES)))
def test_no_body_ends_a_batch(body: int) -> None:
    """Nested 3,000 deep, an index that is null, packed, cut: the row is asked again, and the others are answered."""
    assert [] == problems(live(Case(ROWS, answers=[Broken(body)])))


@pytest.mark.parametrize("body", range(len(REFUSAL_BODIES)))
def test_no_body_of_a_refusal_hides_that_the_endpoint_is_at_fault(body: int) -> None:
    """Nested 3,000 deep, empty, no text: the row is asked again, and answered."""
    outcome = live(Case(ROWS[:1], answers=[Refusal(status=424, body=body, retry_after=None)]))
    assert [] == problems(outcome)
    assert [None] == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("what", range(len(RAISED)))
def test_no_exception_of_a_transport_ends_a_batch(what: int) -> None:
    """What a transport should never raise is the error of its row."""
    outcome = live(Case(ROWS, answers=[Raises(what)]))
    assert [] == problems(outcome)
    assert 3 == len(outcome.lines)


@pytest.mark.parametrize("bad", range(len(BAD_LINES)))
def test_no_line_ends_a_batch(bad: int) -> None:
    """A line that is no row, whatever it is, is an error in its place."""
    outcome = live(Case([Row(), Row(bad=bad), Row()]))
    assert [] == problems(outcome)
    assert [False, True, False] == [line["error"] is not None for line in outcome.lines]


def test_json_without_end_is_an_answer_that_does_not_fit() -> None:
    """The commonest loop of JSON mode, `[[[[…`, is asked for again like any other text that does not fit."""
    outcome = live(Case(ROWS, answers=[Good(content="deep json")], schema="plain"))
    assert [] == problems(outcome)
    assert [None] * 3 == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("usage", USAGES, ids=str)
def test_no_count_of_tokens_ends_a_batch(usage: object) -> None:
    """Counts that are text, negative, or larger than any record can hold count as unknown."""
    assert [] == problems(live(Case(ROWS, answers=[Good(usage=usage)])))


@pytest.mark.parametrize("remote", [False, True], ids=["disk", "objects"])
@pytest.mark.parametrize("operation", ["write", "sync", "read", "list", "delete"])
@pytest.mark.parametrize("first", range(8))
def test_a_store_that_fails_once_costs_nothing(remote: bool, operation: str, first: int) -> None:
    """Whichever operation fails once: the run ends well or with an error that says so, and no answer is paid twice."""
    fault = StoreFault(operation=operation, first=first, count=1)  # type: ignore[arg-type]
    outcome = live(Case(ROWS, store_faults=[fault], remote=remote))
    assert [] == problems(outcome)
    assert 3 == len(outcome.server.exchanges)


@pytest.mark.parametrize("operation", ["write", "list", "delete"])
@pytest.mark.parametrize("how", range(len(ERRORS)))
def test_whatever_the_client_of_a_storage_raises_once(how: int, operation: Any) -> None:
    """The run ends in a report or a `BatchError`, and no answer is paid twice; a page in place of JSON costs a try."""
    outcome = live(Case(ROWS, store_faults=[StoreFault(operation=operation, first=2, how=how)], remote=True))
    assert [] == problems(outcome)
    assert 3 == len(outcome.server.exchanges)
    if not isinstance(ERRORS[how](), KeyError | PermissionError):  # a fault of a program, a refusal
        assert outcome.runs[0].report is not None


@pytest.mark.parametrize(("remote", "first"), [(False, 4), (True, 2)], ids=["disk", "objects"])
def test_a_store_that_is_away_ends_the_batch_with_its_own_error(remote: bool, first: int) -> None:
    """After two minutes the run ends with what the store says; the next one goes on, and nothing is lost."""
    outcome = live(
        Case(ROWS, store_faults=[StoreFault(operation="write", first=first, count=10_000, how=1)], remote=remote)
    )
    assert [] == problems(outcome)
    assert "No space left on device" in str(outcome.runs[0].error)


@pytest.mark.parametrize("asked", ["86400", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_no_answer_holds_a_batch_for_a_day(asked: str, status: int) -> None:
    """However long one answer asks to wait, the row is sent again within `row_timeout` and `startup_timeout`."""
    outcome = live(Case(ROWS, answers=[Refusal(status, 1, asked)]))
    assert [] == problems(outcome)
    assert outcome.runs[0].report is not None
    assert 301.0 >= outcome.runs[0].seconds


@pytest.mark.parametrize("body", [3, 4, 5], ids=["in error", "invalid state", "paused"])
def test_what_the_proxy_says_of_the_endpoint_is_no_rows_fault(body: int) -> None:
    """A failed or paused endpoint ends the run; the next run sends its rows, and all are answered."""
    outcome = live(Case(ROWS, answers=[Refusal(400, body)] * 3))
    assert [] == problems(outcome)
    assert [None] * 3 == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("first", [424, 499, 500])
@pytest.mark.parametrize("then", [503, 504, 529])
def test_a_wait_that_was_asked_for_is_no_refusal(first: int, then: int) -> None:
    """The first answer takes all of the row's time by its Retry-After; the second one gives no row up."""
    case = Case(rows=[Row()], answers=[Refusal(first, 0, "86400"), Refusal(then, 0, None)], concurrency=1)
    outcome = live(case)
    assert [] == problems(outcome)
    assert [None] == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize(
    ("name", "layout"),
    [*itertools.product(range(len(NAMES)), ("file", "pattern")), *((0, each) for each in LAYOUTS[1:4])],
)
def test_no_name_and_no_link_hides_a_row(name: int, layout: Any) -> None:
    """Blanks, signs of patterns and URLs, both forms of an accent: every row of every file is answered."""
    outcome = live(Case(ROWS, name=name, layout=layout))
    assert [] == problems(outcome)
    assert [None] * 3 == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("kind", INPUT_KINDS)
@pytest.mark.parametrize("layout", ["link", "folder"])
def test_no_kind_of_file_hides_a_row(kind: Any, layout: Any) -> None:
    """In one file or in two."""
    outcome = live(Case(ROWS, input_format=kind, layout=layout))
    assert [] == problems(outcome)
    assert [None] * 3 == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("packing", get_args(Packing))
@pytest.mark.parametrize("status", [200, 400, 404, 429, 503])
def test_a_body_that_is_packed_means_what_its_status_says(packing: Any, status: int) -> None:
    """Also where it cannot be unpacked: a refusal is no reason to end a batch that its status does not give."""
    body = PAUSED if status == 400 else 1
    answer = Good(packing=packing) if status == 200 else Refusal(status, body, packing=packing)
    outcome = live(Case(ROWS, answers=[answer]))
    assert [] == problems(outcome)
    unreadable = 400 == status and packing not in UNPACKED  # that the endpoint is paused
    assert int(unreadable) == sum(line["error"] is not None for line in outcome.lines)


@pytest.mark.parametrize("schema", [None, "plain", "pattern", "unique"])
@pytest.mark.parametrize("content", ["words again", "json again", "letters again", "deep json"])
def test_an_answer_that_loops_is_one_rows(content: Any, schema: Any) -> None:
    """Whatever the schema asks: the other rows are answered."""
    outcome = live(Case(ROWS, answers=[Good(content=content)], schema=schema))
    assert [] == problems(outcome)
    errors = [line["error"]["type"] for line in outcome.lines if line["error"] is not None]
    assert (["unchecked_output"] if (content, schema) == ("letters again", "pattern") else []) == errors


@pytest.mark.parametrize("content", get_args(Content))
def test_no_scores_end_a_batch(content: Any) -> None:
    """Null, NaN, too few, too many: the row is asked again."""
    case = Case(ROWS, answers=[Good(content=content)], input_format="openai", route="/v1/score")
    outcome = live(case)
    assert [] == problems(outcome)
    assert [None] * 3 == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize(("kind", "output"), [("jsonl", "jsonl"), ("jsonl", "parquet"), ("csv", "jsonl")])
@pytest.mark.parametrize("odd", range(len(ODD_IDS)))
def test_an_id_is_kept_or_refused(odd: int, output: Any, kind: Any) -> None:
    """Each kind of value by itself, in each form."""
    rows = [Row(), Row(odd_id=odd), Row()]
    assert [] == problems(live(Case(rows, ids=True, input_format=kind, output_format=output)))


@pytest.mark.parametrize("output", ["jsonl", "parquet"])
def test_ids_that_an_output_cannot_tell_apart_are_refused(output: Any) -> None:
    """The number and its text: JSON Lines could, Parquet could not."""
    assert [1, "1"] == ODD_IDS[:2]
    outcome = live(Case([Row(odd_id=0), Row(odd_id=1)], ids=True, output_format=output))
    assert [] == problems(outcome)
    assert isinstance(outcome.runs[-1].error, BatchInputError)


@pytest.mark.parametrize("remote", [False, True], ids=["disk", "objects"])
@pytest.mark.parametrize("stop_after", [None, 1], ids=["finished", "stopped"])
@pytest.mark.parametrize("change", get_args(Change))
def test_an_input_that_changes_between_two_runs_costs_what_changed(change: Any, stop_after: Any, remote: bool) -> None:
    """The same rows cost nothing, other ones of an unfinished batch only themselves; a finished batch is another one
    then."""
    rows = [Row() for _ in range(6)]
    outcome = live(Case(rows, change=change, stop_after=stop_after, concurrency=1, remote=remote))
    assert [] == problems(outcome)
    asked = [row for exchange in outcome.server.exchanges for row in exchange.rows]
    finished = stop_after is None
    assert (finished and change != "touch") == isinstance(outcome.runs[-1].error, OutputConflictError)
    again = [0] if change == "edit" and not finished else []
    more = [6] if change == "append" and not finished else []
    assert sorted([*range(6), *again, *more]) == sorted(asked)


@pytest.mark.parametrize("content", get_args(Content))
@pytest.mark.parametrize("task", [task for task in get_args(Task) if task != "chat"])
def test_what_is_odd_in_an_answer_to_several_rows_is_nobody_elses(task: Task, content: Content) -> None:
    """Vectors in another order, one too few, one of NaN: each row has what was answered to it, or is asked again."""
    outcome = live(Case(ROWS * 3, answers=[Good(), Good(content=content)], task=task, together=4, concurrency=1))
    assert [] == problems(outcome)
    assert 4 == max(len(each.rows) for each in outcome.server.exchanges)


@pytest.mark.parametrize("task", get_args(Task))
def test_shards_in_a_hostile_world_are_merged(task: Task) -> None:
    """Whatever the task: their lines and counts are those of one worker."""
    outcome = live(Case(ROWS * 3, answers=[Good(), Refusal(429), Broken(0), Raises(2)], task=task, shards=3))
    assert [] == problems(outcome)
    assert 9 == len(outcome.lines)


def test_a_shard_that_begins_with_a_longer_vector_is_not_merged() -> None:
    """Its own rows have no other length to be compared with. The merge compares, and publishes nothing."""
    answers: list[Any] = [Good(), Good(), Good(), Good(content="long")]
    outcome = live(Case(ROWS[:1] * 4, answers=answers, task="embed", shards=4, concurrency=1))
    assert [] == problems(outcome)
    assert isinstance(outcome.runs[-1].error, OutputConflictError)
    assert [] == outcome.lines


def test_an_edited_row_has_its_own_id() -> None:
    """A line that was no row, and is one in the second run."""
    outcome = live(Case([replace(ROWS[0], bad=0)], ids=True, change="edit", remote=True, remote_input=False))
    assert [] == problems(outcome)
    assert ["row-0"] == [line["id"] for line in outcome.lines]


@pytest.mark.parametrize("operation", ["list", "read", "write", "delete"])
@pytest.mark.parametrize("first", [0, 12, 30])
def test_a_store_that_fails_twice_fails_neither_plan_nor_merge(operation: Any, first: int) -> None:
    """At the beginning, when the plan is stored, and later, when shards run and are merged."""
    fault = StoreFault(operation, first=first, count=2, how=3)
    outcome = live(Case(ROWS, store_faults=[fault], remote=True, shards=2))
    assert [] == problems(outcome)
    assert 3 == len(outcome.lines)
    assert None is outcome.runs[0].error


@pytest.mark.parametrize("remote", [True, False])
def test_shards_that_a_merge_could_not_delete_do_not_hinder_a_second_run(remote: bool) -> None:
    """Some of their files are gone and some are left; the merged output says that all is done."""
    case = Case(
        [ROWS[0]],
        answers=[Raises(2)],
        store_faults=[StoreFault("fetch", first=11, how=9), StoreFault("delete", first=1, count=50, how=3, after=True)],
        remote=remote,
        output_format="jsonl.gz",
        change="touch",
        shards=3,
        stop_after=19,
        cancel_after=10,
    )
    outcome = live(case)
    assert [] == problems(outcome)


@pytest.mark.parametrize("kind", [kind for kind in INPUT_KINDS if kind.endswith((".gz", ".zst"))])
@pytest.mark.parametrize("wrap", get_args(Wrap))
def test_an_input_is_packed_well_or_refused(kind: Any, wrap: Any) -> None:
    """Before anything is sent; whole parts and zeros behind them are read, however they are packed."""
    outcome = live(Case(ROWS, input_format=kind, wrap=wrap))
    assert [] == problems(outcome)
    assert (wrap in REFUSED_WRAPS) == (not outcome.server.exchanges)


@pytest.mark.parametrize("body", range(len(BROKEN_BODIES) - len(BEHIND) - 1, len(BROKEN_BODIES)))
def test_an_answer_with_something_behind_it_is_none(body: int) -> None:
    """Nor is a stream that nobody asked for: the row is asked for again."""
    outcome = live(Case(ROWS, answers=[Broken(body)]))
    assert [] == problems(outcome)
    assert [None] * len(ROWS) == [line["error"] for line in outcome.lines]


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("folder", range(len(NAMES)))
def test_a_folder_may_have_any_name(folder: int, layout: Any) -> None:
    """However the input leads into it."""
    outcome = live(Case(ROWS, folder=folder, layout=layout))
    assert [] == problems(outcome)
    assert len(ROWS) == len(outcome.lines)


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("together", [1, 4])
def test_a_label_may_be_any_text_or_number(output_format: Any, together: Any) -> None:
    """In each form of the output."""
    rows = [Row() for _ in range(4 * len(ODD_LABELS))]
    outcome = live(Case(rows, task="classify tei", together=together, output_format=output_format))
    assert [] == problems(outcome)
    assert [None] * len(rows) == [line["error"] for line in outcome.lines]
