"""The real huggingface_hub runs its Inference Endpoints guide on the emulator. Only its base URLs are changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract import specs
from tests.contract.emulator_play import loaded_once_asked
from tests.contract.specs import GPT2, TGI_ENV, TGI_IMAGE

huggingface_hub = pytest.importorskip("huggingface_hub", minversion="2.0", reason="the guide is that of 2.x")

from huggingface_hub import (  # noqa: E402 - only once it is known to be there
    HfApi,
    InferenceEndpoint,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    constants,
    create_inference_endpoint,
    create_inference_endpoint_from_catalog,
    get_inference_endpoint,
    list_inference_catalog,
    list_inference_endpoints,
    list_inference_endpoints_hardware,
)
from huggingface_hub.errors import BadRequestError, HfHubHTTPError  # noqa: E402

SOON: Any = 0.02  # seconds between two looks; annotated as int, and any number serves
ZEPHYR: dict[str, Any] = {
    **specs.ZEPHYR,
    "env": TGI_ENV,
    "custom_image": {"healthRoute": "/health", "url": TGI_IMAGE},
    "secrets": {"MY_SECRET_KEY": "secret_value"},
    "tags": ["dev", "text-generation"],
}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator that huggingface_hub takes for the service: its token in the environment, its addresses replaced."""
    with Emulator(
        token="hf_guide", namespace="acme", orgs=("lab",), orgs_without_billing=frozenset({"broke"})
    ) as running:
        monkeypatch.setenv("HF_TOKEN", running.token)
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{running.url}/v2")
        monkeypatch.setattr(constants, "INFERENCE_CATALOG_ENDPOINT", f"{running.url}/api/v1/catalog")
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", running.url)  # read when the library was imported
        yield running


def create(name: str = "my-endpoint-name", **arguments: Any) -> InferenceEndpoint:
    return create_inference_endpoint(name, **{**GPT2, **arguments})


def ready(name: str = "my-endpoint-name", **arguments: Any) -> InferenceEndpoint:
    return create(name, **arguments).wait(timeout=20, refresh_every=SOON)


# ------------------------------------------------------------------------------------------- create


def test_create(emulator: Emulator) -> None:
    """The guide's first example: gpt2 on intel-icl x2."""
    endpoint = create()
    assert endpoint.name == "my-endpoint-name"
    assert endpoint.namespace == "acme"
    assert endpoint.repository == "gpt2"
    assert endpoint.status == "pending"
    assert endpoint.framework == "pytorch"
    assert endpoint.revision is None
    assert endpoint.type == "authenticated"
    assert endpoint.url is not None


def test_create_with_a_custom_image(emulator: Emulator) -> None:
    """The guide's second: zephyr on TGI, whose image knows its limits from env."""
    endpoint = ready("aws-zephyr-7b-beta-0486", **ZEPHYR)
    assert endpoint.status == "running"
    assert endpoint.health_route == "/health"
    assert endpoint.raw["model"]["env"]["MAX_INPUT_LENGTH"] == "1024"
    assert "secret_value" not in str(endpoint.raw)
    assert endpoint.raw["tags"] == ["dev", "text-generation"]
    generated = endpoint.client.text_generation("I am", max_new_tokens=3, details=True, return_full_text=False)
    assert generated.generated_text == "Echo: I am"
    assert generated.details is not None
    assert generated.details.finish_reason == "eos_token"
    with pytest.raises(huggingface_hub.errors.ValidationError, match="1024"):
        endpoint.client.text_generation("word " * 1025)


def test_create_that_scales_to_zero(emulator: Emulator) -> None:
    """The third, of the reference: finbert, which scales to zero and classifies."""
    endpoint = ready(
        "finbert-classifier",
        repository="ProsusAI/finbert",
        task="text-classification",
        min_replica=0,
        scale_to_zero_timeout=15,
    )
    best: Any = endpoint.client.text_classification("Stocks rallied")  # one element, whatever the annotation says
    assert 0.5 <= best.score <= 1


