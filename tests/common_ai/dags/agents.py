"""DAGs of the live test: LLM tasks as the work of a group, and a batch whose lineage is reported."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "custom_image": {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}},
    "hardware": ["aws/us-east-1/intel-icl/x2"],
    "poll_interval": 1,
    "group_id": "use",
    "max_cost": 5.0,
}
CONN = "pydanticai_hf_endpoints_default"

with (
    DAG("live_agents", schedule=None, params={"output": Param("/tmp", type="string")}),
    inference_endpoint("live-agents", **MODEL) as endpoint,
):

    @task.llm(llm_conn_id=CONN, model_id=endpoint, system_prompt="Be brief.")
    def ask() -> str:
        """A prompt."""
        return "Name a city"

    @task.hf_batch(
        endpoint=endpoint, task="chat-completion", prompt="{text}", output_path="{{ params.output }}/rows.jsonl"
    )
    def rows() -> list[dict[str, str]]:
        """Rows."""
        return [{"text": "one"}, {"text": "two"}]

    ask() >> rows()
