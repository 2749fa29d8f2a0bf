"""The variants of `model.image`: the fields that each engine's container declares, and the handling of other fields.

The service silently drops fields that a variant does not declare, and refuses unknown variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_hf_endpoints.emulator.errors import misshapen

_MAX_INT = 2**31 - 1


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


def _credentials(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("username"), str):
        return False
    return "password" in value and isinstance(value["password"], str | None)


# Fields that may be null, by variant; the others are listed below.
_COMMON: Mapping[str, Callable[[Any], bool]] = {"url": _text, "port": _number, "healthRoute": _text}
_TGI_SIZES = dict.fromkeys(
    ("maxBatchPrefillTokens", "maxBatchTotalTokens", "maxInputLength", "maxTotalTokens"), _number
)
VARIANTS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "huggingface": {},
    "huggingfaceNeuron": {"batchSize": _number, "neuronCache": _text, "sequenceLength": _number},
    "tgi": {
        **_COMMON,
        **_TGI_SIZES,
        "disableCustomKernels": _flag,
        "quantize": _one_of("awq", "bitsandbytes", "eetq", "gptq"),
    },
    "tgiNeuron": {
        **_COMMON,
        **_TGI_SIZES,
        "hfAutoCastType": _one_of("bf16", "fp16"),
        "hfNumCores": _number,
    },
    "tei": {
        **_COMMON,
        "maxBatchTokens": _number,
        "maxConcurrentRequests": _number,
        "pooling": _one_of("mean", "cls"),
    },
    "llamacpp": {
        **_COMMON,
        **dict.fromkeys(("ctxSize", "nParallel", "threadsHttp", "nGpuLayers"), _number),
        **dict.fromkeys(("modelPath", "variant", "mmprojModelPath", "specModelPath"), _text),
        "mode": _one_of("embeddings", "reranking"),
        "pooling": _one_of("mean", "cls", "last", "rank"),
    },
    "vLLM": {
        **_COMMON,
        **dict.fromkeys(("tensorParallelSize", "dataParallelSize", "maxNumSeqs", "maxNumBatchedTokens"), _number),
        "kvCacheDtype": _one_of("fp8", "fp8-e4-m3", "fp8-e5-m2"),
    },
    "vLLMOmni": {**_COMMON, "deployConfig": _text, "maxNumSeqs": _number},
    "vLLMNeuron": _COMMON,
    "sGLang": {
        **_COMMON,
        **dict.fromkeys(
            ("tensorParallelSize", "maxRunningRequests", "chunkedPrefillSize", "maxPrefillTokens"), _number
        ),
        "kvCacheDtype": _one_of("fp8-e4-m3", "fp8-e5-m2"),
    },
    "hfServe": _COMMON,
    "custom": {**_COMMON, "credentials": _credentials},
}
_NOT_NULL = frozenset({"url", "modelPath", "neuronCache", "disableCustomKernels"})
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "huggingface": (),
    "huggingfaceNeuron": (),
    "llamacpp": ("url", "modelPath"),
}


def accept(image: Any) -> dict[str, dict[str, Any]]:
    """`image` in the form that the service stores: one known variant with its declared fields. Raises ApiError 422."""
    if not isinstance(image, dict) or not image:
        raise misshapen("model.image: expected an object with one image variant")
    known = [key for key in image if key in VARIANTS]
    if not known:
        raise misshapen(f"model.image: unknown variant, expected one of {', '.join(VARIANTS)}")
    if len(image) > 1:
        raise misshapen("model.image: expected exactly one image variant")
    variant = known[0]
    fields = image[variant]
    if not isinstance(fields, dict):
        raise misshapen(f"model.image.{variant}: expected an object")
    for name in _REQUIRED.get(variant, ("url",)):
        if name not in fields:
            raise misshapen(f"model.image.{variant}: missing field `{name}`")
    kept: dict[str, Any] = {}
    for name, fits in VARIANTS[variant].items():
        if name not in fields:
            continue
        value = fields[name]
        if not (fits(value) or (value is None and name not in _NOT_NULL)):
            raise misshapen(f"model.image.{variant}.{name}: invalid value")
        kept[name] = value
    if kept.get("credentials"):
        kept["credentials"] = {name: kept["credentials"][name] for name in ("username", "password")}
    return {variant: kept}


def health_route(image: Mapping[str, Mapping[str, Any]]) -> str:
    """The route at which a healthy container answers, by the endpoint's specification."""
    variant, fields = next(iter(image.items()))
    route = fields.get("healthRoute")
    if route:
        return str(route)
    return "/" if variant == "custom" else "/health"


def dialect(image: Mapping[str, Mapping[str, Any]]) -> str:
    """The engine whose routes the container has: its variant or, for a custom one, the name of its image."""
    variant, fields = next(iter(image.items()))
    if variant != "custom":
        return {
            "vLLMNeuron": "vLLM",
            "vLLMOmni": "vLLM",
            "tgiNeuron": "tgi",
            "huggingfaceNeuron": "huggingface",
        }.get(variant, variant)
    url = str(fields.get("url", "")).lower()
    for hint, name in _HINTS:
        if hint in url:
            return name
    return "custom"


_HINTS = (
    ("text-generation-inference", "tgi"),
    ("text-embeddings-inference", "tei"),
    ("vllm", "vLLM"),
    ("sglang", "sGLang"),
    ("llama.cpp", "llamacpp"),
    ("inference-toolkit", "huggingface"),
)
