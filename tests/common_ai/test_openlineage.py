"""Lineage of a batch in events of OpenLineage's own client, written by its file transport: `make test-ai`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import task
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.transport.file import FileConfig, FileTransport

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError
from airflow_provider_hf_endpoints.operators.endpoints import PauseInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from tests.contract.operators_play import FAST, TOKEN, VLLM, connected, create, run


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        run(create(custom_image=VLLM))
        yield running


def batch(tmp_path: Path) -> BatchInferenceOperator:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(7)))
    return BatchInferenceOperator(
        task_id="batch",
        endpoint="demo",
        task="chat-completion",
        input_path=str(tmp_path / "in.jsonl"),
        output_path=str(tmp_path / "out.jsonl"),
        prompt="{text}",
        **FAST,
    )


def emitted(lineage: Any, state: RunState, folder: Path) -> dict[str, Any]:
    """The event, as a receiver of the file transport reads it."""
    file = folder / "events.json"
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(file), append=True)))
    event = RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(str(uuid4()), facets=lineage.run_facets),
        job=Job("airflow", "d.batch", facets=lineage.job_facets),
        inputs=lineage.inputs,
        outputs=lineage.outputs,
        producer="https://example.org/airflow",
    )
    client.emit(event)
    found: dict[str, Any] = json.loads(file.read_text().splitlines()[-1])
    return found


def test_a_batch_that_succeeds(emulator: Emulator, tmp_path: Path) -> None:
    """The file and the model are read; the results are written, with rows and bytes; the run has the endpoint."""
    operator = batch(tmp_path)
    start = emitted(operator.get_openlineage_facets_on_start(), RunState.START, tmp_path)
    assert [("file", f"{tmp_path}/in.jsonl")] == [(each["namespace"], each["name"]) for each in start["inputs"]]
    run(operator)
    event = emitted(operator.get_openlineage_facets_on_complete(None), RunState.COMPLETE, tmp_path)
    print(json.dumps(event))
    assert ["in.jsonl", "gpt2"] == [each["name"].rpartition("/")[2] for each in event["inputs"]]
    (output,) = event["outputs"]
    counts = output["outputFacets"]["outputStatistics"]
    assert (f"{tmp_path}/out.jsonl", 7, (tmp_path / "out.jsonl").stat().st_size) == (
        output["name"],
        counts["rowCount"],
        counts["size"],
    )
    facet = event["run"]["facets"]["hf_inference_endpoint"]
    assert ("demo", "acme", 7, 0) == (facet["name"], facet["namespace"], facet["rows"], facet["failed"])
    assert facet["promptTokens"] > 0
    assert TOKEN not in json.dumps(event)


def test_a_function_reads_nothing_before_it_was_called(emulator: Emulator, tmp_path: Path) -> None:
    """Then its rows are the input, as they were written next to the output."""
    output = str(tmp_path / "out.jsonl")
    decorated: Any = task.hf_batch(
        task_id="rows", endpoint="demo", task="chat-completion", prompt="{text}", output_path=output, **FAST
    )(lambda: [{"text": "a"}])
    operator = decorated().operator
    assert [] == operator.get_openlineage_facets_on_start().inputs
    run(operator)
    inputs = operator.get_openlineage_facets_on_complete(None).inputs
    assert [f"{tmp_path}/out.input.jsonl", "gpt2"] == [each.name for each in inputs]


def test_a_batch_that_fails(emulator: Emulator, tmp_path: Path) -> None:
    """What was to be read, and no output."""
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    operator = batch(tmp_path)
    with pytest.raises(EndpointFailedError):
        run(operator)
    event = emitted(operator.get_openlineage_facets_on_failure(None), RunState.FAIL, tmp_path)
    assert (["in.jsonl"], []) == ([each["name"].rpartition("/")[2] for each in event["inputs"]], event["outputs"])


def test_openlineages_provider_finds_the_methods(emulator: Emulator, tmp_path: Path) -> None:
    """Airflow's own extractor takes the lineage from the operator."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    operator = batch(tmp_path)
    run(operator)
    found = DefaultExtractor(operator=operator).extract_on_complete(type("TI", (), {"task": operator})())
    assert found is not None
    assert 1 == len(found.outputs)
