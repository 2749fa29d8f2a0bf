"""The result of `acquire`, as downstream tasks read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_hf_endpoints.leases.records import Lease

#: The XCom in which a start and a release note their use. After a clear, it has the endpoint's state before the use.
FOUND_KEY = "hf_endpoint_acquired"


@dataclass(frozen=True)
class Acquired:
    """An acquired endpoint: the result of `AcquireInferenceEndpointOperator`.

    :param found: its state before this use; None if it did not exist
    :param use: the id of the use, the same until a release
    :param lease: the record of the lease that others see
    :param budget: the account of the use, None without a limit
    :param service: the URL of the control plane on which it is; None in a result of an older version
    """

    name: str
    namespace: str
    found: str | None
    use: str | None
    lease: Mapping[str, Any] | None
    budget: Mapping[str, Any] | None
    service: str | None = None

    @classmethod
    def of(cls, result: object) -> Self | None:
        """None for any other value."""
        if not isinstance(result, Mapping) or "name" not in result:
            return None
        rest = {name: result.get(name) for name in ("found", "use", "lease", "budget", "service")}
        return cls(name=result["name"], namespace=result.get("namespace") or "", **rest)

    @property
    def noted(self) -> dict[str, Any]:
        """The note of a start or a release in XCom, by `FOUND_KEY`."""
        place = {"name": self.name, "namespace": self.namespace, "service": self.service}
        return {**place, "found": self.found, "use": self.use}

    @property
    def held(self) -> Lease | None:
        """The lease; None without a readable lease."""
        return Lease.of(self.lease)

    def told(self, budget: Mapping[str, Any] | None) -> dict[str, Any]:
        """What downstream tasks need besides its name: see `common/naming.py`."""
        place = {"namespace": self.namespace, "name": self.name}
        lease = None if self.lease is None else {**place, "record": self.lease}
        return {"use": self.use, "lease": lease, "budget": budget}


def namespace_of(acquired: object) -> str | None:
    """The namespace in which an endpoint was acquired; None outside of a group."""
    known = Acquired.of(acquired)
    return None if known is None else known.namespace or None
