"""Secrets that go to an endpoint: given as values, or as references to an Airflow connection or variable.

They are never template fields (rendered templates are stored and shown), they are looked up when the task runs, and
they are masked in its log as soon as they are known.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook, Variable

from airflow_provider_hf_endpoints._airflow import mask_secret
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FromConnection:
    """A secret that stands in an Airflow connection.

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
            raise InvalidArgumentError(f"Connection {self.conn_id!r} has no {self.field!r} to take a secret from.")
        return str(value)


@dataclass(frozen=True)
class FromVariable:
    """A secret that stands in an Airflow variable."""

    key: str

    def reveal(self) -> str:
        """Look it up. Raises `InvalidArgumentError` when it is empty, and Airflow's error when there is none."""
        value = Variable.get(self.key)
        if not value:
            raise InvalidArgumentError(f"Variable {self.key!r} is empty.")
        return str(value)


Secret = str | FromConnection | FromVariable


@dataclass(frozen=True)
class SecretArguments:
    """The arguments of create and update that hold secrets: kept out of template fields, and looked up when needed."""

    secrets: Mapping[str, Secret] | None = None
    container_registry_password: Secret | None = None

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


def refuse_shown(partial: Mapping[str, Any]) -> None:
    """Refuse secrets given as values to `partial`: Airflow stores its arguments, readable, with the DAG.

    :raises ValueError: naming the argument.
    """
    given = {
        **(partial.get("secrets") or {}),
        "container_registry_password": partial.get("container_registry_password"),
    }
    for name, value in given.items():
        if isinstance(value, str):
            raise ValueError(
                f"{name}: a mapped task's arguments are stored in clear with the DAG, so give this secret as "
                "FromConnection(…) or FromVariable(…)."
            )


def refuse_inline(custom_image: object) -> None:
    """Refuse registry credentials inside `custom_image`, a template field: rendered templates are stored and shown.

    :raises ValueError: naming the arguments to use.
    """
    if not isinstance(custom_image, Mapping):
        return
    for settings in (custom_image, *custom_image.values()):
        if isinstance(settings, Mapping) and settings.get("credentials"):
            raise ValueError(
                "custom_image holds registry credentials, and Airflow stores and shows rendered templates: give "
                "container_registry_username and container_registry_password (FromConnection(…)) instead."
            )


def _mask_all(revealed: Mapping[str, Any]) -> list[str]:
    """Every value in there, masked in the task's log from now on."""
    values = [*(revealed.get("secrets") or {}).values(), revealed.get("container_registry_password")]
    known = [value for value in values if value]
    for value in known:
        try:
            mask_secret(value)
        except RuntimeError as error:
            # Airflow 3.0 raises outside of its own processes, where no log of Airflow's is written.
            log.debug("Nothing to mask secrets in: %s", error)
    return known


def _reveal(field: str, secret: Secret) -> str:
    match secret:
        case FromConnection() | FromVariable():
            return secret.reveal()
        case str() if secret:
            return secret
        case _:
            raise InvalidArgumentError(
                f"{field} must be a non-empty string, FromConnection(…) or FromVariable(…), "
                f"not {type(secret).__name__}."
            )
