"""What may be quoted of an endpoint's own words: its log, the messages of its state, the answer of its health route.

A container that fails likes to print what it was given. Whoever waits for an endpoint need not know its secrets, and
the service does not give them back: they are found by the names that the endpoint has for them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_hf_endpoints._http import REDACTED, redact
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint

_SOUNDS_SECRET = re.compile(r"key|token|secret|passw|pwd|credential|auth|dsn|conn", re.I)
_SHORTEST_VALUE = 6  # characters of a variable of the environment that is hidden wherever it stands

# NAME=value, NAME: value, "NAME": "value", NAME => value, --name value; also with quotes that are escaped as JSON.
_BEFORE = r"(?<![\w.])(?:--)?"
_BETWEEN = r"(?:\\*[\"'])?\]?\s*(?:=>|:=|[=:])\s*"
_AFTER_FLAG = r"\s+"
_QUOTED = r"(?P<quote>\\*[\"'])(?:(?!(?P=quote))(?:\\.|.))*(?:(?P=quote)|$)"
# A secret may have blanks: it ends where the next setting begins, or with its line. A variable ends at a blank.
_TO_NEXT = r"[^\s\"'].*?(?=[,;]\s|\s[\w.-]+=|[)}\]]*$)"
_TO_BLANK = r"[^\s\"']+?(?=[,;.)}\]]*(?:[\s\"']|$))"


def conceal(text: str, endpoint: InferenceEndpoint, secrets: Iterable[str] = ()) -> str:
    """`text` without the values of the endpoint's secrets and variables, and without whatever looks like a secret.

    :param secrets: further values that must not appear, of whoever knows them.
    """
    model, router = _part(endpoint.raw, "model"), _part(endpoint.raw, "customRouter")
    env = {**_part(router, "env"), **_part(model, "env")}
    values = [
        value
        for name, value in env.items()
        if _SOUNDS_SECRET.search(name) and isinstance(value, str) and len(value) >= _SHORTEST_VALUE
    ]
    text = redact(text, [*secrets, *values])
    text = _without_values(text, _part(model, "secrets"), _TO_NEXT)
    return _without_values(text, env, _TO_BLANK)


def _part(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}


def _without_values(text: str, names: Iterable[str], unquoted: str) -> str:
    spelled = [_spelled(name) for name in sorted(names, key=len, reverse=True) if name]
    if not spelled:
        return text
    name = f"(?:{'|'.join(spelled)})(?!\\w)"
    value = f"(?:{_QUOTED}|{unquoted})"
    found = re.compile(f"(?P<name>{_BEFORE}{name}{_BETWEEN}|(?<!\\S)--{name}{_AFTER_FLAG}){value}", re.I | re.M)
    return found.sub(lambda match: f"{match['name']}{match['quote'] or ''}{REDACTED}{match['quote'] or ''}", text)


def _spelled(name: str) -> str:
    """API_KEY is `api_key` to Python's settings and `api-key` on a command line."""
    return re.escape(name).replace("_", "[_-]")
