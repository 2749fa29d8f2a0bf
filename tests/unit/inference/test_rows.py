"""Rows to requests: the short way that a prompt takes gives what the long way gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.batch_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.engines import Dialect, build_request
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, parse_line, row_id
from airflow_provider_hf_endpoints.inference.requests import render as rendering
from airflow_provider_hf_endpoints.inference.requests.render import compile_requests, frame_of
from airflow_provider_hf_endpoints.inference.requests.template import Parts, Template, compile_parts

TASKS = [
    (Dialect.OPENAI, "chat-completion"),
    (Dialect.OPENAI, "text-generation"),
    (Dialect.OPENAI, "feature-extraction"),
    (Dialect.TGI, "text-generation"),
    (Dialect.TEI, "feature-extraction"),
    (Dialect.TOOLKIT, "text-generation"),
    (Dialect.TOOLKIT, "fill-mask"),
]


@pytest.mark.parametrize(("dialect", "task"), TASKS)
@given(text=st.text())
def test_a_prompt_is_put_where_it_belongs(dialect: Dialect, task: str, text: str) -> None:
    """Whatever is in it, the body is the one that the engine's own module makes."""
    parameters = {"max_tokens": 5}
    render = compile_requests(Template(task, prompt="<{text}>"), Target(dialect, "m"), parameters)
    expected = build_request(dialect, task, f"<{text}>", parameters, "m")
    found = render({"text": text})
    assert (expected.route, expected.json) == (found.route, json.loads(found.body))


@pytest.mark.parametrize("prompt", ["<{text}>", None], ids=["a prompt", "the column inputs"])
@pytest.mark.parametrize(("dialect", "task"), [*TASKS, (Dialect.TGI, "chat-completion")])
def test_every_row_is_sent_with_its_own_parameter(dialect: Dialect, task: str, prompt: str | None) -> None:
    """On every dialect, with the parameters that all rows have beside it, and as the value that the column holds."""
    template = Template(task, prompt=prompt, row_parameters={"seed": "{seed}"})
    render = compile_requests(template, Target(dialect, "m"), {"top_p": 0.5})
    for seed in (1, 2**53 + 1, "a", [1], False):
        row = {"text": "a", "inputs": "a", "messages": [{"role": "user", "content": "a"}], "seed": seed}
        inputs = "<a>" if prompt else row["messages"] if task == "chat-completion" else "a"
        expected = build_request(dialect, task, inputs, {"top_p": 0.5, "seed": seed}, "m")
        assert expected.json == json.loads(render(row).body)


@pytest.mark.parametrize(("row", "words"), [({"text": "a"}, "no column 'seed'"), ({"text": "a", "seed": None}, "null")])
def test_no_row_is_sent_without_its_parameter(row: dict[str, Any], words: str) -> None:
    """A row that has none is an error, and not a row as all others are."""
    template = Template("chat-completion", prompt="{text}", row_parameters={"seed": "{seed}"})
    assert ["text", "seed"] == template.columns
    with pytest.raises(BatchInputError, match=words):
        compile_requests(template, Target(Dialect.OPENAI, "m"), None)(row)


def test_a_system_prompt_stands_before_it() -> None:
    """With its own columns and without."""
    for system in ("Be brief.", "Speak {lang}."):
        template = Template("chat-completion", prompt="{text}", system=system)
        body = json.loads(
            compile_requests(template, Target(Dialect.OPENAI, None), None)({"text": "a", "lang": "fr"}).body
        )
        assert [system.replace("{lang}", "fr"), "a"] == [message["content"] for message in body["messages"]]


@pytest.mark.parametrize(
    ("task", "template", "there"),
    [
        ("feature-extraction", {}, True),
        ("feature-extraction", {"prompt": "<{a}> {b}"}, True),
        ("chat-completion", {"prompt": "{a}", "system": "Be brief."}, True),
        ("chat-completion", {"prompt": "{a}", "system": "Speak {lang}."}, False),
        ("chat-completion", {"prompt": "{a}", "system": "About {a}:"}, False),
        ("chat-completion", {}, False),
        ("chat-completion", {"prompt": "{a}", "row_parameters": {"seed": "{seed}"}}, False),
        ("chat-completion", {"prompt": "{a}", "row_parameters": {"user": "u-{a}"}}, False),
        ("feature-extraction", {"row_parameters": {"user": "u-{inputs}"}}, False),
        ("feature-extraction", {"body": {"input": "{a}"}}, False),
    ],
)
def test_a_frame_is_there_where_rows_differ_in_one_text_alone(task: str, template: dict[str, Any], there: bool) -> None:
    """Whatever else is made of a column leaves none, so that no faster way can forget it."""
    frame = frame_of(Template(task, **template), Target(Dialect.OPENAI, "m"), {"dimensions": 5})
    assert there == (frame is not None)


