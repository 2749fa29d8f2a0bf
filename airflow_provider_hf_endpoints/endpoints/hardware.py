"""Whether the hardware that somebody asks for exists and can be had, and what is near when not. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import Hardware
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

_NEAREST = 3
_UNAVAILABLE = frozenset({"not_available", "deprecated"})


def check_hardware(spec: EndpointSpec, offered: Sequence[Hardware]) -> Hardware:
    """The instance that `spec` names. Raises `InvalidArgumentError` with the nearest choices when there is none."""
    for choice in offered:
        same_place = (choice.vendor, choice.region) == (spec.vendor, spec.region)
        if same_place and (choice.instance_type, choice.instance_size) == (
            spec.instance_type,
            spec.instance_size,
        ):
            if choice.accelerator and choice.accelerator != spec.accelerator:
                raise InvalidArgumentError(
                    f"accelerator={spec.accelerator!r}: {choice.path} is of the kind {choice.accelerator!r}."
                )
            return choice
    wanted = f"{spec.vendor}/{spec.region}/{spec.instance_type}/{spec.instance_size}"
    names = ", ".join(_describe(choice) for choice in nearest(spec, offered)) or "none is offered"
    raise InvalidArgumentError(
        f"There is no hardware {wanted!r} (vendor/region/instance_type/instance_size). Nearest: {names}. "
        "All of it: list_inference_endpoints_hardware."
    )


def nearest(spec: EndpointSpec, offered: Sequence[Hardware]) -> list[Hardware]:
    """The few choices that are most like the one asked for, available ones of the same accelerator first."""
    wanted = f"{spec.vendor}/{spec.region}/{spec.instance_type}/{spec.instance_size}"

    def likeness(choice: Hardware) -> tuple[bool, bool, float]:
        ratio = difflib.SequenceMatcher(None, wanted, choice.path).ratio()
        return (choice.accelerator == spec.accelerator, choice.status not in _UNAVAILABLE, ratio)

    return sorted(offered, key=likeness, reverse=True)[:_NEAREST]


def shortage(choice: Hardware, offered: Sequence[Hardware]) -> str | None:
    """Why an endpoint on `choice` is unlikely to start now, or None: no capacity, or the quota is used up."""
    if choice.status in _UNAVAILABLE:
        others = [
            other
            for other in offered
            if other.status == "available" and other.accelerator == choice.accelerator and other.path != choice.path
        ]
        same_type = sorted(others, key=lambda other: (other.instance_type != choice.instance_type, other.path))
        names = ", ".join(_describe(other) for other in same_type[:_NEAREST]) or "nothing of that kind"
        return f"{choice.path} is {choice.status.replace('_', ' ')} at the moment. Available: {names}."
    if choice.max_accelerators is not None and choice.used_accelerators is not None:
        left = choice.max_accelerators - choice.used_accelerators
        if left < max(1, choice.num_accelerators):
            return (
                f"The quota for {choice.instance_type} is used up: {choice.used_accelerators} of "
                f"{choice.max_accelerators} accelerators, and one replica needs {max(1, choice.num_accelerators)}. "
                "Pause or delete an endpoint on it, or ask Hugging Face for more."
            )
    return None


def _describe(choice: Hardware) -> str:
    price = f", ${choice.price_per_hour:g}/h" if choice.price_per_hour is not None else ""
    return f"{choice.path} ({choice.status or 'status unknown'}{price})"
