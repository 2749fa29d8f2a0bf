"""What a service answered, written down: every exchange of a control-plane client and of calls to an endpoint.

A record holds no secret and no name of an account: requests are not kept, and in answers the user, the namespace, the
endpoint's name and address, times and ids are replaced. What the records mean is in `differences.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_PERSONAL = "/api/whoami-v2"  # names, addresses and memberships: only its fields are kept
_ID = re.compile(r"\b(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Exchange:
    """One answer. `path` has placeholders; `body` is parsed JSON, or the text where it is none."""

    step: str
    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def state(self) -> str | None:
        """The endpoint's state, where the answer is an endpoint."""
        status = self.body.get("status") if isinstance(self.body, dict) else None
        return status.get("state") if isinstance(status, dict) else None


@dataclass
class Recorder:
    """Keeps each exchange of a step once: a wait that looks a hundred times is one entry per state."""

    exchanges: list[Exchange] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    _step: str = "(before the first step)"
    _hidden: dict[str, str] = field(default_factory=dict)
    _secrets: list[str] = field(default_factory=list)

    def hide(self, text: str | None, placeholder: str) -> None:
        """From now on, show `placeholder` where an answer has `text`."""
        if text:
            self._hidden[text] = placeholder

    def hide_secret(self, text: str) -> None:
        """From now on, show stars where an answer has `text`."""
        self._secrets.append(text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Everything inside belongs to the step `name`. An error of the service ends the step and is its outcome."""
        self._step = name
        try:
            yield
        except (InferenceEndpointError, httpx.HTTPError) as error:
            self.outcomes[name] = type(error).__name__
        else:
            self.outcomes[name] = "ok"

    def take(self, response: httpx.Response) -> None:
        """Write an answer down; made for httpx's event hooks."""
        response.read()
        body = _parsed(response.text)
        status = body.get("status") if isinstance(body, dict) else None
        if isinstance(status, dict) and isinstance(status.get("url"), str):
            self.hide(status["url"].rstrip("/"), "{url}")
        path = self.path_of(str(response.request.url))
        exchange = Exchange(
            step=self._step,
            method=response.request.method,
            path=path,
            status=response.status_code,
            headers={name.lower(): self.shown(value) for name, value in response.headers.items()},
            body=_without_texts(body) if path == _PERSONAL else self._anonymous(body),
        )
        if exchange.state is not None:
            seen = self.states.setdefault(self._step, [])
            if seen[-1:] != [exchange.state]:
                seen.append(exchange.state)
        key = (exchange.step, exchange.method, exchange.path, exchange.status, exchange.state)
        if key not in {(e.step, e.method, e.path, e.status, e.state) for e in self.exchanges}:
            self.exchanges.append(exchange)

    def path_of(self, url: str) -> str:
        """Where a request went, the same for every service and account."""
        shown = self.shown(url)
        if shown.startswith("{url}"):
            return shown
        return urlsplit(shown).path

    def shown(self, text: str) -> str:
        """`text` without what differs from account to account and from run to run."""
        text = redact(text, self._secrets)
        for hidden in sorted(self._hidden, key=len, reverse=True):
            # Whole words only: an account may be called like a part of one.
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(hidden)}(?![A-Za-z0-9])", self._hidden[hidden], text)
        return _ID.sub("{id}", _TIME.sub("{time}", text))

    def _anonymous(self, value: Any) -> Any:
        """`value` with every text in it as `shown` has it."""
        match value:
            case str():
                return self.shown(value)
            case list():
                return [self._anonymous(below) for below in value]
            case dict():
                return {key: self._anonymous(below) for key, below in value.items()}
            case _:
                return value


def _without_texts(value: Any) -> Any:
    match value:
        case str():
            return "(text)"
        case list():
            return [_without_texts(below) for below in value]
        case dict():
            return {key: _without_texts(below) for key, below in value.items()}
        case _:
            return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class RecordingClient(EndpointsClient):
    """The client that the provider uses, every answer written down, and raw calls beside it."""

    def __init__(self, token: str, recorder: Recorder, **options: Any) -> None:
        super().__init__(token, **options)
        recorder.hide_secret(token)
        self.recorder = recorder
        self._http = httpx.Client(timeout=self.http_timeout, event_hooks={"response": [recorder.take]})

    def call(
        self, method: str, url: str, *, token: str | None = "", timeout: float = 60.0, headers: Any = None, **body: Any
    ) -> httpx.Response:
        """One request as it is, to a path of the control plane or to a whole URL. `token` None sends none."""
        assert self._http is not None
        token = self._token if token == "" else token
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        where = url if "://" in url else self.base_url + url
        return self._http.request(method, where, headers={**sent, **(headers or {})}, timeout=timeout, **body)
