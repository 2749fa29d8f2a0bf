"""The leaf that keeps secrets out of texts: values that are known, looks, and values behind names."""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints._redact import has_secret, redact

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {TOKEN} is bad", "token *** is bad"),
        (f"'{TOKEN}'", "'***'"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ('{"authorization": "bearer abc"}', '{"authorization": "bearer ***"}'),
        ("old api_org_AbCdEfGhIjKlMnOpQrSt", "old ***"),
        ("of a job: hf_jwt_eyJhbGciOi.J9-x_y", "of a job: ***"),
        ("nothing to hide", "nothing to hide"),
        ("", ""),
    ],
)
def test_tokens_are_redacted_wherever_they_stand(text: str, shown: str) -> None:
    """Hugging Face tokens and bearer tokens never survive, even if no caller named them."""
    assert shown == redact(text)


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Expires=3600&X-Amz-Signature={}&x-id=GetObject",
        "X-Amz-Security-Token={}&X-Amz-SignedHeaders=host",
        "Expires=1767225600&Signature={}&Key-Pair-Id=K2L8F4GPSG1IFC",
        "se=2026-01-01&sp=r&sig={}",
        "X-Goog-Signature={}",
    ],
)
def test_a_signed_url_keeps_its_signature_to_itself(query: str) -> None:
    """With such a URL anybody may read the file: an input, or a model that a container loads."""
    text = f"GET https://bucket/model.bin?{query} 200"
    assert text.format("***") == redact(text.format("aB3~xY%2Fz-_0"))


@pytest.mark.parametrize("user", ["key", TOKEN, "AKIAIOSFODNN7EXAMPLE", "ghp_AbCdEfGhIjKlMnOpQrStUvWx", ""])
def test_a_url_s_password_is_hidden_whoever_the_user_is(user: str) -> None:
    """Also if the user alone looks like a token: then that was hidden, and the password was not."""
    assert "s3://***@bucket/x" == redact(f"s3://{user}:wJalrXUtnFEMI@bucket/x")


@pytest.mark.parametrize("name", ["hf_endpoints_default", "No module named 'hf_transfer'", "hf_xet", "hf_hub_download"])
def test_names_that_only_look_like_tokens_stay_readable(name: str) -> None:
    """The connection's id, and modules in the log of a container, are not tokens."""
    assert name == redact(name)


def test_the_longest_secret_goes_first() -> None:
    """A secret that contains another one leaves nothing of itself behind."""
    assert redact("pass-word-2 and pass-word", ["pass-word", "pass-word-2"]) == "*** and ***"


def test_empty_secrets_change_nothing() -> None:
    """An empty secret is not "everything between two characters"."""
    assert redact("text", ["", "absent"]) == "text"


def test_a_secret_is_found_where_json_escapes_it() -> None:
    """A service that quotes the request as JSON escapes quotes and line ends: the secret is found all the same."""
    assert redact('{"sent": "a\\"b\\nc"}', ['a"b\nc']) == '{"sent": "***"}'


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    """A log shows a key file line by line, and each line of it is a secret."""
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----"
    assert "MIIEpAIBAAKCAQEA" not in redact("12:00 read MIIEpAIBAAKCAQEA from env", [key])


def basic(secret: str) -> str:
    """As the header of a registry has it."""
    return base64.b64encode(f"robot:{secret}:".encode()).decode()


