"""What a connection, or the lack of one, means: pure, with the environment and the token file handed in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.api.ceiling import Ceiling
from airflow_provider_hf_endpoints.endpoints.api.transport import CONTROL_URL
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.hooks.connection import (
    DEFAULT_CONN_ID,
    EXTRA_FIELDS,
    ConnectionFields,
    ConnectionSettings,
    read_token_file,
    resolve_settings,
    token_file,
)

TOKEN = "hf_connection_token"


def no_file(path: Path) -> str | None:
    return None


def resolve(conn_id: str = "mine", **fields: Any) -> ConnectionSettings:
    extra = fields.pop("extra", None)
    text = json.dumps(extra) if isinstance(extra, dict) else extra
    given = ConnectionFields(**{"password": TOKEN, "extra": text, **fields})
    return resolve_settings(conn_id, given, environ={}, read_file=no_file)


def without_connection(
    environ: Mapping[str, str], conn_id: str = DEFAULT_CONN_ID, files: Mapping[str, str] | None = None
) -> ConnectionSettings:
    stored = files or {}
    return resolve_settings(conn_id, None, environ=environ, read_file=lambda path: stored.get(str(path)))


def test_a_token_is_enough() -> None:
    """A connection with nothing but a password means Hugging Face's own service."""
    settings = resolve()
    assert settings.token.get_secret_value() == TOKEN
    assert settings.base_url is None
    assert settings.timeout == 30.0


def test_every_field() -> None:
    """Host and all of the extra reach the client's arguments."""
    extra = {"namespace": "acme", "hub_url": "http://hub", "catalog_url": "http://cat", "timeout": 7.5}
    limits = {"max_price_per_hour": 2, "allowed_hardware": "nvidia-*, intel-spr"}
    assert resolve(host="https://plane.example", extra={**extra, **limits}).client_arguments() == {
        "token": TOKEN,
        "base_url": "https://plane.example",
        "ceiling": Ceiling(2.0, ("nvidia-*", "intel-spr")),
        "token_source": "the connection 'mine'",
        **extra,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "http://127.0.0.1:1234"}, "http://127.0.0.1:1234"),
        ({"host": "127.0.0.1", "port": 1234}, "http://127.0.0.1:1234"),
        ({"host": "127.0.0.1:1234"}, "http://127.0.0.1:1234"),
        ({"host": "localhost", "port": 80, "schema": ""}, "http://localhost:80"),
        ({"host": "::1", "port": 80}, "http://[::1]:80"),
        ({"host": "plane.example"}, "https://plane.example"),
        ({"host": "plane.example", "port": 8443}, "https://plane.example:8443"),
        ({"host": "plane.example", "schema": "http"}, "http://plane.example"),
        ({"host": "127.0.0.1", "schema": "https"}, "https://127.0.0.1"),
        ({"host": "http://plane", "port": 81}, "http://plane:81"),
        ({"host": "http://plane:81", "port": 81}, "http://plane:81"),
        ({"host": "https://plane.example/v2/"}, "https://plane.example/v2"),
        ({"host": "  "}, None),
        ({"host": ""}, None),
    ],
)
def test_the_control_plane_url(fields: dict[str, Any], expected: str | None) -> None:
    """Host may be a URL or what Airflow leaves of a URI; without a scheme, this machine is http and others https."""
    assert resolve(**fields).base_url == expected


def test_two_ports_are_refused() -> None:
    """A port in host and another one in its field: neither is guessed to be right."""
    with pytest.raises(InvalidArgumentError, match="a different port in host"):
        resolve(host="http://plane:81", port=82)


