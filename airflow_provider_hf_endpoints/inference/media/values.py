"""What a value of a column means where a template has an image, a sound or a video. Pure: nothing is read."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.media.kinds import is_medium

#: No path is longer: a longer text is base64. Stores allow 1,024 bytes for a key.
LONGEST_PATH = 2048
_BASE64 = re.compile(r"[A-Za-z0-9+/]{32,}={0,2}")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_DATA = "data:"


@dataclass(frozen=True, slots=True)
class Medium:
    """A file that a row names, or bytes that it has.

    :param kind: `image`, `audio`, `video`, or `file` for a pipeline's input
    :param source: a path, a URL, or a data URL
    :param name: of the file, if the row says it beside the bytes
    """

    kind: str
    source: str
    name: str = ""

    @property
    def is_url(self) -> bool:
        """Whether the engine fetches it."""
        return self.source[:8].lower().startswith(("http://", "https://"))

    @property
    def is_inline(self) -> bool:
        """Whether the row has its bytes."""
        return self.source[:5].lower() == _DATA

    @property
    def is_stored(self) -> bool:
        """Whether the batch reads it from a store."""
        return not self.is_url and not self.is_inline

    @property
    def identity(self) -> bytes:
        """What tells it from another, without the version of a file."""
        named = self.source.encode("utf-8", "surrogatepass")
        return blake2b(named, digest_size=16).digest() if self.is_inline else named

    def __str__(self) -> str:
        return f"{self.kind} of {len(self.source):,} characters" if self.is_inline else f"{self.kind} {self.source}"


def medium_of(kind: str, value: Any) -> Medium:
    """The medium in a column.

    :param value: a path or URL, a data URL, base64, or `{"bytes", "path"}` as in datasets of the Hub
    :raises BatchInputError: it has another form
    """
    match value:
        case str() if value.strip():
            return Medium(kind, _as_source(value.strip()))
        case Mapping() if isinstance(value.get("bytes"), str) and value["bytes"]:
            path = value.get("path")
            return Medium(kind, _as_data(value["bytes"]), path if isinstance(path, str) else "")
        case Mapping() if isinstance(value.get("path"), str) and value["path"].strip():
            return Medium(kind, _as_source(value["path"].strip()))
        case _:
            raise BatchInputError(
                f"{kind} is {str(value)[:80]!r}, which names no file. Give a path, an http URL, a data URL, base64, or "
                "{'bytes': …, 'path': …}"
            )


def scheme_of(source: str) -> str:
    """The scheme of a path or URL, in lower case; empty without one."""
    found = _SCHEME.match(source)
    return found[1].lower() if found else ""


def _as_source(text: str) -> str:
    if len(text) > LONGEST_PATH:
        return text if scheme_of(text) else _as_data(text)
    return _as_data(text) if _is_base64_of_a_medium(text) else text


def _is_base64_of_a_medium(text: str) -> bool:
    """A short text may be a path. It is base64 only if it decodes to the beginning of an image, sound or video."""
    return len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None and is_medium(a2b_base64(text[:32]))


def _as_data(text: str) -> str:
    return text if text[:5].lower() == _DATA else f"data:;base64,{text}"
