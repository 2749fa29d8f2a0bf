"""One value of a task's result, by its key: `endpoint["url"]`, where the result is a mapping with known keys.

Airflow looks such a key up among the task's XComs. An operator's result is a single XCom, so Airflow would fail the
task that asks, when the endpoint bills already. So an operator stores the values of its result as XComs, too, if its
DAG asks for one of them. A key that the result does not have is refused when the DAG is read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from airflow_provider_hf_endpoints._airflow import RETURN_VALUE, PlainXComArg
from airflow_provider_hf_endpoints.operators.checking.names import did_you_mean


class KeyedResult(PlainXComArg):
    """The result of an operator that has `result_keys`, or one value of it."""

    def __getitem__(self, item: str) -> KeyedResult:
        """A value of the result."""
        task: Any = self.operator
        if self.key != RETURN_VALUE:
            raise ValueError(
                f"[{item!r}] of the value {self.key!r} of task {task.task_id!r} is not valid: only the result itself "
                "has keys. Take the value apart in a task."
            )
        if item not in task.result_keys:
            raise ValueError(_unknown(task.task_id, item, task.result_keys))
        task.multiple_outputs = True
        return KeyedResult(task, item)


class KeyedOutput:
    """A base of every operator whose result is a mapping with known keys."""

    result_keys: ClassVar[tuple[str, ...]] = ()  # what the result can be asked for

    @property
    def output(self) -> KeyedResult:
        """As Airflow's; `output["url"]`, with one of the keys, is one value of it."""
        operator: Any = self
        return KeyedResult(operator)


def _unknown(task_id: str, item: object, known: Collection[str]) -> str:
    there = ", ".join(known) or "no keys"
    return f"The result of task {task_id!r} has no {item!r}. It has {there}.{did_you_mean(item, known)}"
