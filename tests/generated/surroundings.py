"""What is replaced around a simulated world: where its log goes, its signals, its time limits, its disk's care."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import structlog
from airflow.sdk.execution_time import task_runner
from pydantic import TypeAdapter

from tests.generated import versions
from tests.generated.hub import Hub
from tests.generated.loop import run_in_virtual_time

_ADAPTER = functools.cache(TypeAdapter)


@contextmanager
def surroundings(hub: Hub, said: list[str]) -> Iterator[None]:
    """While this lasts, what the processes of the hub log goes to `said`, and nothing reaches the real system."""
    with ExitStack() as stack:
        stack.enter_context(patch("signal.signal"))
        stack.enter_context(patch("os.fsync"))  # nothing here outlives a loss of power
        # One stack of contexts for a process: here all processes would share it.
        stack.enter_context(patch.object(task_runner, "set_current_context", lambda context: nullcontext()))
        stack.enter_context(patch.object(task_runner, "TypeAdapter", _ADAPTER))
        stack.enter_context(patch(versions.TIMEOUT, _limit_of(hub)))
        stack.enter_context(patch("asyncio.run", functools.partial(run_in_virtual_time, hub)))
        stack.enter_context(_heard_by(said))
        yield


@contextmanager
def _heard_by(said: list[str]) -> Iterator[None]:
    """Every line that is logged goes there, and nowhere else."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    def hear(_: Any, level: str, event: dict[str, Any]) -> Any:
        said.append(f"{level} {event}")
        raise structlog.DropEvent

    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [Ear()]
    kept = structlog.get_config()["processors"]
    processors = list(kept)
    kept[:] = [hear]
    try:
        yield
    finally:
        root.handlers, kept[:] = handlers, processors


def _limit_of(hub: Hub) -> Callable[..., Any]:
    """`execution_timeout` in virtual time."""

    @contextmanager
    def limit(seconds: float, *_: Any) -> Iterator[None]:
        process = hub.current()
        assert process is not None

        def strike() -> None:
            raise versions.AirflowTaskTimeout("Timeout")

        due = hub.after(seconds, lambda: process.signal(strike))
        try:
            yield
        finally:
            due.cancelled = True

    return limit
