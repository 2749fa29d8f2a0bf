"""`@task.hf_inference`: the function returns the input of one call to an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Context, DecoratedOperator, TaskDecorator, TaskDeferred

from airflow_provider_hf_endpoints._airflow import pull_xcom
from airflow_provider_hf_endpoints.decorators._function import returned_by, task_of
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms
from airflow_provider_hf_endpoints.operators.inference import InferenceOperator

_INPUTS = "hf_endpoint_inputs"  # the XCom with what the function returned, while the task waits for the endpoint


class _InferenceTask(DecoratedOperator, InferenceOperator):
    """An `InferenceOperator` that gets its `inputs` from a function.

    The function is called before the endpoint is looked at, so that bad input wakes no endpoint. A task that waits in
    the triggerer continues as a new object, so the input waits in an XCom.
    """

    custom_operator_name = "@task.hf_inference"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in InferenceOperator.template_fields if name != "inputs"),
    )

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "inputs" in kwargs:
            raise TypeError(f"{self.custom_operator_name}: inputs is what the function returns. Leave inputs out.")
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, inputs=None, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, then as `InferenceOperator`."""
        self._ask(context)
        try:
            return InferenceOperator.execute(self, context)
        except TaskDeferred:
            context["ti"].xcom_push(key=_INPUTS, value=self.inputs)
            raise

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """As `InferenceOperator`, with what the function has returned before the wait."""
        self.inputs = pull_xcom(context["ti"], self.task_id, _INPUTS)
        if self.inputs is None:  # deleted meanwhile
            self._ask(context)
        return InferenceOperator.execute_complete(self, context, event)

    def _ask(self, context: Context) -> None:
        given = returned_by(self, context)
        with in_airflow_terms():
            try:
                self.inputs = plain("inputs", given)
            except ValueError as error:
                raise InvalidArgumentError(
                    f"{self.python_callable.__name__} returned a value of which {error}."
                ) from None
            self._check()


def hf_inference_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function that returns the input of one call into a task: `@task.hf_inference(endpoint=…, task=…)`.

    The result is that of an `InferenceOperator`. Use the decorator as `task.hf_inference` of `airflow.sdk`.

    :param python_callable: returns what `InferenceOperator` takes as `inputs`: a text, chat messages, a list of texts
        for embeddings, or another task's mapping. If the task waits for the endpoint in the triggerer, the value waits
        in an XCom.
    :param kwargs: the arguments of `InferenceOperator` without `inputs`
    """
    return task_of(_InferenceTask, python_callable, kwargs)
