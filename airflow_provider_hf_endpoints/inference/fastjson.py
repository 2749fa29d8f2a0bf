"""JSON for very many small documents: msgspec if it is installed (Airflow installs it), else the standard
library."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from math import isfinite
from typing import Any

__all__ = ["decode", "encode", "repeated_name"]

_BOM = b"\xef\xbb\xbf"
_TOO_DEEP = "nested too deeply"
decode: Callable[[bytes], Any]
encode: Callable[[Any], bytes]


def _encode_std(value: Any) -> bytes:
    try:
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except ValueError:
            value = _finite(value)
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        try:
            return text.encode()
        except UnicodeEncodeError:
            # A lone surrogate ("\\ud83d" without its other half) is valid in JSON but not in UTF-8: escape it.
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON does not have. msgspec does the same."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value


def _number(text: str) -> float | None:
    """A number that is too large for a float (`1e400`) becomes infinity."""
    number = float(text)
    return number if isfinite(number) else None


class _RepeatedNameError(Exception):
    """An object has a name twice."""


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedNameError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


_find_repeated = json.JSONDecoder(object_pairs_hook=_refuse_repeated, parse_float=str, parse_int=str).decode


def repeated_name(document: bytes, value: dict[str, Any]) -> str | None:
    """A name that stands twice in one object of a document, of which a reader keeps the last value; None for none.

    Documents hardly ever have one. So the quotes of a flat document are counted first: there are two for each name and
    text of its value. Those of another are compared with the value when it is written again, which takes about as long
    as a reading. Only if the document has more quotes is each of its objects looked at.

    :param value: what the document was read as
    :raises ValueError: it is nested too deeply
    """
    texts = len(value)
    for each in value.values():
        if isinstance(each, str):
            texts += 1
        elif isinstance(each, dict | list):
            break
    else:
        if document.count(b'"') <= 2 * texts:
            return None
    hidden = b"\\" in document and b"\\u0022" in document  # a quote within a text that is written without one
    if not hidden and document.count(b'"') <= encode(value).count(b'"'):
        return None
    try:
        _find_repeated(document.removeprefix(_BOM).decode("utf-8", "surrogatepass"))
    except _RepeatedNameError as found:
        return str(found)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return None


def _decode_std(document: bytes) -> Any:
    try:
        # Not the bytes themselves: Python would guess UTF-16 and UTF-32 too, line by line.
        text = document.removeprefix(_BOM).decode("utf-8", "surrogatepass")
        # NaN and infinity are null, as `encode` writes them: a missing value is the same in every format.
        return json.loads(text, parse_constant=lambda name: None, parse_float=_number)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


try:
    import msgspec
except ImportError:
    decode = _decode_std
    encode = _encode_std
else:
    _encoder = msgspec.json.Encoder()
    _decode = msgspec.json.Decoder().decode

    def decode(document: bytes) -> Any:
        """The value of a JSON document; raises ValueError if it is not valid."""
        try:
            return _decode(document)
        except (msgspec.DecodeError, ValueError):  # a ValueError itself only since 0.20
            # NaN and lone surrogates, which Python's own json writes. This is slower, but no reason to refuse a row.
            return _decode_std(document)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    def encode(value: Any) -> bytes:
        """UTF-8 JSON on one line."""
        try:
            return _encoder.encode(value)
        except (UnicodeEncodeError, OverflowError):
            return _encode_std(value)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
