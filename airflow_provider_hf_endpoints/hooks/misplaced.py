"""Words for a connection whose token is missing: where the token may be instead, and how a connection is written.

No text shows a value of a field, because the value may be the token. Pure; imports no Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_hf_endpoints._redact import has_secret, redact

# The keys that Airflow takes in a connection's JSON; another key is an error there, which Airflow only logs.
_JSON_FIELDS = ("conn_type", "description", "extra", "host", "login", "password", "port", "schema", "uri")
_FORMS = (
    'Write JSON, {"conn_type": "hf_endpoints", "password": "<token>"}, or a URI, which is hf-endpoints://: (with a '
    "hyphen), then the token, then '@'."
)


def no_token(conn_id: str, fields: Any, extra: Mapping[str, Any]) -> str:
    """The error of a connection with an empty password.

    :param fields: its fields, as attributes
    :param extra: its extra, parsed
    """
    if fields.schema and not (fields.host or fields.login or fields.extra):
        # What is left of a value without a scheme: Airflow takes all but its first letter for the schema.
        return (
            f"The connection {conn_id!r} has no token. Its value is not in a form that Airflow can read: it is perhaps "
            f"the token alone, or a URI whose scheme has an underscore. {_FORMS}"
        )
    where = "'Hugging Face token' in the form, `password` in JSON, the part between ':' and '@' in a URI"
    text = f"The connection {conn_id!r} has no token: its password is empty. Set the password ({where})."
    if found := next(_with_token(fields, extra), None):
        text += f" The field `{found}` seems to contain the token: move the token to the password."
    return text


def _with_token(fields: Any, extra: Mapping[str, Any]) -> Iterator[str]:
    texts = {"login": fields.login, "host": fields.host, "schema": fields.schema}
    texts |= {f"extra.{key}": value for key, value in extra.items()}
    for name, value in texts.items():
        named = name.rpartition(".")[2].lower().replace("-", "_") in ("token", "password", "hf_token", "api_key")
        if isinstance(value, str) and value and (named or value.startswith("hf_") or has_secret(value)):
            yield name


def unreadable(conn_id: str, environ: Mapping[str, str]) -> str | None:
    """The error of a connection that a variable of the environment defines, but that Airflow could not read.

    Airflow logs its own error and continues as if the connection did not exist.

    :return: None if no variable defines the connection
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    value = environ.get(variable, "").strip()
    if not value:
        return None
    return f"Airflow cannot read the connection {conn_id!r} from the variable {variable}: {_why(value)}. {_FORMS}"


def _why(value: str) -> str:
    if not value.startswith("{"):
        try:
            _ = urlsplit(value).port
        except ValueError:
            return "as a URI, it has a port that is not a number. Perhaps the '@' after the token is missing"
        return "the value is neither JSON nor a URI"
    try:
        parsed = json.loads(value)
    except ValueError as error:
        at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        return f"the value is not valid JSON{at}. JSON needs double quotes, and no comma after the last entry"
    if unknown := [key for key in parsed if key not in _JSON_FIELDS]:
        shown = ", ".join(redact(repr(key)) for key in unknown)
        return (
            f"its JSON has the unknown field {shown}. The token is `password`, and the provider's settings are in "
            "`extra`"
        )
    return "a field of its JSON has a value that Airflow does not accept, such as a port that is not a number"


def not_a_token(source: str, token: str) -> str | None:
    """The error of a text that no service can accept as a token, because no header carries it as it is.

    :param source: where the text came from, in words
    :return: None if it may be a token; servers other than Hugging Face's have tokens in other forms
    """
    if token.startswith("$"):
        return (
            f"The token of {source} begins with '$': the shell did not replace a variable, perhaps because of single "
            "quotes. Write the token itself."
        )
    if token[:7].lower() == "bearer ":
        return f"The token of {source} begins with 'Bearer '. Write the token alone."
    if token[0] in "'\"" or token[-1] in "'\"":
        return f"The token of {source} has quotes around it. Remove the quotes."
    if "…" in token or (token.startswith("<") and token.endswith(">")):
        return f"The token of {source} is the placeholder of an example. Replace it with your token (hf_ and letters)."
    if not token.isascii() or not token.isprintable() or " " in token:
        return (
            f"The token of {source} contains a blank, a line break or a letter that no token has. It was perhaps "
            "copied with text around it. Copy the token again."
        )
    return None
