"""The asset events of operators, in Airflow's own accessors, against the emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_hf_endpoints.assets.endpoints import ALIAS, endpoint_asset
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from tests.contract.operators_play import FAST, create, new_context, run, run_deferred

DEMO = "hf-endpoint://acme/demo"


def context() -> Any:
    return {**new_context(), "outlet_events": OutletEventAccessors()}


def emitted(context: Any) -> list[tuple[str, dict[str, Any]]]:
    """What Airflow would record: the assets and the extras, through the alias or by the asset itself."""
    events = context["outlet_events"]
    through_alias = [(each.dest_asset_key.uri, each.extra) for each in events[AssetAlias(ALIAS)].asset_alias_events]
    for _, extra in through_alias:
        assert frozenset(extra.items()), "Airflow 3.0 keeps these in a set: a list in one fails the task's success"
    return [*through_alias, *((key.uri, events[key].extra) for key in events if isinstance(key, Asset))]


@pytest.mark.parametrize("how", [run, run_deferred])
def test_create_announces_the_endpoint(emulator: Emulator, how: Any) -> None:
    """Deferred or not: one event, of the endpoint's asset, with what it runs."""
    told = context()
    how(create(revision="abc", deferrable=how is run_deferred), told)
    assert emitted(told) == [(DEMO, {"state": "running", "revision": "abc"})]


def test_resume_and_update_announce_it(emulator: Emulator) -> None:
    """With the state and the revision that it has afterwards; a paused endpoint that is updated stays so."""
    run(create(revision="abc"))
    run(PauseInferenceEndpointOperator(task_id="pause", endpoint="demo", **FAST))
    updated, resumed, again = context(), context(), context()
    run(UpdateInferenceEndpointOperator(task_id="update", endpoint="demo", revision="def", **FAST), updated)
    run_deferred(ResumeInferenceEndpointOperator(task_id="r", endpoint="demo", deferrable=True, **FAST), resumed)
    run(UpdateInferenceEndpointOperator(task_id="update", endpoint="demo", revision="ghi", **FAST), again)
    assert [emitted(each) for each in (updated, resumed, again)] == [
        [(DEMO, {"state": "paused", "revision": "def"})],
        [(DEMO, {"state": "running", "revision": "def"})],
        [(DEMO, {"state": "running", "revision": "ghi"})],
    ]


def test_an_asset_that_the_user_lists_is_the_one(emulator: Emulator) -> None:
    """It gets the extra under a separate name, and there is no second event through the alias."""
    mine = Asset("our model", uri=DEMO)
    other = Asset("something else")
    told = context()
    run(create(outlets=[mine, other]), told)
    assert emitted(told) == [(DEMO, {"state": "running", "revision": None})]
    assert told["outlet_events"][mine].extra["state"] == "running"


def test_a_start_that_fails_announces_nothing(emulator: Emulator) -> None:
    """An event would start every DAG that waits for the model."""
    emulator.behave("demo", fail="no memory")
    told = context()
    with pytest.raises(EndpointFailedError):
        run(create(), told)
    assert emitted(told) == []


def test_a_batch_announces_the_endpoint_and_its_output(emulator: Emulator, tmp_path: Path) -> None:
    """How many rows there were and how many failed; the output's own asset too, where the user lists it."""
    emulator.set_quirks("toolkit_chats")
    run(create())
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(3)))
    output = (tmp_path / "out.jsonl").as_uri()
    batch = BatchInferenceOperator(
        task_id="batch",
        endpoint="demo",
        task="chat-completion",
        input_path=str(tmp_path / "in.jsonl"),
        output_path=output,
        prompt="{text}",
        outlets=[Asset(output)],
    )
    told = context()
    run(batch, told)
    counts = {"rows": 3, "succeeded": 3, "failed": 0}
    assert emitted(told) == [(DEMO, {"state": "running", "revision": None, **counts}), (output, counts)]


def test_the_alias_is_there_when_the_dag_is_read() -> None:
    """Airflow takes events only through what is among the task's outlets, beside the user's."""
    mine = Asset("mine")
    assert create(outlets=[mine]).outlets == [mine, AssetAlias(ALIAS)]
    assert PauseInferenceEndpointOperator(task_id="pause", endpoint="demo").outlets == []


def test_a_namespace_that_no_asset_can_have_fails_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint is up and the task is right: only the event is lost, and that is logged."""
    from airflow_provider_hf_endpoints.operators.common.assets import announce

    told = context()
    announce(told, [], "not a namespace", "demo", {})
    assert emitted(told) == []
    assert "Could not emit the asset event of endpoint demo" in caplog.text
    announce({}, [], "acme", "demo", {})


def test_the_uri_is_the_one_to_schedule_on() -> None:
    """What is emitted is what the helper makes."""
    assert endpoint_asset("acme", "demo").uri == DEMO
