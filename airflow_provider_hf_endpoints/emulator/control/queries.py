"""The query strings of the control plane: list pages, filters, logs, graphs. Pure."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint, LogLine
from airflow_provider_hf_endpoints.emulator.service.view import timestamp

PAGE = 20
LOG_LIMIT, LOG_LIMIT_MAX = 1000, 5000
Query = Mapping[str, str]


def number(query: Query, name: str, default: int) -> int:
    """A count from the query. Raises ApiError 400 for anything else."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiError(400, f"invalid query parameter '{name}'")
    return int(text)


def moment(query: Query, name: str) -> float | None:
    """A time from the query, RFC 3339. Raises ApiError 400 for anything else."""
    text = query.get(name)
    return None if text is None else parse_time(text, name)


def parse_time(text: Any, name: str) -> float:
    """An RFC 3339 date and time as seconds since 1970. Raises ApiError 400."""
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise ApiError(400, f"'{name}' is not a date and time") from None


def _values(query: Query, name: str) -> set[str] | None:
    text = query.get(name)
    return {value.strip() for value in text.split(",")} if text else None


# ------------------------------------------------------------------------------------------- lists


def list_page(endpoints: Iterable[Endpoint], query: Query) -> tuple[list[Endpoint], dict[str, Any]]:
    """The endpoints of one page, with `totalItems` and the cursors of the answer."""
    found = [endpoint for endpoint in endpoints if _matches(endpoint, query)]
    key = {
        "createdAt": lambda e: (e.created_at, e.id),
        "updatedAt": lambda e: (e.updated_at, e.id),
        "name": lambda e: e.name,
    }.get(query.get("sortBy", "createdAt"))
    if key is None:
        raise ApiError(400, "invalid query parameter 'sortBy'")
    direction = query.get("direction", "desc").lower()
    if direction not in ("asc", "desc"):
        raise ApiError(400, "invalid query parameter 'direction'")
    found.sort(key=key, reverse=direction == "desc")
    limit, start = number(query, "limit", PAGE), _offset(query)
    end = start + limit
    return found[start:end], {
        "totalItems": len(found),
        "nextCursor": _cursor(end) if limit and end < len(found) else None,
        "prevCursor": _cursor(max(0, start - limit)) if limit and start > 0 else None,
    }


def _matches(endpoint: Endpoint, query: Query) -> bool:
    spec = endpoint.spec
    tags, types, tasks, states = (_values(query, name) for name in ("tags", "type", "task", "state"))
    return (
        (tags is None or bool(tags & set(spec["tags"])))
        and (types is None or spec["type"] in types)
        and (tasks is None or spec["model"].get("task") in tasks)
        and (states is None or endpoint.state.value in states)
        and query.get("search", "") in endpoint.name
    )


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"offset:{offset}".encode()).decode()


def _offset(query: Query) -> int:
    cursor = query.get("cursor")
    if not cursor:
        return 0
    try:
        kind, _, offset = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if kind == "offset" and len(offset) <= 18:
            return max(0, int(offset))
    except ValueError:
        pass
    raise ApiError(400, "invalid query parameter 'cursor'")


# ------------------------------------------------------------------------------------------- logs


def log_text(endpoint: Endpoint, query: Query) -> str:
    """The v2 logs: lines of text, oldest first, the last `tail` of them."""
    lines = _of_replica(endpoint.logs, query)
    tail = number(query, "tail", len(lines))
    lines = lines[len(lines) - tail :] if tail < len(lines) else lines
    width = number(query, "line_max_length", 0)
    return "".join(f"{line.line[:width] if width else line.line}\n" for line in lines)


