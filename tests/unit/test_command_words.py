"""Messages of a batch as a shell shows them: with options in place of arguments of Python."""

from __future__ import annotations

import ast
import logging
import re
from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_hf_endpoints.command.batch import _parser
from airflow_provider_hf_endpoints.command.words import TranslatedLog, Translation, options_of
from airflow_provider_hf_endpoints.inference.batch import BatchJob
from tests.unit.test_messages import PACKAGE, texts

OPTIONS = {
    name: option for name, option in options_of(_parser()).items() if name in {each.name for each in fields(BatchJob)}
}
#: Arguments without an option. No message that a shell shows may advise them.
WITHOUT = {each.name for each in fields(BatchJob)} - OPTIONS.keys()
translate = Translation(OPTIONS)


@pytest.mark.parametrize(("name", "option"), OPTIONS.items())
def test_every_argument_is_named_by_its_option(name: str, option: str) -> None:
    """However a message names it."""
    for text, expected in [
        (f"{name} must be 5, not 'x'", f"{option} must be 5, not 'x'"),
        (f"Set {name}=5.", f"Set {option} 5."),
        (f'or set {name}="a b" to try', f"or set {option} 'a b' to try"),
        (f"set {name}='x'.", f"set {option} x."),
        (f'{name}={{"a": True}} does', f"{option} '{{\"a\": true}}' does"),
        (f"{name}['x'] would replace", f"{option}['x'] would replace"),
    ]:
        assert expected == translate(text)


@pytest.mark.parametrize("name", sorted(name for name in OPTIONS if "_" in name))
def test_a_name_that_is_no_word_is_an_option_anywhere(name: str) -> None:
    """At the end of a sentence, in brackets, in a list."""
    told = OPTIONS[name]
    assert f"Check {told}. ({told}, {told}: {told})" == translate(f"Check {name}. ({name}, {name}: {name})")


@pytest.mark.parametrize(
    "text",
    [
        "the model of the task has a prompt and parameters",
        "/data/input_path/output_path.jsonl is missing",
        "no column 'input_path' in {id_column}",
        "https://host/?model=x&input_path=y",
        "my_input_path and input_path_of",
    ],
)
def test_what_is_the_users_own_stays(text: str) -> None:
    """Ordinary words, paths, columns, addresses."""
    assert text == translate(text)


def test_a_switch_has_no_value() -> None:
    """As it is given in a shell."""
    assert "set --keep-response to" == translate("set keep_response=True to")


def test_a_log_is_translated_with_its_values() -> None:
    """After they are filled in."""
    record = logging.LogRecord("x", logging.INFO, "", 1, "To use the column, set id_column=%r.", ("id",), None)
    assert "INFO To use the column, set --id-column id." == TranslatedLog(
        "%(levelname)s %(message)s", translate
    ).format(record)


#: Arguments of texts that no batch from a shell shows: of shards, budgets and prices, which the command lacks.
NEVER_SHOWN = {"shard", "concurrent_shards", "max_cost", "max_runtime", "price_per_hour", "shared_budgets"}
NEVER_SHOWN |= {"concurrency_ceiling", "rows_per_replica_second", "fail_on_errors", "attempt_key", "budget_key"}


def test_what_a_message_advises_can_be_given_in_a_shell() -> None:
    """Every argument that a text of the batch names has an option."""
    named: dict[str, Any] = {}
    for path in (PACKAGE / "inference").rglob("*.py"):
        for text in (str(each.value) for each in texts(ast.parse(path.read_text(encoding="utf-8")))):
            for name in WITHOUT - NEVER_SHOWN:
                if " " in text and "_" in name and re.search(rf"\b{name}\b", text):
                    named[name] = (path.name, text)
    assert {} == named
