"""How secrets stay out of texts that others read: values that are known, what looks like a secret, values behind names.

A leaf: it imports nothing of this package, so that `endpoints/` and `inference/` share it and stay independent. Pure,
but for `hiding`.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote, quote_plus

REDACTED = "***"

# What is a secret by its looks. A Hugging Face token has capitals or digits; hf_transfer and hf_endpoints_default have
# neither, and a log that hides such names explains nothing. The same for sk-learn.
_LOOKS_SECRET = re.compile(
    # User and password of a URL. First: if the user is a token by its looks, the password is hidden with the user.
    r"(?<=://)[^\s/@:\"']*:[^\s/@\"']+(?=@)"
    r"|\bhf_jwt_[\w.-]+|\bhf_(?=[a-z_-]*[A-Z0-9])[\w-]{4,}|\bapi_org_\w{16,}"
    r"|(?<=[Bb]earer )[^\s\"',]+|(?<=[Bb]asic )(?=\S*[0-9+/=])[\w+/=-]{8,}"
    r"|\bsk-(?=[\w-]*\d)[\w-]{5,}|\b[sr]k_(?:live|test)_\w{8,}"  # OpenAI and its likes, Stripe
    r"|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"  # GitHub, GitLab
    r"|\bxox[abeprs]-[\w-]{8,}|\bnvapi-[\w-]{16,}|\bgsk_\w{16,}|\br8_\w{16,}|\bnpm_\w{30,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"  # AWS, Google
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # a JSON web token
    # What makes a URL a signed one, of AWS, Google and Azure.
    r"|(?<=X-Amz-Signature=)[^\s&\"']+|(?<=X-Amz-Security-Token=)[^\s&\"']+|(?<=X-Goog-Signature=)[^\s&\"']+"
    r"|(?<=[?&]Signature=)[^\s&\"']+|(?<=[?&]sig=)[^\s&\"']+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    # The last lines of a log may begin within a key.
    r"|(?:^[ \t]*[\w+/=]{16,}[ \t]*\n)*^[ \t]*[\w+/=]*[ \t]*\n?-----END [A-Z ]*PRIVATE KEY-----"
    r"|(?:^[ \t]*[A-Za-z0-9+/]{64}[ \t]*$\n?){2,}",
    re.M,
)
_SHORTEST_LINE = 8  # characters of a line of a longer secret (a key file) that is hidden by itself
_SHORTEST_ENCODED = 6  # characters of a secret that is looked for in its encoded forms

# Names that always stand for a secret: in capitals as in an environment, otherwise only if the name is clear.
_IN_CAPITALS = r"(?:[A-Z0-9]+_)*(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|CREDENTIALS?|DSN)"
_CLEARLY = (
    r"(?i:(?:[\w.-]{0,40}[_.-])?(?:(?:api|secret|access|private|signing|encryption)[_-]?key|client[_-]?secret|secret"
    r"|(?:api|access|auth|refresh|bearer|session)[_-]?token|password|passwd|passphrase))"
)
# Not a value but where it comes from (`$API_KEY`, `{{ … }}`, a path), a special token (`<pad>`), or nothing at all.
_NO_VALUE = (
    r"(?!\\*[\"']?(?:[$`<{%*]|[.~]?/|\d[\d.]{0,6}\b|(?i:none|null|true|false|str|string|bytes|os\.)\b"
    r"|From(?:Connection|Variable)\())"
)

# NAME=value, NAME: value, "NAME": "value", NAME => value, --name value; also escaped as JSON, or for a URL.
_BEFORE = r"(?:(?<![\w.])|(?<=%[0-9A-Fa-f]{2}))(?:--)?"
_ASSIGNED = r"(?:=>|:=|=(?!>)|:(?!=)|%3[Dd]|%3[Aa])"
_BETWEEN = rf"(?:\\*[\"']|%22)?\]?\s*{_ASSIGNED}\s*(?:%20|%22|\+)*"
_AFTER_FLAG = r"\s+"
# To the closing quote, also some lines below; to the end of the line without one.
_QUOTED = (
    r"(?P<quote>\\*(?:\"\"\"|'''|[\"']))"
    r"(?:(?:(?!(?P=quote))(?:\\.|[^\\]|\\$)){0,20000}?(?P=quote)|.*$)"
)
# A block of lines: JSON in brackets that open at the end of a line, YAML below `|` or `>`.
_BLOCK = r"[{\[][ \t]*\n[\s\S]*?^[ \t]*[}\]]+|[|>][+-]?[ \t]*\n(?:[ \t]+\S.*(?:\n|$))+"
# A value may have blanks: it ends where the next setting begins, or with its line; lines of a key may follow.
TO_NEXT = (
    r"[^\s\"'].*?(?=[,;]\s+[\"']?[\w.-]+[\"']?\s*[=:]|\s[\w.-]+=|[)}\]]*$)"
    r"(?:[)}\]]*(?:\n[ \t]*[\w+/=-]{24,}[ \t]*$)+)?"
)
# Or it ends at a blank.
TO_BLANK = r"[^\s\"']+?(?=[,;.)}\]]*(?:[\s\"']|$))"

# On a separate line, as `env` prints it, a value may have blanks.
_NAMED = re.compile(
    rf"(?P<name>(?P<alone>^[ \t]*(?:export[ \t]+|-[ \t]+)?(?={_IN_CAPITALS}[=:]))?"
    rf"(?:{_BEFORE}(?:{_IN_CAPITALS}(?:\\*[\"'])?\]?[ \t]*{_ASSIGNED}[ \t]*"
    rf"|{_CLEARLY}(?:(?:\\*[\"']|%22)\]?[ \t]*{_ASSIGNED}[ \t]*|[ \t]?(?:=(?!>)|%3[Dd])[ \t]?))"
    rf"|(?<!\S)--{_CLEARLY}[ \t]+(?!-))){_NO_VALUE}(?:{_QUOTED}|(?(alone){TO_NEXT}|{TO_BLANK}))",
    re.M,
)
# What moves the cursor or colours the text in a terminal, and other characters that a person does not see.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")
# What `hiding` adds.
_also: ContextVar[Callable[[str], str] | None] = ContextVar("hiding", default=None)
# Text in base64, of which the words of a log seldom are: at least the beginning of a NAME=value.
_ENCODED = re.compile(r"(?<![\w+/-])[\w+/-]{16,}={0,2}(?![\w+/-])")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with `***` for each of `secrets`, for what looks like a token, a URL's password or a private key, and for
    what stands behind a name like API_KEY or password.

    The text is readable in a terminal and a log: see `readable`."""
    text = readable(text)
    if (hide := _also.get()) is not None:
        with hiding(None):  # it may redact, too
            text = hide(text)
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    return _NAMED.sub(_hidden, _LOOKS_SECRET.sub(REDACTED, text))


