"""The empty tasks of a group: the scheduler itself marks them, by what is before them, and no worker runs."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import BaseOperator, Context


class WorkEndedOperator(BaseOperator):
    """Stands between the tasks of the work and `release`: done when they have ended, however that was.

    What skips the tasks behind it, such as a branch, skips this one in place of the release.
    """

    inherits_from_empty_operator = True
    ui_color = "#f2f2f2"

    def execute(self, context: Context) -> None:
        """Nothing to do."""


class EndpointReleasedOperator(BaseOperator):
    """Stands behind `release`: a run is judged by it."""

    inherits_from_empty_operator = True
    ui_color = "#e8f7e4"

    def execute(self, context: Context) -> None:
        """Nothing to do."""