def test_create_with_the_older_spelling_of_the_image(emulator: Emulator) -> None:
    """`env` and `health_route` inside a flat image, as older guides had it, are silently dropped."""
    image = {**ZEPHYR["custom_image"], "env": {"A": "1"}, "health_route": "/health"}
    endpoint = create("older", **{**ZEPHYR, "custom_image": image})
    assert set(endpoint.raw["model"]["image"]["custom"]) == {"url", "healthRoute"}


# ------------------------------------------------------------------------------------------- get, list, fetch


def test_get_and_list(emulator: Emulator) -> None:
    """One by name; all of a namespace; all that the token reaches, organisations without billing skipped."""
    create("mine")
    create("theirs", namespace="lab")
    assert get_inference_endpoint("mine").status in ("pending", "initializing", "running")
    assert get_inference_endpoint("theirs", namespace="lab").namespace == "lab"
    assert [endpoint.name for endpoint in list_inference_endpoints()] == ["mine"]
    assert [endpoint.name for endpoint in list_inference_endpoints("lab")] == ["theirs"]
    assert [endpoint.name for endpoint in list_inference_endpoints(namespace="*")] == ["mine", "theirs"]
    with pytest.raises(HfHubHTTPError) as refused:
        get_inference_endpoint("nobody")
    assert refused.value.response.status_code == 404


def test_the_first_page_is_all_that_hub_reads(emulator: Emulator) -> None:
    """25 endpoints, of which this client lists 20: a shortcoming of the client's that the emulator shows."""
    for number in range(25):
        create(f"e{number}")
    assert len(list_inference_endpoints()) == 20


def test_fetch_and_wait(emulator: Emulator) -> None:
    """fetch looks again; wait ends when it runs and answers, or in time, or with the failure."""
    endpoint = create()
    assert endpoint.fetch() is endpoint
    assert endpoint.wait(timeout=20, refresh_every=SOON).status == "running"
    emulator.behave("slow", initializing_seconds=600)
    with pytest.raises(InferenceEndpointTimeoutError):
        create("slow").wait(timeout=0, refresh_every=SOON)
    emulator.behave("broken", fail="no such weights")
    with pytest.raises(InferenceEndpointError, match="failed to deploy"):
        create("broken").wait(timeout=20, refresh_every=SOON)


def test_wait_for_the_health_route(emulator: Emulator) -> None:
    """Running is not ready: the wait continues until the health route answers 200."""
    with loaded_once_asked(emulator, "my-endpoint-name"):
        ready()
    probes = [request.status for request in emulator.requests if request.path.endswith("/health")]
    assert (probes[0], probes[-1]) == (503, 200)


# ------------------------------------------------------------------------------------------- inference


def test_inference(emulator: Emulator) -> None:
    """text_generation and chat_completion through the endpoint's client, streamed too."""
    emulator.set_quirks("toolkit_chats")  # one endpoint for both
    endpoint = ready()
    assert endpoint.client.text_generation("I am") == "I am Echo: I am"
    messages = [{"role": "user", "content": "What is deep learning?"}]
    answer = endpoint.client.chat_completion(messages, max_tokens=3)
    assert answer.choices[0].message.content == "Echo: What is"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3
    client = endpoint.client  # its streams end when it is collected
    parts = [chunk.choices[0].delta.content for chunk in client.chat_completion(messages, stream=True)]
    assert "".join(part or "" for part in parts) == "Echo: What is deep learning?"


def test_inference_async(emulator: Emulator) -> None:
    """The same through async_client."""
    emulator.set_quirks("toolkit_chats")
    endpoint = ready()

    async def ask() -> tuple[str, Any]:
        client = endpoint.async_client
        messages = [{"role": "user", "content": "hello"}]
        return await client.text_generation("I am"), await client.chat_completion(messages)

    text, answer = asyncio.run(ask())
    assert text == "I am Echo: I am"
    assert answer.choices[0].message.content == "Echo: hello"