def test_a_schema_that_is_none() -> None:
    """A path in a URI ends up in the schema field, where it would be lost silently."""
    with pytest.raises(InvalidArgumentError, match="'v2'"):
        resolve(host="plane.example", schema="v2")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"host": "huggingface.co"}, "'https://huggingface.co', which is not the control plane"),
        ({"host": "https://huggingface.co/acme"}, "which is not the control plane"),
        ({"host": "endpoints.huggingface.co"}, "which is not the control plane"),
        ({"host": "https://router.huggingface.co/v1"}, "which is not the control plane"),
        ({"host": "endpoints.huggingface.cloud"}, "which is not the control plane"),
        ({"host": "hf.co", "port": 443}, "which is not the control plane"),
        ({"host": "https://ab12.us-east-1.aws.endpoints.huggingface.cloud/v1"}, "which is the URL of one endpoint"),
        ({"host": "http://api.endpoints.huggingface.cloud"}, "the token would be sent without encryption"),
        ({"host": "api.endpoints.huggingface.cloud", "schema": "http"}, "sent without encryption"),
        ({"host": "api.endpoints.huggingface.cloud", "port": 8080}, "does not listen on port 8080"),
        ({"host": "https://api.endpoints.huggingface.cloud/v2/endpoint/acme"}, "no path such as '/v2/endpoint/acme'"),
        ({"host": "https://api.endpoints.huggingface.cloud/acme"}, "no path such as '/acme'"),
        ({"host": "http://127.0.0.1:8090/v2/endpoint"}, "'/v2/endpoint' is a route of the control plane"),
        ({"host": "http//127.0.0.1:8090"}, "'://' after 'http' is missing"),
        ({"host": "https:127.0.0.1"}, "'://' after 'https' is missing"),
        ({"host": "http://127.0.0.1:8090/v3"}, "'/v3' is a route of the control plane"),
        ({"host": "http://127.0.0.1:8090/v3/endpoint/acme"}, "'/v3/endpoint/acme' is a route of the control plane"),
        ({"host": "http://127.0.0.1:8090/api/whoami-v2"}, "'/api/whoami-v2' is a route of the control plane"),
    ],
)
def test_a_host_that_is_not_the_control_plane(fields: dict[str, Any], words: str) -> None:
    """An address of Hugging Face's pages or of one endpoint is an error when the connection is read, with the host."""
    with pytest.raises(InvalidArgumentError, match="The connection 'mine' has the host") as caught:
        resolve(**fields)
    assert words in str(caught.value)
    assert "Leave the host empty for Hugging Face (https://api.endpoints.huggingface.cloud)" in str(caught.value)


@pytest.mark.parametrize(
    "host", ["https://api.endpoints.huggingface.cloud/", "API.endpoints.huggingface.cloud/v2", f"{CONTROL_URL}:443"]
)
def test_the_control_plane_itself(host: str) -> None:
    """Each spelling means Hugging Face's own service, whose hub and catalog are on other hosts."""
    assert resolve(host=host).base_url == CONTROL_URL


@pytest.mark.parametrize(
    "host",
    [
        "http://127.0.0.1:8090/v2",
        "gateway.example/hugging-face",
        "https://gateway.example/api",
        "https://gateway.example/api/hugging-face/",
        "https://gateway.example/v2/hugging-face",
        "https://gateway.example/v3/hugging-face",
        "acme-gateway.hf.space",
        "http://[::1]:8090",
        "http://huggingface:8090",
        "huggingface.co.example",
        "myhuggingface.co",
    ],
)
def test_other_hosts_pass(host: str) -> None:
    """Anything that may be an emulator or a gateway, also with the part of its routes that the client removes."""
    assert host.rstrip("/") in (resolve(host=host).base_url or "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"host": "ftp://plane.example"}, "base_url"),
        ({"host": "https://user:pass@plane.example"}, "contains a user name or password"),
        ({"host": "https://plane.example/?a=b"}, "Write it as https://host"),
        ({"host": "plane.example:80x"}, "is not a valid URL"),
        ({"extra": {"hub_url": "ftp://hub"}}, "hub_url"),
        ({"extra": {"catalog_url": "http://"}}, "catalog_url"),
    ],
)
def test_an_address_that_is_not_a_url(fields: dict[str, Any], words: str) -> None:
    """The error comes when the connection is read, and names the connection."""
    with pytest.raises(InvalidArgumentError, match="The connection 'mine'") as caught:
        resolve(**fields)
    assert words in str(caught.value)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(("timeout", "expected"), [(5, 5.0), ("5", 5.0), (" 2.5 ", 2.5), ("", 30.0), (None, 30.0)])
def test_timeouts(timeout: object, expected: float) -> None:
    """A timeout may be a number or, as a URI and older forms give it, its text."""
    assert resolve(extra={"timeout": timeout}).timeout == expected


@pytest.mark.parametrize("timeout", ["soon", 0, -1, "nan", "inf", True, [5]])
def test_timeouts_that_make_no_sense(timeout: object) -> None:
    """A value that is not a positive number of seconds is an error that names the field."""
    with pytest.raises(InvalidArgumentError, match=r"extra\.timeout of the connection 'mine'"):
        resolve(extra={"timeout": timeout})


def test_empty_extras_are_unset() -> None:
    """A form leaves empty texts and nulls for fields that were not filled in."""
    settings = resolve(extra={"namespace": "", "hub_url": None, "catalog_url": "  "})
    assert (settings.namespace, settings.hub_url, settings.catalog_url) == (None, None, None)


