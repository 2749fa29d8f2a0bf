"""Whether an endpoint is in use, from what the service reports. For callers without leases. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_hf_endpoints.endpoints.models import DataPoint, InferenceEndpoint, Metrics


def is_used(first: InferenceEndpoint, now: InferenceEndpoint, pending: Metrics | None) -> bool:
    """Whether there were requests between two looks, or are some under way.

    :param first: the earlier look, `now` the later one.
    :param pending: the metric `pending-request` since the earlier one; None where it is not available.
    """
    if now.last_used_at is not None and now.last_used_at != first.last_used_at:
        return True
    return pending is not None and are_pending(pending)


def are_pending(metric: Metrics) -> bool:
    """Whether requests were under way at its last point.

    :param metric: `pending-request`
    """
    return any(_last(each.data) > 0 for each in metric.series)


def _last(points: Sequence[DataPoint]) -> float:
    values = [each.y for each in points if each.y is not None]
    return values[-1] if values else 0.0
