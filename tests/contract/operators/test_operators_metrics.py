"""Metrics of a batch and of a release, as Airflow sends them: read from a UDP socket, where a statsd server listens."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_hf_endpoints.emulator import Clock, Emulator
from airflow_provider_hf_endpoints.operators.endpoints import PauseInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from tests.clock import owned_clock
from tests.contract.operators_play import FAST, HANG, VLLM, TaskInstance, connected, create, new_context, run

pytest.importorskip("statsd")
stats = pytest.importorskip("airflow.sdk.observability.stats", reason="set up by other means on Airflow 3.0")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return owned_clock(monkeypatch)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Emulator]:
    with connected(monkeypatch, clock=clock) as running:
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


def received(listener: socket.socket, which: str = "batch") -> list[str]:
    lines = []
    try:
        while True:
            lines.append(listener.recv(65536).decode())
    except TimeoutError:
        return [line for line in lines if f".{which}." in line]


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


def test_a_release_sends_what_the_run_has_cost(clock: Clock, emulator: Emulator, statsd: socket.socket) -> None:
    """Dollars and minutes of the run as gauges, and in whole units as counters; no tag has the endpoint's name."""
    run(create(scale_to_zero_timeout=15))
    clock.advance(20)
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST)
    ti = TaskInstance()
    dag_run = SimpleNamespace(start_date=datetime.now(UTC) - timedelta(minutes=1), dag_id="costs", run_id="r:1")
    task = SimpleNamespace(get_flat_relatives=lambda upstream: [])
    run(pause, {**new_context(), "ti": ti, "task": task, "dag_run": dag_run})
    lines = received(statsd, "cost")
    sent = {line.partition(",")[0].removeprefix("airflow.hf_endpoints.cost."): line for line in lines}
    values = {name: float(line.rpartition(":")[2].partition("|")[0]) for name, line in sent.items()}
    told = ti.xcoms["cost"]
    assert told["usd"] == pytest.approx(values["usd"], abs=1e-6)
    assert told["usd"] * 1e6 == pytest.approx(values["microdollars"], abs=1)
    assert told["replica_minutes"] == pytest.approx(values["replica_minutes"], abs=1e-3)
    assert values["billed_seconds"] == round(values["replica_minutes"] * 60) > 0
    assert all("task_id=task" in line and "demo" not in line for line in lines)
