"""The endpoint object that the hook returns: a snapshot with methods, which can be read again, as in huggingface_hub.

It makes no decisions. `endpoints/waiting/readiness.py` says what a state means for a wait, `endpoints/client.py` sends
requests, and `inference/` speaks to engines. Imports no Airflow.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self, Unpack
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.api.arguments import UpdateArguments
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.concealing import conceal
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
)
from airflow_provider_hf_endpoints.endpoints.models import (
    BROKEN,
    InferenceEndpoint,
    InferenceEndpointStatus,
    LogEntry,
    Replica,
)
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    Failed,
    Goal,
    Ready,
    TimedOut,
    states_after_update,
)
from airflow_provider_hf_endpoints.inference.client import AsyncInferenceClient, InferenceClient
from airflow_provider_hf_endpoints.inference.engines import dialect_of
from airflow_provider_hf_endpoints.waits import ProgressLog

log = logging.getLogger(__name__)

REFRESH_EVERY = 5.0  # seconds, huggingface_hub's default
# How long a call to an endpoint that may be scaled to zero lets the proxy keep it: starts of 10 minutes were seen.
SCALE_UP_TIMEOUT = 600.0  # seconds

_RUNNING = frozenset({InferenceEndpointStatus.RUNNING.value})


class EndpointHandle:
    """An endpoint and its actions. The attributes are those of the last read; `fetch` reads again.

    Every attribute of the snapshot (`endpoints.models.InferenceEndpoint`) can be read here: `status`, `url`, `raw`,
    `engine`, `instance_type`, `ready_replica` …

    :param token: for calls to the endpoint.
    :param token_source: where the token comes from, in words, for errors.
    :param secrets: values that no error may show, e.g. those of the endpoint's own `secrets`.
    :param conceal: called with every such value, for a log that masks.
    :param resumed_at: when it was created or resumed, if that was a moment ago: a wait then ignores reads that lag.
    """

    def __init__(
        self,
        client: EndpointsClient,
        snapshot: InferenceEndpoint,
        *,
        token: SecretStr,
        token_source: str | None = None,
        secrets: Sequence[str] = (),
        conceal: Callable[[str], None] | None = None,
        resumed_at: datetime | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._client = client
        self._token = token
        self._token_source = token_source
        self._secrets: tuple[str, ...] = ()  # what an error that quotes the endpoint's log must not show
        self._conceal = conceal
        self._keep_secret(secrets)
        self._resumed_at = resumed_at
        self._goal_states = states_after_update(snapshot)  # for the next wait
        self._inference: tuple[object, InferenceClient] | None = None
        self._async_inference: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[object, AsyncInferenceClient]] = (
            WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        """As the snapshot's: name, namespace, repository, status, url."""
        return repr(self.snapshot)

    def __getattr__(self, name: str) -> Any:
        """The snapshot's attributes."""
        if name.startswith("_") or name == "snapshot":
            raise AttributeError(name)
        return getattr(self.snapshot, name)

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.snapshot.name

    @property
    def namespace(self) -> str:
        """The user or organisation that owns it."""
        return self.snapshot.namespace

    @property
    def status(self) -> str:
        """Its state at the last look."""
        return self.snapshot.status

    @property
    def url(self) -> str | None:
        """Where it answers; set while paused too."""
        return self.snapshot.url

    @property
    def raw(self) -> dict[str, Any]:
        """The service's whole answer at the last look."""
        return self.snapshot.raw

    def fetch(self) -> Self:
        """Look again. Raises `EndpointNotFoundError` when it is gone."""
        self.snapshot = self._client.get_inference_endpoint(self.name, namespace=self.namespace)
        return self

    def wait(
        self, timeout: float | None = None, refresh_every: float = REFRESH_EVERY, *, fetch_every: float | None = None
    ) -> Self:
        """Wait until the model answers: running, and its health route says 200. One that is scaled to zero is woken.

        After an update of a paused or scaled-to-zero endpoint, wait until it is back in that state. The wait does not
        start it.

        :param timeout: seconds; None (huggingface_hub's default) waits as long as the endpoint can still get there.
        :param refresh_every: seconds between looks at most; they are shorter at first.
        :param fetch_every: the older name of `refresh_every`.
        :raises InferenceEndpointTimeoutError: not ready in time.
        :raises EndpointFailedError: it cannot become ready: failed (with the last lines of its log), deleted, or paused
            and not being resumed.
        """
        if fetch_every is not None:
            warnings.warn("`fetch_every` is deprecated. Use `refresh_every`.", FutureWarning, stacklevel=2)
            refresh_every = fetch_every
        if timeout is not None and timeout < 0:
            raise InvalidArgumentError(f"timeout={timeout!r} is not valid. Give 0 or more seconds.")
        if refresh_every <= 0:
            raise InvalidArgumentError(
                f"refresh_every={refresh_every!r} is not valid. Give a positive number of seconds."
            )
        started = datetime.now(UTC)
        goal = Goal(
            started=started,
            deadline=None if timeout is None else started + timedelta(seconds=timeout),
            target_states=self._goal_states,
            resumed_at=self._resumed_at,
            longest_poll=refresh_every,
        )
        progress = ProgressLog(lambda why: log.info("Waiting for endpoint %s: %s", self.name, why))
        end = self._client.wait(self.name, goal, namespace=self.namespace, on_look=progress)
        self.snapshot = end.endpoint or self.snapshot
        match end:
            case Ready():
                self._goal_states = _RUNNING
                return self
            case TimedOut(reason=reason):
                raise InferenceEndpointTimeoutError(f"Endpoint {self._path}: {reason}")
            case Failed(reason=reason, endpoint=endpoint):
                details = ""
                if endpoint is not None and endpoint.status in BROKEN:
                    details = "\n" + self._client.describe_failure(endpoint, secrets=self._secrets)
                raise EndpointFailedError(redact(f"Endpoint {self._path}: {reason}{details}", self._secrets))

    def pause(self) -> Self:
        """Pause: nothing is billed, and only a resume starts it again."""
        self.snapshot = self._client.pause_inference_endpoint(self.name, namespace=self.namespace)
        self._resumed_at, self._goal_states = None, _RUNNING
        return self

    def resume(self, running_ok: bool = True) -> Self:
        """Resume; that it runs already is an error only where `running_ok` is False."""
        self.snapshot = self._client.resume_inference_endpoint(
            self.name, namespace=self.namespace, running_ok=running_ok
        )
        self._resumed_at, self._goal_states = datetime.now(UTC), _RUNNING
        return self

    def scale_to_zero(self) -> Self:
        """Scale to zero: nothing is billed, and any authorised request starts it again."""
        self.snapshot = self._client.scale_to_zero_inference_endpoint(self.name, namespace=self.namespace)
        self._goal_states = _RUNNING
        return self

    def update(self, **changes: Unpack[UpdateArguments]) -> Self:
        """Change what is given and nothing else. Arguments: see `endpoints.spec.EndpointUpdate`."""
        change = EndpointUpdate.from_arguments(**changes)
        self._keep_secret(change.secret_values())
        self.snapshot = self._client.update(self.name, change, namespace=self.namespace)
        self._goal_states = states_after_update(self.snapshot)
        return self

    def delete(self) -> None:
        """Delete, and return when it is really gone."""
        self._client.delete_inference_endpoint(self.name, namespace=self.namespace)
        self._resumed_at = None  # a wait takes it for gone at once

    def logs(self, tail: int = 100, **filters: Any) -> list[LogEntry]:
        """The last lines of its log, oldest first, without the endpoint's secrets: what a task returns is stored."""
        entries = self._client.get_inference_endpoint_logs(self.name, namespace=self.namespace, tail=tail, **filters)
        # All at once: a secret may have several lines.
        lines = conceal("\n".join(entry.line for entry in entries), self.snapshot, self._secrets).split("\n")
        if len(lines) != len(entries):  # one `***` stands for some of them, and which these were is not known
            return [LogEntry(line=line) for line in lines]
        return [entry.model_copy(update={"line": line}) for entry, line in zip(entries, lines, strict=True)]

    def replicas(self) -> list[Replica]:
        """Its replicas and their stages."""
        return self._client.list_inference_endpoint_replicas(self.name, namespace=self.namespace)

    @property
    def client(self) -> InferenceClient:
        """Calls to the endpoint, in its engine's dialect. Raises `InferenceEndpointError` while it is not deployed."""
        target, make = self._calls()
        if self._inference is None or self._inference[0] != target:
            self.close()
            self._inference = (target, make(InferenceClient))
        return self._inference[1]

    @property
    def async_client(self) -> AsyncInferenceClient:
        """`client` for asyncio; one for each event loop. Close it with `await endpoint.async_client.close()`."""
        target, make = self._calls()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # made outside of a loop, as `huggingface_hub` allows
            alone: AsyncInferenceClient = make(AsyncInferenceClient)
            return alone
        known = self._async_inference.get(loop)
        if known is None or known[0] != target:
            known = self._async_inference[loop] = (target, make(AsyncInferenceClient))
        return known[1]

    def close(self) -> None:
        """Close the connections that `client` has opened. The hook's stay open."""
        if self._inference is not None:
            self._inference[1].close()
            self._inference = None

    def _calls(self) -> tuple[object, Callable[[type[Any]], Any]]:
        """What identifies the target, and how a client for it is made."""
        url = self._deployed_url()
        snapshot = self.snapshot
        # One that may scale to zero between two calls is woken by the next one, which then waits.
        sleepy = snapshot.status == InferenceEndpointStatus.SCALED_TO_ZERO or snapshot.min_replica == 0
        options = {"engine": known_engine(snapshot.engine), "scale_up_timeout": SCALE_UP_TIMEOUT if sleepy else None}
        token, source = self._token.get_secret_value(), self._token_source
        return (url, *options.values()), lambda kind: kind(url, token, token_source=source, **options)

    def _deployed_url(self) -> str:
        state = InferenceEndpointStatus
        todo = None
        match self.status:
            case state.PAUSED:
                todo = "Resume it and wait: endpoint.resume().wait()."
            case state.FAILED:
                todo = "It failed to start: endpoint.logs() shows why."
            case state.PENDING | state.INITIALIZING:
                todo = "It is starting. Wait for it: endpoint.wait()."
            case state.UPDATING if not self.snapshot.ready_replica:
                todo = "It is being updated, and no replica is ready. Wait for it: endpoint.wait()."
            case _ if not self.url:
                todo = "The service has not reported a URL yet. Wait for it: endpoint.wait()."
        if todo is not None or not self.url:
            raise InferenceEndpointError(
                f"Endpoint {self._path} is not deployed: it was {self.status} at the last look. {todo} To look again: "
                "endpoint.fetch()."
            )
        return self.url

    def _keep_secret(self, values: Sequence[str]) -> None:
        self._secrets += tuple(values)
        if self._conceal is not None:
            for value in values:
                self._conceal(value)

    @property
    def _path(self) -> str:
        return f"{self.namespace}/{self.name}"


def known_engine(engine: str | None) -> str | None:
    """The engine, or None (then it is found out by asking) for one that is newer than this package."""
    try:
        dialect_of(engine)
    except ValueError:
        return None
    return engine
