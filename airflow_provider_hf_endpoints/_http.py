"""What both planes need to know of HTTP: how long a server asks to wait, and how secrets stay out of texts and logs.

A leaf: it imports nothing of this package, so that `endpoints/` and `inference/` can share it and stay independent.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

REDACTED = "***"

# What is a secret by its looks. A Hugging Face token has capitals or digits; hf_transfer and hf_endpoints_default have
# neither, and a log that hides such names explains nothing. The same for sk-learn.
_TOKEN = re.compile(
    r"\bhf_jwt_[\w.-]+|\bhf_(?=[a-z_-]*[A-Z0-9])[\w-]{4,}|\bapi_org_\w{16,}"
    r"|(?<=[Bb]earer )[^\s\"',]+|(?<=[Bb]asic )(?=\S*[0-9+/=])[\w+/=-]{8,}"
    r"|\bsk-(?=[\w-]*\d)[\w-]{5,}|\b[sr]k_(?:live|test)_\w{8,}"  # OpenAI and its likes, Stripe
    r"|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"  # GitHub, GitLab
    r"|\bxox[abeprs]-[\w-]{8,}|\bnvapi-[\w-]{16,}|\bgsk_\w{16,}|\br8_\w{16,}|\bnpm_\w{30,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"  # AWS, Google
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # a JSON web token
    r"|(?<=://)[^\s/@:\"']*:[^\s/@\"']+(?=@)"  # user and password of a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_SHORTEST_LINE = 8  # characters of a line of a longer secret (a key file) that is hidden by itself


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


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with `***` for each of `secrets`, and for what looks like a token, a URL's password or a private key."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    return _TOKEN.sub(REDACTED, text)


def _forms(secret: str) -> Iterator[str]:
    """How a secret can stand in a text: as it is, escaped as JSON, or a line at a time."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE)


def silence_httpx() -> None:
    """Keep the HTTP client's line per request out of a task's log: there would be a million of them, and large files of
    the Hub stand at addresses that are signed."""
    for name in ("httpx", "httpx2"):  # the second is huggingface_hub's
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() <= logging.INFO:
            logger.setLevel(logging.WARNING)
