"""The operator that sends one request. Thin: `inference/client.py` does the work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.inference.client import InferenceClient
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import as_messages
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, canonical_task
from airflow_provider_hf_endpoints.inference.errors import UnsuitableInputsError
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.inference.job.checks import no_stream
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.checking.settings import is_known
from airflow_provider_hf_endpoints.operators.checking.words import tell_misspelt_parameters
from airflow_provider_hf_endpoints.operators.requesting.operator import RequestingOperator
from airflow_provider_hf_endpoints.operators.requesting.target import EndpointTarget

_EMPTY: tuple[Any, ...] = (None, "", [], {})


class InferenceOperator(RequestingOperator):
    """One call to an endpoint, in the dialect of its engine.

    Its result is `{"output", "finish_reason", "usage", "truncated", "model"}`: the text for chat completion and text
    generation, the vectors for embeddings, the pipeline's own JSON otherwise. A text that the token limit truncated has
    `truncated: true`, and the log contains a warning.

    :param endpoint: the endpoint's name. (templated)
    :param task: `chat-completion`, `text-generation`, `feature-extraction`, `rerank`, or any pipeline of the toolkit,
        e.g. `text-classification`. (templated)
    :param inputs: what the task takes: one text or a list of messages for a chat, one text or a list of texts for
        embeddings, a mapping for other tasks. For several chats, map the task: `.expand(inputs=[…])`. (templated)
    :param parameters: passed through, e.g. `{"max_tokens": 64}`; OpenAI's and TGI's names are both understood.
        (templated)
    :param model: the model's name in the request; default the endpoint's own model. (templated)
    :param fail_on_truncated: fail the task where the answer was cut short; default False.
    :param request_timeout: seconds for the answer; default 300.

    Other parameters: see `RequestingOperator`.
    """

    template_fields: Sequence[str] = (*RequestingOperator.template_fields, "task", "inputs", "parameters", "model")
    result_keys = ("output", "finish_reason", "usage", "truncated", "model")  # fields of an `InferenceResult`

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        task: str,
        inputs: Any,
        parameters: Mapping[str, Any] | None = None,
        model: str | None = None,
        fail_on_truncated: bool = False,
        request_timeout: float = 300.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(endpoint=endpoint, **kwargs)
        self.task = task
        self.inputs = inputs
        self.parameters = parameters
        self.model = model
        self.fail_on_truncated = fail_on_truncated
        self.request_timeout = request_timeout
        for name, value in (("inputs", inputs), ("parameters", parameters)):
            if is_known(value):
                plain(name, value)
        if is_known(parameters):
            no_stream(parameters=parameters)
            tell_misspelt_parameters(parameters=parameters)
        if is_known(task) and is_known(inputs) and inputs not in _EMPTY:
            _check_chat(task, inputs)
        if request_timeout <= 0:
            raise ValueError(f"request_timeout={request_timeout!r} is not valid. Give a positive number of seconds.")

    def _check(self) -> None:
        if self.inputs in _EMPTY:
            raise InvalidArgumentError(f"inputs={self.inputs!r} is empty. Give the input for task {self.task!r}.")
        try:
            plain("inputs", self.inputs), plain("parameters", self.parameters)
            no_stream(parameters=self.parameters)
            _check_chat(self.task, self.inputs)
        except ValueError as error:
            raise InvalidArgumentError(f"{error}.") from None

    def _send(self, context: Context, target: EndpointTarget) -> dict[str, Any]:
        if target.use_budget is not None and (spent := target.use_budget.refusal(target.price_per_hour(), time.time())):
            raise InvalidArgumentError(f"Nothing was sent: {spent}.")
        with InferenceClient(
            target.url,
            target.token.get_secret_value(),
            engine=target.engine,
            model=self.model,
            timeout=self.request_timeout,
            # An endpoint may fall asleep between the look and the call; the proxy then keeps the call while it wakes.
            scale_up_timeout=self.request_timeout,
        ) as client:
            result = client.run(self.task, self.inputs, self.parameters)
        if result.truncated:
            message = (
                f"The answer was truncated by the token limit (finish_reason {result.finish_reason!r}). Raise "
                "max_tokens."
            )
            if self.fail_on_truncated:
                raise InvalidArgumentError(message)
            self.log.warning("%s", message)
        told = {name: getattr(result, name) for name in self.result_keys}
        return {**told, "usage": None if result.usage is None else result.usage.as_dict()}


def _check_chat(task: str, inputs: Any) -> None:
    """Refuse inputs that no engine takes for a chat, before the endpoint is woken.

    :raises ValueError: with what a chat takes, and how several texts are sent
    """
    if canonical_task(task) != CHAT:
        return
    try:
        as_messages(plain("inputs", inputs))  # in the types in which the client sends them
    except UnsuitableInputsError as error:
        raise ValueError(f"inputs do not fit task={task!r}: {error.words}") from None
