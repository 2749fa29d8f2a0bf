"""One function per route of the control plane: arguments -> `Request`. Pure, no I/O.

A `Request` says whether sending it twice is safe, because that decides what may be tried again when it is unknown
whether the first one arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from airflow_provider_hf_endpoints.endpoints.errors import WHOAMI

Base = Literal["control", "hub", "catalog", "absolute"]


@dataclass(frozen=True)
class Request:
    """What to send.

    :param base: which of the services; `absolute` when `path` is a whole URL.
    :param repeatable: whether sending it twice does no more than sending it once. Where it is False, only an answer
        that proves that nothing was done (429, connection refused) is followed by another try.
    :param once: never tried again by the client: the caller looks again anyway, or knows that it would not help.
    :param answer: how to read a success.
    """

    method: str
    path: str
    base: Base = "control"
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = field(default=None, repr=False)  # may contain an endpoint's secrets
    repeatable: bool = True
    once: bool = False
    answer: Literal["json", "text", "none"] = "json"


def _segment(value: str) -> str:
    return quote(value, safe="")


def _endpoint(namespace: str, name: str, *rest: str, version: str = "v2") -> str:
    tail = "".join(f"/{part}" for part in rest)
    return f"/{version}/endpoint/{_segment(namespace)}/{_segment(name)}{tail}"


def _params(**values: object) -> dict[str, str]:
    """Query parameters as the contract wants them: lists joined by commas, booleans in lower case, no Nones."""
    out: dict[str, str] = {}
    for key, value in values.items():
        match value:
            case None:
                continue
            case bool():
                out[key] = "true" if value else "false"
            case list() | tuple() | set() | frozenset():
                if value:
                    out[key] = ",".join(str(item) for item in value)
            case datetime():
                out[key] = value.isoformat()
            case _:
                out[key] = str(value)
    return out


def list_page(
    namespace: str,
    *,
    cursor: str | None = None,
    limit: int | None = None,
    state: str | list[str] | None = None,
    tags: str | list[str] | None = None,
    type: str | list[str] | None = None,
    task: str | list[str] | None = None,
    search: str | None = None,
    sort_by: str | None = None,
    direction: str | None = None,
    once: bool = False,
) -> Request:
    """One page of a namespace's endpoints: 20 items where `limit` is not given."""
    params = _params(
        cursor=cursor,
        limit=limit,
        state=state,
        tags=tags,
        type=type,
        task=task,
        search=search,
        sortBy=sort_by,
        direction=direction,
    )
    return Request("GET", f"/v2/endpoint/{_segment(namespace)}", params=params, once=once)


def create(namespace: str, payload: Mapping[str, Any]) -> Request:
    """Create an endpoint. There is no idempotency key: look the name up before sending it again."""
    return Request("POST", f"/v2/endpoint/{_segment(namespace)}", json=payload, repeatable=False)


def get(namespace: str, name: str, *, once: bool = False) -> Request:
    """One endpoint with its state."""
    return Request("GET", _endpoint(namespace, name), once=once)


def update(namespace: str, name: str, payload: Mapping[str, Any], *, once: bool = False) -> Request:
    """Change an endpoint: only what is in `payload`."""
    return Request("PUT", _endpoint(namespace, name), json=payload, once=once)


def delete(namespace: str, name: str) -> Request:
    """Delete an endpoint; it may still be readable for a moment."""
    return Request("DELETE", _endpoint(namespace, name), answer="none")


def pause(namespace: str, name: str) -> Request:
    """Pause an endpoint."""
    return Request("POST", _endpoint(namespace, name, "pause"))


def resume(namespace: str, name: str, *, running_ok: bool = True) -> Request:
    """Resume an endpoint. Where "already running" is an error, a second try could report the first one's success."""
    return Request("POST", _endpoint(namespace, name, "resume"), repeatable=running_ok)


def scale_to_zero(namespace: str, name: str) -> Request:
    """Scale an endpoint to zero."""
    return Request("POST", _endpoint(namespace, name, "scale-to-zero"))