SPELLINGS: list[Callable[[str], str]] = [
    str,
    json.dumps,
    lambda secret: json.dumps(json.dumps({"a": secret})),
    lambda secret: json.dumps(secret, ensure_ascii=False),
    repr,
    shlex.quote,
    quote,
    quote_plus,
    lambda secret: quote(secret, safe=""),
    html.escape,
    lambda secret: base64.b64encode(secret.encode()).decode(),
    lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    basic,
    lambda secret: "\n".join(f"12:00 {line}" for line in secret.splitlines()),
]


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize(
    "secret", ["plain value 1", 'it\'s "all" & <more>/+?=', "zwölf Boxkämpfer", "a first line\nand a second"]
)
def test_a_value_is_found_however_it_is_spelt(spell: Callable[[str], str], secret: str) -> None:
    """Escaped, quoted or encoded: nothing of it is left from which it could be read."""
    printed = spell(secret)
    shown = redact(f"before {printed} after", [secret])
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    left = shown.removeprefix("before ").removesuffix(" after")
    longest = max((len(part) for part in left.replace("robot", "").split("***")), default=0)
    assert longest <= 12, f"left of it: {left}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("OPENAI_API_KEY=plainvalue", "OPENAI_API_KEY=***"),
        ("PATH=/bin\nexport DB_PASSWORD=plain value\nHOME=/", "PATH=/bin\nexport DB_PASSWORD=***\nHOME=/"),
        ("it ended after API_KEY=plainvalue was read", "it ended after API_KEY=*** was read"),
        ("export DB_PASSWORD='plain value'", "export DB_PASSWORD='***'"),
        ('{"password": "plain value", "n": 1}', '{"password": "***", "n": 1}'),
        ('{\\"apiKey\\": \\"plain\\"}', '{\\"apiKey\\": \\"***\\"}'),
        ("Settings(api_key='plain', n=1)", "Settings(api_key='***', n=1)"),
        ("serve --api-key plainvalue --port 80", "serve --api-key *** --port 80"),
        ("https://x/?access_token=plainvalue", "https://x/?access_token=***"),
        ("AWS_SECRET_ACCESS_KEY: plainvalue", "AWS_SECRET_ACCESS_KEY: ***"),
    ],
)
def test_a_name_that_says_it_is_a_secret_is_enough(text: str, shown: str) -> None:
    """If the endpoint's names are unknown: an error of the service, of a proxy, of an engine."""
    assert shown == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY is not set",
        "KeyError: 'API_KEY'",
        "serve --api-key $API_KEY",
        "--api-key={{ conn.x.password }}",
        "EOS_TOKEN=</s> PAD_TOKEN='<pad>'",
        "MAX_TOKEN=4096 max_tokens=64, tokenizer: gpt2",
        "api_key=None, password: required, secrets: Field required",
        'def f(password: str, token="x"): ...',
        "MY_API_KEY_FILE=/etc/x monkey=banana",
        "primary key: id; sort_key=name",
    ],
)
def test_what_explains_something_stays(text: str) -> None:
    """A name without a value, a reference, a special token of a model, and names that only sound alike."""
    assert text == redact(text)


def test_a_key_whose_begin_was_cut_away_goes_too() -> None:
    """The last lines of a log may be the end of a key file, or its middle."""
    line = "MIIEow" * 10 + "Ab3+"
    assert redact(f"{line}\n{line}\nshort==\n-----END RSA PRIVATE KEY-----\nnext") == "***\nnext"
    assert redact(f"before\n{line}\n{line}\nnext") == "before\n***next"


@settings(deadline=None)
@given(st.text(alphabet="API_KEY=:'\"\\ ,{}-x\n", max_size=80), st.text(max_size=20))
def test_whatever_is_printed_redacting_ends(text: str, secret: str) -> None:
    """No text and no secret makes it fail, and what is redacted stays as it is."""
    assert isinstance(redact(text, [secret]), str)


@pytest.mark.parametrize("text", ["A" * 200_000, "a-" * 100_000, "a_" * 100_000, "API_KEY='" * 2_000, "x" * 63 + "\n"])
def test_a_long_text_takes_no_more_than_a_moment(text: str) -> None:
    """A page of some proxy may be large; a pattern that runs away would hang here."""
    assert isinstance(redact(text), str)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mCUDA\x1b[0m out of memory\x1b[2K", "CUDA out of memory"),
        ("\x1b]0;a title\x07done\x1b]8;;http://x\x1b\\link", "donelink"),
        ("one\r\ntwo\ttabs stay\r\n", "one\ntwo\ttabs stay\n"),
        ("10 %\r20 %", "10 % 20 %"),
        ("a\x00b\x08c\x7fd\x9be", r"a\x00b\x08c\x7fd\x9be"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("plain: ä 日本 🙂\n", "plain: ä 日本 🙂\n"),
    ],
)
def test_what_is_quoted_acts_on_no_terminal(text: str, shown: str) -> None:
    """Neither colours nor a moving cursor are left of a text; other unseen characters are written out."""
    assert shown == redact(text)


@pytest.mark.parametrize("text", ["API_KEY=\x1b[31mabc-def", "Bearer \x1b[1mabcdefgh"])
def test_no_character_of_a_terminal_hides_a_secret(text: str) -> None:
    """A coloured value is found as a plain one is."""
    shown = redact(text)
    assert "***" in shown
    assert not any(part in shown for part in ("abc-def", "abcdefgh"))


def test_a_secret_with_such_characters_is_found() -> None:
    """In the text they are gone before the secret is looked for."""
    assert "key: ***" == redact("key: a\r\nb\x1b[0mc", ["a\r\nb\x1b[0mc"])


def test_an_unseen_character_makes_no_secret_of_a_text() -> None:
    """An argument is refused for what looks like a secret, and not for how its lines end."""
    assert not has_secret("one\r\ntwo\x1b[0m")
    assert has_secret("Bearer abcdefgh\r\n")
