"""The arguments of operators: their names for Airflow, and the conversion of texts by the annotation.

If a list, a number or one of a few words is expected, Python accepts a text silently: its letters become entries, it is
compared as a text, or a timeout shows the mistake. `checked` converts or refuses such a text when the DAG is parsed.
Other values are checked by `kinds.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from functools import cache, wraps
from numbers import Real
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints._airflow import is_made_to_run
from airflow_provider_hf_endpoints._redact import has_secret, redacting
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.names import check_name, check_namespace
from airflow_provider_hf_endpoints.operators.checking.kinds import (
    LISTS,
    MAPPINGS,
    alternatives,
    check_kind,
    is_template,
    number_of,
    refuse_too_long,
)
from airflow_provider_hf_endpoints.operators.checking.names import did_you_mean, refuse_unknown
from airflow_provider_hf_endpoints.operators.checking.paths import check_apart, check_path
from airflow_provider_hf_endpoints.operators.checking.words import check_word

F = TypeVar("F", bound=Callable[..., None])
C = TypeVar("C", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]

_OF_ROWS = frozenset({"prompt", "messages", "body", "system"})  # templates over columns, where "{{" is a literal brace
_NOTHING = ("", "None")  # what a template becomes where there is nothing
_LEFT_OUT_OR_GIVEN = frozenset({"namespace", "hf_endpoints_conn_id"})  # an empty text would be another default
# An empty text would be found by the service, or by a batch when the endpoint bills already.
_PLACE = ("vendor", "region", "accelerator", "instance_type", "instance_size")
_NEVER_EMPTY = frozenset({"repository", "input_path", "output_path", *_PLACE})
_OR_NONE = {name: f", or leave {name} out" for name in _PLACE}
_OF_ENDPOINTS = ("endpoint", "name")  # arguments that are the name of an endpoint
# What is written for a mapping, where a name and a value do not say enough.
_MAPPED = {
    "custom_image": "the engine with its image: {'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}}",
    "parameters": "{name: value}, for example {'max_tokens': 64}",
}


def also_takes(names: Iterable[str]) -> Callable[[F], F]:
    """Add `names` to the signature of an `__init__` that ends in `**kwargs`.

    Airflow reads the signature for `default_args`, and refuses other names in `partial` and `expand`.
    """

    def mark(init: F) -> F:
        signature = inspect.signature(init)
        *known, rest = signature.parameters.values()
        extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
        init.__signature__ = signature.replace(parameters=[*known, *extra, rest])  # type: ignore[attr-defined]
        return init

    return mark


def checked(init: F) -> F:
    """Make the `__init__` of an operator or sensor check its arguments by the annotations of its parameters.

    Templates and results of other tasks are accepted if the class renders them.
    """
    return _checked(init, lambda args: type(args[0]).template_fields)


def checked_call(templated: Iterable[str], options: Collection[str]) -> Callable[[C], C]:
    """The same for a function with keywords after its first argument. An unknown keyword is refused.

    :param templated: the arguments that are rendered
    :param options: the keywords that the function takes besides its own
    """

    def check(function: C) -> C:
        known = {*options, *inspect.signature(function).parameters}
        checked = _checked(function, lambda _: templated)

        @wraps(function)
        def check_names(*args: Any, **kwargs: Any) -> Any:
            with redacting():
                refuse_unknown(f"{function.__name__}(…)", kwargs, known, {})
            return checked(*args, **kwargs)

        return cast(C, check_names)

    return check


def _checked(function: C, templated: Callable[[tuple[Any, ...]], Iterable[str]]) -> C:
    """`function`, with its keywords converted by its annotations.

    :param templated: a function from its positional arguments to the rendered keywords
    """

    @wraps(function)
    def check(*args: Any, **kwargs: Any) -> Any:
        kinds = _hints(function)  # not before the call: annotations may name classes that are defined later
        with _final_when_it_runs(*args), redacting():
            return function(*args, **understand_all(kwargs, kinds, templated(args)))

    return cast(C, check)


@contextmanager
def _final_when_it_runs(operator: Any = None, *_: Any) -> Iterator[None]:
    """The operator of a mapped task is made when the task runs, of what other tasks return: no retry changes that."""
    try:
        yield
    except ValueError as error:
        if not is_made_to_run(operator):
            raise
        raise AirflowFailException(str(error)) from error


def checked_partial(kind: type[Any], given: dict[str, Any]) -> None:
    """Check the arguments of a mapped task in `partial`, or what the task is mapped over, by the annotations. Airflow
    makes the operator itself only when the task runs.

    :raises ValueError: for the first argument that is not valid
    """
    with redacting():
        for hints in _own_hints(kind):
            understand_all(given, hints, kind.template_fields)
        check_apart(given.get("input_path") or (), given.get("output_path", ""))


def check_rendered(operator: Any, texts: Collection[str] = ()) -> None:
    """Compare what templates of an operator have become with the annotations, and convert texts by them.

    A template gives None, or the text `None`, for what is not there, and a text for what is a list or a mapping.

    :param texts: fields of which the operator itself reads a text
    :raises InvalidArgumentError: for the first value that is not valid
    """
    fields = frozenset(type(operator).template_fields)
    read = {name for name in texts if isinstance(getattr(operator, name, None), str)}
    for hints in _own_hints(type(operator)):
        for name, annotation in hints.items():
            if name in fields - read and hasattr(operator, name):
                setattr(operator, name, _rendered(name, getattr(operator, name), annotation))


def _rendered(name: str, value: Any, annotation: Any) -> Any:
    kinds = list(alternatives(annotation))
    optional = type(None) in kinds or Any in kinds
    if isinstance(value, str) and Any not in kinds and value in (("None",) if optional else _NOTHING):
        raise InvalidArgumentError(
            f"{name} is {value!r} after rendering: its template asks for something that does not exist. Check the "
            "names in the template."
        )
    try:
        with redacting():
            return _understood(name, value, annotation, templated=False)
    except ValueError as error:
        raise InvalidArgumentError(f"{error} This is the value after rendering.") from error


@cache
def _hints(init: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, which take longer to find than to compare a value with."""
    return get_type_hints(init)