def readable(text: str) -> str:
    """`text` without what would act on a terminal, and with other unseen characters as Python writes them.

    A server's text may contain the colours of a log, a NUL, or what erases the line before it.
    """
    if _UNSEEN.search(text) is None:
        return text
    text = _TERMINAL.sub("", text).replace("\r\n", "\n").replace("\r", " ")
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def has_secret(text: str) -> bool:
    """Whether a part of `text` looks like a secret, or stands behind a name of one."""
    return redact(text) != readable(text)


@contextmanager
def hiding(hide: Callable[[str], str] | None) -> Iterator[None]:
    """Whatever is redacted in this context goes through `hide` first.

    The sender of rows knows the names of the endpoint's secrets; the code that makes errors of answers does not.
    """
    token = _also.set(hide)
    try:
        yield
    finally:
        _also.reset(token)


@contextmanager
def redacting() -> Iterator[None]:
    """A refusal of an argument quotes the value. A token given by mistake, in whichever argument, is not shown."""
    try:
        yield
    except (ValueError, TypeError) as error:
        shown = redact(str(error))
        if shown == str(error):
            raise
        # The chain would show the value; another class may take other arguments.
        raise (TypeError if isinstance(error, TypeError) else ValueError)(shown) from None


def redact_named(text: str, names: Iterable[str], unquoted: str) -> str:
    """`text` with `***` for each value that stands behind one of `names`, however a program prints it.

    :param unquoted: where a value ends that is in no quotes, `TO_NEXT` or `TO_BLANK`
    """
    plain = text.lower().replace("-", "_")
    spelled = [_spelled(name) for name in sorted(names, key=len, reverse=True) if name and _plain(name) in plain]
    if not spelled:
        return text
    name = f"(?:{'|'.join(spelled)})(?!\\w)"
    value = f"(?:{_QUOTED}|{_BLOCK}|{unquoted})"
    found = re.compile(f"(?P<name>{_BEFORE}{name}{_BETWEEN}|(?<!\\S)--{name}{_AFTER_FLAG}){value}", re.I | re.M)
    return found.sub(_hidden, text)


def redact_encoded(text: str, hide: Callable[[str], str]) -> str:
    """`text` with `***` for each word in base64 of which `hide` would hide a part."""

    def judged(match: re.Match[str]) -> str:
        decoded = _decoded(match[0])
        return match[0] if decoded is None or hide(decoded) == decoded else REDACTED

    return _ENCODED.sub(judged, text)


def _hidden(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    return f"{match['name']}{quote}{REDACTED}{quote}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _spelled(name: str) -> str:
    """API_KEY is `api_key` to Python's settings and `api-key` on a command line."""
    return re.escape(name).replace("_", "[_-]")


def _forms(secret: str) -> Iterator[str]:
    """How a secret can stand in a text: as it is, escaped, encoded, or a line at a time."""
    yield secret
    yield readable(secret)
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
        yield escaped
        yield json.dumps(escaped, ensure_ascii=False)[1:-1]  # a text in a text
    yield from (secret.replace("'", inner) for inner in ("'\\''", "'\"'\"'"))  # as a shell quotes it
    yield html.escape(secret)
    yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE)
    if len(secret) >= _SHORTEST_ENCODED:
        yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
        yield from _in_base64(secret.encode())


def _in_base64(secret: bytes) -> Iterator[str]:
    """The characters that `secret` alone decides, at each of the three places where it can begin (`user:secret`)."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).decode()
        begin, end = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        yield encoded[begin:end]
        yield encoded[begin:end].translate(str.maketrans("+/", "-_"))
    yield base64.b64encode(secret).decode()
    yield base64.urlsafe_b64encode(secret).decode()


def _decoded(word: str) -> str | None:
    """The text that a word in base64 is; None for any other word."""
    standard = word.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
