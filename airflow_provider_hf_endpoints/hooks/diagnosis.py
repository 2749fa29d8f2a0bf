"""The result of a connection test: the token's user, what the token can see, missing permissions, and reachability.

`diagnose` asks the service; a pure function makes the words. A token with few permissions may be intended (only to
call, or only to look). So a missing permission is reported, but only a failed request fails the test.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session, resolve_namespace
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    AuthenticationError,
    InferenceEndpointError,
    InvalidAnswerError,
    PermissionDeniedError,
    ServiceError,
)
from airflow_provider_hf_endpoints.endpoints.models import EndpointPage, WhoAmI
from airflow_provider_hf_endpoints.hooks.connection import ConnectionSettings

# Somebody looks at the form and waits.
_TIMEOUT = 10.0  # seconds for one request
_RETRY_BUDGET = 5.0  # seconds

READ, WRITE, CALL = "inference.endpoints.read", "inference.endpoints.write", "inference.endpoints.infer.write"
_WHAT_FOR = {READ: "look at endpoints", WRITE: "manage endpoints", CALL: "call endpoints"}


@dataclass(frozen=True)
class Finding:
    """What was found out.

    :param endpoints: how many endpoints the namespace has.
    """

    me: WhoAmI
    namespace: str
    endpoints: int


def diagnose(settings: ConnectionSettings, namespace: str | None = None) -> tuple[bool, str]:
    """Ask the hub whose token it is and the control plane for one endpoint of the namespace."""
    arguments = settings.client_arguments()
    if namespace:
        arguments["namespace"] = namespace
    arguments["timeout"] = min(settings.timeout, _TIMEOUT)
    me: WhoAmI | None = None
    try:
        with EndpointsClient(**arguments, retry_budget=_RETRY_BUDGET) as client:
            me = client.whoami()
            chosen = client.default_namespace()
            found = Finding(me, chosen, client.run(_count(client.session)))
    except InferenceEndpointError as error:
        return False, _failure(error, me, settings)
    return True, describe(found)


def _count(session: Session) -> Flow[int]:
    """How many endpoints the namespace has, with one request however many there are."""
    namespace = yield from resolve_namespace(session, None)
    request = requests.list_page(namespace, limit=1)
    answer = yield request
    try:
        page = EndpointPage.model_validate(answer.data)
    except ValidationError:
        raise InvalidAnswerError(
            "the body is not a list of endpoints", method="GET", path=request.path, retryable=False
        ) from None
    return max(page.total_items, len(page.items))


def describe(found: Finding) -> str:
    """What works, and what is missing."""
    count = f"{found.endpoints} endpoint" + ("" if found.endpoints == 1 else "s")
    parts = [_whose(found.me), f"The control plane answers: {count} in namespace {found.namespace}."]
    if found.namespace not in found.me.namespaces:
        parts.append(f"The user of the token is not a member of {found.namespace}.")
    return " ".join(parts + lacks(found.me, found.namespace))


def _whose(me: WhoAmI) -> str:
    sees = ", ".join(me.namespaces) or "none"
    role = f", role {me.role}" if me.role else ""
    return f"The token belongs to {me.name}{role}. Namespaces: {sees}."


def lacks(me: WhoAmI, namespace: str) -> list[str]:
    """Sentences on what the token may not do in `namespace`, and on what its owner can't pay."""
    problems = []
    granted = granted_in(me, namespace)
    if granted is not None:
        missing = [scope for scope in _WHAT_FOR if scope not in granted]
        if WRITE in granted and READ in missing:
            missing.remove(READ)  # who may manage may look
        if missing:
            scopes = ", ".join(f"{scope} (to {_WHAT_FOR[scope]})" for scope in missing)
            problems.append(f"The token lacks these permissions for {namespace}: {scopes}.")
    elif me.role == "read":
        problems.append(
            "The token has the role read, so it cannot create, pause or delete endpoints. Use a token with the role "
            f"write, or a fine-grained token with {WRITE}."
        )
    if me.can_pay is False:
        problems.append(
            f"{me.name} has no payment method, so the service will refuse to create endpoints there. Add one at "
            "endpoints.huggingface.co."
        )
    return problems


def granted_in(me: WhoAmI, namespace: str) -> set[str] | None:
    """The scopes that a fine-grained token has for `namespace`; None when the token's role decides.

    A scope is granted for a user or an organisation; an entry that does not say for whom counts everywhere.
    """
    if me.scoped is None:
        return None

    def concerns(entry: dict[str, object]) -> bool:
        entity = entry.get("entity")
        name = entity.get("name") if isinstance(entity, dict) else None
        return name is None or name == namespace

    return me.model_copy(update={"scoped": [entry for entry in me.scoped if concerns(entry)]}).permissions()


def _failure(error: InferenceEndpointError, me: WhoAmI | None, settings: ConnectionSettings) -> str:
    """What failed, in words for the person who fills in the form."""
    if me is None:
        match error:
            case AuthenticationError():
                return _reason(error)
            case ServiceError():
                return f"Could not look up the owner of the token. {_reason(error)}"
            case _:
                return f"Could not look up the owner of the token. {error}"
    match error:
        case AuthenticationError() | PermissionDeniedError():
            namespace = settings.namespace or me.name
            return " ".join([_reason(error), _whose(me), *lacks(me, namespace)])
        case ServiceError():
            return f"{_reason(error)} {_whose(me)}"
        case _:
            return f"The check of the control plane failed. {error} {_whose(me)}"


def _reason(error: ApiError) -> str:
    status = f" (status {error.status})" if error.status is not None else ""
    return f"{error.happened}{status}. {error.advice}"
