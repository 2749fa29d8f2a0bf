"""The task of an endpoint that a group creates: taken from the work inside if the DAG's author does not set it.

The default image of Hugging Face runs one pipeline, that of the endpoint's `task`, and answers 404 to chats. A batch of
the wrong task would fail on every request while the endpoint bills.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from airflow_provider_hf_endpoints._airflow import argument_of
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, canonical_task
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.requesting.operator import RequestingOperator
from airflow_provider_hf_endpoints.operators.starting.create import CreateInferenceEndpointOperator

_AN_ENGINE = "an engine that serves it, e.g. custom_image={'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}}"


def settle_task(start: Any, work: Iterable[Any]) -> None:
    """Have the start create the endpoint for the task of the work; warn if it is not served, or not known."""
    if not isinstance(start, CreateInferenceEndpointOperator) or start.framework != "pytorch":
        return
    if start.task is not None or getattr(start, "custom_image", None):
        return
    asked = {each.task_id: task for each in work if (task := _task_of(each)) is not None}
    if any(is_template(task) for task in asked.values()):
        return
    tasks = sorted({canonical_task(task) for task in asked.values()})
    if len(tasks) == 1 and tasks != [CHAT]:
        start.task_of_work = tasks[0]
        return
    what = f"inference_endpoint({start.name!r}): the endpoint is created with Hugging Face's default image and no task"
    who = ", ".join(sorted(asked))
    if not tasks:
        why = "and no operator in the group names the task. Set task=…, e.g. task='text-generation', or custom_image=…."
    elif CHAT in tasks:
        why = (
            f"and this image does not serve chats: every request of {who} would fail (400 or 404). Set {_AN_ENGINE}; "
            "or set task='text-generation' here and in the work."
        )
    else:
        why = (
            f"and {who} use several tasks ({', '.join(tasks)}), but the image serves only one. Set task=…, or use two "
            "endpoints."
        )
    warnings.warn(f"{what}, {why}", UserWarning, stacklevel=4)


def _task_of(work: Any) -> str | None:
    """The task that an operator needs from an endpoint, mapped or not; None for other work."""
    kind = getattr(work, "operator_class", type(work))
    if not (isinstance(kind, type) and issubclass(kind, RequestingOperator)):
        return None
    task = argument_of(work, "task")
    return task if isinstance(task, str) else None
