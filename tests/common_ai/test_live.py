"""Under a real Airflow: an LLM task gets its endpoint from its group, and OpenLineage's provider reports a batch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from dev.processes import signals_raise

ROOT = Path(__file__).resolve().parents[2]


def test_a_group_with_an_llm_task_and_a_batch(tmp_path: Path) -> None:
    """The group's endpoint reaches the task as `model_id`; the events are in the file; the endpoint is paused."""
    events = tmp_path / "events.json"
    transport = {"type": "file", "log_file_path": str(events), "append": True}
    with Emulator(token="hf_liveAgentsToken", namespace="acme") as emulator:
        emulator.behave("live-agents", initializing_seconds=10.0)
        hub = {"conn_type": "hf_endpoints", "host": emulator.url, "password": emulator.token}
        with (
            signals_raise(),
            LocalAirflow(
                tmp_path / "airflow",
                [Path(__file__).parent / "dags"],
                connections={
                    "hf_endpoints_default": hub,
                    "pydanticai_hf_endpoints_default": {"conn_type": "pydanticai_hf_endpoints"},
                },
                variables={
                    "PYTHONPATH": str(ROOT),
                    "AIRFLOW__HF_ENDPOINTS__MIN_DEFERRAL_SECONDS": "8",
                    "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
                    "PATH": os.environ["PATH"],
                },
            ) as airflow,
        ):
            airflow.wait_for_dag("live_agents")
            run = airflow.api.trigger("live_agents", {"output": str(tmp_path)})
            state = airflow.wait_for_run("live_agents", run)
            tasks = airflow.task_states("live_agents", run)
            bad = [each for each, end in tasks.items() if end == "failed"]
            assert state == "success", {each: airflow.task_messages("live_agents", run, each) for each in bad}
            assert "paused" == emulator.endpoint("live-agents")["status"]["state"]
            airflow.wait_until(lambda: _completed(events) is not None, "OpenLineage's event of the batch is written")
    event = _completed(events)
    assert event is not None
    print(json.dumps(event["outputs"]), json.dumps(event["run"]["facets"]["hf_inference_endpoint"]))
    assert 2 == event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"]
    assert "live-agents" == event["run"]["facets"]["hf_inference_endpoint"]["name"]
    assert "hf_liveAgentsToken" not in events.read_text()


def _completed(events: Path) -> Any:
    lines = events.read_text().splitlines() if events.exists() else []
    found = [json.loads(line) for line in lines]
    of_batch = [each for each in found if each["job"]["name"].endswith("use.rows")]
    return next((each for each in of_batch if each["eventType"] == "COMPLETE"), None)
