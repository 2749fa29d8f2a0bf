"""The error of a batch of which too many rows failed."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.batch_errors import BatchFailed
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
