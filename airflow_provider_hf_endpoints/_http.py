"""What both planes need to know of HTTP: how long a server asks to wait, and which log lines stay out of a task's log.

A leaf: it imports nothing of this package, so that `endpoints/` and `inference/` can share it and stay independent.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    None when the header is absent or says nothing usable; never negative.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


# One limit of the Hub's `RateLimit` header: its name, what is left of it, and the seconds until it is full again.
_USED_UP = re.compile(r";\s*r\s*=\s*0+(?![\d.])")
_RESET = re.compile(r";\s*t\s*=\s*(\d{1,9})(?![\d.])")


def wait_told(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that an answer asks its caller to wait; None where it says nothing usable.

    Two headers say so. `Retry-After` is the standard one. The Hub's 429 has none, and says
    `RateLimit: "api";r=0;t=42`: nothing left of the limit, which is full again in 42 seconds. Where both are there, the
    longer wait is kept.

    :param headers: names in lower case, or a mapping that does not care.
    """
    told = [parse_retry_after(headers.get("retry-after"), now), parse_rate_limit(headers.get("ratelimit"))]
    return max((seconds for seconds in told if seconds is not None), default=None)


def parse_rate_limit(value: str | None) -> float | None:
    """Seconds until a limit that is used up is full again, by a `RateLimit` header (IETF draft, as the Hub sends it).

    Of several limits those with nothing left count (`r=0`), and of these the one that takes longest.
    """
    used_up = (limit for limit in (value or "").split(",") if _USED_UP.search(limit))
    resets = [float(reset.group(1)) for limit in used_up if (reset := _RESET.search(limit))]
    return max(resets, default=None)


def silence_httpx() -> None:
    """Keep the HTTP client's line per request out of a task's log: there would be a million of them, and large files of
    the Hub stand at addresses that are signed."""
    for name in ("httpx", "httpx2"):  # the second is huggingface_hub's
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() <= logging.INFO:
            logger.setLevel(logging.WARNING)
