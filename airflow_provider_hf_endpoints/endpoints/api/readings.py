"""What the service reports beside an endpoint: replicas, logs, metrics, hardware, quotas, the catalog. Flows as in
`flows.py`, which only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from airflow_provider_hf_endpoints.endpoints.api import flows, requests
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.concealing import conceal
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    InferenceEndpointError,
    InvalidAnswerError,
    InvalidArgumentError,
    ServiceError,
)
from airflow_provider_hf_endpoints.endpoints.models import (
    Hardware,
    InferenceCatalogModel,
    InferenceEndpoint,
    LogEntry,
    Metrics,
    Quota,
    Replica,
)
from airflow_provider_hf_endpoints.endpoints.names import check_name

_LONGEST_LOG = 5000  # lines, by the service's rule
_LONGEST_LINE = 2000  # characters of a line that an error quotes


def replicas(session: Session, name: str, namespace: str | None) -> Flow[list[Replica]]:
    """The endpoint's replicas."""
    check_name(name)
    chosen = yield from flows.resolve_namespace(session, namespace)
    request = requests.replicas(chosen, name)
    answer = yield request
    return [flows.parse(Replica, item, request) for item in flows.items_of(answer.data, "items", request)]


def logs(
    session: Session,
    name: str,
    namespace: str | None,
    *,
    tail: int = 100,
    replica: str | None = None,
    level: str | None = None,
    search: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
) -> Flow[list[LogEntry]]:
    """The last `tail` lines, oldest first. Falls back to the text log (v2) where log search answers 501.

    The fallback knows no filter by level, text or time; asked for one, it raises the 501 instead of ignoring it.
    """
    check_name(name)
    if not 1 <= tail <= _LONGEST_LOG:
        raise InvalidArgumentError(f"tail={tail!r} is out of range. The service allows 1 to {_LONGEST_LOG} lines.")
    chosen = yield from flows.resolve_namespace(session, namespace)
    request = requests.logs_v3(
        chosen, name, limit=tail, replica=replica, level=level, search=search, since=since, until=until, order="desc"
    )
    try:
        answer = yield request
    except ServiceError as error:
        if error.status != 501 or level or search or since or until:
            raise
    else:
        if not isinstance(answer.data, list):
            raise InvalidAnswerError("the log is not a list", method=request.method, path=request.path, retryable=False)
        return _oldest_first([flows.parse(LogEntry, item, request) for item in answer.data])[-tail:]
    answer = yield requests.logs_v2(chosen, name, tail=tail, replica=replica)
    return [LogEntry(line=line) for line in str(answer.data).splitlines()][-tail:]


def _oldest_first(entries: list[LogEntry]) -> list[LogEntry]:
    """The lines in the order in which they were written.

    The contract calls a page ascending, and `order` descending by default: where the first line is younger than the
    last one, the page came the other way round.
    """
    moments = [entry.timestamp for entry in entries if entry.timestamp is not None]
    descending = len(moments) > 1 and moments[0] > moments[-1]
    return entries[::-1] if descending else entries


def metric(
    session: Session,
    name: str,
    namespace: str | None,
    which: Literal["replica-running", "pending-request"],
    *,
    start: datetime,
    stop: datetime | None = None,
    replica_id: str | None = None,
) -> Flow[Metrics]:
    """A metric over time."""
    check_name(name)
    for label, moment in (("start", start), ("stop", stop)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidArgumentError(f"{label}={moment!r} has no time zone. Give a datetime with a time zone.")
    chosen = yield from flows.resolve_namespace(session, namespace)
    request = requests.metric(chosen, name, which, start=start, stop=stop or session.now(), replica_id=replica_id)
    answer = yield request
    return flows.parse(Metrics, answer.data, request)


def hardware(session: Session, namespace: str | None, *, with_quota: bool = True) -> Flow[list[Hardware]]:
    """Every instance with its price; with the namespace's quota unless `with_quota` is False."""
    chosen = None
    if with_quota:
        chosen = yield from flows.resolve_namespace(session, namespace)
    request = requests.hardware(chosen)
    answer = yield request
    found = []
    for vendor in flows.items_of(answer.data, "vendors", request):
        for region in flows.items_of(vendor, "regions", request):
            place = {"vendor": vendor.get("name"), "region": region.get("name")}
            computes = flows.items_of(region, "computes", request)
            found += [flows.parse(Hardware, {**compute, **place}, request) for compute in computes]
    return found


def quotas(session: Session, namespace: str | None) -> Flow[list[Quota]]:
    """What the namespace may use and uses."""
    chosen = yield from flows.resolve_namespace(session, namespace)
    request = requests.quotas(chosen)
    answer = yield request
    return [
        flows.parse(Quota, {**quota, "vendor": vendor.get("name")}, request)
        for vendor in flows.items_of(answer.data, "vendors", request)
        for quota in flows.items_of(vendor, "quotas", request)
    ]


def catalog(filters: Mapping[str, Any]) -> Flow[list[InferenceCatalogModel]]:
    """Models with tested recipes."""
    request = requests.catalog(**filters)
    answer = yield request
    return [flows.parse(InferenceCatalogModel, item, request) for item in flows.items_of(answer.data, "items", request)]


def describe_failure(
    session: Session, endpoint: InferenceEndpoint, *, tail: int = 20, secrets: tuple[str, ...] = ()
) -> Flow[str]:
    """The last lines of a broken endpoint's log, without secrets, ready for an error or a task's log.

    Never raises for the log itself: why the log could not be read is said in its place.
    """
    try:
        entries = yield from logs(session, endpoint.name, endpoint.namespace, tail=tail)
    except InferenceEndpointError as error:
        words = error.message if isinstance(error, ApiError) else str(error)
        return conceal(f"(Could not read its log: {words})", endpoint, secrets)
    if not entries:
        return "(Its log is empty.)"
    # Before the lines are indented: a secret of several lines is found as it was printed.
    text = conceal("\n".join(entry.line[: 2 * _LONGEST_LINE].rstrip() for entry in entries), endpoint, secrets)
    lines = "\n".join(f"  {line[:_LONGEST_LINE]}" for line in text.splitlines())
    return f"Last {len(entries)} lines of its log:\n{lines}"
