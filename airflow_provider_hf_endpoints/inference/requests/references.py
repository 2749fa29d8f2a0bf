"""Checks the `$ref`s of a JSON schema before anything is sent: that their targets exist, and that they do not loop.

Otherwise only an answer, already paid for, would show the fault. And a remote schema would be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
#: Keywords whose schemas apply to the same value.
_OF_THE_SAME = ("not", "if", "then", "else")
_OF_THE_SAME_LISTED = ("allOf", "anyOf", "oneOf")


def check_references(schema: Mapping[str, Any]) -> None:
    """Refuse a schema with which no answer can be checked.

    :raises ValueError: a reference has no target, or leads to another document, or to itself for the same value
    """
    walk_schema(schema).check_ends()


def walk_schema(schema: Mapping[str, Any]) -> SchemaWalk:
    """Every part of a schema.

    :raises ValueError: a reference leads nowhere, or to another document, or an `$id` is not an address
    """
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.jsonschema import DRAFT202012, specification_with

    specification = specification_with(str(schema.get("$schema", "")), default=DRAFT202012)
    resource = specification.create_resource(schema)
    try:
        registry = REGISTRY.with_resource(resource.id() or "", resource).crawl()
    except ValueError as error:  # the standard library's, of an address
        raise ValueError(f"response_schema has an $id that is not an address ({error}). Leave it out") from None
    walk = SchemaWalk(specification, id(schema))
    walk.visit(resource, registry.resolver_with_root(resource))
    return walk


class SchemaWalk:
    """Every part of a schema and all that it refers to, each once; and which part asks which of the same value.

    :param root: the number of the whole schema
    """

    def __init__(self, specification: Any, root: int) -> None:
        self.root = root
        #: Each part by its number.
        self.parts: dict[int, Any] = {}  # kept, so that no two have one number
        #: The parts inside each part, and those that it refers to.
        self.below: dict[int, list[int]] = {}
        self._specification = specification
        self._asks: dict[int, list[int]] = {}
        self._names: dict[int, str] = {}  # of the targets of references

    def visit(self, resource: Any, resolver: Any) -> None:
        """
        :raises ValueError: a reference of this part, or of a part below, has no target
        """
        part = resource.contents
        if id(part) in self.parts:
            return
        self.parts[id(part)] = part
        inside = self.below[id(part)] = []
        if not isinstance(part, Mapping):
            return
        self._asks[id(part)] = [id(each) for each in _of_the_same(part)]
        for name in _REFERENCES:
            if isinstance(part.get(name), str):
                found = _looked_up(resolver, part[name])
                self._names[id(found.contents)] = part[name]
                self._asks[id(part)].append(id(found.contents))
                inside.append(id(found.contents))
                self.visit(self._specification.create_resource(found.contents), found.resolver)
        for below in resource.subresources():
            inside.append(id(below.contents))
            self.visit(below, resolver.in_subresource(below))

    def check_ends(self) -> None:
        """
        :raises ValueError: a part applies to the same value again, without an end
        """
        done: set[int] = set()
        for start in self._asks:
            above: list[int] = []
            self._descend(start, above, done)

    def _descend(self, part: int, above: list[int], done: set[int]) -> None:
        if part in above:
            name = next(self._names[each] for each in above[above.index(part) :] if each in self._names)
            raise ValueError(
                f"response_schema has a $ref that leads back to itself: {name!r}, so answers cannot be checked. Add "
                "properties or items to it"
            )
        if part in done:
            return
        for below in self._asks.get(part, ()):
            self._descend(below, [*above, part], done)
        done.add(part)


def _of_the_same(part: Mapping[str, Any]) -> Iterator[Any]:
    yield from (part[name] for name in _OF_THE_SAME if isinstance(part.get(name), Mapping))
    for name in _OF_THE_SAME_LISTED:
        if isinstance(part.get(name), list):
            yield from part[name]


def _looked_up(resolver: Any, reference: str) -> Any:
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(reference)
    except (Unresolvable, ValueError):
        raise ValueError(
            f"response_schema has a $ref without a target: {reference!r}. Define it below `$defs`; other documents "
            "are not fetched"
        ) from None
