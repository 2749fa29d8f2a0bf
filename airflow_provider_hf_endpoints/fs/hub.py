"""`hf://`: files of the Hugging Face Hub, with the token of a connection. Needs the extra `hub`.

`hf://datasets/org/name/data/*.parquet` takes the default connection, `hf://conn_id@datasets/org/name/…` another. Read
only for batches: `inference/output/writers.py` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_hf_endpoints._http import silence_httpx
from airflow_provider_hf_endpoints._packages import missing_store
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

schemes = ["hf"]


def get_fs(conn_id: str | None, storage_options: Mapping[str, Any] | None = None) -> HfFileSystem:
    """The Hub's own file system. The token is masked in every log. No log contains the signed addresses of large files,
    to which the Hub redirects.

    :param conn_id: the connection; None for the default one
    :raises ImportError: huggingface_hub is not installed
    """
    try:
        from huggingface_hub import HfFileSystem
    except ImportError:
        raise ImportError(missing_store("a path hf://…", "hf")) from None
    silence_httpx()
    hook = InferenceEndpointsHook(conn_id) if conn_id else InferenceEndpointsHook()
    given = {"token": hook.token.get_secret_value(), "endpoint": hook.hub_url}
    return HfFileSystem(**{**given, **(storage_options or {})})