def debug(namespace: str, name: str) -> Request:
    """Run the debugger agent; it fills `status.agentMessage`."""
    return Request("POST", _endpoint(namespace, name, "agent", "debug"))


def replicas(namespace: str, name: str) -> Request:
    """The endpoint's replicas."""
    return Request("GET", _endpoint(namespace, name, "replica"))


def logs_v3(
    namespace: str,
    name: str,
    *,
    limit: int | None = None,
    replica: str | None = None,
    level: str | None = None,
    search: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    after: str | None = None,
    before: str | None = None,
    order: str | None = None,
    line_max_length: int | None = None,
) -> Request:
    """Log lines as JSON; some deployments answer 501. At most 5,000 lines a call."""
    params = _params(
        limit=limit,
        replica=replica,
        level=level,
        search=search,
        since=since,
        until=until,
        after=after,
        before=before,
        order=order,
        line_max_length=line_max_length,
    )
    return Request("GET", _endpoint(namespace, name, "logs", version="v3"), params=params)


def logs_v2(
    namespace: str,
    name: str,
    *,
    tail: int | None = None,
    replica: str | None = None,
    line_max_length: int | None = None,
) -> Request:
    """Log lines as text. What the service does without `follow` is not documented: a followed log never ends."""
    params = _params(tail=tail, replica=replica, line_max_length=line_max_length, follow=False)
    return Request("GET", _endpoint(namespace, name, "logs"), params=params, answer="text")


def metric(
    namespace: str,
    name: str,
    which: Literal["replica-running", "pending-request"],
    *,
    start: datetime,
    stop: datetime,
    replica_id: str | None = None,
) -> Request:
    """A metric over time."""
    body: dict[str, Any] = {"start": start.isoformat(), "stop": stop.isoformat()}
    if replica_id is not None:
        body["replicaId"] = replica_id
    return Request("POST", _endpoint(namespace, name, "metrics", which), json=body)


def hardware(namespace: str | None = None) -> Request:
    """Instances and prices; with a namespace, its quota too."""
    return Request("GET", f"/v2/provider/{_segment(namespace)}" if namespace else "/v2/provider")


def quotas(namespace: str) -> Request:
    """What a namespace may use and uses."""
    return Request("GET", f"/v2/provider/quotas/{_segment(namespace)}")


def whoami() -> Request:
    """Whose token it is. Asked of the hub, which limits how often."""
    return Request("GET", WHOAMI, base="hub")


def catalog(
    *,
    accelerator: str | None = None,
    engine: str | None = None,
    license: str | None = None,
    task: str | None = None,
    search: str | None = None,
    limit: int | None = None,
) -> Request:
    """Models with tested recipes."""
    params = _params(accelerator=accelerator, engine=engine, license=license, task=task, search=search, limit=limit)
    return Request("GET", "/list", base="catalog", params=params)


def deploy_from_catalog(
    namespace: str,
    *,
    repo_id: str | None = None,
    recipe_id: str | None = None,
    name: str | None = None,
    accelerator: str | None = None,
    gguf_file: str | None = None,
) -> Request:
    """Create an endpoint from a catalog model (its default recipe) or from one recipe."""
    body: dict[str, Any] = {"namespace": namespace}
    if name is not None:
        body["config"] = {"name": name}
    if accelerator is not None:
        body["accelerator"] = accelerator
    if gguf_file is not None:
        body["ggufFile"] = gguf_file
    # A repository id keeps its slash: the route is /model/{owner}/{name}/deploy.
    target = f"/recipe/{_segment(recipe_id)}" if recipe_id else f"/model/{quote(repo_id or '', safe='/')}"
    return Request("POST", f"{target}/deploy", base="catalog", json=body, repeatable=False)


def health(url: str) -> Request:
    """The endpoint's health route. Being authorised, it also wakes an endpoint that is scaled to zero."""
    return Request("GET", url, base="absolute", answer="none", once=True)
