"""The hook as Airflow uses it: which connection it finds, without blocking where it must not, and what it masks."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.hooks import endpoints as room
from airflow_provider_hf_endpoints.hooks.connection import resolve_settings
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook

TOKEN = "hf_hook_token"
CPU: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "accelerator": "cpu",
    "vendor": "aws",
    "region": "us-east-1",
    "instance_size": "x2",
    "instance_type": "intel-icl",
}


@pytest.fixture(autouse=True)
def _no_token_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was handed to Airflow's masker."""
    told: list[str] = []
    monkeypatch.setattr(room, "mask_secret", told.append)
    room._masked.clear()
    yield told
    room._masked.clear()


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "hf_endpoints_default", password=TOKEN, host="http://127.0.0.1:9", extra={"namespace": "acme"})


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    value = json.dumps({"conn_type": "hf_endpoints", **fields})
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)


async def async_repr(hook: InferenceEndpointsHook) -> str:
    client = await hook.get_async_conn()
    async with client:
        return repr(client)


def test_both_clients_come_from_the_connection(connected: None) -> None:
    """The sync and the async client point to the same control plane and namespace; neither shows the token."""
    hook = InferenceEndpointsHook()
    expected = "EndpointsClient(base_url='http://127.0.0.1:9', namespace='acme')"
    assert repr(hook.get_conn()) == expected
    assert asyncio.run(async_repr(hook)) == f"Async{expected}"


def test_a_connection_in_uri_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI says the same as JSON: the token as password, the control plane as host and port, the extra as query."""
    monkeypatch.setenv("AIRFLOW_CONN_BY_URI", f"hf-endpoints://:{TOKEN}@127.0.0.1:1234/?namespace=acme&timeout=3")
    hook = InferenceEndpointsHook("by_uri")
    assert repr(hook.get_conn()) == "EndpointsClient(base_url='http://127.0.0.1:1234', namespace='acme')"
    assert hook.get_conn().http_timeout.read == 3


def test_the_synchronous_client_is_made_once_and_the_asynchronous_never_shared(connected: None) -> None:
    """One sync client for each hook; an async one for each caller, who closes it."""
    hook = InferenceEndpointsHook()
    assert hook.get_conn() is hook.get_conn()

    async def two() -> bool:
        first, second = await hook.get_async_conn(), await hook.get_async_conn()
        await first.close()
        await second.close()
        return first is second

    assert not asyncio.run(two())


def test_a_namespace_of_the_hooks_own(connected: None) -> None:
    """A namespace given to the hook goes before the connection's, in both clients."""
    hook = InferenceEndpointsHook(namespace="other")
    assert "namespace='other'" in repr(hook.get_conn())
    assert "namespace='other'" in asyncio.run(async_repr(hook))


def test_a_connection_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was named and is not there is Airflow's own error, and no token stands in for it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hook = InferenceEndpointsHook("not_there")
    with pytest.raises(AirflowNotFoundException, match=r"'not_there'.*AIRFLOW_CONN_NOT_THERE"):
        hook.get_conn()
    with pytest.raises(AirflowNotFoundException, match="'not_there'"):
        asyncio.run(async_repr(hook))
    ok, text = hook.test_connection()
    assert not ok
    assert "'not_there'" in text


def test_the_environment_stands_in_for_the_default_connection(
    monkeypatch: pytest.MonkeyPatch, masked: list[str]
) -> None:
    """`HF_TOKEN` serves where the default connection does not exist, in both clients, and is masked."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "api.endpoints.huggingface.cloud" in repr(InferenceEndpointsHook().get_conn())
    assert "api.endpoints.huggingface.cloud" in asyncio.run(async_repr(InferenceEndpointsHook()))
    assert masked == [TOKEN]


def test_the_token_file_stands_in_for_the_default_connection(tmp_path: Path, masked: list[str]) -> None:
    """So does the token that `hf auth login` wrote."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert InferenceEndpointsHook().get_conn()
    assert asyncio.run(async_repr(InferenceEndpointsHook()))
    assert masked == [TOKEN]


def test_no_connection_and_no_token() -> None:
    """With nothing at all, the error says how to make a connection."""
    with pytest.raises(InvalidArgumentError, match="AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT"):
        InferenceEndpointsHook().get_conn()


