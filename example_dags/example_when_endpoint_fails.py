"""When an endpoint fails, inform a channel and start the fallback; when the endpoint is back, pause the fallback.

Shows: a DAG that starts without a person and without a schedule, and an endpoint that is kept when the run has ended.
The triggerer watches the endpoint without a worker, in one poll with all other waits and watchers. Each change starts
one run.

Costs: nothing while it watches. The fallback bills from its resume until the endpoint runs again, or until somebody
pauses it. Give the fallback a scale-to-zero timeout, so that it does not bill while it gets no requests.

Change: NAME and FALLBACK (endpoints that exist; the fallback is paused until it is needed), and what `notify` does. The
watcher begins when this DAG is switched on.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
FALLBACK = os.environ.get("HF_ENDPOINTS_EXAMPLE_FALLBACK", "airflow-example-fallback")
# How soon a change is noticed. All watchers and waits share one poll, so a short interval is cheap.
LOOK_EVERY = float(os.environ.get("HF_ENDPOINTS_EXAMPLE_LOOK_EVERY", "30"))  # seconds

# A separate asset: on `hf-endpoint://…`, which operators announce, the DAG would run after their tasks, too.
CHANGES = Asset(
    f"{NAME}: failed or back",
    watchers=[
        AssetWatcher(
            name=f"{NAME}-watcher",
            trigger=InferenceEndpointEventTrigger(
                NAME, states=("failed", "updateFailed", "running"), poll_interval=LOOK_EVERY
            ),
        )
    ],
)


def notify(text: str) -> None:
    """Tell the channel. Replace this by yours: Slack, Teams, an e-mail, a pager."""
    logging.getLogger(__name__).warning(text)


with DAG(
    dag_id="hf_endpoints_when_endpoint_fails",
    doc_md=__doc__,
    schedule=[CHANGES],
    catchup=False,
    max_active_runs=1,  # failed and back again: one after the other
    tags=["hf-endpoints", "example"],
) as dag:

    @task.branch(retries=3, retry_delay=timedelta(seconds=10))
    def tell(triggering_asset_events: Any = None) -> list[str]:
        """Tell what happened; of several changes that started this run together, the last one counts."""
        seen = [event for events in (triggering_asset_events or {}).values() for event in events]
        if not seen:
            notify("Started by hand: nothing has changed.")
            return []
        change = max(seen, key=lambda event: event.timestamp).extra["payload"]
        name = f"{change['namespace']}/{change['name']}"
        if change["state"] == "running":
            notify(f"Endpoint {name} is ready (it was {change['previous_state']}). The fallback is paused.")
            return ["pause_fallback"]
        notify(f"Endpoint {name}: {change['reason']} The fallback {FALLBACK} is being started.")
        return ["resume_fallback"]

    # Airflow's five minutes between two tries are long while nothing answers.
    resume_fallback = ResumeInferenceEndpointOperator(
        task_id="resume_fallback",
        endpoint=FALLBACK,
        keep=True,  # until a run pauses it: the sweeper leaves it alone
        deferrable=True,
        timeout=timedelta(minutes=30),
        retries=5,
        retry_delay=timedelta(seconds=10),
    )
    pause_fallback = PauseInferenceEndpointOperator(
        task_id="pause_fallback", endpoint=FALLBACK, missing_ok=True, retries=5, retry_delay=timedelta(seconds=10)
    )

    tell() >> [resume_fallback, pause_fallback]
