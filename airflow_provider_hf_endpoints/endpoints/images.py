"""What goes into `model.image`: the container, keyed by engine, from the flat or keyed dict that a user gives.

The service drops unknown fields of an image variant in silence and can't take a part of an image, so spelling mistakes
are caught here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

# Engines of the contract's EndpointModelImage. One that is added later is passed on as it is.
ENGINES = (
    "huggingface",
    "huggingfaceNeuron",
    "tgi",
    "tgiNeuron",
    "tei",
    "llamacpp",
    "vLLM",
    "vLLMOmni",
    "vLLMNeuron",
    "sGLang",
    "hfServe",
    "custom",
)
_WITHOUT_URL = ("huggingface", "huggingfaceNeuron")
_TENSOR_PARALLEL = ("vLLM", "sGLang")
_DATA_PARALLEL = ("vLLM",)
_OLD_SPELLINGS = {"health_route": "healthRoute"}


@dataclass(frozen=True)
class Image:
    """A `model.image` payload, and the environment that older spellings put inside it (its place is `model.env`)."""

    payload: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)


def build_image(
    custom_image: Mapping[str, Any] | None,
    *,
    username: str | None = None,
    password: str | None = None,
    tensor_parallel_size: int | None = None,
    data_parallel_size: int | None = None,
) -> Image:
    """The image of a new endpoint; Hugging Face's default image if no image is given.

    :param custom_image: flat (`{"url": …, "port": …}`, becomes `custom`) or keyed by engine (`{"vLLM": {"url": …}}`).
    :raises InvalidArgumentError: a variant without its `url`, credentials without a registry, or sizes that the engine
        does not know.
    """
    if password is not None and username is None:
        raise InvalidArgumentError(
            "container_registry_password is given without container_registry_username. Give both."
        )
    if custom_image is None:
        if username is not None:
            raise InvalidArgumentError(
                "container_registry_username applies only to a custom image. Add custom_image={'url': …}."
            )
        image = Image({"huggingface": {}})
    else:
        image = _normalise(custom_image)
    payload = image.payload
    if username is not None:
        payload = _with_credentials(payload, username, password)
    payload = with_parallelism(payload, tensor_parallel_size, data_parallel_size)
    return Image(payload, image.env)


def with_parallelism(
    payload: Mapping[str, Any], tensor_parallel_size: int | None, data_parallel_size: int | None
) -> dict[str, Any]:
    """`payload` with the parallelism sizes inside its engine's settings, where they belong."""
    if tensor_parallel_size is None and data_parallel_size is None:
        return dict(payload)
    engine, settings = _variant(payload)
    settings = dict(settings)
    for name, key, value, known in (
        ("tensor_parallel_size", "tensorParallelSize", tensor_parallel_size, _TENSOR_PARALLEL),
        ("data_parallel_size", "dataParallelSize", data_parallel_size, _DATA_PARALLEL),
    ):
        if value is None:
            continue
        if engine in ENGINES and engine not in known:
            raise InvalidArgumentError(
                f"{name}={value} has no effect on engine {engine!r}: the service would ignore it silently. Engines "
                f"that support it: {', '.join(known)}."
            )
        settings[key] = value
    return {engine: settings}


def reusable_image(raw_image: Mapping[str, Any] | None, endpoint: str) -> dict[str, Any]:
    """The image of an existing endpoint, fit to be sent back. Raises where that would overwrite credentials."""
    if not raw_image:
        raise InvalidArgumentError(
            f"Endpoint {endpoint!r} reports no image, so the parallelism sizes cannot be added to it. Give "
            "custom_image."
        )
    engine, settings = _variant(raw_image)
    if settings.get("credentials"):
        raise InvalidArgumentError(
            f"Endpoint {endpoint!r} uses an image with registry credentials. The service redacts them, so the image "
            "cannot be sent again. Give custom_image and the credentials together with the parallelism sizes."
        )
    return {engine: dict(settings)}


def engine_and_settings(custom_image: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The service's key of an image's engine, and its settings.

    :raises InvalidArgumentError: it is not one engine with what this engine requires
    """
    if not isinstance(custom_image, Mapping) or not custom_image:
        raise InvalidArgumentError(
            f"custom_image is {'empty' if custom_image == {} else f'of the type {type(custom_image).__name__}'}. Write "
            "{'url': 'registry/image:tag'} or {'vLLM': {'url': …}}."
        )
    # A flat image is the `custom` variant.
    keyed: Mapping[str, Any] = {"custom": custom_image} if "url" in custom_image else custom_image
    if len(keyed) != 1:
        raise InvalidArgumentError(
            f"custom_image has the keys {sorted(keyed)}. Write it flat with a 'url', or with exactly one engine "
            f"({', '.join(ENGINES)})."
        )
    engine, settings = _variant(keyed)
    by_lower = {known.lower(): known for known in ENGINES}
    engine = by_lower.get(engine.lower(), engine)
    if engine not in _WITHOUT_URL and not settings.get("url"):
        raise InvalidArgumentError(
            f"custom_image[{engine!r}] has no 'url', which the service requires. Add the URL of the container image."
        )
    if engine == "llamacpp" and not settings.get("modelPath"):
        raise InvalidArgumentError("custom_image['llamacpp'] has no 'modelPath'. Add the name of the GGUF file.")
    return engine, dict(settings)


def _normalise(custom_image: Mapping[str, Any]) -> Image:
    engine, settings = engine_and_settings(custom_image)
    return _modernise(engine, settings)


def _modernise(engine: str, given: Mapping[str, Any]) -> Image:
    """The guide's older spellings are moved to where the service reads them; it would drop them in silence."""
    settings = dict(given)
    env = settings.pop("env", None) or {}
    if not isinstance(env, Mapping):
        raise InvalidArgumentError(
            f"`env` inside custom_image must be a dict, not {type(env).__name__}. Better: give it as env=…."
        )
    if env:
        warnings.warn(
            "The service ignores `env` inside custom_image, so it is sent as the endpoint's `env`. Give env=… to "
            "remove this warning.",
            FutureWarning,
            stacklevel=2,
        )
    for old, new in _OLD_SPELLINGS.items():
        if old in settings:
            warnings.warn(f"`{old}` inside custom_image is deprecated. Use `{new}`.", FutureWarning, stacklevel=2)
            value = settings.pop(old)
            settings.setdefault(new, value)
    return Image({engine: settings}, {str(key): str(value) for key, value in env.items()})


def _with_credentials(payload: Mapping[str, Any], username: str, password: str | None) -> dict[str, Any]:
    engine, settings = _variant(payload)
    if engine != "custom":
        raise InvalidArgumentError(
            f"Registry credentials work only with a custom image, but custom_image is {engine!r}. Write custom_image "
            "flat: {'url': …}."
        )
    # The contract requires both, and the password may be null.
    return {"custom": {**settings, "credentials": {"username": username, "password": password}}}


def _variant(payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    engine, settings = next(iter(payload.items()))
    if not isinstance(settings, Mapping):
        raise InvalidArgumentError(
            f"custom_image[{engine!r}] must be a dict of settings, not {type(settings).__name__}. Write "
            f"{{{engine!r}: {{'url': 'registry/image:tag'}}}}."
        )
    return engine, settings
