"""A batch's account: stored beside the journal across runs, and updated during a run. Decisions are in `budget.py`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from upath import UPath

from airflow_provider_hf_endpoints.inference.job.budget import Notice, Spending, Spent
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing

log = logging.getLogger(__name__)

TICK = 0.5  # seconds between two looks at the budget
SAVE_INTERVAL = 10.0  # seconds; what a killed run used after the last save is missing in the next account


def load(path: UPath, key: str) -> Spent:
    """What earlier runs with the budget `key` used; nothing if there are none, or they had another budget."""
    try:
        stored = json.loads(path.read_bytes())
        spent = Spent(**{name: type(default)(stored["spent"][name]) for name, default in asdict(Spent()).items()})
        return spent if stored["key"] == key else Spent()
    except FileNotFoundError:
        return Spent()
    except (ValueError, TypeError, KeyError, RecursionError):
        log.warning("could not read %s: the budget starts again from zero", path)
        return Spent()


def save(path: UPath, key: str, spent: Spent, check: Callable[[], None] = lambda: None) -> None:
    """Store the account for the next run.

    :param check: called before the write, and may raise
    """
    with replacing(path, check) as file:
        file.write(json.dumps({"key": key, "spent": asdict(spent)}).encode())


async def follow(
    spending: Spending,
    path: UPath | None,
    *,
    clock: Callable[[], float],
    done: Callable[[], tuple[int, int | None]],
    end: Callable[[Notice], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Watch the budget until cancelled, or until it is spent.

    :param path: where the account is stored, None for nowhere
    :param done: rows that this run has finished, and remaining rows if known
    :param end: called once with the reason if the batch must stop
    :param check: called before each write, and may raise
    """
    save_at = clock() + SAVE_INTERVAL
    while True:
        await asyncio.sleep(TICK)
        now = clock()
        rows, left = done()
        notice = spending.notice(now, rows, left)
        if path is not None and (now >= save_at or (notice is not None and notice.end)):
            save_at = now + SAVE_INTERVAL
            account = partial(save, path, spending.budget.key, spending.spent(now, rows), check)
            await _save_if_possible(account, path)
        if notice is None:
            continue
        log.warning("%s", notice.text)
        if notice.end:
            end(notice)
            return


async def _save_if_possible(account: Callable[[], None], path: UPath) -> None:
    """Store the account. A store that fails does not end the watch: the next save tries again."""
    try:
        await asyncio.to_thread(account)
    except Exception as error:  # noqa: BLE001 - stores raise what they like; the budget goes on being watched
        log.warning(
            "could not write %s (%s: %s); trying again in %g s",
            path,
            type(error).__name__,
            error,
            SAVE_INTERVAL,
        )
