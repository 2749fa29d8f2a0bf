"""Removes secrets from texts of an endpoint: its log, the messages of its state, the answer of its health route.

A container that fails often prints its settings. A task that waits for an endpoint may not know the secrets, and the
service does not return them. So they are found by their names in the endpoint's settings. Pure.

Texts are cleaned where they are read: messages in `models`, the log in `api/readings`, the health route's answer in
`waiting/wait`. Code that quotes them later need not clean them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from airflow_provider_hf_endpoints._redact import TO_BLANK, TO_NEXT, redact, redact_encoded, redact_named

_SOUNDS_SECRET = re.compile(r"key|token|secret|passw|pwd|credential|auth|dsn|conn", re.I)
_SHORTEST_VALUE = 6  # characters of a variable of the environment that is hidden wherever it stands
_LONGEST_WORDS = 4000  # characters of a status' message; a search for secrets in much more takes long
_WORDS = ("message", "errorMessage", "agentMessage")  # of an endpoint's `status`: they may repeat its log


class Described(Protocol):
    """An endpoint as the service described it."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's answer."""


def conceal(text: str, endpoint: Described, secrets: Iterable[str] = ()) -> str:
    """`text` without the values of the endpoint's secrets and variables, and without whatever looks like a secret.

    :param secrets: further values that must not appear, if the caller knows them.
    """
    return _conceal(text, endpoint.raw, secrets)


def without_secrets(raw: dict[str, Any]) -> dict[str, Any]:
    """The service's answer with the words of its `status` concealed."""
    status = _part(raw, "status")
    said = {name: status[name] for name in _WORDS if isinstance(status.get(name), str)}
    # A secret that is cut by the first limit is behind the second one.
    hidden = {name: _conceal(text[: 2 * _LONGEST_WORDS], raw)[:_LONGEST_WORDS] for name, text in said.items()}
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
