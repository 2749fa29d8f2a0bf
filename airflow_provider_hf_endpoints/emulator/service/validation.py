"""What the control plane accepts, refuses, drops and changes in a specification. Pure: JSON in, JSON or ApiError out.

The forms are pydantic models in strict mode, as narrow as the service's own. Unknown fields are dropped silently,
and an unknown `type` becomes `private`. Checks of hardware, quota or other endpoints are in `service.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from airflow_provider_hf_endpoints.emulator.errors import ApiError, misshapen
from airflow_provider_hf_endpoints.emulator.service import images
from airflow_provider_hf_endpoints.emulator.service.hardware import Hardware

Accelerator = Literal["cpu", "gpu", "neuron", "zero_gpu"]
Framework = Literal["custom", "pytorch", "llamacpp"]
Task = Literal[
    "custom", "any-to-any", "audio-classification", "automatic-speech-recognition", "feature-extraction", "fill-mask",
    "image-classification", "image-segmentation", "image-text-to-text", "object-detection", "question-answering",
    "sentence-embeddings", "sentence-ranking", "sentence-similarity", "summarization", "table-question-answering",
    "text-classification", "text-generation", "text-ranking", "text-to-image", "token-classification", "translation",
    "zero-shot-classification",
]  # fmt: skip
TYPES = ("public", "authenticated", "private")


def _coerce_type(value: Any) -> Any:
    return "private" if isinstance(value, str) and value not in TYPES else value


EndpointType = Annotated[Literal["public", "authenticated", "private"], BeforeValidator(_coerce_type)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Env = dict[str, str]
Secrets = dict[str, str | None]


class _Shape(BaseModel):
    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, alias_generator=to_camel, protected_namespaces=()
    )


class _Provider(_Shape):
    vendor: str
    region: str


class _HardwareUsage(_Shape):
    hardware_usage: float | None


class _PendingRequests(_Shape):
    pending_requests: float | None


_Measure = _HardwareUsage | _PendingRequests | None


class _Scaling(_Shape):
    min_replica: Count
    max_replica: Count
    scale_to_zero_timeout: Count | None = None
    measure: _Measure = None


class _ScalingUpdate(_Shape):
    min_replica: Count | None = None
    max_replica: Count | None = None
    scale_to_zero_timeout: Count | None = None
    measure: _Measure = None


class _Compute(_Shape):
    accelerator: Accelerator
    instance_type: str
    instance_size: str
    scaling: _Scaling


class _ComputeUpdate(_Shape):
    accelerator: Accelerator | None = None
    instance_type: str | None = None
    instance_size: str | None = None
    scaling: _ScalingUpdate | None = None


class _Model(_Shape):
    repository: str
    framework: Framework
    image: dict[str, Any]
    revision: str | None = None
    task: Task = "custom"
    env: Env = {}
    secrets: Secrets = {}
    args: list[str] | None = None
    command: list[str] | None = None
    from_catalog: bool | None = None


class _ModelUpdate(_Shape):
    repository: str | None = None
    framework: Framework | None = None
    image: dict[str, Any] | None = None
    revision: str | None = None
    task: Task | None = None
    env: Env | None = None
    secrets: Secrets | None = None
    args: list[str] | None = None
    command: list[str] | None = None


class _Network(_Shape):
    cidr_block: bool | None = None
    cidr_list: list[str] | None = None


class _Notifications(_Shape):
    email: bool
    push: bool


class _PrivateService(_Shape):
    account_id: str
    region: Literal["us-east-1", "eu-west-1"]
    shared: bool = False


class _Route(_Shape):
    domain: str
    path: str


class _Router(_Shape):
    tag: str | None = None
    env: Env = {}
    port: Count | None = None
    grpc_port: Count | None = None
    protocol: Literal["http", "extProc"] = "http"


class _Experimental(_Shape):
    cache_http_responses: bool = False
    load_balancer: Literal["random", "sticky", "least_connections"] | None = None
    skip_repo_download: bool | None = None


class _Spec(_Shape):
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+\z")]
    type: EndpointType
    provider: _Provider
    compute: _Compute
    model: _Model
    tags: list[str] = []
    network: _Network | None = None
    notifications: _Notifications = _Notifications(email=False, push=False)
    private_service: _PrivateService | None = None
    route: _Route | None = None
    custom_router: _Router | None = None
    experimental_features: _Experimental = _Experimental()
    cache_http_responses: bool | None = None


class _Update(_Shape):
    type: EndpointType | None = None
    provider: _Provider | None = None
    compute: _ComputeUpdate | None = None
    model: _ModelUpdate | None = None
    tags: list[str] | None = None
    network: _Network | None = None
    notifications: _Notifications | None = None
    route: _Route | None = None
    custom_router: _Router | None = None
    experimental_features: _Experimental | None = None


def accept_spec(body: Any, *, longest_name: int = 32) -> dict[str, Any]:
    """A new endpoint's specification as the service stores it. Raises ApiError 422, or 400 for a bad timeout."""
    spec = _parse(_Spec, body)
    if len(spec["name"]) > longest_name:
        raise ApiError(422, f"name: at most {longest_name} characters")
    model = spec["model"]
    model["image"] = images.accept(model["image"])
    if spec.pop("cacheHttpResponses", None):
        spec.setdefault("experimentalFeatures", {})["cacheHttpResponses"] = True
    spec.setdefault("tags", [])
    spec.setdefault("notifications", {"email": False, "push": False})
    spec["experimentalFeatures"] = {"cacheHttpResponses": False, **spec.get("experimentalFeatures", {})}
    _check_scaling(spec["compute"]["scaling"])
    return spec


