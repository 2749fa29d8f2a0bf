"""Why a run stops before its last row although nothing failed: the caller asked, the time is over, the parent has gone.

The time of a run begins when the run first looks at the input. So the time covers all waits: for the lock of the
output, for the endpoint, for a store.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from airflow_provider_hf_endpoints.inference.journal.holder import task_of

Stop = Callable[[], bool] | threading.Event | None
#: Returns why the run has to stop, in words; None to continue. Called every few milliseconds.
WhyStop = Callable[[], str | None]

ORPHANED = (
    "the process that began the batch has ended: a worker was killed, or ran out of memory. A retry resumes the batch"
)


class Stops:
    """Returns why a run has to stop.

    :param stop: given by the caller
    :param job_timeout: seconds for the whole run, from now on
    """

    def __init__(self, stop: Stop, job_timeout: float) -> None:
        self._asked = stop.is_set if isinstance(stop, threading.Event) else stop
        self._job_timeout = job_timeout
        #: When the time is over, by `time.monotonic`.
        self.ends_at = time.monotonic() + job_timeout
        # Only for tasks of Airflow: without the parent the task's end is not reported, so a batch would only cost money
        # and block the next try. A batch on a command line may outlive its shell.
        self._parent = os.getppid() if task_of(os.environ) else None

    def __call__(self) -> str | None:
        if self._asked is not None and self._asked():
            return "stop requested"
        if time.monotonic() > self.ends_at:
            return f"job_timeout of {self._job_timeout:g} s has passed"
        if self._parent is not None and os.getppid() != self._parent:
            return ORPHANED
        return None
