"""`@task.hf_batch`: the function returns the rows of a batch, or their path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, Context, DecoratedOperator, TaskDecorator

from airflow_provider_hf_endpoints.decorators._function import returned_by, task_of
from airflow_provider_hf_endpoints.decorators._returned import Returned
from airflow_provider_hf_endpoints.inference.batch_errors import BatchError, BatchStoreError, OutputBusyError
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered
from airflow_provider_hf_endpoints.operators.checking.paths import check_path
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.operators.requesting.batch import attempt_of
from airflow_provider_hf_endpoints.operators.requesting.storage import storage_at

_NOT_ASKED_YET = "in.jsonl"  # until the task runs and the function is called
_NOT_HERE = {
    "input_path": "the function returns the rows or their path",
    "input_rows": "the function returns the rows or their path",
    "shard": "a function is not part of a planned batch. Map the function instead: each mapped task is a batch",
}


class _BatchTask(DecoratedOperator, BatchInferenceOperator):
    """A `BatchInferenceOperator` that gets its `input_path` from a function.

    The function is called before the endpoint is looked at. What it returned is kept next to the output, so a retry of
    the task, and a task that has waited in the triggerer, continue with the same rows.
    """

    custom_operator_name = "@task.hf_batch"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in BatchInferenceOperator.template_fields if name not in ("input_path", "input_rows")),
    )

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, why in _NOT_HERE.items():
            if name in kwargs:
                raise TypeError(f"{self.custom_operator_name}: {name} is not an argument: {why}. Leave {name} out.")
        own: dict[str, Any] = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(**own, input_path=_NOT_ASKED_YET, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function if no earlier try has, then as `BatchInferenceOperator`."""
        self._ask(context)
        return BatchInferenceOperator.execute(self, context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """As `BatchInferenceOperator`, with the rows from before the wait."""
        self._ask(context)
        return BatchInferenceOperator.execute_complete(self, context, event)

    def paths_read(self) -> Any:
        """Nothing before the function was called."""
        return [] if self.input_path == _NOT_ASKED_YET else self.input_path

    def _ask(self, context: Context) -> None:
        ti, name = context["ti"], self.python_callable.__name__
        with _failing():
            check_rendered(self)
            options = self._options()
            layout = OutputLayout.of(storage_at("output_path", self.output_path), options.get("output_format"))
            task = "/".join(str(getattr(ti, each, "")) for each in ("dag_id", "task_id", "map_index"))
            returned = Returned(layout, task, attempt_of(ti), name)
            found = returned.kept(replaces=options.get("on_existing") == "overwrite")
        if found is not None:
            self.log.info("An earlier try has called %s. The input is %s", name, found)
        else:
            given = returned_by(self, context)  # its own errors are the author's, and may be retried
            with _failing():
                found = returned.keep(given)
                check_path("input_path", found)
        self.input_path = found


@contextmanager
def _failing() -> Iterator[None]:
    """Errors that a retry cannot mend fail the task without a retry."""
    with in_airflow_terms():
        try:
            yield
        except (BatchStoreError, OutputBusyError):
            raise  # it passes
        except (BatchError, ValueError) as error:
            raise AirflowFailException(str(error)) from error


def hf_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function that returns rows into a batch: `@task.hf_batch(endpoint=…, task=…, prompt=…, output_path=…)`.

    The result is that of a `BatchInferenceOperator`. Use the decorator as `task.hf_batch` of `airflow.sdk`.

    :param python_callable: returns a list or an iterator of dicts, one per row, or one or several paths that
        `BatchInferenceOperator` takes as `input_path`. Rows are written next to the output, and a retry of the task
        resumes with them without a call of the function.
    :param kwargs: the arguments of `BatchInferenceOperator` without `input_path` and `shard`
    """
    return task_of(_BatchTask, python_callable, kwargs)
