"""Both clients of the control plane against the running emulator: every method."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import check_hardware, shortage
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Ready
from tests.contract.client.client_play import GPU, TOKEN, VLLM, Either, asked


def test_the_whole_life_of_an_endpoint(emulator: Emulator, client: Either) -> None:
    """Create, wait, look, pause, resume, scale to zero, wake, delete: each step is what the service then says."""
    made = client.create(env={"A": "1"}, tags=["nightly"], max_replica=2)
    assert (made.name, made.namespace, made.unapplied) == ("tickets", "acme", ())

    ready = client.wait()
    assert isinstance(ready, Ready)
    assert client("get_inference_endpoint", "tickets").status == "running"
    assert [each.live for each in client("list_inference_endpoint_replicas", "tickets")] == [True]

    assert client("pause_inference_endpoint", "tickets").status == "paused"
    assert client("pause_inference_endpoint", "tickets").status == "paused"
    resumed = client("resume_inference_endpoint", "tickets")
    assert resumed.status in ("pending", "initializing", "running")
    assert isinstance(client.wait(resumed_at=datetime.now(UTC)), Ready)
    assert client("resume_inference_endpoint", "tickets").status == "running"
    with pytest.raises(errors.BadRequestError, match="already running"):
        client("resume_inference_endpoint", "tickets", running_ok=False)

    client("scale_to_zero_inference_endpoint", "tickets")
    assert isinstance(client.wait(target_states=frozenset({"scaledToZero"})), Ready)
    assert isinstance(client.wait(), Ready)

    assert client("delete_inference_endpoint", "tickets") is True
    with pytest.raises(errors.EndpointNotFoundError):
        client("get_inference_endpoint", "tickets")
    assert client("delete_inference_endpoint", "tickets", missing_ok=True) is False


def test_every_argument_is_applied(emulator: Emulator, client: Either) -> None:
    """A create with about everything comes back as it was sent: nothing is dropped, nothing coerced."""
    made = client.create(
        **{**GPU, "framework": "custom"},
        min_replica=0,
        max_replica=3,
        scale_to_zero_timeout=30,
        scaling_metric="pendingRequests",
        scaling_threshold=2.0,
        revision="main",
        custom_image=VLLM,
        tensor_parallel_size=1,
        container_args=["--max-model-len", "4096"],
        env={"A": "1"},
        secrets={"B": "s3cr3t-value"},
        type="private",
        tags=["a", "b"],
        notifications={"email": False, "push": True},
        experimental_features={"loadBalancer": "sticky"},
    )
    assert made.unapplied == ()
    assert (made.engine, made.min_replica, made.max_replica, made.scale_to_zero_timeout) == ("vLLM", 0, 3, 30)
    assert "s3cr3t-value" not in str(made.raw)


def test_what_the_service_drops_is_reported(emulator: Emulator, client: Either) -> None:
    """The service answers 200 and drops a setting that the engine does not know: the result reports this."""
    image = {"vLLM": {**VLLM["vLLM"], "maxSequences": 8}}
    made = client.create(**{**GPU, "custom_image": image})
    assert [each.field for each in made.unapplied] == ["model.image.vLLM.maxSequences"]
    assert all(each.dropped for each in made.unapplied)


def test_updates(emulator: Emulator, client: Either) -> None:
    """What is given changes and the rest stays; parallelism sizes go into the image that runs."""
    client.running(**{**GPU, "instance_size": "x4", "custom_image": VLLM, "tensor_parallel_size": 4})
    changed = client("update_inference_endpoint", "tickets", tags=["a"], max_replica=2)
    assert (changed.tags, changed.max_replica, changed.unapplied) == (["a"], 2, ())
    assert isinstance(client.wait(), Ready)

    changed = client("update_inference_endpoint", "tickets", tensor_parallel_size=2, data_parallel_size=2)
    settings = changed.image["vLLM"]
    assert (settings["tensorParallelSize"], settings["dataParallelSize"]) == (2, 2)
    assert VLLM["vLLM"]["url"] == settings["url"]
    assert changed.max_replica == 2


def test_a_list_has_every_page(emulator: Emulator, client: Either) -> None:
    """More endpoints than a page holds are all listed, and filters are the service's."""
    for number in range(45):
        client.create(f"e-{number:02}", tags=["even" if number % 2 == 0 else "odd"])
    found = client("list_inference_endpoints")
    assert {f"e-{number:02}" for number in range(45)} == {each.name for each in found}
    assert len(found) == 45
    assert asked(emulator, "GET", "/v2/endpoint/acme") == 3
    assert len(client("list_inference_endpoints", tags="even")) == 23
    assert [each.name for each in client("list_inference_endpoints", search="07")] == ["e-07"]
    assert client("list_inference_endpoints", state=["paused", "failed"]) == []
    names = [each.name for each in client("list_inference_endpoints", sort_by="name", direction="asc", limit=7)]
    assert sorted(names) == names
    assert len(names) == 45


