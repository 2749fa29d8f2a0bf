"""The line before the triggerer's supervisor.

All triggers of a triggerer speak to it one at a time. Where hundreds of ours do so together they stand in this line
instead, so that the lookup of somebody else waits for one of them at most.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def line() -> asyncio.Lock:
    """The line of this event loop."""
    return _lines.setdefault(asyncio.get_running_loop(), asyncio.Lock())
