"""The target of an operator's requests: an endpoint that answers, and what the control plane reports about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.costs.budgets import Account
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.hooks.handle import known_engine
from airflow_provider_hf_endpoints.hooks.spent import usd_since
from airflow_provider_hf_endpoints.inference.job.budget import SharedBudget


@dataclass(frozen=True)
class EndpointTarget:
    """Where requests go. Its functions ask the control plane, each when it is called.

    :param ready_replicas: how many replicas can take requests now.
    :param price_per_hour: USD per replica and hour; None where the service does not list it.
    :param release: does what a policy says about the endpoint; what was done, in words.
    :param usd_since: what the endpoint has cost since a moment (seconds since the epoch), by the service.
    :param use_budget: what the use that the task is part of may still cost, by now; None where it has no limit.
    """

    url: str
    engine: str | None
    token: SecretStr
    ready_replicas: Callable[[], int]
    price_per_hour: Callable[[], float | None]
    release: Callable[[Release], str]
    usd_since: Callable[[float], float]
    use_budget: SharedBudget | None


def target_of(
    hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, budget: Mapping[str, Any] | None
) -> EndpointTarget:
    """The target that an endpoint is. Raises `InferenceEndpointError` for one without a URL.

    :param budget: the account of the use that came with the endpoint
    """
    if not endpoint.url:
        raise InferenceEndpointError(
            f"Endpoint {endpoint.name!r} is {endpoint.status} and has no URL. Resume it, or wait until it is running."
        )
    client = hook.get_conn()

    def price_per_hour() -> float | None:
        return client.run(metering.price(client.session, endpoint))

    def since(began: float) -> float:
        return usd_since(client, endpoint.name, endpoint.namespace, began, price_per_hour())

    return EndpointTarget(
        url=endpoint.url,
        engine=known_engine(endpoint.engine),
        token=hook.token,
        ready_replicas=lambda: _ready_replicas(client, endpoint),
        price_per_hour=price_per_hour,
        release=lambda policy: client.release(endpoint.name, policy, namespace=endpoint.namespace),
        usd_since=since,
        use_budget=_use_budget(budget, since),
    )


def _ready_replicas(client: EndpointsClient, endpoint: InferenceEndpoint) -> int:
    """At least one: the endpoint answered, and the service's count may lag behind."""
    try:
        now = client.run(flows.get(client.session, endpoint.name, endpoint.namespace, once=True))
    except InferenceEndpointError as error:
        raise OSError(str(error)) from error
    return max(1, now.ready_replica)


def _use_budget(budget: Mapping[str, Any] | None, usd_since: Callable[[float], float]) -> SharedBudget | None:
    account = Account.of(budget)
    if account is None:
        return None
    return SharedBudget(
        name="budget of the endpoint's group",
        began=account.began,
        usd=None if account.max_cost is None else account.gone + usd_since(account.began),
        at=time.time(),
        max_cost=account.max_cost,
        max_runtime=account.max_runtime,
    )
