"""Hugging Face's guide to Inference Endpoints, step by step, with `hook.` in front, against the emulator.

The connection comes from the environment, so that no database of Airflow is needed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.api.arguments import CreateOptions, UpdateArguments
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    EndpointNotFoundError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
)
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.hooks.handle import EndpointHandle
from tests.contract.specs import GPT2, TGI_ENV, TGI_IMAGE, ZEPHYR

TOKEN = "hf_guide_token"
PATIENCE: dict[str, Any] = {"timeout": 60, "refresh_every": 0.05}  # seconds


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="wauplin", orgs=("huggingface",)) as running:
        yield running


@pytest.fixture
def hook(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[InferenceEndpointsHook]:
    connection = {"conn_type": "hf_endpoints", "password": TOKEN, "host": emulator.url}
    monkeypatch.setenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT", json.dumps(connection))
    with InferenceEndpointsHook() as made:
        yield made


@pytest.fixture
def endpoint(hook: InferenceEndpointsHook) -> EndpointHandle:
    return hook.create_inference_endpoint("my-endpoint-name", **GPT2).wait(**PATIENCE)


def test_create(hook: InferenceEndpointsHook) -> None:
    """The guide's first endpoint is created, starts as pending, and shows itself as the guide prints it."""
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2)
    expected = (
        "InferenceEndpoint(name='my-endpoint-name', namespace='wauplin', repository='gpt2', status='pending', url=None)"
    )
    assert repr(endpoint).replace(repr(endpoint.url), "None") == expected
    assert endpoint.raw["compute"]["instanceType"] == "intel-icl"


def test_create_is_safe_by_default(hook: InferenceEndpointsHook) -> None:
    """What the guide creates bills nothing while idle; a replica is kept only where it is asked for."""
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2)
    assert (endpoint.min_replica, endpoint.scale_to_zero_timeout) == (0, 15)
    kept = hook.create_inference_endpoint("kept", **GPT2, min_replica=1)
    assert (kept.min_replica, kept.scale_to_zero_timeout) == (1, None)


def test_create_with_the_old_type(hook: InferenceEndpointsHook) -> None:
    """`type="protected"` of older guides makes an authenticated endpoint, with a warning."""
    with pytest.warns(FutureWarning, match="authenticated"):
        endpoint = hook.create_inference_endpoint("my-endpoint-name", **{**GPT2, "type": "protected"})
    assert endpoint.type == "authenticated"


def test_create_with_a_custom_image(hook: InferenceEndpointsHook) -> None:
    """The guide's Zephyr runs in the image that is named, and answers in the engine's dialect."""
    endpoint = hook.create_inference_endpoint(
        "aws-zephyr-7b-beta-0486",
        **ZEPHYR,
        custom_image={"healthRoute": "/health", "url": TGI_IMAGE},
        env=TGI_ENV,
    ).wait(**PATIENCE)
    assert endpoint.raw["model"]["image"]["custom"]["url"] == TGI_IMAGE
    assert endpoint.raw["model"]["env"] == TGI_ENV
    assert endpoint.client.text_generation("I am")


def test_create_with_the_old_spellings_of_a_custom_image(hook: InferenceEndpointsHook) -> None:
    """`health_route` and `env` inside the image, as older guides have them, reach their place, with warnings."""
    with pytest.warns(FutureWarning) as warned:
        endpoint = hook.create_inference_endpoint(
            "aws-zephyr-7b-beta-0486",
            **ZEPHYR,
            custom_image={"health_route": "/health", "env": TGI_ENV, "url": TGI_IMAGE},
        )
    texts = " ".join(str(each.message) for each in warned)
    assert "healthRoute" in texts
    assert "env" in texts
    assert endpoint.raw["model"]["image"]["custom"]["healthRoute"] == "/health"
    assert endpoint.raw["model"]["env"] == TGI_ENV
    assert endpoint.unapplied == ()


def test_get_and_list(hook: InferenceEndpointsHook, endpoint: EndpointHandle) -> None:
    """An endpoint is found by name, by the user's list, by an organisation's, and by everybody's."""
    theirs = hook.create_inference_endpoint("their-endpoint", **GPT2, namespace="huggingface")
    assert hook.get_inference_endpoint("my-endpoint-name").name == endpoint.name
    assert [each.name for each in hook.list_inference_endpoints()] == ["my-endpoint-name"]
    assert [each.name for each in hook.list_inference_endpoints(namespace="huggingface")] == [theirs.name]
    everything = {(each.namespace, each.name) for each in hook.list_inference_endpoints(namespace="*")}
    assert everything == {("wauplin", "my-endpoint-name"), ("huggingface", "their-endpoint")}


