"""The values of an output line as JSON, found without parsing: some are nested too deeply to parse."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_provider_hf_endpoints.inference import fastjson

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}:,]')


def fields_as_json(line: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and value of each field of an object that is valid JSON. The value is unchanged."""
    depth, name, start = 0, b"", 0
    for token in _TOKEN.finditer(line):
        sign = token[0]
        if depth == 1 and sign == b":":
            start = token.end()
        elif depth == 1 and sign in b",}" and start:
            yield fastjson.decode(name), line[start : token.start()].strip()
            start = 0
        elif depth == 1 and not start and sign[:1] == b'"':
            name = sign
        depth += (sign in b"[{") - (sign in b"]}")