def test_an_unknown_extra_is_named() -> None:
    """A misspelt field is not silently without effect: the warning names the close one."""
    with pytest.warns(UserWarning, match=r"'name_space'.*did you mean 'namespace'"):
        assert resolve(extra={"name_space": "acme"}).namespace is None
    with pytest.warns(UserWarning, match="known are namespace, timeout, hub_url, catalog_url"):
        resolve(extra={"colour": "red"})


def test_known_extras_are_silent() -> None:
    """No warning for what is documented."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(extra=dict.fromkeys(EXTRA_FIELDS))


@pytest.mark.parametrize("extra", ["{", "[]", '"text"'])
def test_an_extra_that_is_no_object(extra: str) -> None:
    """An extra that can't be read is an error, not a connection without its namespace."""
    with pytest.raises(InvalidArgumentError, match="not a JSON object"):
        resolve(extra=extra)


@pytest.mark.parametrize("password", [None, "", "   "])
def test_a_connection_without_a_token(password: str | None) -> None:
    """A half-filled connection is an error that names the field and where it is; the environment does not stand in."""
    fields = ConnectionFields(password=password)
    with pytest.raises(InvalidArgumentError, match=r"'hf_endpoints_default' has no token.*'Hugging Face token'"):
        resolve_settings(DEFAULT_CONN_ID, fields, environ={"HF_TOKEN": "hf_other"}, read_file=no_file)


def test_a_token_in_the_wrong_field() -> None:
    """A token in `login` is a common slip: the error says to move it, without showing it."""
    with pytest.raises(InvalidArgumentError, match="move the token to the password") as caught:
        resolve(password="", login=TOKEN)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"host": "hf_AbCdEf123456"}, "host"),
        ({"login": "hf_lower_case", "host": "plane.example"}, "login"),
        ({"host": "plane.example", "schema": "hf_AbCdEf123456"}, "schema"),
        ({"extra": {"token": "anything"}}, "extra.token"),
        ({"extra": {"HF-Token": "anything"}}, "extra.HF-Token"),
    ],
)
@pytest.mark.filterwarnings("ignore:The extra of the connection")
def test_where_the_token_seems_to_be(fields: dict[str, Any], named: str) -> None:
    """Whichever field has the token, by its name or its looks, the error names the field and shows no value."""
    with pytest.raises(InvalidArgumentError, match=f"The field `{named}` seems to contain the token") as caught:
        resolve(password=None, **fields)
    assert "anything" not in str(caught.value)
    assert "hf_AbC" not in str(caught.value)


@pytest.mark.parametrize("schema", ["f_AbCdEf123456", "f_endpoints://:hf_AbCdEf123456@", "earer hf_AbCdEf123456"])
def test_a_token_alone_as_the_whole_connection(schema: str) -> None:
    """Airflow takes all but the first letter for the schema. The error says which forms a connection has."""
    with pytest.raises(InvalidArgumentError, match="perhaps the token alone") as caught:
        resolve(password=None, schema=schema)
    assert '{"conn_type": "hf_endpoints", "password": "<token>"}' in str(caught.value)
    assert "AbC" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{'password': 'hf_AbCdEf123456'}", "not valid JSON (line 1, column 2)"),
        ('{"password": "hf_AbCdEf123456"', "not valid JSON"),
        ('{"token": "hf_AbCdEf123456"}', "the unknown field 'token'. The token is `password`"),
        ('{"password": "hf_AbCdEf123456", "namespace": "acme"}', "unknown field 'namespace'"),
        ('{"password": "hf_AbCdEf123456", "port": "80x"}', "a port that is not a number"),
        ("hf-endpoints://:hf_AbCdEf123456", "Perhaps the '@' after the token is missing"),
    ],
)
@pytest.mark.parametrize("conn_id", [DEFAULT_CONN_ID, "mine"])
def test_a_variable_that_airflow_cannot_read(conn_id: str, value: str, words: str) -> None:
    """Airflow behaves as if there were no connection. The token of the environment must not replace it."""
    environ = {f"AIRFLOW_CONN_{conn_id.upper()}": value, "HF_TOKEN": "hf_other"}
    with pytest.raises(InvalidArgumentError, match=f"cannot read the connection '{conn_id}'") as caught:
        without_connection(environ, conn_id)
    assert words in str(caught.value)
    assert "AbC" not in str(caught.value)


