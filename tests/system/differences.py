"""In what two services differ, and in what an answer differs from the contract. Pure: records in, lines out.

Compared are, step by step: the outcome, the states, and of every answer the status, the headers, the fields with their
types, and the texts. Numbers, ids and times are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from tests.system.recording import Exchange, Recorder

# What HTTP itself and the machines between say, which no client here reads.
_MECHANICS = frozenset({"connection", "content-encoding", "content-length", "date", "keep-alive", "transfer-encoding"})
_HEADER_VALUES = frozenset({"allow", "content-type", "retry-after", "www-authenticate"})
# Successes about the whole market, or in a model's or a machine's words: their texts differ from day to day.
_SHAPE_ONLY = ("/v2/provider", "/api/", "/logs", "/v1/models", "/v1/chat/completions", "/metrics", "/replica")
_LONGEST_TEXT = 300  # characters of a text that a line quotes


@dataclass(frozen=True)
class Difference:
    """One thing that differs, and where. Equal ones are told once."""

    what: str
    where: str


@dataclass(frozen=True)
class Leaf:
    """What stands at one place of a body: the types seen there, and the texts."""

    types: frozenset[str]
    texts: frozenset[str]


def leaves(body: Any) -> dict[str, Leaf]:
    """A body by its places: `status.state`, `items[].name`. Lists count as one place."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path, value in _walk(body, ""):
        types, texts = found.setdefault(path, (set(), set()))
        types.add(_type_of(value))
        if isinstance(value, str):
            texts.add(value)
    return {path: Leaf(frozenset(types), frozenset(texts)) for path, (types, texts) in found.items()}


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path or "(body)", value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _walk(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for below in value:
            yield from _walk(below, f"{path}[]")


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "list"
        case _:
            return "object"


def between(left: Recorder, right: Recorder, names: tuple[str, str]) -> list[Difference]:
    """In what two records of the same steps differ, in the order of the steps. `names` is what to call them."""
    found: list[Difference] = []
    steps = dict.fromkeys([*left.outcomes, *right.outcomes])
    for step in steps:
        ours, theirs = left.outcomes.get(step, "(not taken)"), right.outcomes.get(step, "(not taken)")
        if ours != theirs:
            found.append(Difference(f"the step ended with {ours} ({names[0]}) and {theirs} ({names[1]})", step))
        path = " -> ".join(left.states.get(step, [])), " -> ".join(right.states.get(step, []))
        if path[0] != path[1]:
            found.append(
                Difference(f"states: {path[0] or 'none'} ({names[0]}), {path[1] or 'none'} ({names[1]})", step)
            )
        found += _in_step(_of(left, step), _of(right, step), names)
    return found


def _of(recorder: Recorder, step: str) -> list[Exchange]:
    return [exchange for exchange in recorder.exchanges if exchange.step == step]


def _in_step(left: list[Exchange], right: list[Exchange], names: tuple[str, str]) -> list[Difference]:
    found: list[Difference] = []
    for method, path in dict.fromkeys((e.method, e.path) for e in [*left, *right]):
        ours = [e for e in left if (e.method, e.path) == (method, path)]
        theirs = [e for e in right if (e.method, e.path) == (method, path)]
        where = f"{[*ours, *theirs][0].step}: {method} {path}"
        statuses = [sorted({e.status for e in side}) for side in (ours, theirs)]
        if statuses[0] != statuses[1]:
            found.append(Difference(f"status {statuses[0]} ({names[0]}), {statuses[1]} ({names[1]})", where))
        by_key = {(e.status, e.state): e for e in theirs}
        by_status = {e.status: e for e in theirs}
        for one in ours:
            # The same moment of the endpoint's life where there is one, else any answer of that status.
            other = by_key.get((one.status, one.state)) or by_status.get(one.status)
            if other is not None:
                state = f", {one.state}" if one.state else ""
                found += _of_answers(one, other, names, f"{where} ({one.status}{state})")
    return found


def _of_answers(one: Exchange, other: Exchange, names: tuple[str, str], where: str) -> Iterator[Difference]:
    yield from _of_headers(one.headers, other.headers, names, where)
    ours, theirs = leaves(one.body), leaves(other.body)
    for path in ours.keys() - theirs.keys():
        if not _below_missing(path, theirs):
            yield Difference(f"field {path} ({', '.join(sorted(ours[path].types))}) only {names[0]}", where)
    for path in theirs.keys() - ours.keys():
        if not _below_missing(path, ours):
            yield Difference(f"field {path} ({', '.join(sorted(theirs[path].types))}) only {names[1]}", where)
    with_texts = one.status >= 400 or not any(part in one.path for part in _SHAPE_ONLY)
    for path in ours.keys() & theirs.keys():
        mine, its = ours[path], theirs[path]
        if mine.types != its.types:
            both = f"{'/'.join(sorted(mine.types))} ({names[0]}), {'/'.join(sorted(its.types))} ({names[1]})"
            yield Difference(f"type of {path}: {both}", where)
        elif with_texts and mine.texts != its.texts and one.state == other.state:
            both = f"{_quote(mine.texts)} ({names[0]}), {_quote(its.texts)} ({names[1]})"
            yield Difference(f"text of {path}: {both}", where)


def _below_missing(path: str, known: Mapping[str, Leaf]) -> bool:
    """Whether `path` is below a place that is missing too: one line says that."""
    parent = path.removesuffix("[]") if path.endswith("[]") else path.rpartition(".")[0]
    return bool(parent) and parent not in known


def _quote(texts: Iterable[str]) -> str:
    shown = " | ".join(sorted(texts))
    return repr(shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…")


def _of_headers(
    one: Mapping[str, str], other: Mapping[str, str], names: tuple[str, str], where: str
) -> Iterator[Difference]:
    ours, theirs = set(one) - _MECHANICS, set(other) - _MECHANICS
    for name in sorted(ours - theirs):
        yield Difference(f"header {name} only {names[0]}", where)
    for name in sorted(theirs - ours):
        yield Difference(f"header {name} only {names[1]}", where)
    for name in sorted(ours & theirs & _HEADER_VALUES):
        if one[name] != other[name]:
            yield Difference(f"header {name}: {one[name]!r} ({names[0]}), {other[name]!r} ({names[1]})", where)


@dataclass(frozen=True)
class Contract:
    """The API document, as parsed YAML."""

    document: Mapping[str, Any]
    _known: dict[int, Any] = field(default_factory=dict, repr=False)

    def differences(self, recorder: Recorder) -> list[Difference]:
        """In what the recorded answers of the control plane differ from the document, which only states successes."""
        found: list[Difference] = []
        for exchange in recorder.exchanges:
            if exchange.status < 400:
                found += self._of_answer(exchange)
        return found

    def _of_answer(self, exchange: Exchange) -> Iterator[Difference]:
        operation = self._operation(exchange.method, exchange.path)
        if operation is None:
            return
        where = f"{exchange.step}: {exchange.method} {exchange.path} ({exchange.status})"
        response = operation["responses"].get(str(exchange.status))
        if response is None:
            yield Difference(f"status {exchange.status} is not in the contract", where)
            return
        media = response.get("content", {})
        schema = media.get("application/json", {}).get("schema")
        if schema is None:
            return
        root = {**schema, "components": self.document["components"]}
        for error in Draft202012Validator(root).iter_errors(exchange.body):
            place = ".".join("[]" if isinstance(part, int) else str(part) for part in error.absolute_path) or "(body)"
            yield Difference(f"{place} breaks the contract: {error.message[:_LONGEST_TEXT]}", where)
        for path in dict.fromkeys(self._unknown(schema, exchange.body, "")):
            yield Difference(f"field {path} is not in the contract", where)

    def _operation(self, method: str, path: str) -> Any:
        parts = path.split("/")
        for template, operations in self.document["paths"].items():
            pattern = template.split("/")
            fits = len(pattern) == len(parts) and all(
                a == b or a.startswith("{") for a, b in zip(pattern, parts, strict=True)
            )
            if fits and method.lower() in operations:
                # `/v2/provider/{namespace}` would also match a fixed path of the same length.
                return operations[method.lower()]
        return None

    def _unknown(self, schema: Any, value: Any, path: str) -> Iterator[str]:
        """The fields of `value` that no branch of `schema` names."""
        branches = list(self._branches(schema))
        if isinstance(value, list):
            for branch in branches:
                if "items" in branch:
                    for item in value:
                        yield from self._unknown(branch["items"], item, f"{path}[]")
            return
        if not isinstance(value, dict):
            return
        named: dict[str, list[Any]] = {}
        for branch in branches:
            for name, below in branch.get("properties", {}).items():
                named.setdefault(name, []).append(below)
        open_ended = not named or any(branch.get("additionalProperties") for branch in branches)
        for name, below in value.items():
            place = f"{path}.{name}" if path else name
            if name in named:
                yield from self._unknown({"anyOf": named[name]}, below, place)
            elif not open_ended:
                yield place

    def _branches(self, schema: Any) -> Iterator[Mapping[str, Any]]:
        """`schema` and everything that it is put together from."""
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            target: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            yield from self._branches(target)
        yield schema
        for keyword in ("allOf", "oneOf", "anyOf"):
            for branch in schema.get(keyword, ()):
                yield from self._branches(branch)


def listing(title: str, differences: Iterable[Difference]) -> str:
    """The differences as text, each told once with all the places where it was seen."""
    places: dict[str, list[str]] = {}
    for difference in differences:
        seen = places.setdefault(difference.what, [])
        if difference.where not in seen:
            seen.append(difference.where)
    lines = [title, "=" * len(title), f"{len(places)} differences" if places else "no difference"]
    for what, seen in places.items():
        more = f" and in {len(seen) - 1} more places" if len(seen) > 1 else ""
        lines.append(f"- {what}\n    {seen[0]}{more}")
    return "\n".join(lines) + "\n"
