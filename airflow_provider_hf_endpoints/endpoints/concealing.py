"""What may be quoted of an endpoint's own words: its log, the messages of its state, the answer of its health route.

A container that fails likes to print what it was given. Whoever waits for an endpoint need not know its secrets, and
the service does not give them back: they are found by the names that the endpoint has for them. Pure.

It is done where such words come in: the messages where an endpoint is read (`models`), the log and the health route's
words where they are asked for (`api/readings`, `waiting/wait`). Who quotes them later need not think of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from airflow_provider_hf_endpoints._redact import TO_BLANK, TO_NEXT, redact, redact_encoded, redact_named

_SOUNDS_SECRET = re.compile(r"key|token|secret|passw|pwd|credential|auth|dsn|conn", re.I)
_SHORTEST_VALUE = 6  # characters of a variable of the environment that is hidden wherever it stands
_WORDS = ("message", "errorMessage", "agentMessage")  # of an endpoint's `status`: they may repeat its log


class Described(Protocol):
    """An endpoint as the service described it."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's answer."""


def conceal(text: str, endpoint: Described, secrets: Iterable[str] = ()) -> str:
    """`text` without the values of the endpoint's secrets and variables, and without whatever looks like a secret.

    :param secrets: further values that must not appear, of whoever knows them.
    """
    return _conceal(text, endpoint.raw, secrets)


def without_secrets(raw: dict[str, Any]) -> dict[str, Any]:
    """The service's answer with the words of its `status` concealed."""
    status = _part(raw, "status")
    said = {name: status[name] for name in _WORDS if isinstance(status.get(name), str)}
    hidden = {name: _conceal(text, raw) for name, text in said.items()}
    return raw if hidden == said else {**raw, "status": {**status, **hidden}}


def _conceal(text: str, raw: Mapping[str, Any], secrets: Iterable[str] = ()) -> str:
    model, router = _part(raw, "model"), _part(raw, "customRouter")
    env = {**_part(router, "env"), **_part(model, "env")}
    named = _part(model, "secrets")
    values = [
        value
        for name, value in env.items()
        if _SOUNDS_SECRET.search(name) and isinstance(value, str) and len(value) >= _SHORTEST_VALUE
    ]
    known = [*secrets, *values]

    def hide(words: str) -> str:
        # By the endpoint's own names first: they say more of where a value ends than looks do.
        words = redact_named(words, named, TO_NEXT)
        words = redact_named(words, env, TO_BLANK)
        return redact(words, known)

    return redact_encoded(hide(text), hide)


def _part(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}
