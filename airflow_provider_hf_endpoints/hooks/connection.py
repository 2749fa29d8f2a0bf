"""Makes the settings of the client from an Airflow connection, or from the environment.

An incomplete connection is an error that names the missing field. If the *default* connection does not exist, the token
of the environment or of `hf auth login` is used. Imports no Airflow.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from airflow_provider_hf_endpoints._redact import has_secret, redact
from airflow_provider_hf_endpoints.endpoints.api.ceiling import NO_CEILING, Ceiling
from airflow_provider_hf_endpoints.endpoints.api.transport import DEFAULT_TIMEOUT, Bases
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.hooks.hosts import checked_host
from airflow_provider_hf_endpoints.hooks.misplaced import no_token, not_a_token, unreadable

DEFAULT_CONN_ID = "hf_endpoints_default"
EXTRA_FIELDS = (
    "namespace",
    "timeout",
    "hub_url",
    "catalog_url",
    "max_price_per_hour",
    "allowed_hardware",
    "lease_path",
)

# As huggingface_hub reads them; the second is its older name.
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class ConnectionFields:
    """The fields of an Airflow connection that count here. Its repr shows no secret."""

    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = field(default=None, repr=False)
    extra: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, connection: Any) -> ConnectionFields:
        """The same fields of Airflow's own object, whichever class it is."""
        names = ("password", "host", "port", "schema", "login", "extra")
        return cls(**{name: getattr(connection, name, None) for name in names})


@dataclass(frozen=True)
class ConnectionSettings:
    """What the clients are made with.

    :param source: where the token came from, in words.
    :param base_url: the control plane; None is Hugging Face's.
    :param timeout: seconds for one request.
    :param ceiling: what may be started over this connection.
    :param lease_path: where those who share endpoints keep their leases; None is an Airflow Variable.
    """

    token: SecretStr
    source: str
    base_url: str | None = None
    namespace: str | None = None
    hub_url: str | None = None
    catalog_url: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    ceiling: Ceiling = NO_CEILING
    lease_path: str | None = None

    def client_arguments(self) -> dict[str, Any]:
        """Arguments of `EndpointsClient` and `AsyncEndpointsClient`."""
        return {
            "token": self.token.get_secret_value(),
            "base_url": self.base_url,
            "namespace": self.namespace,
            "hub_url": self.hub_url,
            "catalog_url": self.catalog_url,
            "timeout": self.timeout,
            "ceiling": self.ceiling,
            "token_source": self.source,
        }


def token_file(environ: Mapping[str, str]) -> Path:
    """Where `hf auth login` writes the token, by the rules of huggingface_hub."""
    if path := environ.get("HF_TOKEN_PATH"):
        return Path(path).expanduser()
    if home := environ.get("HF_HOME"):
        return Path(os.path.expandvars(home)).expanduser() / "token"
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "token"


