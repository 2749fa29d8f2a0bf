"""What both planes need to know of HTTP: what `Retry-After` says, and how to keep secrets out of a text.

A leaf: it imports nothing of this package, so that `endpoints/` and `inference/` can share it and stay independent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

REDACTED = "***"

# Hugging Face tokens, and whatever stands behind "Bearer" in a message that quotes a header.
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_-]{4,}|(?<=[Bb]earer )[^\s\"',]+")


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    None when the header is absent or says nothing usable; never negative.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with every one of `secrets`, every Hugging Face token and every bearer token replaced by `***`."""
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _TOKEN.sub(REDACTED, text)