def test_chat_calls_every_model_dummy(emulator: Emulator) -> None:
    """This client's chat names the model "dummy": vLLM refuses that with 404, llama.cpp does not look."""
    messages = [{"role": "user", "content": "hello"}]
    vllm = ready("vllm", custom_image={"vLLM": {"url": "vllm/vllm-openai:v0.23.0"}})
    with pytest.raises(HfHubHTTPError) as refused:
        vllm.client.chat_completion(messages)
    assert refused.value.response.status_code == 404
    llamacpp = ready("cpp", custom_image={"llamacpp": {"url": "server", "modelPath": "/repository/m.gguf"}})
    assert llamacpp.client.chat_completion(messages).choices[0].message.content == "Echo: hello"


# ------------------------------------------------------------------------------------------- lifecycle


def test_pause_and_resume(emulator: Emulator) -> None:
    """Paused is not billed and does not wake. A resume starts it again. A second resume is an error only on request."""
    endpoint = ready()
    assert endpoint.pause().status == "paused"
    with pytest.raises(BadRequestError, match="paused"):
        endpoint.client.text_generation("I am")
    assert endpoint.resume().status == "pending"
    endpoint.wait(timeout=20, refresh_every=SOON)
    assert endpoint.resume().status == "running"
    with pytest.raises(BadRequestError, match="already running"):
        endpoint.resume(running_ok=False)


def test_scale_to_zero(emulator: Emulator) -> None:
    """Scaled to zero it wakes on the next request, with a cold start; it needs an idle timeout to be allowed to."""
    endpoint = ready()
    with pytest.raises(BadRequestError, match="workload cannot be scaled to zero"):
        endpoint.scale_to_zero()
    endpoint.update(min_replica=0, scale_to_zero_timeout=15).wait(timeout=20, refresh_every=SOON)
    assert endpoint.scale_to_zero().status == "scaledToZero"
    with pytest.raises(HfHubHTTPError) as cold:
        endpoint.client.text_generation("I am")
    assert cold.value.response.status_code == 503
    endpoint.fetch().wait(timeout=20, refresh_every=SOON)
    assert endpoint.client.text_generation("I am") == "I am Echo: I am"


def test_update(emulator: Emulator) -> None:
    """The guide's three updates: another model, more replicas, larger hardware."""
    endpoint = ready()
    assert endpoint.update(repository="gpt2-large").status == "updating"
    assert endpoint.wait(timeout=20, refresh_every=SOON).repository == "gpt2-large"
    endpoint.update(min_replica=2, max_replica=6)
    endpoint.wait(timeout=20, refresh_every=SOON)
    assert endpoint.raw["status"]["readyReplica"] == 2
    endpoint.update(accelerator="cpu", instance_size="x4", instance_type="intel-icl")
    endpoint.wait(timeout=20, refresh_every=SOON)
    assert endpoint.raw["compute"]["instanceSize"] == "x4"
    emulator.behave("my-endpoint-name", fail_update="no")
    with pytest.raises(InferenceEndpointError, match="failed to update"):
        endpoint.update(repository="gpt3").wait(timeout=20, refresh_every=SOON)


def test_parallelism_without_an_image(emulator: Emulator) -> None:
    """tensor_parallel_size alone is written into the image that the endpoint has."""
    gpu = {"accelerator": "gpu", "instance_type": "nvidia-l4", "instance_size": "x4"}
    image = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "tensorParallelSize": 2}}
    endpoint = create("parallel", custom_image=image, **gpu)
    endpoint.update(tensor_parallel_size=4)
    assert endpoint.raw["model"]["image"]["vLLM"] == {**image["vLLM"], "tensorParallelSize": 4}


