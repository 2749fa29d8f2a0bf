"""The catalog: models with tested recipes, and their deployment. A table and pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.emulator.control.queries import number
from airflow_provider_hf_endpoints.emulator.errors import ApiError


@dataclass(frozen=True)
class Recipe:
    """A tested deployment of a model."""

    id: str
    accelerator: str
    engine: str
    instance_type: str
    instance_size: str
    image: Mapping[str, Mapping[str, Any]]
    gguf_file: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Model:
    """A model of the catalog."""

    repo_id: str
    license: str
    task: str
    recipes: tuple[Recipe, ...]
    created_at: str = "2026-03-02T09:00:00.000Z"


def _vllm(recipe_id: str, instance_type: str, size: str = "x1") -> Recipe:
    image: dict[str, Any] = {"url": "vllm/vllm-openai:v0.23.0", "port": 8000, "healthRoute": "/health"}
    if size != "x1":
        image["tensorParallelSize"] = int(size.removeprefix("x"))
    return Recipe(recipe_id, "gpu", "vllm", instance_type, size, {"vLLM": image})


def _llamacpp(recipe_id: str, gguf_file: str, size: str) -> Recipe:
    image = {
        "url": "ghcr.io/ggml-org/llama.cpp:server",
        "port": 8080,
        "healthRoute": "/health",
        "modelPath": f"/repository/{gguf_file}",
        "ctxSize": 8192,
        "nParallel": 4,
    }
    return Recipe(recipe_id, "cpu", "llamacpp", "intel-spr", size, {"llamacpp": image}, gguf_file)


MODELS = (
    Model(
        "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache 2.0", "text-generation",
        (_llamacpp("brisk-ramen-q41a7e2c", "SmolLM2-135M-Instruct.Q4_1.gguf", "x2"),
         _llamacpp("brisk-ramen-q80b91d4", "SmolLM2-135M-Instruct.Q8_0.gguf", "x4")),
    ),
    Model(
        "Qwen/Qwen2.5-Coder-7B-Instruct", "Apache 2.0", "text-generation",
        (_vllm("mellow-paella-l4x1c03f", "nvidia-l4"), _vllm("mellow-paella-l4x4a19b", "nvidia-l4", "x4")),
    ),
    Model(
        "meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1", "text-generation",
        (_vllm("tender-gnocchi-a10gd52e", "nvidia-a10g"),
         Recipe("tender-gnocchi-inf25f60", "neuron", "vllm", "inf2", "x1",
                {"vLLMNeuron": {"url": "huggingface/vllm-neuron:0.11", "port": 8080, "healthRoute": "/health"}})),
    ),
    Model(
        "BAAI/bge-base-en-v1.5", "MIT", "sentence-embeddings",
        (Recipe("gentle-pierogi-tei7b3d1", "cpu", "tei", "intel-spr", "x2",
                {"tei": {"url": "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8", "port": 80,
                         "healthRoute": "/health", "maxConcurrentRequests": 512}}),),
    ),
)  # fmt: skip


def list_models(query: Mapping[str, str]) -> dict[str, Any]:
    """The answer of `GET /list`, with every model's recipes."""
    limit = number(query, "limit", len(MODELS))
    found = [model for model in MODELS if _matches(model, query)]
    return {"items": [_model_json(model) for model in found[:limit]]}


def _matches(model: Model, query: Mapping[str, str]) -> bool:
    return (
        query.get("accelerator") in (None, *(r.accelerator for r in model.recipes))
        and query.get("engine") in (None, *(r.engine for r in model.recipes))
        and query.get("license") in (None, model.license)
        and query.get("task") in (None, model.task)
        and query.get("search", "").lower() in model.repo_id.lower()
    )


def _model_json(model: Model) -> dict[str, Any]:
    author, _, name = model.repo_id.partition("/")
    return {
        "repoId": model.repo_id,
        "modelName": name,
        "authorName": author,
        "license": model.license,
        "task": model.task,
        "createdAt": model.created_at,
        "recipes": [
            {
                "publicId": recipe.id,
                "accelerator": recipe.accelerator,
                "engineType": recipe.engine,
                "ggufFile": recipe.gguf_file,
                "revision": recipe.revision,
            }
            for recipe in model.recipes
        ],
    }


def by_repository(repo_id: str, body: Mapping[str, Any]) -> tuple[Model, Recipe]:
    """The model's first recipe with the requested accelerator and GGUF file. Raises ApiError 404."""
    model = next((model for model in MODELS if model.repo_id.lower() == repo_id.lower()), None)
    if model is None:
        raise ApiError(404, f"Model '{repo_id}' is not in the catalog")
    accelerator, gguf_file = body.get("accelerator"), body.get("ggufFile")
    for recipe in model.recipes:
        if accelerator in (None, recipe.accelerator) and gguf_file in (None, recipe.gguf_file):
            return model, recipe
    raise ApiError(404, f"Model '{repo_id}' has no such recipe")


def by_recipe(recipe_id: str) -> tuple[Model, Recipe]:
    """The recipe with this id, and its model. Raises ApiError 404."""
    for model in MODELS:
        for recipe in model.recipes:
            if recipe.id == recipe_id:
                return model, recipe
    raise ApiError(404, f"Recipe '{recipe_id}' is not in the catalog")


def deployment(model: Model, recipe: Recipe, name: Any, number_deployed: int) -> dict[str, Any]:
    """The specification for a deployment of `recipe`. Without a name it gets a generated one."""
    if name is None:
        digest = hashlib.sha256(f"{recipe.id}/{number_deployed}".encode()).hexdigest()[:3]
        stem = model.repo_id.partition("/")[2].lower().replace(".", "-").replace("_", "-")
        name = f"{stem[:28]}-{digest}"
    return {
        "name": name,
        "type": "authenticated",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": recipe.accelerator,
            "instanceType": recipe.instance_type,
            "instanceSize": recipe.instance_size,
            "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
        },
        "model": {
            "repository": model.repo_id,
            "framework": "llamacpp" if recipe.engine == "llamacpp" else "pytorch",
            "revision": recipe.revision,
            "task": model.task,
            "image": {variant: dict(fields) for variant, fields in recipe.image.items()},
            "fromCatalog": True,
        },
    }
