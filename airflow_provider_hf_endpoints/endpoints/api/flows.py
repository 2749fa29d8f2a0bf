"""What takes more than one request, once for the sync and the async client: generators that yield requests.

A flow yields a `Request` and is sent its `Answer` (or thrown a typed error), or yields a `Pause`; what it returns is
the result. It does no I/O and never sleeps, so the two clients can't drift, and a test can play the service.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.ceiling import NO_CEILING, Ceiling
from airflow_provider_hf_endpoints.endpoints.api.compare import unapplied
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    EndpointNotFoundError,
    InferenceEndpointTimeoutError,
    InvalidAnswerError,
    InvalidArgumentError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServiceError,
)
from airflow_provider_hf_endpoints.endpoints.images import reusable_image
from airflow_provider_hf_endpoints.endpoints.models import (
    EndpointPage,
    InferenceEndpoint,
    InferenceEndpointStatus,
    WhoAmI,
)
from airflow_provider_hf_endpoints.endpoints.names import check_name, check_namespace
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate

log = logging.getLogger(__name__)

_NAMES_COMPARED = 100  # names, one page, among which a similar one is looked for


@dataclass(frozen=True)
class Answer:
    """What came back: the JSON, the text or nothing, and the headers (lower-case names)."""

    status: int
    headers: Mapping[str, str]
    data: Any = None


@dataclass(frozen=True)
class Pause:
    """Sleep for `seconds`."""

    seconds: float


@dataclass
class Session:
    """What one client knows: the default namespace, the token's user, what may be started, and prices.

    `prices` maps (vendor, region, instance type, size) to USD per replica and hour. `calling` is true while a wait
    sends a request to the endpoint itself, which wakes an endpoint at zero.
    """

    namespace: str | None = None
    me: WhoAmI | None = None
    ceiling: Ceiling = NO_CEILING
    prices: dict[tuple[str | None, ...], float | None] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    calling: bool = False


T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Flow = Generator[Request | Pause, Any, T]


def parse(model: type[M], data: Any, request: Request) -> M:
    """An answer as a model. Raises `InvalidAnswerError`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _odd_answer(request, error) from None


def page_of(answer: Answer, request: Request) -> EndpointPage:
    """The answer as a page of a list."""
    return parse(EndpointPage, answer.data, request)


def endpoint_of(
    data: Any, namespace: str, request: Request, sent: Mapping[str, Any] | None = None
) -> InferenceEndpoint:
    """The answer as an endpoint, compared with what was `sent` where something was."""
    try:
        if not isinstance(data, dict):
            raise InvalidAnswerError(
                f"the body is of type {type(data).__name__}, not an endpoint",
                method=request.method,
                path=request.path,
                retryable=False,
            )
        dropped = unapplied(sent, data) if sent is not None else ()
        for difference in dropped:
            log.warning("Endpoint %s/%s: %s", namespace, data.get("name"), difference)
        return InferenceEndpoint.from_raw(data, namespace, dropped)
    except ValidationError as error:
        raise _odd_answer(request, error) from None


def _odd_answer(request: Request, error: ValidationError) -> InvalidAnswerError:
    problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    return InvalidAnswerError(
        f"the body does not follow the contract ({problems})",
        method=request.method,
        path=request.path,
        retryable=False,
    )


