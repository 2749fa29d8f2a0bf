"""What a caller asks for: the arguments of create and update, checked before anything is sent. Their types for type
checkers are in `arguments.py`.

The arguments have huggingface_hub's names; the payload has the contract's. What the contract knows and huggingface_hub
does not is here under the contract's names in snake_case.
"""

from __future__ import annotations

import difflib
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.images import build_image, engine_and_settings
from airflow_provider_hf_endpoints.endpoints.models import (
    InferenceEndpointScalingMetric,
    InferenceEndpointType,
    Place,
)
from airflow_provider_hf_endpoints.endpoints.names import name_problem
from airflow_provider_hf_endpoints.endpoints.spec_errors import explain

SHORTEST_IDLE, LONGEST_IDLE = 15, 2880  # minutes; the service refuses a scaleToZeroTimeout outside
FRAMEWORKS = ("pytorch", "custom", "llamacpp")  # of the API document, 2.0.0


class EndpointUpdate(BaseModel):
    """The settings of an endpoint that an update may change; None leaves one as it is.

    :param accelerator: `cpu`, `gpu` or `neuron`. `list_inference_endpoints_hardware` gives the valid combinations of
        the five arguments of the hardware.
    :param instance_type: e.g. `nvidia-l4`.
    :param instance_size: e.g. `x1`.
    :param vendor: the cloud, e.g. `aws`.
    :param region: e.g. `us-east-1`.
    :param min_replica: the autoscaler's lower bound; 0 allows scaling to zero.
    :param max_replica: the autoscaler's upper bound.
    :param scale_to_zero_timeout: idle minutes (15 to 2880) before the service scales to zero.
    :param scaling_metric: `pendingRequests` or `hardwareUsage`, with `scaling_threshold`.
    :param repository: the model's repository on the hub.
    :param revision: its branch, tag or commit.
    :param framework: `pytorch`, `custom` or `llamacpp`.
    :param task: what the model is for, e.g. `text-generation`.
    :param custom_image: flat (`{"url": …}`) or keyed by engine (`{"vLLM": {"url": …}}`). An existing endpoint keeps
        its engine, and an image is always sent whole.
    :param tensor_parallel_size: how many accelerators share one copy of the model (vLLM, SGLang).
    :param data_parallel_size: how many copies of the model there are (vLLM).
    :param env: the container's environment. An update replaces the whole set.
    :param secrets: the same for values that the service hides.
    :param type: `authenticated`, `public` or `private`.
    :param domain: the domain of a custom route; given together with `path`.
    :param path: the path of a custom route.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    repository: str | None = Field(None, min_length=1)
    framework: str | None = Field(None, min_length=1)
    accelerator: str | None = Field(None, min_length=1)
    instance_size: str | None = Field(None, min_length=1)
    instance_type: str | None = Field(None, min_length=1)
    region: str | None = Field(None, min_length=1)
    vendor: str | None = Field(None, min_length=1)
    min_replica: int | None = Field(None, ge=0)
    max_replica: int | None = Field(None, ge=0)
    scaling_metric: InferenceEndpointScalingMetric | None = None
    scaling_threshold: float | None = Field(None, allow_inf_nan=False)
    scale_to_zero_timeout: int | None = None
    revision: str | None = None
    task: str | None = None
    custom_image: dict[str, Any] | None = Field(None, repr=False)
    container_registry_username: str | None = None
    container_registry_password: SecretStr | None = None
    container_command: list[str] | None = Field(None, repr=False)
    container_args: list[str] | None = Field(None, repr=False)
    tensor_parallel_size: int | None = Field(None, ge=1)
    data_parallel_size: int | None = Field(None, ge=1)
    env: dict[str, str] | None = Field(None, repr=False)
    secrets: dict[str, SecretStr] | None = None
    type: str | None = None
    domain: str | None = None
    path: str | None = None
    cache_http_responses: bool | None = None
    tags: list[str] | None = None
    network: dict[str, Any] | None = None
    notifications: dict[str, Any] | None = None
    custom_router: dict[str, Any] | None = Field(None, repr=False)
    experimental_features: dict[str, Any] | None = None

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Self:
        """Check the arguments. Raises `InvalidArgumentError`, which names the field, the value and the fix."""
        known = cls.model_fields
        for name in arguments:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
                raise InvalidArgumentError(f"Unknown argument {name!r}.{hint}")
        try:
            return cls(**arguments)
        except ValidationError as error:
            raise InvalidArgumentError(explain(error, arguments)) from None

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str | None) -> str | None:
        if value == "protected":
            warnings.warn(
                "type='protected' is deprecated, and the service would treat it as 'private'. Use 'authenticated'.",
                FutureWarning,
                stacklevel=2,
            )
            return InferenceEndpointType.AUTHENTICATED
        if value is not None and value not in set(InferenceEndpointType):
            allowed = ", ".join(InferenceEndpointType)
            raise ValueError(f"must be one of {allowed}; the service would silently use private")
        return value

    @field_validator("repository")
    @classmethod
    def _repository_of_the_hub(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
            return value
        owner_and_name = re.search(r"(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", value)
        meant = f"Give {owner_and_name[1]!r}" if owner_and_name else "Write it as owner/name, such as 'Qwen/Qwen3-0.6B'"
        raise ValueError(f"this is not the name of a repository on the Hub. {meant}")

    @field_validator("framework")
    @classmethod
    def _known_framework(cls, value: str | None) -> str | None:
        if value is not None and value not in FRAMEWORKS:
            raise ValueError(
                f"must be one of {', '.join(FRAMEWORKS)}; custom_image chooses the engine, for example "
                "{'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}} with framework='pytorch'"
            )
        return value

    @field_validator("scale_to_zero_timeout")
    @classmethod
    def _idle_minutes(cls, value: int | None) -> int | None:
        if value is not None and not SHORTEST_IDLE <= value <= LONGEST_IDLE:
            raise ValueError(f"must be between {SHORTEST_IDLE} and {LONGEST_IDLE} minutes (the service's limit)")
        return value

    @field_validator("custom_image")
    @classmethod
    def _whole_image(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            engine_and_settings(value)
        return value

    @field_validator("custom_image", "network", "notifications", "custom_router", "experimental_features")
    @classmethod
    def _sendable(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("must contain only JSON values: text, numbers, booleans, lists, dicts") from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.container_registry_password is not None and self.container_registry_username is None:
            raise ValueError("container_registry_password is given without container_registry_username; give both")
        if self.scaling_threshold is not None and self.scaling_metric is None:
            raise ValueError("scaling_threshold has no effect without scaling_metric; give both")
        if self.min_replica is not None and self.max_replica is not None and self.min_replica > self.max_replica:
            raise ValueError(
                f"min_replica={self.min_replica} is greater than max_replica={self.max_replica}; raise max_replica, or "
                "lower min_replica"
            )
        for one, other in (("domain", "path"), ("vendor", "region")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} belong together: give both or none")
        return self

    def payload(self, current_image: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The body of the PUT: only what changes.

        :param current_image: the image that the endpoint runs, for parallelism sizes without an image.
        """
        body: dict[str, Any] = {}
        if compute := _compute(self):
            body["compute"] = compute
        if model := _model(self):
            body["model"] = model
        image = self._image(current_image)
        if image is not None:
            body.setdefault("model", {})["image"] = image[0]
            if image[1]:
                body["model"]["env"] = {**image[1], **(self.env or {})}
        if self.vendor is not None:
            body["provider"] = {"vendor": self.vendor, "region": self.region}
        body.update(_rest(self))
        if self.cache_http_responses is not None:
            # Only a create has the setting at its top; an update takes it among the experimental features.
            features = {"cacheHttpResponses": self.cache_http_responses}
            body["experimentalFeatures"] = {**features, **(self.experimental_features or {})}
        if not body:
            raise InvalidArgumentError("Nothing to update: no argument changes anything. Give at least one.")
        return body

    @property
    def needs_current_image(self) -> bool:
        """Whether the parallelism sizes have to be put into the image that the endpoint runs now."""
        sizes = self.tensor_parallel_size is not None or self.data_parallel_size is not None
        return sizes and self.custom_image is None

    def _image(self, current: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, str]] | None:
        chosen = self.custom_image if self.custom_image is not None else current
        if chosen is None and self.container_registry_username is None:
            return None
        image = build_image(
            chosen,
            username=self.container_registry_username,
            password=_reveal(self.container_registry_password),
            tensor_parallel_size=self.tensor_parallel_size,
            data_parallel_size=self.data_parallel_size,
        )
        return image.payload, image.env

    def secret_values(self) -> list[str]:
        """Everything in here that must never be shown."""
        values = [secret.get_secret_value() for secret in (self.secrets or {}).values()]
        passwords = [_reveal(self.container_registry_password)]
        for settings in (self.custom_image or {}, *(self.custom_image or {}).values()):
            if isinstance(settings, Mapping) and isinstance(settings.get("credentials"), Mapping):
                passwords.append(settings["credentials"].get("password"))
        return values + [password for password in passwords if password]


