"""Creating an endpoint, once, as flows: there is no idempotency key, so what may have happened is looked up.

A flow: see `flows.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.flows import (
    Answer,
    Flow,
    Pause,
    Session,
    endpoint_of,
    resolve_namespace,
)
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    EndpointNotFoundError,
    InvalidArgumentError,
    NameTakenError,
    QuotaExceededError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

log = logging.getLogger(__name__)

_CREATE_TRIES = 3
_CREATE_PAUSE = 2.0  # seconds before a create whose fate is unknown is looked up
_LONGEST_CREATE_PAUSE = 60.0  # seconds; if the service asks for a longer pause, a create gives up
_CLOCK_SLACK = 5.0  # seconds by which an endpoint may seem older than the attempt that made it
_REPOSITORY = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*")


def create(session: Session, spec: EndpointSpec, namespace: str | None) -> Flow[InferenceEndpoint]:
    """Create an endpoint, once.

    There is no idempotency key, and a create that timed out may have happened: the name is looked up before the
    request is sent again.
    """
    chosen = yield from resolve_namespace(session, namespace)
    payload = spec.payload()
    request = requests.create(chosen, payload)
    began = session.now()
    uncertain: ServiceError | None = None
    for attempt in range(1, _CREATE_TRIES + 1):
        try:
            answer = yield request
            return endpoint_of(answer.data, chosen, request, payload)
        except ServiceUnreachableError:
            raise  # it never arrived, and the client has tried as often as it may
        except ServiceError as error:
            uncertain = error
        except NameTakenError as error:
            return (yield from _settle_conflict(session, error, chosen, spec, began, uncertain))
        log.warning("Could not confirm whether endpoint %s/%s was created: %s", chosen, spec.name, uncertain)
        told = uncertain.retry_after or 0.0
        yield Pause(min(max(told, _CREATE_PAUSE), _LONGEST_CREATE_PAUSE))
        made = yield from _find_made(session, chosen, spec.name, began, payload)
        if made is not None:
            return made
        if told > _LONGEST_CREATE_PAUSE or not uncertain.retryable:
            break
        if attempt < _CREATE_TRIES:
            log.info("Endpoint %s/%s does not exist. Sending the create request again.", chosen, spec.name)
    assert uncertain is not None
    raise _explained(uncertain, spec.repository)


def _explained(error: ServiceError, repository: str) -> ApiError:
    """A create of a model that the token may not read was answered with 500 every time (huggingface_hub#2338)."""
    if error.status != 500:
        return error
    return error.with_advice(
        "If this lasts, the model may be gated, and its terms not accepted by the token's owner: look at "
        f"https://huggingface.co/{repository}. Otherwise the service has a problem."
    )


def _settle_conflict(
    session: Session,
    error: NameTakenError,
    namespace: str,
    spec: EndpointSpec,
    began: datetime,
    uncertain: ServiceError | None,
) -> Flow[InferenceEndpoint]:
    """A 409 is a taken name, a used-up quota, or an earlier try of ours that arrived late.

    Reads can lag behind writes, so a name that is not found is looked up once more.
    """
    request = requests.get(namespace, spec.name)
    for pause in (_CREATE_PAUSE, None):
        try:
            answer = yield request
            break
        except EndpointNotFoundError:
            if pause is None:
                raise _unseen(error, spec.name) from None
            yield Pause(pause)
        except ApiError:
            raise error from None  # the lookup explains nothing, so the conflict is what the caller hears of
    found = endpoint_of(answer.data, namespace, request, spec.payload())
    if uncertain is not None and _is_young(found, answer, session, began):
        return found
    raise error


def _unseen(error: NameTakenError, name: str) -> ApiError:
    """A 409 although no endpoint has the name: the service's words say whether the name is the cause."""
    kind: type[ApiError] = QuotaExceededError
    why, advice = f"no endpoint is named {name!r}, so the name is not the cause", None
    if "exist" in error.message.lower():
        kind, why = NameTakenError, f"no endpoint {name!r} can be read"
        # The 90 s: openenv-faultline, deployment.md (2026-04-26).
        advice = (
            "Somebody created or deleted the endpoint a moment ago. The name of a deleted endpoint is free again after "
            "about 90 seconds: try again then, or choose another name."
        )
    return kind(
        f"{error.message} ({why})",
        method=error.method,
        path=error.path,
        status=error.status,
        code=error.code,
        advice=advice,
        retryable=True,
    )


def _find_made(
    session: Session, namespace: str, name: str, began: datetime, sent: Mapping[str, Any] | None = None
) -> Flow[InferenceEndpoint | None]:
    """The endpoint that an uncertain create made, None if there is none, an error if another user made it."""
    request = requests.get(namespace, name)
    try:
        answer = yield request
    except EndpointNotFoundError:
        return None
    found = endpoint_of(answer.data, namespace, request, sent)
    if _is_young(found, answer, session, began):
        log.info("The create request of %s/%s did succeed.", namespace, name)
        return found
    raise NameTakenError(
        f"an endpoint {name!r} existed before this request",
        method="POST",
        path=f"/v2/endpoint/{namespace}",
        status=409,
    )


def _is_young(found: InferenceEndpoint, answer: Answer, session: Session, began: datetime) -> bool:
    """Whether the endpoint was made since `began`, by the service's clock if the service reports it."""
    if found.created_at is None:
        return False
    now = session.now()
    try:
        service_now = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        service_now = now
    if service_now.tzinfo is None:  # "-0000" is how some servers write UTC
        service_now = service_now.replace(tzinfo=UTC)
    age = (service_now - found.created_at).total_seconds()
    return age <= (now - began).total_seconds() + _CLOCK_SLACK


def create_from_catalog(
    session: Session, namespace: str | None, choice: Mapping[str, str | None]
) -> Flow[InferenceEndpoint]:
    """Create from a catalog model or recipe, once: where its fate is unknown it is looked up, and not sent again."""
    repo_id, recipe_id = choice.get("repo_id"), choice.get("recipe_id")
    if (repo_id is None) == (recipe_id is None):
        raise InvalidArgumentError("Give exactly one of repo_id (a model) and recipe_id (a recipe of a model).")
    if recipe_id is not None and (choice.get("accelerator") or choice.get("gguf_file")):
        raise InvalidArgumentError(
            "recipe_id already names one recipe. accelerator and gguf_file are for repo_id: remove them, or give "
            "repo_id."
        )
    if repo_id is not None and not _REPOSITORY.fullmatch(repo_id):
        raise InvalidArgumentError(f"repo_id={repo_id!r} is not a model id. Write it as owner/name.")
    if (name := choice.get("name")) is not None:
        check_name(name)
    chosen = yield from resolve_namespace(session, namespace)
    request = requests.deploy_from_catalog(chosen, **choice)
    began = session.now()
    try:
        answer = yield request
        data = answer.data.get("endpoint") if isinstance(answer.data, dict) else None
        return endpoint_of(data, chosen, request)
    except ServiceUnreachableError:
        raise
    except ServiceError:
        if name is None:
            raise  # the service has chosen an unknown name
        log.warning("Could not confirm whether endpoint %s/%s was created. Looking it up.", chosen, name)
        yield Pause(_CREATE_PAUSE)
        made = yield from _find_made(session, chosen, name, began)
        if made is None:
            raise
        return made