def test_everywhere(asynchronous: bool) -> None:
    """`*` lists the user and every organisation; one without billing is left out."""
    with Emulator(
        token=TOKEN, namespace="alice", orgs=("acme", "poor"), orgs_without_billing=frozenset({"poor"})
    ) as emulator:
        client = Either(emulator, asynchronous)
        client.create("mine")
        client.create("ours", namespace="acme")
        found = client("list_inference_endpoints", "*")
        client.close()
    assert {("alice", "mine"), ("acme", "ours")} == {(each.namespace, each.name) for each in found}


def test_whose_token_it_is(emulator: Emulator, client: Either) -> None:
    """The user, asked once however often a namespace is needed."""
    assert client("default_namespace") == "acme"
    client("list_inference_endpoints")
    assert client("whoami").name == "acme"
    assert asked(emulator, "GET", "whoami") == 1


def test_logs_and_metrics(emulator: Emulator, client: Either) -> None:
    """What the container printed, oldest first, and the graphs, are there for a running endpoint."""
    emulator.behave("tickets", logs=("one", "two", "three"))
    client.running()
    lines = [entry.line for entry in client("get_inference_endpoint_logs", "tickets")]
    assert [line for line in lines if line in ("one", "two", "three")] == ["one", "two", "three"]
    assert lines[-2:] == [entry.line for entry in client("get_inference_endpoint_logs", "tickets", tail=2)]
    start = datetime.now(UTC) - timedelta(minutes=1)
    for which in ("replica-running", "pending-request"):
        assert client("get_inference_endpoint_metric", "tickets", which, start=start).start is not None
    client("debug_inference_endpoint", "tickets")


def test_logs_without_log_search(asynchronous: bool) -> None:
    """A deployment that answers 501 has the text log; a filter that it can't serve is an error."""
    with Emulator(token=TOKEN, namespace="acme", log_search=False, logs=("one", "two")) as emulator:
        client = Either(emulator, asynchronous)
        client.running()
        lines = [entry.line for entry in client("get_inference_endpoint_logs", "tickets")]
        with pytest.raises(errors.ServiceError, match="501"):
            client("get_inference_endpoint_logs", "tickets", level="ERROR")
        client.close()
    assert any("two" in line for line in lines)


def test_hardware_and_quotas(emulator: Emulator, client: Either) -> None:
    """Every instance has a price, and the namespace's quota counts what runs."""
    offered = client("list_inference_endpoints_hardware")
    assert all(each.price_per_hour is not None and each.max_accelerators is not None for each in offered)
    wanted = EndpointSpec.from_arguments(name="tickets", **GPU)
    assert check_hardware(wanted, offered).path == "aws/us-east-1/nvidia-a10g/x1"
    public = client("list_inference_endpoints_hardware", with_quota=False)
    assert {each.path for each in offered} == {each.path for each in public}
    assert any(each.instance_type == "nvidia-a10g" for each in client("list_inference_endpoints_quotas"))


def test_preflight_says_what_is_short(emulator: Emulator, client: Either) -> None:
    """No capacity and a used-up quota are in the hardware list before anything is created."""
    emulator.set_capacity("nvidia-a10g", available=False)
    offered = client("list_inference_endpoints_hardware")
    wanted = EndpointSpec.from_arguments(name="tickets", **GPU)
    assert "not available" in str(shortage(check_hardware(wanted, offered), offered))
    unknown = EndpointSpec.from_arguments(name="tickets", **{**GPU, "instance_type": "nvidia-l44"})
    with pytest.raises(errors.InvalidArgumentError, match="nvidia-l4/x1"):
        check_hardware(unknown, offered)


def test_the_catalog(emulator: Emulator, client: Either) -> None:
    """Models with recipes; an endpoint from a model, and one from a recipe."""
    models = client("list_inference_catalog", limit=3)
    assert models
    assert all(each.recipes for each in models)
    made = client("create_inference_endpoint_from_catalog", models[0].repo_id, name="by-model")
    assert ("by-model", models[0].repo_id) == (made.name, made.repository)
    recipe = models[0].recipes[0].id
    assert client("create_inference_endpoint_from_catalog", recipe_id=recipe, name="by-recipe").name == "by-recipe"