class EndpointSpec(EndpointUpdate):
    """A new endpoint. The defaults limit the bill: `min_replica` is 0, and 15 idle minutes scale the endpoint to zero.

    Parameters as in `EndpointUpdate`; here the model and the hardware are required.

    :param name: lower-case letters, digits and '-', 32 at most.
    :param min_replica: default 0. With 1 or more the endpoint bills until somebody stops it.
    :param max_replica: default 1, or `min_replica` where that is more.
    :param scale_to_zero_timeout: idle minutes, default 15 where `min_replica` is 0. It is a backstop and no switch:
        44 billed idle minutes were reported at a setting of 15.
    :param private_link_account_id: the AWS account of a private link (AWS PrivateLink).
    :param private_link_region: its region.
    :param private_link_shared: whether the link is shared among endpoints.
    """

    name: str
    repository: str = Field(min_length=1)
    framework: str = Field(min_length=1)
    accelerator: str = Field(min_length=1)
    instance_size: str = Field(min_length=1)
    instance_type: str = Field(min_length=1)
    region: str = Field(min_length=1)
    vendor: str = Field(min_length=1)
    min_replica: int | None = Field(0, ge=0)
    type: str | None = InferenceEndpointType.AUTHENTICATED
    account_id: str | None = None
    private_link_account_id: str | None = None
    private_link_region: str | None = None
    private_link_shared: bool | None = None
    from_catalog: bool | None = None

    @field_validator("name")
    @classmethod
    def _valid_name(cls, value: str) -> str:
        if problem := name_problem(value):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.private_link_account_id is None) != (self.private_link_region is None):
            raise ValueError("private_link_account_id and private_link_region belong together: give both or none")
        if self.account_id is not None:
            warnings.warn(
                "The service ignores `account_id`. Use private_link_account_id and private_link_region.",
                FutureWarning,
                stacklevel=2,
            )
        return self

    @property
    def place(self) -> Place:
        """Where its replicas run."""
        return Place(self.vendor, self.region, self.instance_type, self.instance_size)

    @property
    def never_scales_down(self) -> bool:
        """Whether such an endpoint bills until somebody stops it."""
        return bool(self.min_replica)

    @property
    def idle_minutes(self) -> int | None:
        """The scale-to-zero timeout that is sent."""
        if self.scale_to_zero_timeout is None and not self.min_replica:
            return SHORTEST_IDLE
        return self.scale_to_zero_timeout

    def payload(self, current_image: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The body of the POST."""
        image = build_image(
            self.custom_image,
            username=self.container_registry_username,
            password=_reveal(self.container_registry_password),
            tensor_parallel_size=self.tensor_parallel_size,
            data_parallel_size=self.data_parallel_size,
        )
        model = {**_model(self), "image": image.payload}
        if image.env:
            model["env"] = {**image.env, **(self.env or {})}
        compute = _compute(self)
        scaling = {"minReplica": 0, "maxReplica": max(1, self.min_replica or 0), **compute.get("scaling", {})}
        compute["scaling"] = {**scaling, "scaleToZeroTimeout": self.idle_minutes}
        if self.from_catalog is not None:
            model["fromCatalog"] = self.from_catalog
        body: dict[str, Any] = {
            "name": self.name,
            "type": str(InferenceEndpointType.AUTHENTICATED),
            "provider": {"vendor": self.vendor, "region": self.region},
            "compute": compute,
            "model": model,
            **_rest(self),
        }
        if self.cache_http_responses is not None:
            body["cacheHttpResponses"] = self.cache_http_responses
        if self.private_link_account_id is not None:
            service: dict[str, Any] = {
                "accountId": self.private_link_account_id,
                "region": self.private_link_region,
            }
            if self.private_link_shared is not None:
                service["shared"] = self.private_link_shared
            body["privateService"] = service
        return body


def _compute(spec: EndpointUpdate) -> dict[str, Any]:
    compute = _given(accelerator=spec.accelerator, instanceType=spec.instance_type, instanceSize=spec.instance_size)
    scaling = _given(
        minReplica=spec.min_replica,
        maxReplica=spec.max_replica,
        scaleToZeroTimeout=spec.scale_to_zero_timeout,
    )
    if spec.scaling_metric is not None:
        scaling["measure"] = {str(spec.scaling_metric): spec.scaling_threshold}
    if scaling:
        compute["scaling"] = scaling
    return compute


def _model(spec: EndpointUpdate) -> dict[str, Any]:
    # `task` is not nullable for the service, unlike `revision`: what is not given is not sent.
    model = _given(
        repository=spec.repository,
        framework=spec.framework,
        revision=spec.revision,
        task=spec.task,
        command=spec.container_command,
        args=spec.container_args,
        env=spec.env,
    )
    if spec.secrets is not None:
        model["secrets"] = {name: secret.get_secret_value() for name, secret in spec.secrets.items()}
    return model


def _rest(spec: EndpointUpdate) -> dict[str, Any]:
    body = _given(
        type=str(spec.type) if spec.type is not None else None,
        tags=spec.tags,
        network=spec.network,
        notifications=spec.notifications,
        customRouter=spec.custom_router,
        experimentalFeatures=spec.experimental_features,
    )
    if spec.domain is not None:
        body["route"] = {"domain": spec.domain, "path": spec.path}
    return body


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
