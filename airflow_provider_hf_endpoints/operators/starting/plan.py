"""The decision of a create about an existing endpoint. Pure: the spec and the endpoint in, a decision out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_provider_hf_endpoints.endpoints.api.compare import conflicts, unapplied
from airflow_provider_hf_endpoints.endpoints.models import BROKEN, NEEDS_RESUME, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.ownership import creator_tags_in

IfExists = Literal["reuse", "update", "fail", "recreate"]


@dataclass(frozen=True)
class Create:
    """The endpoint does not exist: create it."""


@dataclass(frozen=True)
class Recreate:
    """Delete the existing endpoint, then create."""


@dataclass(frozen=True)
class Reuse:
    """Use the existing endpoint; `resume` it first if it would not start by itself."""

    resume: bool


@dataclass(frozen=True)
class Update:
    """Update the existing endpoint; `resume` it afterwards if it would not start by itself."""

    resume: bool


@dataclass(frozen=True)
class Refuse:
    """Do nothing, for this reason."""

    reason: str


Plan = Create | Recreate | Reuse | Update | Refuse


def plan(spec: EndpointSpec, existing: InferenceEndpoint | None, if_exists: IfExists, *, own: bool = False) -> Plan:
    """What to do, by the existing endpoint and the user's choice for this case.

    :param own: an earlier attempt of the same task created it. So a retry neither fails because of it nor replaces it,
        unless it is broken.
    """
    if existing is None:
        return Create()
    if own and (if_exists == "fail" or (if_exists == "recreate" and existing.status not in BROKEN)):
        if_exists = "reuse"
    resume = existing.status in NEEDS_RESUME
    match if_exists:
        case "fail":
            return Refuse(
                f"Endpoint {existing.namespace}/{existing.name} already exists ({existing.status}), and "
                "if_exists='fail'. Choose another name, or set if_exists='reuse', 'update' or 'recreate'."
            )
        case "recreate":
            return Recreate()
        case "update":
            return _plan_update(spec, existing, resume)
        case "reuse":
            different = conflicts(spec, existing)
            if different:
                return Refuse(
                    f"Endpoint {existing.namespace}/{existing.name} already exists with other settings: "
                    f"{'; '.join(different)}. Choose another name, or set if_exists='update' or 'recreate'."
                )
            return Reuse(resume)


def _plan_update(spec: EndpointSpec, existing: InferenceEndpoint, resume: bool) -> Plan:
    wanted = spec.payload()
    if spec.tags is not None:
        wanted["tags"] = [*spec.tags, *creator_tags_in(existing.tags)]
    if spec.custom_image is None:
        del wanted["model"]["image"]  # the service chose the image at the creation, so the image does not change now
    # The service returns secrets redacted, so a difference is not visible: given secrets are always sent.
    if spec.secrets or unapplied(wanted, existing.raw):
        return Update(resume)
    return Reuse(resume)
