"""DAGs of the live tests in which an endpoint runs for as long as the tasks inside need it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

ENDPOINT = "{{ params.endpoint }}"
PARAMS = {
    "endpoint": Param("live", type="string"),
    "gate": Param("", type="string"),
    "fail": Param(False, type="boolean"),
}
MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "task": "text-generation",
    "hardware": ["aws/us-east-1/intel-icl/x2"],
    "poll_interval": 1,
    "group_id": "use",
}


@task
def work(endpoint: dict[str, Any], params: dict[str, Any] | None = None) -> str:
    """Runs until the file `gate` is there (a hang bound apart), then fails where the run's parameters say so."""
    assert params is not None
    gate = params["gate"]
    for _ in range(1200):
        if not gate or Path(gate).exists():
            break
        time.sleep(0.1)
    if params["fail"] and not Path(f"{gate}.mended").exists():
        raise ValueError("the work is broken")
    return str(endpoint["url"])


with DAG("live_use", schedule=None, params=PARAMS), inference_endpoint(ENDPOINT, **MODEL) as endpoint:
    work(endpoint)

with (
    DAG("live_use_timeout", schedule=None, params=PARAMS),
    inference_endpoint(ENDPOINT, max_startup=8, **MODEL) as endpoint,
):
    work(endpoint)

with DAG("live_use_existing", schedule=None, params=PARAMS), inference_endpoint(ENDPOINT, group_id="use") as endpoint:
    InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs="Hello")

with (
    DAG("live_use_on_worker", schedule=None, params=PARAMS),
    inference_endpoint(ENDPOINT, deferrable=False, retries=0, **MODEL) as endpoint,
):
    work(endpoint)

with (
    DAG("live_use_idle", schedule=None, params=PARAMS),
    inference_endpoint(ENDPOINT, max_idle=5, **MODEL) as endpoint,
):
    work.override(pool="a pool that nobody has made")(endpoint)

with (
    DAG("live_use_mapped", schedule=None, params=PARAMS),
    inference_endpoint("{{ params.endpoint }}-outer", release="delete", **MODEL) as outer,
):
    InferenceOperator.partial(task_id="ask", endpoint=outer, task="chat-completion").expand(inputs=["a", "b", "c"])

    @inference_endpoint("{{ params.endpoint }}-inner", **{**MODEL, "group_id": None})
    def inner(endpoint: Any, text: str) -> Any:
        """A group of its own inside."""
        InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs=text)

    inner("hello")

with (
    DAG("live_use_functions", schedule=None, params={**PARAMS, "output": Param("/tmp", type="string")}),
    inference_endpoint(ENDPOINT, **MODEL) as endpoint,
):

    @task.hf_batch(
        endpoint=endpoint,
        task="text-generation",
        prompt="{text}",
        output_path="{{ params.output }}/{{ ti.map_index }}.jsonl",
    )
    def rows(word: str, count: int) -> Any:
        """Rows of one word."""
        return ({"text": f"{word} {number}"} for number in range(count))

    @task.hf_inference(endpoint=endpoint, task="text-generation")
    def ask(run_id: str | None = None) -> str:
        """A question with something of the context."""
        return f"What is {run_id}?"

    ask() >> rows.partial(count=3).expand(word=["one", "two"])