def test_a_half_filled_default_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default connection without a token is an error, though the environment has one."""
    connect(monkeypatch, "hf_endpoints_default", host="https://plane.example")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(InvalidArgumentError, match="has no token"):
        InferenceEndpointsHook().get_conn()


def test_the_token_is_masked_once(connected: None, masked: list[str]) -> None:
    """Masking is a message to the process that keeps the log: one for each token, however many hooks there are."""
    for _ in range(3):
        InferenceEndpointsHook().get_conn()
        asyncio.run(async_repr(InferenceEndpointsHook()))
    assert masked == [TOKEN]


def test_the_event_loop_is_not_blocked(connected: None, monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    """In asyncio, what talks to the supervisor or reads a file happens on another thread or is awaited."""
    threads: list[int] = []

    def blocking(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.get_ident())
        return original(*args, **kwargs)

    original = resolve_settings
    monkeypatch.setattr(room, "resolve_settings", blocking)
    monkeypatch.setattr(room, "mask_secret", lambda secret: threads.append(threading.get_ident()))
    asyncio.run(async_repr(InferenceEndpointsHook()))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_the_oldest_helper_for_lookups_will_do(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup for asyncio is asked with the connection's id alone: older common-compat knows no more."""

    async def as_in_1_12(conn_id: str) -> object:
        return await asyncio.to_thread(BaseHook.get_connection, conn_id)

    monkeypatch.setattr(room, "get_async_connection", as_in_1_12)
    assert "namespace='acme'" in asyncio.run(async_repr(InferenceEndpointsHook()))


def test_no_masker_is_no_error(connected: None, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Airflow 3.0 raises where no log of Airflow's is kept; the hook works there all the same."""

    def raises(secret: str) -> None:
        raise RuntimeError("No SecretsMasker found!")

    room._masked.clear()
    monkeypatch.setattr(room, "mask_secret", raises)
    with caplog.at_level(logging.DEBUG):
        assert InferenceEndpointsHook().get_conn()
    assert TOKEN not in caplog.text


def test_secrets_of_an_endpoint_are_masked(monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    """The values of an endpoint's own secrets are masked, whether it is created or updated."""
    with Emulator(token=TOKEN) as emulator:
        connect(monkeypatch, "hf_endpoints_default", password=TOKEN, host=emulator.url)
        with InferenceEndpointsHook() as hook:
            endpoint = hook.create_inference_endpoint("e", **CPU, secrets={"KEY": "first-secret"})
            hook.update_inference_endpoint("e", secrets={"KEY": "second-secret"})
            endpoint.update(secrets={"KEY": "third-secret"})
    assert masked == ["first-secret", TOKEN, "second-secret", "third-secret"]


def test_an_endpoint_that_bills_for_ever_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """`min_replica=1` is done as asked, and said to bill until somebody stops it."""
    with Emulator(token=TOKEN) as emulator:
        connect(monkeypatch, "hf_endpoints_default", password=TOKEN, host=emulator.url)
        with InferenceEndpointsHook() as hook, caplog.at_level(logging.WARNING):
            hook.create_inference_endpoint("frugal", **CPU)
            assert "bills until" not in caplog.text
            hook.create_inference_endpoint("e", **CPU, min_replica=1)
    assert "Endpoint e has min_replica=1: it bills until" in caplog.text


def test_the_connection_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """The button in the form gets an answer for a good and for a half-filled connection, and never an exception."""
    with Emulator(token=TOKEN, namespace="alice") as emulator:
        connect(monkeypatch, "good", password=TOKEN, host=emulator.url)
        connect(monkeypatch, "bad", host=emulator.url)
        ok, text = InferenceEndpointsHook("good").test_connection()
        assert ok
        assert "belongs to alice" in text
        ok, text = InferenceEndpointsHook("bad").test_connection()
        assert not ok
        assert "has no token" in text


def test_the_hook_can_be_used_after_it_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed hook opens its connections again."""
    with Emulator(token=TOKEN) as emulator:
        connect(monkeypatch, "hf_endpoints_default", password=TOKEN, host=emulator.url)
        with InferenceEndpointsHook() as hook:
            assert hook.list_inference_endpoints() == []
        assert hook.list_inference_endpoints() == []
        hook.close()


def test_closing_the_hook_closes_what_its_endpoints_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of an endpoint object is closed with the hook, and made again at the next use."""
    with Emulator(token=TOKEN) as emulator:
        connect(monkeypatch, "hf_endpoints_default", password=TOKEN, host=emulator.url)
        with InferenceEndpointsHook() as hook:
            endpoint = hook.create_inference_endpoint("e", **CPU).wait(timeout=60, refresh_every=0.05)
            client = endpoint.client
        assert client._http.is_closed
        assert endpoint.client is not client
        endpoint.close()


def test_the_hook_has_every_call_of_the_client() -> None:
    """Every call of the control plane is on the hook under the same name and with the same arguments."""
    calls = [name for name in vars(EndpointsClient) if "inference" in name] + ["create", "update", "whoami"]
    for name in calls:
        theirs = inspect.signature(getattr(EndpointsClient, name)).parameters
        ours = inspect.signature(getattr(InferenceEndpointsHook, name)).parameters
        assert list(theirs) == list(ours), name


def test_it_is_a_hook_of_airflow() -> None:
    """The class has what Airflow's discovery looks for, and accepts what `Connection.get_hook` passes."""
    hook = InferenceEndpointsHook(hf_endpoints_conn_id="mine", logger_name="mine")
    assert isinstance(hook, BaseHook)
    assert getattr(hook, InferenceEndpointsHook.conn_name_attr) == "mine"
    assert InferenceEndpointsHook.default_conn_name == "hf_endpoints_default"