def _own_hints(kind: type[Any]) -> Iterator[dict[str, Any]]:
    """The annotations of each `__init__` that this package gives an operator, the most derived class first."""
    for cls in kind.__mro__:
        if cls.__module__.startswith(_PACKAGE) and "__init__" in vars(cls):
            yield _hints(inspect.unwrap(vars(cls)["__init__"]))


def understand_all(given: dict[str, Any], kinds: dict[str, Any], templated: Iterable[str]) -> dict[str, Any]:
    """`given`, with every text that is not a template converted by its annotation.

    :raises ValueError: for the first text that is not valid
    """
    fields = frozenset(templated)
    for name in _LEFT_OUT_OR_GIVEN & given.keys():
        if isinstance(given[name], str) and not given[name].strip():
            raise ValueError(f"{name}={given[name]!r} is empty. Give a name, or leave {name} out.")
        if isinstance(given[name], str) and has_secret(given[name]):
            raise ValueError(
                f"{name} seems to be a token. Put the token into the password of a connection of Airflow, and give the "
                "name of that connection as hf_endpoints_conn_id."
            )
    for name in kinds.keys() & given.keys() - fields - _OF_ROWS - _LEFT_OUT_OR_GIVEN:  # a group's tasks render the last
        if isinstance(given[name], str) and is_template(given[name]):
            numeric = [each for each in alternatives(kinds[name]) if each in (int, float, timedelta)]
            raise ValueError(
                f"{name}={given[name]!r} is a template, but {name} is not a template field. Give "
                f"{number_of(name, numeric) if numeric else 'a value'}."
            )
    return {
        name: _understood(name, value, kinds[name], templated=name in fields) if name in kinds else value
        for name, value in given.items()
    }


def _understood(name: str, value: Any, annotation: Any, *, templated: bool) -> Any:
    check_path(name, value)
    if not isinstance(value, str):
        check_kind(name, value, annotation, templated=templated)
        return value
    if templated and is_template(value):
        return value
    if name in _OF_ENDPOINTS:
        return check_name(value, name)
    if name == "namespace" and value:
        return check_namespace(value)
    if name in _NEVER_EMPTY and not value.strip():
        raise ValueError(f"{name}={value!r} is empty. Give a value{_OR_NONE.get(name, '')}.")
    understood = understand(name, check_word(name, value), annotation)
    if isinstance(understood, Real | timedelta) and not isinstance(understood, bool):
        check_kind(name, understood, annotation, templated=False)  # a text may be a number that is too large
    return understood


def understand(name: str, text: str, annotation: Any) -> Any:
    """The value of a text for `annotation`.

    :raises ValueError: the text has no value; with the argument, the text and the fix
    """
    kinds = list(alternatives(annotation))
    words = [word for kind in kinds for word in _words(kind)]
    if str in kinds or Any in kinds or text in words:
        return text
    number = next((kind for kind in (int, float, timedelta) if kind in kinds), None)
    whole = number is int and float not in kinds
    if number is not None and (value := _number(text, whole=whole)) is not None:
        if timedelta in kinds:
            refuse_too_long(name, value)
        return timedelta(seconds=value) if number is timedelta else value
    if words:
        raise ValueError(_none_of(name, text, words, number is not None))
    if number is not None:
        raise ValueError(_no_number(name, text, number_of(name, kinds)))
    if bool in kinds:
        return _truth(name, text)
    if any(get_origin(kind) in LISTS or kind in LISTS for kind in kinds):
        return _listed(name, text)
    if any((get_origin(kind) or kind) in MAPPINGS for kind in kinds):
        # Not the value: what is meant as a mapping may contain secrets.
        raise ValueError(f"{name} is a string, but a mapping is expected. Give {_MAPPED.get(name, '{name: value}')}.")
    return text


def _words(kind: Any) -> Iterable[str]:
    if get_origin(kind) is Literal:
        return [word for word in get_args(kind) if isinstance(word, str)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _number(text: str, *, whole: bool) -> float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None


def _truth(name: str, text: str) -> bool:
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise ValueError(f"{name}={text!r} is a string, and any string counts as true. Give True or False.")
    return known[text.lower()]


def _listed(name: str, text: str) -> list[str]:
    """A text without blanks is one element; one with blanks may stand for several, and is refused."""
    if not text or text.split() != [text] or "," in text:
        raise ValueError(
            f"{name}={text!r} is a single string, but a list is expected. Give [{text!r}], or one string per element."
        )
    return [text]


def check_words(name: str, values: Iterable[object], words: Sequence[str]) -> None:
    """Refuse values that are not one of `words`. Templates and results of other tasks are checked later.

    :raises InvalidArgumentError: naming the nearest word
    """
    for value in values:
        if isinstance(value, str) and value not in words and not is_template(value):
            raise InvalidArgumentError(_none_of(name, value, words, also_number=False))


def _none_of(name: str, value: object, words: Sequence[str], also_number: bool) -> str:
    known = f"one of {', '.join(words)}" if len(words) > 1 else repr(words[0])
    number = ", or a number" if also_number else ""
    return f"{name}={value!r} is not valid. Use {known}{number}.{did_you_mean(value, words)}"


def _no_number(name: str, text: str, kind: str) -> str:
    return f"{name}={text!r} is not a number. Give {kind}."
