"""For every test: a separate Airflow home, so that nothing reads or writes the home of the user who runs the tests, and
generated cases that are the same on every machine, however slow."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A bound on the time of a case would judge the machine. What other cases find is for `benchmarks/`, which draw anew.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# Before anything imports Airflow, which reads its configuration, and writes one, when it is imported.
_home = tempfile.TemporaryDirectory(prefix="hf-endpoints-tests-airflow-")
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": _home.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    # Triggers fire at once, but in the tests of the pause itself.
    "AIRFLOW__HF_ENDPOINTS__MIN_DEFERRAL_SECONDS": "0",
}


@pytest.fixture(scope="session", autouse=True)
def _airflow_home() -> Iterator[None]:
    """Remove the home at the end."""
    yield
    _home.cleanup()


@pytest.fixture(autouse=True)
def _recursion_limit() -> Iterator[None]:
    """Airflow raises the limit for good when an operator is copied (3.3.2); what is nested too deeply goes by it."""
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)
