"""Secrets that go to an endpoint: given as values, or as references to an Airflow connection or variable.

They are never template fields (rendered templates are stored and shown), they are looked up when the task runs, and
they are masked in its log as soon as they are known.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook, Variable

from airflow_provider_hf_endpoints._airflow import mask_secret
from airflow_provider_hf_endpoints._redact import has_secret, redacting
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.operators.checking.mapping import extended

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FromConnection:
    """A secret in an Airflow connection.

    :param field: `password` (default), `login`, `host`, `schema`, or the name of an extra.
    """

    conn_id: str
    field: str = "password"

    def reveal(self) -> str:
        """Look it up. Raises `InvalidArgumentError` when the connection does not have the field."""
        connection = BaseHook.get_connection(self.conn_id)
        if self.field in ("password", "login", "host", "schema"):
            value = getattr(connection, self.field)
        else:
            value = connection.extra_dejson.get(self.field)
        if not value:
            raise InvalidArgumentError(
                f"Connection {self.conn_id!r} has no {self.field!r}, so the secret cannot be read. Set it, or name "
                "another field."
            )
        return str(value)


@dataclass(frozen=True)
class FromVariable:
    """A secret in an Airflow variable."""

    key: str

    def reveal(self) -> str:
        """Look it up. Raises `InvalidArgumentError` if it is empty, and Airflow's error if it does not exist."""
        value = Variable.get(self.key)
        if not value:
            raise InvalidArgumentError(f"Variable {self.key!r} is empty, so the secret cannot be read. Set it.")
        return str(value)


Secret = str | FromConnection | FromVariable


@dataclass(frozen=True)
class SecretArguments:
    """The arguments of create and update that contain secrets: kept out of template fields, and looked up when needed.

    Its repr shows none: tracebacks with local variables, and debuggers, print it.
    """

    secrets: Mapping[str, Secret] | None = dataclasses.field(default=None, repr=False)
    container_registry_password: Secret | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(
        cls, secrets: Mapping[str, Secret] | None, password: Secret | None, default_args: Mapping[str, Any] | None
    ) -> SecretArguments:
        """Of an operator, checked when the DAG is read.

        :param default_args: as Airflow hands them to the operator; they are stored with the DAG
        :raises InvalidArgumentError: naming the argument
        """
        refuse_shown(default_args or {}, "default_args")
        if secrets is not None and not isinstance(secrets, Mapping):
            raise InvalidArgumentError(
                f"secrets is {type(secrets).__name__}, not a mapping of names to values. Airflow stores the result of "
                "another task in clear text. Give FromConnection(…) or FromVariable(…) for each secret."
            )
        for field, secret in [*(secrets or {}).items(), ("container_registry_password", password)]:
            if isinstance(secret, str) and ("{{" in secret or "{%" in secret):
                raise InvalidArgumentError(
                    f"{field} is a template, but secrets are not rendered: Airflow stores and shows rendered values. "
                    "Give FromConnection(…) or FromVariable(…)."
                )
            if secret is None and field == "container_registry_password":
                continue
            _check_kind(field, secret)
        return cls(secrets, password)

    def reveal(self) -> dict[str, Any]:
        """Those that are given, with every reference looked up, masked in the log."""
        return _reveal_all(self.secrets, self.container_registry_password)

    def values(self) -> list[str]:
        """Every value, masked in the task's log from now on."""
        return _mask_all(self.reveal())


def _reveal_all(secrets: Mapping[str, Secret] | None, password: Secret | None) -> dict[str, Any]:
    """The arguments `secrets` and `container_registry_password` with every reference looked up, masked in the log."""
    revealed: dict[str, Any] = {}
    if secrets is not None:
        revealed["secrets"] = {name: _reveal(f"secrets[{name!r}]", secret) for name, secret in secrets.items()}
    if password is not None:
        revealed["container_registry_password"] = _reveal("container_registry_password", password)
    _mask_all(revealed)
    return revealed


