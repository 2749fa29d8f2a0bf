"""Without the extra `common-ai` nothing of it is imported, and its hook says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


def test_the_hook_names_the_package_that_lacks() -> None:
    """Airflow logs the error and goes on without the connection type."""
    code = (
        "import sys; sys.modules['airflow.providers.common.ai'] = None\n"
        "try:\n    import airflow_provider_hf_endpoints.common_ai.hook\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("AirflowOptionalProviderFeatureException")
    assert "pip install 'airflow-provider-hf-endpoints[common-ai]'" in last


def test_no_other_room_needs_it() -> None:
    """The operators, decorators and groups import neither common-ai nor pydantic-ai."""
    code = (
        "import sys\n"
        "import airflow_provider_hf_endpoints.operators.inference, airflow_provider_hf_endpoints.decorators.batch\n"
        "import airflow_provider_hf_endpoints.task_groups.endpoints\n"
        "print([name for name in sys.modules if name.startswith(('pydantic_ai', 'airflow.providers.common.ai'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "[]" == result.stdout.strip().splitlines()[-1]
