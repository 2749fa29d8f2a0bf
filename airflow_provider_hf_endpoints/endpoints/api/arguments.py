"""The arguments of create and update, for type checkers. What they mean, and what is checked, is in `spec.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class CommonArguments(TypedDict, total=False):
    """Arguments that create and update share, for type checkers. Their meaning: see `EndpointUpdate`."""

    min_replica: int | None
    max_replica: int | None
    scale_to_zero_timeout: int | None
    scaling_metric: str | None
    scaling_threshold: float | None
    revision: str | None
    task: str | None
    custom_image: Mapping[str, Any] | None
    container_registry_username: str | None
    container_registry_password: str | None
    container_command: list[str] | None
    container_args: list[str] | None
    tensor_parallel_size: int | None
    data_parallel_size: int | None
    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    type: str | None
    domain: str | None
    path: str | None
    cache_http_responses: bool | None
    tags: list[str] | None
    network: Mapping[str, Any] | None
    notifications: Mapping[str, Any] | None
    custom_router: Mapping[str, Any] | None
    experimental_features: Mapping[str, Any] | None


class UpdateArguments(CommonArguments, total=False):
    """Arguments of an update, for type checkers."""

    repository: str | None
    framework: str | None
    accelerator: str | None
    instance_size: str | None
    instance_type: str | None
    vendor: str | None
    region: str | None


class CreateOptions(CommonArguments, total=False):
    """Optional arguments of a create, for type checkers."""

    account_id: str | None
    private_link_account_id: str | None
    private_link_region: str | None
    private_link_shared: bool | None
    from_catalog: bool | None