def test_fetch_and_wait(hook: InferenceEndpointsHook) -> None:
    """`fetch` looks again; `wait` returns the endpoint once it answers, under both names of its interval."""
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2)
    assert endpoint.fetch() is endpoint
    assert endpoint.wait(refresh_every=0.02) is endpoint
    assert endpoint.status == "running"
    with pytest.warns(FutureWarning, match="refresh_every"):
        endpoint.wait(fetch_every=0.02)
    assert endpoint.wait(timeout=60).url


def test_wait_that_takes_too_long(emulator: Emulator, hook: InferenceEndpointsHook) -> None:
    """A wait that is over before the endpoint is ready ends with the guide's error, which names the endpoint."""
    emulator.behave("my-endpoint-name", initializing_seconds=60)
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2)
    with pytest.raises(InferenceEndpointTimeoutError, match="wauplin/my-endpoint-name"):
        endpoint.wait(timeout=0.2)
    assert endpoint.status in ("pending", "initializing")


def test_calls(endpoint: EndpointHandle) -> None:
    """`client` generates text, and is the same one from call to call."""
    assert endpoint.client.text_generation("I am")
    assert endpoint.client is endpoint.client


def test_asynchronous_calls(endpoint: EndpointHandle) -> None:
    """`async_client` generates text, alone and in a gather, and works in one event loop after another."""

    async def one() -> str:
        text = await endpoint.async_client.text_generation("I am")
        await endpoint.async_client.close()
        return text

    async def three() -> list[str]:
        async_client = endpoint.async_client
        texts = await asyncio.gather(*[async_client.text_generation(f"Number {n}") for n in range(3)])
        await async_client.close()
        return texts

    assert asyncio.run(one())
    assert len(asyncio.run(three())) == 3


def test_calls_before_it_is_deployed(emulator: Emulator, hook: InferenceEndpointsHook) -> None:
    """Where the endpoint is not deployed yet, the error says to wait."""
    emulator.behave("my-endpoint-name", pending_seconds=60)
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2)
    with pytest.raises(InferenceEndpointError, match=r"endpoint\.wait\(\)"):
        _ = endpoint.client
    with pytest.raises(InferenceEndpointError, match=r"endpoint\.wait\(\)"):
        _ = endpoint.async_client


def test_pause_and_resume(endpoint: EndpointHandle) -> None:
    """A paused endpoint is not deployed and can't be waited for; resumed, it answers again."""
    endpoint.pause()
    assert endpoint.status == "paused"
    with pytest.raises(InferenceEndpointError, match="resume"):
        _ = endpoint.client
    with pytest.raises(EndpointFailedError, match="paused"):
        endpoint.wait(**PATIENCE)
    endpoint.resume().wait(**PATIENCE)
    assert endpoint.client.text_generation("I am")


@pytest.mark.parametrize("park", ["pause", "scale_to_zero"])
def test_an_update_of_a_parked_endpoint_is_waited_for_where_it_is_parked(endpoint: EndpointHandle, park: str) -> None:
    """It passes through `updating` and comes back; the wait sends nothing that would start it."""
    getattr(endpoint, park)()
    parked = endpoint.status
    assert endpoint.update(revision="main").status == "updating"
    assert parked == endpoint.wait(**PATIENCE).status == endpoint.fetch().status


def test_scale_to_zero(endpoint: EndpointHandle) -> None:
    """Scaled to zero, an endpoint wakes on a call, and a wait wakes it too."""
    endpoint.scale_to_zero()
    assert endpoint.status == "scaledToZero"
    assert endpoint.client.text_generation("I am")
    endpoint.scale_to_zero()
    assert endpoint.wait(**PATIENCE).status == "running"


def test_update(endpoint: EndpointHandle) -> None:
    """The model, the number of replicas and the hardware are changed, each alone."""
    endpoint.update(repository="gpt2-large")
    assert endpoint.wait(**PATIENCE).repository == "gpt2-large"
    endpoint.update(min_replica=2, max_replica=6)
    assert (endpoint.min_replica, endpoint.max_replica) == (2, 6)
    endpoint.wait(**PATIENCE)
    endpoint.update(accelerator="cpu", instance_size="x4", instance_type="intel-icl")
    assert endpoint.wait(**PATIENCE).instance_size == "x4"


def test_delete(hook: InferenceEndpointsHook, endpoint: EndpointHandle) -> None:
    """A deleted endpoint is gone when `delete` returns, and every later look or wait raises an error."""
    endpoint.delete()
    with pytest.raises(EndpointNotFoundError):
        endpoint.fetch()
    with pytest.raises(EndpointFailedError, match="No endpoint 'my-endpoint-name' in namespace 'wauplin'"):
        endpoint.wait(**PATIENCE)
    assert hook.list_inference_endpoints() == []


