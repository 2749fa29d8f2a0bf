"""A time limit as a DAG writes it, in seconds or as a timedelta, made one of seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import overload


@overload
def seconds_of(limit: float | timedelta) -> float: ...
@overload
def seconds_of(limit: float | timedelta | None) -> float | None: ...
def seconds_of(limit: float | timedelta | None) -> float | None:
    """Seconds of a timedelta. Another value is returned unchanged, so that the caller's check can name it."""
    return limit.total_seconds() if isinstance(limit, timedelta) else limit
