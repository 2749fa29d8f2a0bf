"""`python dev/chart_values.py values.schema.json` prints what tests/unit/deployment/chart.json keeps of the schema.

The values are those that the file names already: type, default, and whether the schema calls the value deprecated. A
`*` in a path stands for any key of an object, and for the items of a list.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FACTS = Path(__file__).resolve().parents[1] / "tests" / "unit" / "deployment" / "chart.json"


def value_at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The part of a schema that describes the value at a path.

    :raises KeyError: the schema has no such value
    """
    found = schema
    for name in path.split("."):
        if name == "*":
            found = found["items"] if "items" in found else found["additionalProperties"]
        else:
            found = found["properties"][name]
    return found


def facts(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """What is kept of one value."""
    found = value_at(schema, path)
    kept = {name: found[name] for name in ("type", "default") if name in found}
    return kept | ({"deprecated": True} if "(deprecated" in found.get("description", "") else {})


def main() -> None:
    """Print the file again, with the facts of another schema."""
    schema = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    kept = json.loads(FACTS.read_text(encoding="utf-8"))
    print(json.dumps(kept | {"values": {path: facts(schema, path) for path in kept["values"]}}, indent=2))


if __name__ == "__main__":
    main()