@pytest.mark.parametrize("prompt", ["{text}", None])
@pytest.mark.parametrize("look", [lambda row: row.get("user"), lambda row: dict(row).get("user"), lambda row: len(row)])
def test_an_option_of_a_row_that_nobody_listed_is_sent_with_its_row(
    monkeypatch: pytest.MonkeyPatch, prompt: str | None, look: Callable[[Any], Any]
) -> None:
    """One that is new, and that a row may lack: no faster way takes what the first row says for all."""

    def with_user(template: Template, parameters: Any) -> Callable[[Any], Parts]:
        parts = compile_parts(template, parameters)
        return lambda row: Parts(parts(row).inputs, {**parameters, "user": look(row)})

    monkeypatch.setattr(rendering, "compile_parts", with_user)
    template, target = Template("feature-extraction", prompt=prompt), Target(Dialect.OPENAI, "m")
    assert frame_of(template, target, None) is None
    made = compile_requests(template, target, None)
    for row in ({"text": "a", "inputs": "a"}, {"text": "a", "inputs": "a", "user": "u"}):
        assert look(row) == json.loads(made(row).body)["user"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"prompt": "{a}", "messages": [{"content": "{a}"}]}, "one of prompt, messages and body"),
        ({"prompt": "no column"}, "names no column"),
        ({"prompt": "{a}", "route": "/x"}, "needs a body"),
        ({"body": {"x": "{a}"}, "system": "s"}, "system is only for"),
        ({"body": {"x": "{a}"}, "row_parameters": {"seed": "{b}"}}, "Write the row_parameters into the body"),
        ({"prompt": "{a}", "row_parameters": {"seed": 5}}, r"row_parameters\['seed'\] is 5 and names no column"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused(template: dict[str, Any], words: str) -> None:
    """When the job is made, not when it runs."""
    with pytest.raises(ValueError, match=words):
        Template("chat-completion", **template)


def test_messages_are_for_a_chat() -> None:
    """Other tasks say what they take."""
    with pytest.raises(ValueError, match="messages are only for chat-completion"):
        Template("text-generation", messages=[{"content": "{a}"}])


@pytest.mark.parametrize("raw", [b'{"a": NaN}', b'{"a": "\\ud83d"}', b'{"a": 1, "a": 2}'])
def test_json_that_python_writes_is_read(raw: bytes) -> None:
    """NaN and half an emoji, too."""
    assert "a" in parse_line(Line(0, 1, raw))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "-1e999", "9" * 400 + ".0"])
@pytest.mark.parametrize("decode", [fastjson.decode, fastjson._decode_std])
def test_a_number_that_is_none_is_a_missing_value(decode: Callable[[bytes], Any], number: str) -> None:
    """Too large for a float as well: a prompt would have had the word Infinity in it."""
    assert {"a": None, "b": 1e308} == decode(f'{{"a": {number}, "b": 1e308}}'.encode())


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"x"', b"1", b"null", b"\xff"])
def test_what_is_no_object_is_no_row(raw: bytes) -> None:
    """The error has the line's number and its beginning."""
    with pytest.raises(BadLineError, match=r"line 7 is not (a )?(JSON|UTF-8)"):
        parse_line(Line(0, 7, raw))


def test_an_id_keeps_its_type() -> None:
    """Whole numbers stay numbers; without a column the place is the id."""
    line = Line(3, 1, b"")
    assert [5, "a", 3] == [row_id({"i": 5}, line, "i"), row_id({"i": "a"}, line, "i"), row_id({}, line, None)]


CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "[1]"}]