def log_entries(endpoint: Endpoint, query: Query, path: str) -> tuple[list[dict[str, Any]], str | None]:
    """The v3 logs: one page, ascending within the page, and the Link header if there is another page.

    `order` decides from which end the pages are taken: "desc" (default) begins with the page of the newest lines.
    """
    order = query.get("order", "desc").lower()
    if order not in ("asc", "desc"):
        raise ApiError(400, "invalid query parameter 'order'")
    limit = min(number(query, "limit", LOG_LIMIT), LOG_LIMIT_MAX)
    after, before = number(query, "after", -1), number(query, "before", len(endpoint.logs))
    since, until = moment(query, "since"), moment(query, "until")
    levels, search = _values(query, "level"), query.get("search", "").lower()
    kept = [
        (index, line)
        for index, line in enumerate(endpoint.logs)
        if after < index < before
        and (since is None or line.at >= since)
        and (until is None or line.at < until)
        and (levels is None or line.level in levels)
        and search in line.line.lower()
        and query.get("replica") in (None, "", line.replica_id)
    ]
    page = kept[:limit] if order == "asc" else kept[max(0, len(kept) - limit) :]
    page = page if limit else []
    width = number(query, "line_max_length", 0)
    link = None
    if page and len(page) < len(kept):
        step = {"after": str(page[-1][0])} if order == "asc" else {"before": str(page[0][0])}
        link = f'<{path}?{urlencode({**query, **step})}>; rel="next"'
    return [_entry(line, width) for _, line in page], link


def _of_replica(lines: Sequence[LogLine], query: Query) -> list[LogLine]:
    replica = query.get("replica")
    return [line for line in lines if not replica or line.replica_id == replica]


def _entry(line: LogLine, width: int) -> dict[str, Any]:
    return {
        "timestamp": timestamp(line.at),
        "line": line.line[:width] if width else line.line,
        "stream": line.stream,
        "replica_id": line.replica_id,
        "level": line.level,
    }


# ------------------------------------------------------------------------------------------- graphs


def graph_window(body: Any) -> tuple[float, float, str | None]:
    """`MetricsParams`: start, stop and the replica asked for. Raises ApiError 422 or 400."""
    if not isinstance(body, dict) or not {"start", "stop"} <= body.keys():
        raise ApiError(422, "body: missing field `start` or `stop`")
    replica = body.get("replicaId")
    if replica is not None and not isinstance(replica, str):
        raise ApiError(422, "replicaId: expected a string")
    start, stop = parse_time(body["start"], "start"), parse_time(body["stop"], "stop")
    if start < 0 or stop < start:
        raise ApiError(400, "'stop' must not be before 'start'")
    return start, stop, replica


def _graph(start: float, stop: float, series: list[dict[str, Any]], step: int) -> dict[str, Any]:
    return {"start": timestamp(start), "stop": timestamp(stop), "timeWindowSeconds": step, "series": series}


def _samples(start: float, stop: float) -> tuple[list[float], int]:
    step = max(1, math.ceil((stop - start) / 60))
    return [start + step * i for i in range(int((stop - start) // step) + 1)], step


def replicas_graph(endpoint: Endpoint, body: Any) -> dict[str, Any]:
    """Running replicas over time, at most 61 points."""
    start, stop, only = graph_window(body)
    times, step = _samples(start, stop)
    replicas = [r for r in endpoint.replicas if only in (None, r.id)]
    counts = [sum(r.ready_at <= at and (r.stopped_at is None or at < r.stopped_at) for r in replicas) for at in times]
    data = [{"x": timestamp(at), "y": count} for at, count in zip(times, counts, strict=True)]
    return _graph(start, stop, [{"status": "running", "data": data, "max": max(counts, default=None)}], step)


def pending_graph(samples: Iterable[tuple[float, int]], body: Any) -> dict[str, Any]:
    """Requests in flight over time, at most 61 points; `samples` are (when, how many from then on)."""
    start, stop, _ = graph_window(body)
    times, step = _samples(start, stop)
    changes, index, current = sorted(samples), 0, 0
    data = []
    for at in times:
        while index < len(changes) and changes[index][0] <= at:
            current = changes[index][1]
            index += 1
        data.append({"x": timestamp(at), "y": current})
    return _graph(start, stop, [{"status": "pending", "data": data}], step)
