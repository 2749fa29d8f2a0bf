"""The run facet of OpenLineage that says which endpoint a batch has used, and at what cost. Needs the client."""

from __future__ import annotations

import attr
from openlineage.client.generated.base import RunFacet


@attr.define
class InferenceEndpointRunFacet(RunFacet):  # type: ignore[misc]
    """The endpoint of a run. What is not known is None."""

    name: str
    namespace: str
    vendor: str | None = None
    region: str | None = None
    accelerator: str | None = None
    instanceType: str | None = None  # OpenLineage's facets are in camelCase
    instanceSize: str | None = None
    engine: str | None = None
    model: str | None = None
    rows: int | None = None
    failed: int | None = None
    promptTokens: int | None = None
    completionTokens: int | None = None
    usd: float | None = None
