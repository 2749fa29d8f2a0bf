"""The emulator's clock, running and stopped."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_hf_endpoints.emulator import Clock


def test_a_stopped_clock_moves_as_it_is_put_forward() -> None:
    """By exactly so much; stopping it once more changes nothing."""
    clock = Clock(stopped=True)
    before = clock()
    clock.advance(90.0)
    clock.stop()
    assert before + 90.0 == clock()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1.0)


def test_a_clock_goes_on_from_where_it_is_stopped() -> None:
    """What has passed until then has passed."""
    clock = Clock()
    before = clock()
    clock.advance(60.0)
    clock.stop()
    assert before + 60.0 <= clock() == clock()


def test_who_sleeps_by_a_stopped_clock_is_woken_by_whoever_puts_it_forward() -> None:
    """Not before all of the seconds have passed."""

    async def played() -> list[bool]:
        clock = Clock(stopped=True)
        sleeper = asyncio.create_task(clock.sleep(10.0))
        await asyncio.sleep(0)  # it begins
        done: list[bool] = []
        for seconds in (6.0, 6.0):
            clock.advance(seconds)
            await asyncio.wait([sleeper], timeout=0.02 if not done else 10.0)
            done.append(sleeper.done())
        return done

    assert [False, True] == asyncio.run(played())
