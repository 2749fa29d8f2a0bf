"""The hardware of a create: one place or several choices, and the checks before anything is created."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.errors import (
    NoCapacityError,
    NoHardwareError,
    QuotaExceededError,
)
from airflow_provider_hf_endpoints.endpoints.models import Hardware, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import check_choices, check_hardware, describe, shortage
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.starting.search import Search

log = logging.getLogger(__name__)

#: The arguments that name one place together.
PLACE = ("vendor", "region", "accelerator", "instance_type", "instance_size")


def check_place(place: Mapping[str, Any], hardware: object, order: str) -> None:
    """Check for every part of one place, or a list of choices. A list with templates is checked after rendering."""
    given = [name for name, value in place.items() if value is not None]
    if hardware is None and (missing := [name for name, value in place.items() if value is None]):
        raise ValueError(f"Missing: {', '.join(missing)}. Give all of {', '.join(PLACE)}, or `hardware` instead.")
    if hardware is not None and given:
        raise ValueError(f"Both hardware and {', '.join(given)} are given. Give one or the other.")
    if isinstance(hardware, str) and not is_template(hardware):
        hardware = [hardware]
    if isinstance(hardware, list | tuple) and not any(is_template(str(path)) for path in hardware):
        check_choices(hardware, order)


def refuse_shortage(spec: EndpointSpec, offered: Sequence[Hardware], replaces: InferenceEndpoint | None = None) -> None:
    """Refuse a start that cannot succeed, before anything is created. Log the price.

    :param replaces: an endpoint that is deleted first, which may free enough quota
    """
    if not offered:
        return
    choice = check_hardware(spec, offered)
    if choice.price_per_hour is not None:
        log.info("%s costs %s per replica and hour.", choice.path, usd(choice.price_per_hour))
    problem = shortage(choice, offered)
    if problem is None:
        return
    # If the quota is not the reason, the cloud has no capacity. A deletion does not help then.
    no_capacity = shortage(choice.model_copy(update={"max_accelerators": None}), offered) is not None
    if replaces is not None and not no_capacity and replaces.instance_type == spec.instance_type:
        log.warning("%s Deleting the endpoint that is replaced may free enough quota.", problem)
        return
    kind = NoCapacityError if no_capacity else QuotaExceededError
    raise kind(problem, method="GET", path="/v2/provider", status=200, advice="Nothing was created or deleted.")


def create_on_next(
    search: Search,
    offered: Sequence[Hardware],
    *,
    name: str,
    refusal: Callable[[Hardware], str | None],
    attempt: Callable[[Hardware], InferenceEndpoint],
) -> tuple[Search, InferenceEndpoint]:
    """Create on the first available one of the remaining choices. The others are for a start that fails.

    :param refusal: why not to try a choice, None to try it
    :param attempt: creates the endpoint
    :raises NoHardwareError: no choice is left
    """
    listed = {each.path: each for each in offered}
    while (following := search.go_on()) is not None:
        search = following
        choice = listed.get(str(search.at))
        problem = "it is no longer offered." if choice is None else refusal(choice)
        if choice is not None and problem is None:
            log.info("Trying hardware %s.", describe(choice))
            try:
                return search, attempt(choice)
            except (NoCapacityError, QuotaExceededError) as error:
                problem = error.message
        search = give_up_choice(search, str(problem))
    raise NoHardwareError(
        f"Endpoint {name!r} could not be started on any of {len(search.tried)} choices of "
        f"hardware:\n{search.report()}\nThe failed endpoints are deleted. Give more choices, or try again later."
    )


def give_up_choice(search: Search, why: str) -> Search:
    """The search without the current choice. The reason is logged."""
    log.warning("Hardware %s failed: %s", search.at, why)
    return search.failed(why)
