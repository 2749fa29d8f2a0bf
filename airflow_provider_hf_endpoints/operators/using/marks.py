"""The empty tasks of a group. The scheduler sets their states by their upstream tasks, and no worker runs them."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import BaseOperator, Context


class WorkEndedOperator(BaseOperator):
    """Stands between the tasks of the work and `release`: done when they have ended, with any result.

    A branch, or another task that skips its downstream tasks, skips this task and not the release.
    """

    inherits_from_empty_operator = True
    ui_color = "#f2f2f2"

    def execute(self, context: Context) -> None:
        """Nothing to do."""


class EndpointReleasedOperator(BaseOperator):
    """Stands downstream of `release`: its state decides about the run."""

    inherits_from_empty_operator = True
    unskippable = True  # see `changing/unskippable.py`
    ui_color = "#e8f7e4"

    def execute(self, context: Context) -> None:
        """Nothing to do."""