def test_registry_credentials(emulator: Emulator) -> None:
    """A private image's credentials are taken, and come back without the password."""
    endpoint = create(
        "private-image",
        custom_image={"url": "registry.example/mine:1"},
        container_registry_username="me",
        container_registry_password="registry-password",
    )
    assert "registry-password" not in str(endpoint.raw)
    assert endpoint.raw["model"]["image"]["custom"]["credentials"]["username"] == "me"


def test_delete(emulator: Emulator) -> None:
    endpoint = ready()
    endpoint.delete()
    emulator.advance(1)
    with pytest.raises(HfHubHTTPError) as gone:
        endpoint.fetch()
    assert gone.value.response.status_code == 404


# ------------------------------------------------------------------------------------------- hardware and catalog


def test_hardware(emulator: Emulator) -> None:
    """The hardware list, filtered as the reference shows; each row can be created with."""
    hardware = list_inference_endpoints_hardware()
    available = [row.id for row in hardware if row.accelerator == "gpu" and row.status == "available"]
    assert {"aws-us-east-1-nvidia-l4-x1", "aws-us-east-1-nvidia-l4-x4"} <= set(available)
    row = next(row for row in hardware if row.id == "aws-us-east-1-intel-icl-x2")
    assert (row.price_per_hour, row.num_cpus, row.gpu_memory_gb) == (0.064, 2, None)


@pytest.mark.filterwarnings("ignore")  # the catalog's functions say of themselves that they are experimental
def test_catalog(emulator: Emulator) -> None:
    """The catalog listed by task and accelerator, deployed by model and by recipe."""
    listed = list_inference_catalog(task="text-generation", accelerator="neuron")
    assert [model.repo_id for model in listed] == ["meta-llama/Llama-3.1-8B-Instruct"]
    by_model = create_inference_endpoint_from_catalog("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert by_model.repository == "HuggingFaceTB/SmolLM2-135M-Instruct"
    by_model.wait(timeout=20, refresh_every=SOON)
    assert by_model.client.chat_completion([{"role": "user", "content": "hi"}]).choices[0].message.content == "Echo: hi"
    recipe = list_inference_catalog(engine="tei")[0].recipes[0]
    by_recipe = create_inference_endpoint_from_catalog(recipe_id=recipe.id, name="embedder")
    assert (by_recipe.name, by_recipe.repository) == ("embedder", "BAAI/bge-base-en-v1.5")


# ------------------------------------------------------------------------------------------- the guide's two examples


def test_end_to_end_batch(emulator: Emulator) -> None:
    """Resume a paused endpoint, run many prompts at once through async_client, pause it again."""
    ready("batch-endpoint").pause()
    endpoint = get_inference_endpoint("batch-endpoint").resume().wait(timeout=20, refresh_every=SOON)
    prompts = [f"prompt {number}" for number in range(50)]

    async def run() -> list[str]:
        client = endpoint.async_client
        return list(await asyncio.gather(*[client.text_generation(prompt) for prompt in prompts]))

    results = asyncio.run(run())
    endpoint.pause()
    assert results == [f"{prompt} Echo: {prompt}" for prompt in prompts]
    assert emulator.states("batch-endpoint")[-1] == "paused"
    assert emulator.meter("batch-endpoint")["requests"] >= 50


def test_end_to_end_get_or_create(emulator: Emulator) -> None:
    """Create an endpoint if it does not exist, use it, and scale it to zero; the second time it is found."""
    api = HfApi()

    def get_or_create() -> InferenceEndpoint:
        try:
            return api.get_inference_endpoint("shared")
        except HfHubHTTPError:
            return api.create_inference_endpoint("shared", **GPT2, min_replica=0, scale_to_zero_timeout=15)

    first = get_or_create().wait(timeout=20, refresh_every=SOON)
    assert first.client.text_generation("I am") == "I am Echo: I am"
    first.scale_to_zero()
    assert get_or_create().status == "scaledToZero"
    assert len(api.list_inference_endpoints()) == 1
