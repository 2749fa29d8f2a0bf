"""The first seconds of a deferral, in which no trigger fires: how long they are, and since when they count."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_hf_endpoints.get_provider_info import get_provider_info
from airflow_provider_hf_endpoints.triggers import _settle
from airflow_provider_hf_endpoints.triggers._settle import DEFAULT, min_deferral, settle

NOW = 1_000_000.0
VARIABLE = "AIRFLOW__HF_ENDPOINTS__MIN_DEFERRAL_SECONDS"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, each over at once, by a clock that stands at `NOW`."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setenv(VARIABLE, "5")
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "time", lambda: NOW)
    return made


@pytest.mark.parametrize(
    ("deferred", "deadline", "expected"),
    [
        (0, None, [5]),
        (-2, None, [3]),  # two seconds ago, in this triggerer or in another one
        (-5, None, []),
        (-3600, None, []),
        (0, 2, [2]),  # never past a timeout
        (0, -1, []),
        (0, 60, [5]),
        (30, None, [5]),  # the worker's clock is ahead
    ],
)
def test_the_rest_of_the_first_seconds_is_waited_for(
    pauses: list[float], deferred: float, deadline: float | None, expected: list[float]
) -> None:
    """Counted from the deferral and not from the start of the trigger, which may run in a second triggerer."""
    asyncio.run(settle(NOW + deferred, None if deadline is None else NOW + deadline))
    assert expected == pauses


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0.0), ("2.5", 2.5), ("-1", DEFAULT), ("soon", DEFAULT), ("nan", DEFAULT), ("inf", DEFAULT)],
)
def test_the_configuration_decides(monkeypatch: pytest.MonkeyPatch, value: str, expected: float) -> None:
    """`[hf_endpoints] min_deferral_seconds`; a value that is not a duration must not end a wait."""
    monkeypatch.setenv(VARIABLE, value)
    assert expected == min_deferral()


def test_the_default_is_the_documented_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow shows the option and its default in its list of settings."""
    monkeypatch.delenv(VARIABLE)
    option = get_provider_info()["config"][_settle.SECTION]["options"][_settle.OPTION]
    assert (5.0, 5.0) == (min_deferral(), float(option["default"]))