@pytest.mark.parametrize("column", [CHAT, json.dumps(CHAT), json.dumps({"messages": CHAT}), json.dumps(CHAT, indent=1)])
@pytest.mark.parametrize("given", [None, "{messages}"])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_chat_written_as_json_is_a_chat(column: Any, given: str | None, system: str | None) -> None:
    """CSV has no other form for it: its text is not sent as what one user says."""
    template = Template("chat-completion", messages=given, system=system)
    render = compile_requests(template, Target(Dialect.OPENAI, "m"), None)
    first = [{"role": "system", "content": system}] if system else []
    assert [*first, *CHAT] == json.loads(render({"messages": column}).body)["messages"]


def test_a_chat_written_as_json_is_one_in_a_body_too() -> None:
    """If the body has it instead."""
    template = Template("chat-completion", body={"messages": "{m}", "n": 2})
    render = compile_requests(template, Target(Dialect.OPENAI, "m"), None)
    assert CHAT == json.loads(render({"m": json.dumps(CHAT)}).body)["messages"]


@pytest.mark.parametrize("text", ["hello", "[1, 2]", "[note] hi", '{"a": 1}', '[{"a": 1}]', "", "{broken", "[{"])
def test_a_text_that_is_no_chat_is_what_the_user_says(text: str) -> None:
    """Also where it is JSON of something else."""
    render = compile_requests(Template("chat-completion"), Target(Dialect.OPENAI, "m"), None)
    assert [{"role": "user", "content": text}] == json.loads(render({"messages": text}).body)["messages"]


@pytest.mark.parametrize("text", [str(CHAT), json.dumps(CHAT)[:-3]])
def test_a_chat_that_is_broken_is_not_sent(text: str) -> None:
    """Python's form of it, and a truncated one: the row has an error that names the problem."""
    with pytest.raises(
        BatchInputError, match=r"starts like a JSON list of messages, but is not valid JSON .*json\.dumps"
    ):
        compile_requests(Template("chat-completion"), Target(Dialect.OPENAI, "m"), None)({"messages": text})


def test_a_query_written_as_json_is_a_query() -> None:
    """As a chat is."""
    render = compile_requests(Template("rerank"), Target(Dialect.TEI, None), None)
    row = {"inputs": json.dumps({"query": "q", "texts": ["a", "b"]})}
    assert {"query": "q", "texts": ["a", "b"], "truncate": False} == json.loads(render(row).body)


@pytest.mark.parametrize("row", [{"a": None, "b": 1}, {"b": 1}])
def test_a_missing_value_is_the_same_whether_it_is_null_or_absent(row: dict[str, Any]) -> None:
    """An error where a text or a parameter is made of it; null in a body, where it stands alone."""
    target = Target(Dialect.OPENAI, "m")
    for template in (
        Template("chat-completion", prompt="{a}"),
        Template("chat-completion", prompt="{b}", row_parameters={"seed": "{a}"}),
        Template("chat-completion", messages="{a}"),
        Template("chat-completion", messages=[{"role": "user", "content": "{a}"}]),
        Template("chat-completion", body={"x": "{b}: {a}"}),
    ):
        with pytest.raises(BatchInputError, match="column 'a'"):
            compile_requests(template, target, None)(row)
    body = compile_requests(Template("chat-completion", body={"x": "{a}", "y": "{b}"}), target, None)(row).body
    assert {"x": None, "y": 1, "model": "m"} == json.loads(body)
    for task, column in (("chat-completion", "messages"), ("feature-extraction", "inputs")):
        with pytest.raises(BatchInputError, match=f"column '{column}'"):
            compile_requests(Template(task), target, None)({column: None} if None in row.values() else {})


@pytest.mark.parametrize("prompt", ["{text}", None])
def test_a_request_does_not_depend_on_the_order_of_parameters(prompt: str | None) -> None:
    """A resumed batch knows its rows by their requests: a DAG that names the same in another order sends none again."""
    target = Target(Dialect.OPENAI, "m")
    row = {"text": "hello", "inputs": "hello", "limit": 3, "sway": 0.5}

    def request(parameters: dict[str, Any], own: dict[str, Any]) -> bytes:
        template = Template("text-generation", prompt=prompt, row_parameters=own)
        return compile_requests(template, target, parameters)(row).body

    parameters, own = {"seed": 1, "temperature": 0}, {"max_tokens": "{limit}", "top_p": "{sway}"}
    turned, own_turned = dict(reversed(parameters.items())), dict(reversed(own.items()))
    assert 1 == len({request(one, other) for one in (parameters, turned) for other in (own, own_turned)})
