"""An endpoint in the form of the API: its specification without secrets and registry passwords, and its status."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints.emulator.service import images
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint, Replica, State

REDACTED = "***"


def timestamp(at: float) -> str:
    """Seconds since 1970 as a time in the API's form."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def account(name: str) -> dict[str, str]:
    """An account in the form of the API."""
    return {"id": f"user-{name}", "name": name}


def endpoint_json(endpoint: Endpoint, now: float, url: str, quirks: Collection[str] = ()) -> dict[str, Any]:
    """`EndpointWithStatus` of the contract, for an endpoint advanced to `now`."""
    spec = endpoint.spec
    model = dict(spec["model"])
    if "secrets" in model:
        model["secrets"] = dict.fromkeys(model["secrets"], REDACTED)
    variant, fields = next(iter(model["image"].items()))
    if fields.get("credentials"):
        username = fields["credentials"]["username"]
        model["image"] = {variant: {**fields, "credentials": {"username": username, "password": REDACTED}}}
    return {
        **spec,
        "model": model,
        "healthRoute": images.health_route(spec["model"]["image"]),
        "status": _status(endpoint, now, url, quirks),
    }


def _status(endpoint: Endpoint, now: float, url: str, quirks: Collection[str]) -> dict[str, Any]:
    target = endpoint.target_replica
    if endpoint.state is State.PAUSED and "paused_keeps_target" in quirks:
        target = max(1, endpoint.min_replica)
    status: dict[str, Any] = {
        "createdAt": timestamp(endpoint.created_at),
        "createdBy": account(endpoint.created_by),
        "updatedAt": timestamp(endpoint.updated_at),
        "updatedBy": account(endpoint.updated_by),
        "state": endpoint.state.value,
        "message": endpoint.message,
        "errorMessage": endpoint.error,
        "url": url,
        # 0 during an update, whatever still serves.
        "readyReplica": 0 if endpoint.state is State.UPDATING else endpoint.ready_replica(now),
        "targetReplica": target,
        "lastUsedAt": None if endpoint.used_at is None else timestamp(endpoint.used_at),
        "inferenceMetricsEnabled": True,
        "private": None,
    }
    if endpoint.agent_message is not None:
        status["agentMessage"] = endpoint.agent_message
    service = endpoint.spec.get("privateService")
    if service is not None:
        status["private"] = {"serviceName": f"com.amazonaws.vpce.{service['region']}.vpce-svc-{endpoint.id}"}
    return status


def replica_json(endpoint: Endpoint, replica: Replica, now: float) -> dict[str, Any]:
    """`Replica` of the contract."""
    if replica.stopped_at is not None:
        stage = "stopped"
    elif replica.ready_at <= now:
        stage = "running"
    else:
        stage = "initializing"
    return {
        "id": replica.id,
        "versionId": f"{endpoint.id}-{replica.version}",
        "status": {
            "stage": stage,
            "live": stage == "running",
            "updating": endpoint.state is State.UPDATING and replica.stopped_at is None,
            "exitCode": replica.exit_code,
            "startedAt": timestamp(replica.started_at),
            "stoppedAt": None if replica.stopped_at is None else timestamp(replica.stopped_at),
        },
    }