def test_an_empty_variable_is_no_connection() -> None:
    """As for Airflow: then the environment's token is used."""
    environ = {"AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT": " ", "HF_TOKEN": TOKEN}
    assert TOKEN == without_connection(environ).token.get_secret_value()


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("$HF_TOKEN", "begins with '$'"),
        ("Bearer hf_AbCdEf123456", "begins with 'Bearer '"),
        ("'hf_AbCdEf123456'", "has quotes around it"),
        ("hf_…", "the placeholder of an example"),
        ("<token>", "the placeholder of an example"),
        ("hf_AbCdEf 123456", "contains a blank"),
        ("hf_AbCdEf\n123456", "contains a blank"),
        ("hf_AbCdEf\u00e9123456", "contains a blank"),
    ],
)
def test_a_text_that_is_not_a_token(token: str, words: str) -> None:
    """A text that no header carries is an error before any request. The error names its source and hides the text."""
    for place, environ, fields in (
        ("the connection 'mine'", {}, ConnectionFields(password=token)),
        ("the environment variable HF_TOKEN", {"HF_TOKEN": token}, None),
    ):
        with pytest.raises(InvalidArgumentError, match=f"The token of {place}") as caught:
            resolve_settings("mine", fields, environ=environ, read_file=no_file)
        assert words in str(caught.value)
        assert "AbC" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["https://huggingface.co/acme", "acme/", "my team"])
def test_a_namespace_that_is_not_a_name(namespace: str) -> None:
    """A URL or a path would become another route of the service."""
    with pytest.raises(InvalidArgumentError, match=r"extra\.namespace of the connection 'mine' must be the name of"):
        resolve(extra={"namespace": namespace})


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_environment_serves_the_default_connection(variable: str) -> None:
    """Without the default connection, the environment's token is used, and its source is known."""
    settings = without_connection({variable: f" {TOKEN}\n"})
    assert settings.token.get_secret_value() == TOKEN
    assert settings.source == f"the environment variable {variable}"
    assert settings.base_url is None


def test_the_order_of_what_stands_in() -> None:
    """`HF_TOKEN` comes before its older name, and both before the file."""
    files = {"/cache/huggingface/token": "hf_file"}
    environ = {"XDG_CACHE_HOME": "/cache", "HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN": "hf_new"}
    assert without_connection(environ, files=files).token.get_secret_value() == "hf_new"
    del environ["HF_TOKEN"]
    assert without_connection(environ, files=files).token.get_secret_value() == "hf_old"
    del environ["HUGGING_FACE_HUB_TOKEN"]
    assert without_connection(environ, files=files).token.get_secret_value() == "hf_file"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_TOKEN_PATH": "/run/token", "HF_HOME": "/home"}, "/run/token"),
        ({"HF_HOME": "/home", "XDG_CACHE_HOME": "/cache"}, "/home/token"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/huggingface/token"),
        ({}, str(Path("~/.cache/huggingface/token").expanduser())),
    ],
)
def test_where_the_token_file_is(environ: dict[str, str], expected: str) -> None:
    """The file of `hf auth login` is found by the same variables as huggingface_hub finds it."""
    assert token_file(environ) == Path(expected)


def test_reading_the_token_file(tmp_path: Path) -> None:
    """A missing or empty file has no token; one that cannot be read is an error that names it."""
    file = tmp_path / "token"
    assert read_token_file(file) is None
    file.write_text(" \n")
    assert read_token_file(file) is None
    file.write_text(f"{TOKEN}\n")
    assert read_token_file(file) == TOKEN
    with pytest.raises(InvalidArgumentError, match="Cannot read"):
        read_token_file(tmp_path)


def test_no_token_anywhere() -> None:
    """Without connection, variable and file, the error says how to make a connection."""
    with pytest.raises(InvalidArgumentError, match=r"AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT.*password"):
        without_connection({"HF_TOKEN": "  "})


def test_no_repr_shows_a_token() -> None:
    """Neither the fields nor the settings show what is secret."""
    fields = ConnectionFields(password=TOKEN, login=TOKEN, extra=json.dumps({"token": TOKEN}))
    assert TOKEN not in repr(fields)
    assert TOKEN not in repr(resolve())


def test_fields_of_any_connection_object() -> None:
    """The fields are read by name, so that every class of connection that Airflow has will do."""

    class Connection:
        password = TOKEN
        host = "plane.example"

    assert ConnectionFields.of(Connection()) == ConnectionFields(password=TOKEN, host="plane.example")