def accept_update(current: dict[str, Any], body: Any, *, engine_changes: bool = False) -> dict[str, Any]:
    """`current` with the update applied: null and missing fields stay. Raises ApiError 422 or 400."""
    change = _without_null(_parse(_Update, body))
    spec = {**current}
    for part in ("type", "tags", "network", "notifications", "route", "customRouter", "provider"):
        if part in change:
            spec[part] = change[part]
    if "experimentalFeatures" in change:
        spec["experimentalFeatures"] = {**current["experimentalFeatures"], **change["experimentalFeatures"]}
    if "compute" in change:
        compute = _without_null(change["compute"])
        scaling = _without_null(compute.pop("scaling", {}))
        spec["compute"] = {
            **current["compute"],
            **compute,
            "scaling": {**current["compute"]["scaling"], **scaling},
        }
        _check_scaling(spec["compute"]["scaling"])
    if "model" in change:
        model = _without_null(change["model"])
        if "image" in model:
            model["image"] = images.accept(model["image"])
            old, new = next(iter(current["model"]["image"])), next(iter(model["image"]))
            if old != new and not engine_changes:
                raise ApiError(400, f"the engine of an existing endpoint cannot be changed from '{old}' to '{new}'")
        spec["model"] = {**current["model"], **model}
    return spec


def check_parallelism(spec: dict[str, Any], hardware: Hardware) -> None:
    """vLLM and SGLang need a parallelism setting for several accelerators. Raises ApiError 400."""
    variant, fields = next(iter(spec["model"]["image"].items()))
    if variant not in ("vLLM", "sGLang") or hardware.accelerator == "cpu" or hardware.num_accelerators < 2:
        return
    if not (fields.get("tensorParallelSize") or fields.get("dataParallelSize")):
        raise ApiError(
            400,
            f"image '{variant}' on {hardware.num_accelerators} accelerators needs tensorParallelSize"
            " or dataParallelSize",
        )


def _check_scaling(scaling: dict[str, Any]) -> None:
    minimum, maximum = scaling["minReplica"], scaling["maxReplica"]
    if maximum < 1 or minimum > maximum:
        raise ApiError(422, "compute.scaling: maxReplica must be at least 1 and not less than minReplica")
    timeout = scaling.get("scaleToZeroTimeout")
    if timeout is None and minimum == 0:
        scaling["scaleToZeroTimeout"] = 15
    elif timeout is not None and not 15 <= timeout <= 2880:
        raise ApiError(400, "scaleToZeroTimeout must be between 15 and 2880 minutes")


def _parse(shape: type[_Shape], body: Any) -> dict[str, Any]:
    try:
        parsed = shape.model_validate(body)
    except ValidationError as error:
        raise misshapen(_words(error)) from None
    return parsed.model_dump(by_alias=True, exclude_unset=True)


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{where}: {first['msg']}"[:500]


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
