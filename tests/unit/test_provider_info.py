"""The provider's metadata: fast to read, and true to the classes that it names.

tests/airflow/test_provider_metadata.py checks that it fits Airflow's schemas and equals provider.yaml.
"""

from __future__ import annotations

import re
import subprocess
import sys

from airflow_provider_hf_endpoints.get_provider_info import get_provider_info
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink


def test_asking_for_it_imports_nothing_heavy() -> None:
    """Airflow asks at every start, and before its own configuration is read: neither Airflow nor HTTP is imported."""
    code = (
        "import sys; from airflow_provider_hf_endpoints import get_provider_info;"
        "get_provider_info.get_provider_info();"
        "print([name for name in ('airflow', 'httpx', 'pydantic', 'tenacity', 'yaml') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_connection_type_is_the_hooks() -> None:
    """Type, name and class of the metadata are what the hook says of itself, or Airflow logs an inconsistency."""
    entry, _ = get_provider_info()["connection-types"]  # the other one needs the extra `common-ai`
    assert entry["connection-type"] == InferenceEndpointsHook.conn_type
    assert entry["hook-name"] == InferenceEndpointsHook.hook_name
    assert entry["hook-class-name"] == f"{InferenceEndpointsHook.__module__}.{InferenceEndpointsHook.__qualname__}"


def test_the_link_is_named() -> None:
    """The extra link is found under the name of its class."""
    expected = f"{InferenceEndpointLink.__module__}.{InferenceEndpointLink.__qualname__}"
    assert get_provider_info()["extra-links"] == [expected]


def test_the_link_of_the_description_works_on_the_providers_page() -> None:
    """Airflow deletes the marks of reStructuredText and takes an address to reach until the next blank."""
    shown = re.sub("[`_<>]", "", get_provider_info()["description"].strip(" \n."))
    assert ["https://huggingface.co/docs/inference-endpoints"] == re.findall(r"https://\S+", shown)
