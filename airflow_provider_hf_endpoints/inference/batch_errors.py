"""The public names of the errors that end a whole batch. A failed row is a line of the output instead."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.input_errors import (
    BadLineError,
    BatchError,
    BatchInputError,
    BatchStoreError,
    JournalCorruptError,
    MissingColumnError,
    OutputBusyError,
    OutputConflictError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.job.ends import BatchAborted, BatchFailed, BatchStopped, BudgetExceeded

__all__ = [
    "BadLineError",
    "BatchAborted",
    "BatchError",
    "BatchFailed",
    "BatchInputError",
    "BatchStopped",
    "BatchStoreError",
    "BudgetExceeded",
    "JournalCorruptError",
    "MissingColumnError",
    "OutputBusyError",
    "OutputConflictError",
    "ShardsMissingError",
]
