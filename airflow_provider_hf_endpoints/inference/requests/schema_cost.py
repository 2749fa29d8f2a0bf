"""Whether the check of an answer against a schema takes no longer than the length of the answer warrants. Pure.

Python's regular expressions try every way to divide a text, so that `(a+)+$` takes twice as long for each further
letter. A schema that asks twice of the same value at each level doubles as well. Such a check is made where it can be
interrupted (`schema_process.py`); the others are made at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.requests.pattern_cost import steps_of
from airflow_provider_hf_endpoints.inference.requests.references import walk_schema

#: Their time is not bounded by the number of a schema's parts: comparisons of each with each, references whose target
#: depends on the way to them, and parts that are asked a second time.
_UNBOUNDED = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties")
_UNBOUNDED_WHERE_TRUE = ("uniqueItems", "unevaluatedItems")
#: Lists of a schema that are looked through for one value.
_LISTS = ("enum", "required", "type")
#: Steps that are made at once, at most: parts of a schema times characters of an answer.
MOST_STEPS = 5_000_000


def parts_of(schema: Mapping[str, Any]) -> int | None:
    """How many parts a schema has when every reference is written out; None if that does not bound its check."""
    try:
        walk = walk_schema(schema)
        return _count(walk.root, walk.parts, walk.below, {})
    except RecursionError:
        return None


def _count(
    part: int, parts: Mapping[int, Any], below: Mapping[int, list[int]], known: dict[int, int | None]
) -> int | None:
    """The same of one part.

    :param known: of parts that were counted; None for one that is being counted, which a recursive schema meets again
    """
    if part in known:
        return known[part]
    known[part] = None
    content = parts[part]
    if not isinstance(content, Mapping):
        known[part] = 1
        return 1
    if any(name in content for name in _UNBOUNDED) or any(content.get(name) for name in _UNBOUNDED_WHERE_TRUE):
        return None
    total = 1 + sum(len(content[name]) for name in _LISTS if isinstance(content.get(name), list))
    counts = [steps_of(pattern) for pattern in _patterns(content)]
    for counted in (*counts, *(_count(each, parts, below, known) for each in below[part])):
        if counted is None:
            return None
        total += counted
    known[part] = total
    return total


def _patterns(content: Mapping[str, Any]) -> list[str]:
    of_names = content.get("patternProperties")
    found = [content.get("pattern"), *(of_names if isinstance(of_names, Mapping) else ())]
    return [pattern for pattern in found if isinstance(pattern, str)]
