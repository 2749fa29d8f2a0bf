"""The stored part of a chart's schema equals the schema."""

from __future__ import annotations

from typing import Any

import pytest

from dev.chart_values import facts

pytestmark = pytest.mark.once

SCHEMA: dict[str, Any] = {
    "properties": {
        "workers": {
            "properties": {
                "grace": {"type": ["integer", "null"], "default": None, "description": "Seconds."},
                "old": {"type": "integer", "default": 600, "description": "Seconds (deprecated, use grace instead)."},
            }
        },
        "secret": {"type": "array", "items": {"properties": {"envName": {"type": "string"}}}},
        "config": {"additionalProperties": {"additionalProperties": {"type": ["string", "integer"]}}},
    }
}


def test_a_value_s_facts() -> None:
    """Its type, its default even if that is null, and whether it is deprecated; below lists and free names, too."""
    assert {"type": ["integer", "null"], "default": None} == facts(SCHEMA, "workers.grace")
    assert {"type": "integer", "default": 600, "deprecated": True} == facts(SCHEMA, "workers.old")
    assert {"type": "string"} == facts(SCHEMA, "secret.*.envName")
    assert {"type": ["string", "integer"]} == facts(SCHEMA, "config.*.*")


def test_a_value_that_is_gone_is_an_error() -> None:
    """So a newer chart that has moved one is noticed."""
    with pytest.raises(KeyError, match="safeToEvict"):
        facts(SCHEMA, "workers.safeToEvict")
