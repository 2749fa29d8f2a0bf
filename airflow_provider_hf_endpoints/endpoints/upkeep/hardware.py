"""Whether the hardware that somebody asks for exists and can be had, and what is near when not. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal, get_args

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import Hardware
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

HardwareOrder = Literal["given", "price"]

_NEAREST = 3
_FORM = "vendor/region/instance_type/instance_size"
_UNAVAILABLE = frozenset({"not_available", "deprecated"})


def check_hardware(spec: EndpointSpec, offered: Sequence[Hardware]) -> Hardware:
    """The instance that `spec` names. Raises `InvalidArgumentError` with the nearest choices if it does not exist."""
    for choice in offered:
        if choice.place == spec.place:
            if choice.accelerator and choice.accelerator != spec.accelerator:
                raise InvalidArgumentError(
                    f"accelerator={spec.accelerator!r} does not match the hardware: {choice.path} has the accelerator "
                    f"{choice.accelerator!r}. Give accelerator={choice.accelerator!r}, or choose other hardware."
                )
            return choice
    raise _unknown(spec.place.path, spec.accelerator, offered)


def _unknown(wanted: str, accelerator: str | None, offered: Sequence[Hardware]) -> InvalidArgumentError:
    names = ", ".join(describe(choice) for choice in nearest(wanted, accelerator, offered)) or "none available"
    return InvalidArgumentError(
        f"Hardware {wanted!r} ({_FORM}) does not exist. Nearest: {names}. For the full list, call "
        "InferenceEndpointsHook().list_inference_endpoints_hardware()."
    )


def nearest(wanted: str, accelerator: str | None, offered: Sequence[Hardware]) -> list[Hardware]:
    """The few choices that are most like the path `wanted`, available ones of the same accelerator first."""

    def likeness(choice: Hardware) -> tuple[bool, bool, float]:
        ratio = difflib.SequenceMatcher(None, wanted, choice.path).ratio()
        return (choice.accelerator == accelerator, choice.status not in _UNAVAILABLE, ratio)

    return sorted(offered, key=likeness, reverse=True)[:_NEAREST]


def check_choices(choices: object, order: str = "given") -> tuple[str, ...]:
    """The paths of a list of choices. Raises `InvalidArgumentError` if a path or the order is not valid."""
    if order not in get_args(HardwareOrder):
        raise InvalidArgumentError(
            f"hardware_order={order!r} is not valid. Use one of {', '.join(get_args(HardwareOrder))}."
        )
    listed = [choices] if isinstance(choices, str) else choices
    if not isinstance(listed, list | tuple) or not listed:
        raise InvalidArgumentError(
            f"hardware={choices!r} is not valid. Give a list of {_FORM}, with at least one entry."
        )
    for path in listed:
        if not isinstance(path, str) or len(path.split("/")) != 4 or not all(path.split("/")):
            raise InvalidArgumentError(
                f"hardware: {path!r} is not of the form {_FORM}, e.g. 'aws/us-east-1/nvidia-l4/x1'."
            )
    return tuple(dict.fromkeys(listed))


def choose(paths: Sequence[str], offered: Sequence[Hardware], order: HardwareOrder) -> list[Hardware]:
    """The instances behind `paths`, in the order in which to try them; those without a price come last by price.

    Raises `InvalidArgumentError` for a path that the service does not offer. Otherwise a misspelt choice would go
    unnoticed.
    """
    known = {each.path: each for each in offered}
    for path in paths:
        if path not in known:
            raise _unknown(path, None, offered)
    chosen = [known[path] for path in paths]
    if order == "given":
        return chosen
    return sorted(chosen, key=lambda each: float("inf") if each.price_per_hour is None else each.price_per_hour)


def shortage(choice: Hardware, offered: Sequence[Hardware]) -> str | None:
    """Why an endpoint on `choice` is unlikely to start now, or None: no capacity, or the quota is used up."""
    if choice.status in _UNAVAILABLE:
        others = [
            other
            for other in offered
            if other.status == "available" and other.accelerator == choice.accelerator and other.path != choice.path
        ]
        same_type = sorted(others, key=lambda other: (other.instance_type != choice.instance_type, other.path))
        names = ", ".join(describe(other) for other in same_type[:_NEAREST]) or "none of this kind"
        return f"{choice.path} is {choice.status.replace('_', ' ')} at the moment. Available: {names}."
    if choice.max_accelerators is not None and choice.used_accelerators is not None:
        left = choice.max_accelerators - choice.used_accelerators
        if left < max(1, choice.num_accelerators):
            return (
                f"The quota for {choice.instance_type} is used up: {choice.used_accelerators} of "
                f"{choice.max_accelerators} accelerators are in use, and one replica needs "
                f"{max(1, choice.num_accelerators)}. Pause or delete an endpoint on this hardware, or ask Hugging "
                "Face for more quota."
            )
    return None


def describe(choice: Hardware) -> str:
    """Path, status and price, for a person."""
    price = f", {usd(choice.price_per_hour)}/h" if choice.price_per_hour is not None else ""
    return f"{choice.path} ({choice.status or 'status unknown'}{price})"
