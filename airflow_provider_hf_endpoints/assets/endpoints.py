"""Endpoints as Airflow assets: `hf-endpoint://namespace/name`.

Airflow finds `sanitize_uri` and `endpoint_asset` through the provider's metadata (`asset-uris`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.names import check_name, check_namespace

if TYPE_CHECKING:
    from airflow.sdk import Asset

SCHEME = "hf-endpoint"
# The alias under which operators say what they did to an endpoint, whatever its name.
ALIAS = "hf-endpoints"


def endpoint_uri(namespace: str, name: str) -> str:
    """The URI of an endpoint's asset. Raises `InvalidArgumentError` for a namespace or name that is not valid."""
    return f"{SCHEME}://{check_namespace(namespace)}/{check_name(name)}"


def endpoint_asset(namespace: str, name: str, extra: dict[str, Any] | None = None) -> Asset:
    """The asset of an endpoint: what to schedule a DAG on that follows create, resume, update or a batch.

    Its name is its URI, as in the events of the operators. Also the factory that Airflow finds for the scheme.
    """
    from airflow.sdk import Asset

    return Asset(uri=endpoint_uri(namespace, name), extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """`uri` when it is `hf-endpoint://namespace/name` and nothing more. Called by Airflow for every such asset."""
    namespace, parts = uri.netloc, uri.path.split("/")
    given = uri.geturl()
    try:
        if len(parts) != 2 or uri.query or uri.fragment:
            raise InvalidArgumentError("the URI must consist of exactly a namespace and a name")
        endpoint_uri(namespace, parts[1])
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"Asset URI {given!r}: {error} Write {SCHEME}://<namespace>/<endpoint name>, e.g. "
            f"{SCHEME}://acme/support-llm, or use endpoint_asset(namespace, name)."
        ) from None
    return uri
