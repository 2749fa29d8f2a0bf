"""The errors of a batch that stopped early, or of which too many rows failed."""

from __future__ import annotations

import pytest

from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BatchFailed
from airflow_provider_hf_endpoints.inference.errors import ModelNotFoundError, OverloadedError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport


def test_the_error_has_the_first_message_of_the_most_frequent_kind() -> None:
    """A reader of the error alone sees the reason, for example that the model serves no embeddings."""
    report = BatchReport("out", "out/errors.jsonl", "out/manifest.json", errors={"bad_line": 1, "bad_request": 3})
    words = {"bad_request": "The model does not support Embeddings API"}
    expected = (
        "4 of 4 rows failed (bad_line: 1, bad_request: 3). The first bad_request: The model does not support "
        "Embeddings API. See out/errors.jsonl"
    )
    assert expected == str(BatchFailed(report, "4 of 4 rows failed", words))


@pytest.mark.parametrize(
    ("cause", "rows", "expected"),
    [(ModelNotFoundError("llama"), 3, True), (ModelNotFoundError("llama"), 0, False), (OverloadedError(), 3, False)],
)
def test_a_correction_of_the_job_needs_the_output_overwritten(cause: Exception, rows: int, expected: bool) -> None:
    """With another model the job is another one, which the next run would refuse at an output that has rows."""
    error = BatchAborted(BatchReport("out", "out/errors.jsonl", "out/manifest.json", rows=rows), cause)
    assert expected == ('If the correction changes the job itself, also set on_existing="overwrite".' in str(error))
