"""A local emulator of Hugging Face Inference Endpoints: control plane, proxy, engines. Not Hugging Face's service.

`python -m airflow_provider_hf_endpoints.emulator` serves it; in a test, `with Emulator() as emulator:`. Nothing here is
of the client but the names in `endpoints/models.py`: the two must not agree by sharing a mistake.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.emulator.faults import Fault
from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from airflow_provider_hf_endpoints.emulator.server import Emulator
from airflow_provider_hf_endpoints.emulator.service.clock import Clock
from airflow_provider_hf_endpoints.emulator.settings import Behaviour, Settings, Token

__all__ = ["Behaviour", "Clock", "Emulator", "Fault", "RecordedRequest", "Settings", "Token"]