@redacting()
def refuse_shown(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse secrets given as values where Airflow stores them, readable, with the DAG.

    :param where: that place, in words
    :raises ValueError: naming the argument.
    """
    secrets = arguments.get("secrets")
    if secrets is not None and not isinstance(secrets, Mapping):
        raise ValueError(
            f"secrets is {type(secrets).__name__}. Airflow stores the result of another task in clear text. Give a "
            "mapping of names to FromConnection(…) or FromVariable(…)."
        )
    given = {**(secrets or {}), "container_registry_password": arguments.get("container_registry_password")}
    for name, value in given.items():
        if value is not None and not isinstance(value, FromConnection | FromVariable):
            raise ValueError(
                f"{name} is given as a value, but Airflow stores the {where} in clear text. Give this secret as "
                "FromConnection(…) or FromVariable(…)."
            )


def refuse_templated(arguments: Mapping[str, Any]) -> None:
    """Refuse secrets inside template fields: rendered templates are stored and shown.

    Registry credentials in `custom_image`, and in `env`, `custom_image` and the container's arguments what looks like
    a token.

    :raises ValueError: naming the arguments to use.
    """
    image = arguments.get("custom_image")
    for settings in (image, *image.values()) if isinstance(image, Mapping) else ():
        if isinstance(settings, Mapping) and settings.get("credentials"):
            raise ValueError(
                "custom_image contains registry credentials, but Airflow stores and shows rendered templates. Give "
                "container_registry_username and container_registry_password (FromConnection(…)) instead."
            )
    for name in ("env", "custom_image", "container_command", "container_args"):
        if any(has_secret(text) for text in _texts(arguments.get(name))):
            raise ValueError(
                f"{name} seems to contain a token or a password, but Airflow stores and shows rendered templates. Give "
                'the secret in `secrets`, e.g. secrets={"API_KEY": FromConnection("vault")}. The container also finds '
                "it in its environment."
            )


def refuse_in_changes(changes: Mapping[str, Any]) -> None:
    """Refuse secrets inside the template field `changes`.

    :raises InvalidArgumentError: naming the argument to use.
    """
    for name in ("secrets", "container_registry_password"):
        if changes.get(name) is not None:
            raise InvalidArgumentError(
                f"changes has {name}, but Airflow stores and shows `changes`. Give {name} as a separate argument."
            )
    refuse_templated(changes)


def guarded(partial: Any) -> Any:
    """What an operator's `partial` returned, with an `expand` and an `expand_kwargs` that refuse secrets as values."""
    places = {"arguments of partial(…)": partial.kwargs}
    for name in ("dag", "task_group"):
        places[f"default_args of the {name}"] = getattr(partial.kwargs.get(name), "default_args", None) or {}
    for where, arguments in places.items():
        _refuse(arguments, where)
    return extended(partial, _RefusesShown)


class _RefusesShown:
    """Before Airflow's own class of a partial operator."""

    __slots__ = ()

    def expand(self, **mapped: Any) -> Any:
        """As Airflow's. A list is looked through; another task's result may contain no secrets at all."""
        for name, values in mapped.items():
            for value in values if isinstance(values, list | tuple) else (values,):
                _refuse({name: value}, "arguments of expand(…)")
        return super().expand(**mapped)  # type: ignore[misc]

    def expand_kwargs(self, kwargs: Any, **options: Any) -> Any:
        """As Airflow's. The content of another task's result is not known when the DAG is parsed."""
        for each in kwargs if isinstance(kwargs, list | tuple) else ():
            if isinstance(each, Mapping):
                _refuse(each, "arguments of expand_kwargs(…)")
        return super().expand_kwargs(kwargs, **options)  # type: ignore[misc]


def _refuse(arguments: Mapping[str, Any], where: str) -> None:
    refuse_shown(arguments, where)
    refuse_templated(arguments)
    if isinstance(changes := arguments.get("changes"), Mapping):
        refuse_in_changes(changes)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
        yield " ".join(each for each in value if isinstance(each, str))  # ["--api-key", "…"]


def _mask_all(revealed: Mapping[str, Any]) -> list[str]:
    """Every value in there, masked in the task's log from now on."""
    values = [*(revealed.get("secrets") or {}).values(), revealed.get("container_registry_password")]
    known = [value for value in values if value]
    for value in known:
        try:
            mask_secret(value)
        except RuntimeError as error:
            # Airflow 3.0 raises outside of its processes. There it writes no logs.
            log.debug("No secrets to mask: %s", error)
    return known


def _reveal(field: str, secret: Secret) -> str:
    _check_kind(field, secret)
    return secret if isinstance(secret, str) else secret.reveal()


def _check_kind(field: str, secret: object) -> None:
    if not secret or not isinstance(secret, str | FromConnection | FromVariable):
        raise InvalidArgumentError(
            f"{field} must be a non-empty string, FromConnection(…) or FromVariable(…), not {type(secret).__name__}."
        )
