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

for state in ("running", "failed", "paused", "scaledToZero"):
    watcher = AssetWatcher(
        name=f"watched-{state}",
        trigger=InferenceEndpointEventTrigger("watched", namespace="acme", states=(state,), poll_interval=1),
    )
    with DAG(f"live_on_{state}", schedule=[Asset(f"watched-{state}", watchers=[watcher])], **AT_ONCE):
        EmptyOperator(task_id="seen")

with DAG("live_follow", schedule=[endpoint_asset("acme", "announced")], **AT_ONCE):
    EmptyOperator(task_id="seen")
