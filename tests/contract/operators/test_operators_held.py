"""Others hold a lease on the endpoint: what would stop or change it under them is refused, or left to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators.common.held import HeldByOthersError
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from tests.contract.operators.test_operators_use import Run, Use
from tests.contract.operators_play import FAST, calls, connect, connected, create, run, state

USED = ["POST ", "POST /demo/resume"]  # the calls of a use


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    with connected(monkeypatch) as emulator:
        connect(monkeypatch, emulator, lease_path=f"file://{tmp_path}/leases")
        yield emulator


@pytest.fixture
def use(emulator: Emulator) -> Use:
    """Somebody else's, going on, of an endpoint that ran before."""
    run(create())
    use = Use()
    use.acquire()
    use.resume()
    assert calls(emulator) == USED
    return use


_PLACE = ("vendor", "region", "accelerator", "instance_type", "instance_size")
CHOICES: dict[str, Any] = {**dict.fromkeys(_PLACE), "hardware": ["aws/us-east-1/intel-icl/x2"]}
REFUSED: dict[str, Any] = {
    "update": lambda **more: UpdateInferenceEndpointOperator(
        task_id="t", endpoint="demo", instance_size="x4", **FAST, **more
    ),
    "delete": lambda **more: DeleteInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST, **more),
    "create, update": lambda **more: create(if_exists="update", instance_size="x4", **more),
    "create, recreate": lambda **more: create(if_exists="recreate", **more),
    "create, recreate, choices": lambda **more: create(if_exists="recreate", **CHOICES, **more),
}
LEFT: dict[str, Any] = {
    "paused": lambda **more: PauseInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST, **more),
    "scaledToZero": lambda **more: ScaleToZeroInferenceEndpointOperator(task_id="t", endpoint="demo", **FAST, **more),
}


@pytest.mark.parametrize("action", REFUSED)
def test_what_changes_an_endpoint_in_use_is_refused(emulator: Emulator, use: Use, action: str) -> None:
    """Nothing is sent; the error names the holder and until when it holds, and a retry may succeed."""
    with pytest.raises(HeldByOthersError, match=r"in use: nightly run-1 use.acquire \(until 20.* UTC\)") as caught:
        run(REFUSED[action](), Run("run-2").context("t"))
    assert caught.value.retryable
    assert "force=True" in str(caught.value)
    assert calls(emulator) == USED
    use.release()
    run(REFUSED[action](), Run("run-2").context("t"))
    assert USED != calls(emulator)


@pytest.mark.parametrize("action", REFUSED)
def test_force_does_not_ask(emulator: Emulator, use: Use, action: str) -> None:
    """`force=True` changes the endpoint although others use it."""
    run(REFUSED[action](force=True), Run("run-2").context("t"))
    assert USED != calls(emulator)


@pytest.mark.parametrize("left", LEFT)
def test_what_stops_an_endpoint_in_use_is_left_to_who_uses_it(emulator: Emulator, use: Use, left: str) -> None:
    """It keeps running for them. The last one to leave stops it, although that one found it running."""
    assert "running" == run(LEFT[left](), Run("run-2").context("t"))["state"]
    assert calls(emulator) == USED
    use.release()
    assert left == state(emulator)


@pytest.mark.parametrize("left", LEFT)
def test_force_stops_it_under_the_others(emulator: Emulator, use: Use, left: str) -> None:
    """`force=True` stops the bill at once."""
    run(LEFT[left](force=True), Run("run-2").context("t"))
    assert left == state(emulator)


@pytest.mark.parametrize("action", [*REFUSED.values(), *LEFT.values()])
def test_what_comes_after_the_use_in_its_own_run_is_nobody_else(emulator: Emulator, use: Use, action: Any) -> None:
    """A task behind the group may do what it likes, whether or not the endpoint came with the lease."""
    run(action(), use.dag_run.context("t", after=["use.acquire", "use.start"]))
    assert USED != calls(emulator)


@pytest.mark.parametrize("action", REFUSED)
def test_what_stands_beside_the_use_in_its_own_run_is_refused(emulator: Emulator, use: Use, action: str) -> None:
    """No arrow says that the use has to bear it: as for any other run."""
    with pytest.raises(HeldByOthersError, match=r"in use: nightly run-1 use.acquire"):
        run(REFUSED[action](), use.dag_run.context("t", after=["unrelated"]))
    assert calls(emulator) == USED


@pytest.mark.parametrize("left", LEFT)
def test_what_stands_beside_the_use_in_its_own_run_stops_nothing(emulator: Emulator, use: Use, left: str) -> None:
    """The use continues, and stops the endpoint when it leaves."""
    run(LEFT[left](), use.dag_run.context("t"))
    assert calls(emulator) == USED
    use.release()
    assert left == state(emulator)


@pytest.mark.parametrize("action", [*REFUSED.values(), *LEFT.values()])
def test_a_lease_of_a_run_that_has_ended_holds_nobody_up(emulator: Emulator, use: Use, action: Any) -> None:
    """As Airflow says: its holder will never leave."""
    later = Run("run-2")
    later.states["run-1"] = "failed"
    run(action(), later.context("t"))
    assert USED != calls(emulator)


def test_leases_that_can_not_be_read(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes the endpoint is refused and tried again; what stops its bill is done."""
    run(create())
    connect(monkeypatch, emulator, lease_path="nowhere://at/all")
    with pytest.raises(HeldByOthersError, match="cannot be read"):
        run(REFUSED["delete"]())
    assert "paused" == run(LEFT["paused"]())["state"]