def items_of(data: Any, key: str, request: Request) -> list[dict[str, Any]]:
    """The list under a key of an answer. Raises `InvalidAnswerError`."""
    items = data.get(key) if isinstance(data, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidAnswerError(
            f"the body has no list {key!r}", method=request.method, path=request.path, retryable=False
        )
    return items


def whoami(session: Session) -> Flow[WhoAmI]:
    """Whose token it is, asked once per client: the hub limits how often."""
    if session.me is None:
        request = requests.whoami()
        answer = yield request
        session.me = parse(WhoAmI, answer.data, request)
    return session.me


def resolve_namespace(session: Session, namespace: str | None) -> Flow[str]:
    """The given namespace, the client's, or the user's own."""
    chosen = namespace or session.namespace
    if chosen is None:
        me = yield from whoami(session)
        if me.type != "user":
            raise InvalidArgumentError(
                f"The token belongs to {me.type or 'something'} {me.name!r}, not to a user, so the default namespace "
                "is unknown. Set `namespace` in the connection's extra, or as an argument."
            )
        session.namespace = chosen = me.name
    return check_namespace(chosen)


def list_endpoints(
    session: Session, namespace: str | None, filters: Mapping[str, Any]
) -> Flow[list[InferenceEndpoint]]:
    """All pages of one namespace, or, for `*`, of the user and every organisation that can be listed."""
    if namespace != "*":
        chosen = yield from resolve_namespace(session, namespace)
        return (yield from _list_one(chosen, filters))
    me = yield from whoami(session)
    found: list[InferenceEndpoint] = []
    refusals: list[ApiError] = []
    for each in me.namespaces:
        try:
            found += yield from _list_one(each, filters)
        except (AuthenticationError, PermissionDeniedError, PaymentRequiredError) as error:
            # 401 is also what an organisation without billing answers, and a token may be for one namespace only.
            log.info("Could not list the endpoints of %s; they are left out: %s", each, error.message)
            refusals.append(error)
    if refusals and len(refusals) == len(me.namespaces):
        raise refusals[0]
    return found


def _list_one(namespace: str, filters: Mapping[str, Any]) -> Flow[list[InferenceEndpoint]]:
    found: list[InferenceEndpoint] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        request = requests.list_page(namespace, cursor=cursor, **filters)
        answer = yield request
        page = page_of(answer, request)
        found += [endpoint_of(item, namespace, request) for item in page.items]
        cursor = page.next_cursor
        if not cursor:
            return found
        if cursor in seen:
            raise InvalidAnswerError(
                f"the list repeats its cursor {cursor!r}, so it would never end",
                method="GET",
                path=request.path,
                retryable=False,
            )
        seen.add(cursor)


def suggesting(session: Session, name: str, namespace: str | None, flow: Flow[T]) -> Flow[T]:
    """`flow`, which reads an endpoint. If it does not exist, the error names the endpoint with the most similar name.

    Costs one request, only after a 404. Do not use it for requests that stop an endpoint, or if a 404 is expected.
    """
    try:
        return (yield from flow)
    except EndpointNotFoundError as error:
        raise (yield from with_nearest_name(session, error, name, namespace)) from error.__cause__


def with_nearest_name(
    session: Session, error: EndpointNotFoundError, name: str, namespace: str | None
) -> Flow[EndpointNotFoundError]:
    """`error` with the existing name that is most similar to `name`, if the first page of the list has one."""
    if error.names_compared:
        return error
    hint = yield from nearest_name(session, name, namespace)
    named = error.with_advice(f"{hint} {error.advice}") if hint else error
    assert isinstance(named, EndpointNotFoundError)
    named.names_compared = True
    return named


def nearest_name(session: Session, name: str, namespace: str | None) -> Flow[str]:
    """`Did you mean 'my-run'?`, or "". One request, and an error of that request is not an error here."""
    try:
        chosen = yield from resolve_namespace(session, namespace)
        request = requests.list_page(chosen, limit=_NAMES_COMPARED, once=True)
        answer = yield request
        names = [str(item.get("name")) for item in page_of(answer, request).items]
    except (ApiError, InvalidArgumentError) as error:
        log.debug("Could not list the endpoints to suggest a name: %s", error)
        return ""
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def get(session: Session, name: str, namespace: str | None, *, once: bool = False) -> Flow[InferenceEndpoint]:
    """One endpoint. With `once`, a temporary error is raised at once, for callers that look again anyway."""
    return (yield from _one(session, partial(requests.get, once=once), name, namespace))


def find(session: Session, name: str, namespace: str | None) -> Flow[InferenceEndpoint | None]:
    """One endpoint; None if it does not exist."""
    try:
        return (yield from get(session, name, namespace))
    except EndpointNotFoundError:
        return None


def _one(
    session: Session, route: Callable[[str, str], Request], name: str, namespace: str | None
) -> Flow[InferenceEndpoint]:
    """A route that takes namespace and name and answers the endpoint."""
    check_name(name)
    chosen = yield from resolve_namespace(session, namespace)
    request = route(chosen, name)
    answer = yield request
    return endpoint_of(answer.data, chosen, request)


def pause(session: Session, name: str, namespace: str | None) -> Flow[InferenceEndpoint]:
    """Pause; pausing a paused endpoint is not an error."""
    return (yield from _one(session, requests.pause, name, namespace))


def scale_to_zero(session: Session, name: str, namespace: str | None) -> Flow[InferenceEndpoint]:
    """Scale to zero."""
    return (yield from _one(session, requests.scale_to_zero, name, namespace))


def debug(session: Session, name: str, namespace: str | None) -> Flow[InferenceEndpoint]:
    """Run the debugger agent."""
    return (yield from _one(session, requests.debug, name, namespace))


def resume(session: Session, name: str, namespace: str | None, *, running_ok: bool = True) -> Flow[InferenceEndpoint]:
    """Resume. "Already running" (also while updating) is success unless `running_ok` is False."""
    route = partial(requests.resume, running_ok=running_ok)
    try:
        return (yield from _one(session, route, name, namespace))
    except BadRequestError as error:
        if not running_ok or "already running" not in error.message.lower():
            raise
    return (yield from get(session, name, namespace))


def update(
    session: Session,
    name: str,
    namespace: str | None,
    change: EndpointUpdate,
    *,
    current: InferenceEndpoint | None = None,
) -> Flow[InferenceEndpoint]:
    """Change an endpoint. Parallelism sizes without an image are put into the image that runs now.

    The endpoint is looked at before: the answer alone does not say whether it was parked (see
    `readiness.states_after_update`).

    :param current: the endpoint as it is, where the caller has just looked.
    """
    check_name(name)
    if not change.needs_current_image:
        change.payload()  # refuses an empty change before anything is sent
    chosen = yield from resolve_namespace(session, namespace)
    if current is None:
        current = yield from get(session, name, chosen)
    failed = current.status == InferenceEndpointStatus.FAILED
    payload = change.payload(reusable_image(current.image, name) if change.needs_current_image else None)
    request = requests.update(chosen, name, payload, once=failed)
    try:
        answer = yield request
    except ServiceError as error:
        if not failed:
            raise
        if error.status == 500:
            raise _refused_to_failed(error) from None
        answer = yield requests.update(chosen, name, payload)  # trouble that passes
    except BadRequestError as error:
        wanted = next(iter((payload.get("model") or {}).get("image") or {}), current.engine)
        raise error if wanted == current.engine else _refused_engine(error, current.engine, wanted) from None
    made = endpoint_of(answer.data, chosen, request, payload)
    return made.model_copy(update={"updated_from": current.status})


def _refused_engine(error: BadRequestError, engine: str | None, wanted: str | None) -> ApiError:
    """The documentation says that an endpoint keeps its engine; one report (April 2026) has an update change it."""
    return error.with_advice(
        f"The endpoint runs the engine {engine!r}, and the service may refuse to change the engine to {wanted!r}. "
        "Delete and create the endpoint (CreateInferenceEndpointOperator: if_exists='recreate'), or choose another "
        "name."
    )


def _refused_to_failed(error: ServiceError) -> ApiError:
    """The service answered an update of a failed endpoint with 500 (viraj-s15/openenv-faultline, April 2026)."""
    return error.with_advice(
        "The endpoint has failed, and the service may refuse to update a failed endpoint. Delete and create the "
        "endpoint with the new settings (CreateInferenceEndpointOperator: if_exists='recreate').",
        BadRequestError,
    )


def delete(
    session: Session,
    name: str,
    namespace: str | None,
    *,
    missing_ok: bool = False,
    wait: bool = True,
    timeout: float = 300.0,
) -> Flow[bool]:
    """Delete, and wait until it is really gone: a GET answers 200 for a while. False if it did not exist.

    Reads can be wrong for a while, so the request is sent although a read finds no endpoint.
    """
    check_name(name)
    chosen = yield from resolve_namespace(session, namespace)
    seen = True
    try:
        yield requests.get(chosen, name)
    except EndpointNotFoundError:
        seen = False
    try:
        yield requests.delete(chosen, name)
    except EndpointNotFoundError:
        if seen:
            return True  # gone in between, or a first try had arrived
        if missing_ok:
            return False
        raise
    if not wait:
        return True
    began, pause_seconds = session.now(), 0.5
    while (session.now() - began).total_seconds() < timeout:
        try:
            yield requests.get(chosen, name)
        except EndpointNotFoundError:
            return True
        yield Pause(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 10.0)
    raise InferenceEndpointTimeoutError(
        f"Endpoint {chosen}/{name} still exists {timeout:.0f} s after its deletion. Check the endpoint in the web UI."
    )


def is_transient(error: ApiError) -> bool:
    """Whether the same request may well succeed in a moment, without anything being changed."""
    return isinstance(error, ServiceError | RateLimitError) and error.retryable


def is_ridden_out(error: ApiError) -> bool:
    """Whether a wait continues after the error. The service answered correctly before, so a web page or a redirect to
    one counts as an outage, and outages are bounded.
    """
    return is_transient(error) or isinstance(error, InvalidAnswerError)
