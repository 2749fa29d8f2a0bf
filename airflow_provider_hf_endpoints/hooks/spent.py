"""The cost of an endpoint since a moment, for budgets: from the service, or else from the running time."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, InferenceEndpointError

log = logging.getLogger(__name__)


def usd_since(
    client: EndpointsClient, name: str, namespace: str | None, began: float, usd_per_hour: float | None
) -> float:
    """What an endpoint has cost since `began` (seconds since the epoch), nothing where it is gone.

    By the service, or where that does not say, as if it had billed all the time.
    """
    try:
        start = datetime.fromtimestamp(began, UTC)
        usd = client.run(metering.cost(client.session, name, namespace, start=start, stop=None)).usd
    except EndpointNotFoundError:
        return 0.0
    except InferenceEndpointError as error:
        log.warning(
            ("The service does not report the cost of endpoint %s. The cost is estimated from the running time: %s"),
            name,
            error,
        )
        usd = None
    return (usd_per_hour or 0.0) * max(0.0, time.time() - began) / 3600.0 if usd is None else usd