def read_token_file(path: Path) -> str | None:
    """The token in `path`, None when there is no such file or it is empty."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"Cannot read the token file {path}: {type(error).__name__}.") from None


def resolve_settings(
    conn_id: str,
    fields: ConnectionFields | None,
    *,
    environ: Mapping[str, str],
    read_file: Callable[[Path], str | None] = read_token_file,
) -> ConnectionSettings:
    """The settings of a connection, or for the default connection where it does not exist, those of the environment.

    :param fields: None when no such connection exists.
    :raises InvalidArgumentError: it is half filled, or a field makes no sense; no text shows a token.
    """
    if fields is None:
        if (why := unreadable(conn_id, environ)) is not None:
            raise InvalidArgumentError(why)
        return _ambient(conn_id, environ, read_file)
    extra = _read_extra(conn_id, fields.extra)
    token = (fields.password or "").strip()
    if not token:
        raise InvalidArgumentError(no_token(conn_id, fields, extra))
    addresses = _addresses(conn_id, fields, extra)
    return ConnectionSettings(
        token=_secret(f"the connection {conn_id!r}", token),
        source=f"the connection {conn_id!r}",
        **addresses,
        namespace=_namespace(conn_id, extra),
        timeout=DEFAULT_TIMEOUT if (given := _number(conn_id, extra, "timeout", "seconds")) is None else given,
        ceiling=_ceiling(conn_id, extra),
        lease_path=_text(conn_id, extra, "lease_path"),
    )


def _ambient(conn_id: str, environ: Mapping[str, str], read_file: Callable[[Path], str | None]) -> ConnectionSettings:
    for variable in _TOKEN_VARIABLES:
        if token := environ.get(variable, "").strip():
            source = f"the environment variable {variable}"
            return ConnectionSettings(token=_secret(source, token), source=source)
    path = token_file(environ)
    if stored := read_file(path):
        source = f"the token file {path}"
        return ConnectionSettings(token=_secret(source, stored), source=source)
    raise InvalidArgumentError(how_to_connect(conn_id))


def _secret(source: str, token: str) -> SecretStr:
    if (why := not_a_token(source, token)) is not None:
        raise InvalidArgumentError(why)
    return SecretStr(token)


def how_to_connect(conn_id: str) -> str:
    """What to do when there is no connection."""
    if has_secret(conn_id):  # in capitals, as in the name of a variable, it would not be recognised
        return (
            "hf_endpoints_conn_id seems to be a token, but it is the name of a connection. Create a connection with "
            "the token in the password field (Admin > Connections), and give its name."
        )
    fallback = ""
    misspelt = " Check the argument hf_endpoints_conn_id."
    if conn_id == DEFAULT_CONN_ID:
        misspelt = ""
        fallback = f" There is also no token in {_TOKEN_VARIABLES[0]}, and none from `hf auth login`."
    return (
        f"The connection {conn_id!r} does not exist.{fallback}{misspelt} Create it (Admin > Connections, or the "
        f"variable AIRFLOW_CONN_{conn_id.upper()}) with the type 'Hugging Face Inference Endpoints' (hf_endpoints) "
        "and a Hugging Face token in the password field."
    )


def _read_extra(conn_id: str, extra: str | None) -> dict[str, Any]:
    if not extra or not extra.strip():
        return {}
    try:
        values = json.loads(extra)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidArgumentError(
            f'The extra of the connection {conn_id!r} is not a JSON object. Write it like {{"namespace": "acme"}}.'
        )
    for key in values:
        if key not in EXTRA_FIELDS:
            near = difflib.get_close_matches(str(key), EXTRA_FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(EXTRA_FIELDS)}."
            warnings.warn(
                f"The extra of the connection {conn_id!r} has an unknown field {key!r}, which is ignored: {hint}",
                UserWarning,
                stacklevel=3,
            )
    return values


def _text(conn_id: str, extra: Mapping[str, Any], key: str) -> str | None:
    value = extra.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidArgumentError(f"extra.{key} of the connection {conn_id!r} must be a string, not {value!r}.")
    return value.strip() or None


def _namespace(conn_id: str, extra: Mapping[str, Any]) -> str | None:
    namespace = _text(conn_id, extra, "namespace")
    if namespace is not None and any(letter in "/:" or letter.isspace() for letter in namespace):
        raise InvalidArgumentError(
            f"extra.namespace of the connection {conn_id!r} must be the name of a user or an organisation, such as "
            f"'acme', not {redact(namespace)!r}."
        )
    return namespace


def _number(conn_id: str, extra: Mapping[str, Any], key: str, unit: str) -> float | None:
    value = extra.get(key)
    if value is None or value == "":
        return None
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    if not 0 < number < math.inf:
        raise InvalidArgumentError(
            f"extra.{key} of the connection {conn_id!r} must be a positive number of {unit}, not {value!r}."
        )
    return number


def _ceiling(conn_id: str, extra: Mapping[str, Any]) -> Ceiling:
    """`allowed_hardware` is a text with commas, as the form takes it, or a list."""
    allowed = extra.get("allowed_hardware") or ()
    if isinstance(allowed, str):
        allowed = [part.strip() for part in allowed.split(",") if part.strip()]
    if not isinstance(allowed, list | tuple):
        raise InvalidArgumentError(
            f"extra.allowed_hardware of the connection {conn_id!r} must be a text with commas or a list, "
            f"not {allowed!r}."
        )
    price = _number(conn_id, extra, "max_price_per_hour", "USD")
    try:
        return Ceiling(price, tuple(allowed))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"extra of the connection {conn_id!r}: {error}") from None


def _addresses(conn_id: str, fields: ConnectionFields, extra: Mapping[str, Any]) -> dict[str, str | None]:
    """The addresses of the three services, each checked as the client checks it."""
    addresses = {
        "base_url": _control_url(conn_id, fields),
        "hub_url": _text(conn_id, extra, "hub_url"),
        "catalog_url": _text(conn_id, extra, "catalog_url"),
    }
    if addresses["base_url"] is not None:
        addresses["base_url"] = checked_host(conn_id, addresses["base_url"])
    try:
        Bases.of(**addresses)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"The connection {conn_id!r}: {error}") from None
    return addresses


def _control_url(conn_id: str, fields: ConnectionFields) -> str | None:
    """The control plane's URL from `host`, `port` and `schema`, into which Airflow splits a URI.

    `host` may be a whole URL. Without a scheme it is https, and http for this machine (an emulator).
    """
    host = (fields.host or "").strip().rstrip("/")
    if not host:
        return None
    schema = (fields.schema or "").strip().strip("/").lower()
    if schema not in ("", "http", "https"):
        raise InvalidArgumentError(
            f"The connection {conn_id!r} has the schema {fields.schema!r}. Use 'http', 'https' or "
            "nothing, or write the whole URL into host."
        )
    if "://" not in host:
        bracketed = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
        name = urlsplit(f"//{bracketed}").hostname or ""
        local = name in _LOOPBACK or name.startswith("127.")
        host = f"{schema or ('http' if local else 'https')}://{bracketed}"
    if fields.port is None:
        return host
    parts = urlsplit(host)
    if _port(parts.netloc) not in (None, fields.port):
        raise InvalidArgumentError(
            f"The connection {conn_id!r} has the port {fields.port} and a different port in host. Remove one of them."
        )
    netloc = parts.netloc if _port(parts.netloc) is not None else f"{parts.netloc}:{fields.port}"
    return parts._replace(netloc=netloc).geturl()


def _port(netloc: str) -> int | None:
    digits = netloc.rpartition("]")[2].rpartition("@")[2].rpartition(":")
    return int(digits[2]) if digits[1] and digits[2].isdigit() else None
