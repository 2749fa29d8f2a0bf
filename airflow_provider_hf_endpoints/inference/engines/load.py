"""The load that an engine reports in an answer's headers (vLLM, on request).

The request header `endpoint-load-metrics-format: TEXT` asks for the answer header `endpoint-load-metrics`:
`TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3`. A proxy may drop
the header, and a version may omit the prefix or add names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from airflow_provider_hf_endpoints.inference.wire import Load

ASK = {"endpoint-load-metrics-format": "TEXT"}
_TELL = "endpoint-load-metrics"


def read_load(headers: Mapping[str, str]) -> Load | None:
    """The load in an answer's headers, None if they have no usable value."""
    told = headers.get(_TELL)
    if not told:
        return None
    values: dict[str, float] = {}
    for part in told.removeprefix("TEXT").split(","):
        name, _, value = part.partition("=")
        try:
            values[name.strip().rpartition(".")[2]] = float(value)
        except ValueError:
            continue
    waiting = values.get("num_requests_waiting")
    if waiting is None or not math.isfinite(waiting) or waiting < 0:
        return None
    return Load(waiting, values.get("kv_cache_usage_perc"))
