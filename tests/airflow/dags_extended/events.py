"""DAGs of the live tests that Airflow starts by itself: when an endpoint changes, and when another DAG has used one.

The watchers name the namespace: so their poll is not the one whose requests other tests count.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_hf_endpoints.assets.endpoints import endpoint_asset
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger

AT_ONCE: dict[str, Any] = {"is_paused_upon_creation": False, "catchup": False}

WATCHES = [("watched", state) for state in ("running", "failed", "paused", "scaledToZero")]
for endpoint, state in [*WATCHES, ("steady", "running")]:
    name = f"{endpoint}-{state}"
    watcher = AssetWatcher(
        name=name,
        trigger=InferenceEndpointEventTrigger(endpoint, namespace="acme", states=(state,), poll_interval=1),
    )
    with DAG(f"live_on_{name}", schedule=[Asset(name, watchers=[watcher])], **AT_ONCE):
        EmptyOperator(task_id="seen")

with DAG("live_follow", schedule=[endpoint_asset("acme", "announced")], **AT_ONCE):
    EmptyOperator(task_id="seen")
