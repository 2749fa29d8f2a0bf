"""Why an endpoint that runs does not serve a task: what the endpoint was created with, and what would serve it."""

from __future__ import annotations

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED, RERANK, SIMILARITY, canonical_task
from airflow_provider_hf_endpoints.inference.errors import NotFoundError, UnsupportedTaskError

_DEFAULT_IMAGE = "huggingface"
_VLLM = "custom_image={'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}}"
_TEI = "custom_image={'tei': {'url': 'ghcr.io/huggingface/text-embeddings-inference:89-1.8'}} and a model for this task"
_OF_TEI = (CLASSIFY, EMBED, RERANK, SIMILARITY)


def not_served(error: Exception) -> NotFoundError | UnsupportedTaskError | None:
    """The answer (a 404, or a refusal of the task) that has ended a call or a batch; None where something else has."""
    cause = error.cause if isinstance(error, BatchAborted) else error
    if isinstance(cause, UnsupportedTaskError) and cause.status is None:
        return None  # nothing was asked
    return cause if isinstance(cause, NotFoundError | UnsupportedTaskError) else None


def why_not_served(error: Exception, endpoint: InferenceEndpoint, task: str) -> str | None:
    """What to say in place of the answer's own words; None where the endpoint does not run.

    :param error: of a call or a batch
    :param endpoint: as it is after the error
    :param task: what was asked of it
    """
    cause = not_served(error)
    if cause is None or endpoint.status != InferenceEndpointStatus.RUNNING:
        return None
    image = "Hugging Face's default image" if endpoint.engine == _DEFAULT_IMAGE else f"the engine {endpoint.engine}"
    kept = f" The batch stopped after {error.report.rows} rows." if isinstance(error, BatchAborted) else ""
    return (
        f"Endpoint {endpoint.name!r} runs, but does not serve the task {task!r}.{kept} The endpoint was created from "
        f"{endpoint.repository} with {image} and {f'task={endpoint.task!r}' if endpoint.task else 'no task'}. "
        f"{_advice(endpoint, task)} A retry does not help. (status {cause.status}, route {cause.path})"
    )


def _advice(endpoint: InferenceEndpoint, task: str) -> str:
    if canonical_task(task) in _OF_TEI:
        return f"Ask for a task that this endpoint serves, or create an endpoint with {_TEI}."
    if endpoint.engine != _DEFAULT_IMAGE:
        return f"Ask for a task that this engine serves, or create the endpoint with another engine, such as {_VLLM}."
    served = f"Ask for task={endpoint.task!r}, or create" if endpoint.task and endpoint.task != task else "Create"
    return (
        "This image serves one pipeline, and chats only with models that have a chat template. "
        f"{served} the endpoint with {_VLLM}."
    )
