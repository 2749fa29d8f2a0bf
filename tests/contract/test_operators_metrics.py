"""The batch's metrics, as Airflow sends them: read from a UDP socket, where a statsd server would listen."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from tests.contract.operators_play import FAST, HANG, VLLM, connected, create, run

pytest.importorskip("statsd")
stats = pytest.importorskip("airflow.sdk.observability.stats", reason="set up by other means on Airflow 3.0")


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Airflow configured to send its metrics to the socket, as a task's process is."""
    from airflow.sdk.observability.metrics import stats_utils

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.2)
        for name, value in {
            "STATSD_ON": "True",
            "STATSD_HOST": "127.0.0.1",
            "STATSD_PORT": str(listener.getsockname()[1]),
            "STATSD_PREFIX": "airflow",
            "STATSD_INFLUXDB_ENABLED": "True",  # writes tags into the name
        }.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
        try:
            yield listener
        finally:
            monkeypatch.undo()
            stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)


def received(listener: socket.socket) -> list[str]:
    lines = []
    try:
        while True:
            lines.append(listener.recv(65536).decode())
    except TimeoutError:
        return [line for line in lines if ".batch." in line]


def test_a_batch_is_counted_while_it_runs(emulator: Emulator, statsd: socket.socket, tmp_path: Path) -> None:
    """Rows, tokens, errors by kind, latency and limit, tagged with endpoint and task; the counts are the report's."""
    rows = [json.dumps({"text": f"row {n}"}) for n in range(40)]
    (tmp_path / "in.jsonl").write_text("\n".join([*rows, "no row at all"]) + "\n")
    run(create(custom_image=VLLM))
    batch = BatchInferenceOperator(
        task_id="batch",
        endpoint="demo",
        task="chat-completion",
        input_path=str(tmp_path / "in.jsonl"),
        output_path=str(tmp_path / "out.jsonl"),
        prompt="Say {text}",
        parameters={"max_tokens": 16},
        startup_timeout=HANG,
        **FAST,
    )
    report = run(batch)
    lines = received(statsd)
    counted: Counter[str] = Counter()
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith("|c"):
            counted[name.partition(",")[0]] += int(value.removesuffix("|c"))
    assert counted["airflow.hf_endpoints.batch.rows"] == 41
    assert counted["airflow.hf_endpoints.batch.rows_failed"] == report["failed"] == 1
    assert counted["airflow.hf_endpoints.batch.completion_tokens"] == report["completion_tokens"] > 0
    assert counted["airflow.hf_endpoints.batch.prompt_tokens"] == report["prompt_tokens"]
    assert counted["airflow.hf_endpoints.batch.requests"] == report["requests"]
    tags = {part for line in lines for part in line.partition(":")[0].split(",")[1:]}
    assert {"endpoint=demo", "task_id=task"} <= tags
    assert [line for line in lines if "batch.limit" in line and line.endswith("|g")]
    assert [line for line in lines if "batch.latency_p95" in line and line.endswith("|ms")]