def test_the_hook_by_name(hook: InferenceEndpointsHook, endpoint: EndpointHandle) -> None:
    """What the guide does to an endpoint object, the hook does by name."""
    assert hook.pause_inference_endpoint(endpoint.name).status == "paused"
    assert hook.resume_inference_endpoint(endpoint.name).wait(**PATIENCE).status == "running"
    assert hook.scale_to_zero_inference_endpoint(endpoint.name).status == "scaledToZero"
    assert hook.update_inference_endpoint(endpoint.name, tags=["nightly"]).tags == ["nightly"]
    assert hook.delete_inference_endpoint(endpoint.name) is True


def test_the_whole_of_a_batch(hook: InferenceEndpointsHook) -> None:
    """The guide's end: create, wait, many prompts at once, pause; and the next night resume, and pause again."""
    endpoint = hook.create_inference_endpoint(name="batch-endpoint", **GPT2).wait(**PATIENCE)

    async def night(handle: EndpointHandle) -> list[str]:
        async_client = handle.async_client
        results = await asyncio.gather(*[async_client.text_generation(f"Prompt {n}") for n in range(16)])
        await async_client.close()
        return results

    assert len(asyncio.run(night(endpoint))) == 16
    endpoint.pause()
    endpoint = hook.get_inference_endpoint("batch-endpoint").resume().wait(**PATIENCE)
    assert len(asyncio.run(night(endpoint))) == 16
    endpoint.pause()
    assert endpoint.fetch().status == "paused"


def test_hardware_and_catalog(hook: InferenceEndpointsHook) -> None:
    """The hardware of the guide is on offer, and the catalog's models deploy."""
    offered = {each.path for each in hook.list_inference_endpoints_hardware()}
    assert {"aws/us-east-1/intel-icl/x2", "aws/us-east-1/intel-icl/x4", "aws/us-east-1/nvidia-a10g/x1"} <= offered
    models = hook.list_inference_catalog()
    assert models
    endpoint = hook.create_inference_endpoint_from_catalog(models[0].repo_id, name="from-catalog")
    assert endpoint.repository == models[0].repo_id


def test_beyond_the_guide(hook: InferenceEndpointsHook, endpoint: EndpointHandle) -> None:
    """Logs, replicas, quotas and the owner of the token, which huggingface_hub does not have."""
    assert endpoint.logs(tail=5) == hook.get_inference_endpoint_logs(endpoint.name, tail=5)
    assert [each.stage for each in endpoint.replicas()] == ["running"]
    assert len(hook.list_inference_endpoint_replicas(endpoint.name)) == 1
    assert hook.list_inference_endpoints_quotas()
    assert hook.whoami().name == "wauplin"


def test_a_failed_start(emulator: Emulator, hook: InferenceEndpointsHook) -> None:
    """A wait for an endpoint that fails ends at once, with its message and the last lines of its log, redacted."""
    emulator.behave("my-endpoint-name", fail="Out of memory", logs=("loading with hf_secret_of_mine",))
    endpoint = hook.create_inference_endpoint("my-endpoint-name", **GPT2, secrets={"KEY": "hf_secret_of_mine"})
    with pytest.raises(EndpointFailedError) as caught:
        endpoint.wait(**PATIENCE)
    assert "Out of memory" in str(caught.value)
    assert "lines of its log" in str(caught.value)
    assert "hf_secret_of_mine" not in str(caught.value)
    with pytest.raises(InferenceEndpointError, match=r"endpoint\.logs\(\)"):
        _ = endpoint.client


def test_the_hook_takes_every_argument_of_huggingface_hub() -> None:
    """Whatever `huggingface_hub` can be asked, the hook can, under the same name; the token is the connection's."""
    hub = pytest.importorskip("huggingface_hub")
    open_ended = {
        "create_inference_endpoint": set(CreateOptions.__annotations__),
        "update_inference_endpoint": set(UpdateArguments.__annotations__),
        "create_inference_endpoint_from_catalog": {"recipe_id", "name", "accelerator", "gguf_file"},
        "list_inference_catalog": {"accelerator", "engine", "license", "task", "search", "limit"},
    }
    names = [name for name in vars(hub.HfApi) if "inference_endpoint" in name or "inference_catalog" in name]
    assert len(names) >= 11
    for name in names:
        theirs = set(inspect.signature(getattr(hub.HfApi, name)).parameters) - {"self", "token"}
        ours = set(inspect.signature(getattr(InferenceEndpointsHook, name)).parameters) | open_ended.get(name, set())
        assert theirs - ours == set(), name
    for name in ("fetch", "wait", "pause", "resume", "scale_to_zero", "update", "delete"):
        theirs = set(inspect.signature(getattr(hub.InferenceEndpoint, name)).parameters)
        ours = set(inspect.signature(getattr(EndpointHandle, name)).parameters)
        ours |= set(UpdateArguments.__annotations__) if name == "update" else set()
        assert theirs - ours == set(), name
