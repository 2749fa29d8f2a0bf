"""Tokens, permissions and namespaces: who may do what, and the answer of whoami. Pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.settings import PERMISSIONS, Settings, Token

_SCOPES = {
    "read": "inference.endpoints.read",
    "write": "inference.endpoints.write",
    "infer": "inference.endpoints.infer.write",
}


def find_token(settings: Settings, authorization: str | None) -> Token | None:
    """The token of an `Authorization` header, or None if there is none, or if it is not known or has expired."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    value = value.strip()
    if value == settings.token:
        return Token(settings.token)
    token = next((t for t in settings.tokens if t.value == value), None)
    return None if token is None or token.expired else token


def authenticate(settings: Settings, authorization: str | None) -> Token:
    """The same, with the control plane's refusal. Raises ApiError 401."""
    token = find_token(settings, authorization)
    if token is None:
        raise ApiError(401)
    return token


def user_of(settings: Settings, token: Token) -> str:
    """The user that `token` belongs to."""
    return token.user or settings.namespace


def may(settings: Settings, token: Token, permission: str, namespace: str) -> bool:
    """Whether `token` may do `permission` ("read", "write" or "infer") in `namespace`."""
    reachable = {user_of(settings, token), *settings.orgs, *settings.orgs_without_billing}
    allowed = reachable if token.namespaces is None else token.namespaces
    return permission in token.permissions and namespace in allowed


def authorize(settings: Settings, token: Token, permission: str, namespace: str) -> None:
    """Raises ApiError 403, or 401 for an organisation that has no billing."""
    if namespace in settings.orgs_without_billing:
        raise ApiError(401, f"namespace {namespace} has no billing")
    if not may(settings, token, permission, namespace):
        raise ApiError(403, f"missing permissions: {_SCOPES[permission]}")


def missing_infer() -> ApiError:
    """The proxy's answer to a token that may manage but not call."""
    return ApiError(403, f"missing permissions: {_SCOPES['infer']}")


def require_payment(settings: Settings, namespace: str) -> None:
    """Raises ApiError 403 if `namespace` has no payment method."""
    if not settings.can_pay:
        raise ApiError(403, f"Payment method required for namespace: {namespace}")


def whoami(settings: Settings, token: Token) -> dict[str, Any]:
    """The Hub's answer to `GET /api/whoami-v2`."""
    name = user_of(settings, token)
    orgs = [*settings.orgs, *sorted(settings.orgs_without_billing)]
    access: dict[str, Any] = {"displayName": "emulator", "role": "write"}
    if token.permissions != PERMISSIONS or token.namespaces is not None:
        entities = [name, *orgs] if token.namespaces is None else sorted(token.namespaces)
        access = {
            "displayName": "emulator",
            "role": "fineGrained",
            "fineGrained": {
                "canReadGatedRepos": False,
                "global": [],
                "scoped": [
                    {
                        "entity": {
                            "_id": f"user-{entity}",
                            "type": "org" if entity in orgs else "user",
                            "name": entity,
                        },
                        "permissions": [_SCOPES[p] for p in ("read", "write", "infer") if p in token.permissions],
                    }
                    for entity in entities
                ],
            },
        }
    return {
        "type": "user",
        "id": f"user-{name}",
        "name": name,
        "fullname": name,
        "isPro": False,
        "canPay": settings.can_pay,
        "orgs": [
            {"type": "org", "id": f"org-{org}", "name": org, "fullname": org, "roleInOrg": "admin"} for org in orgs
        ],
        "auth": {"type": "access_token", "accessToken": access},
    }
