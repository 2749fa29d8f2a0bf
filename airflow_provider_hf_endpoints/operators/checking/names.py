"""The names of arguments: an unknown one is refused with the nearest argument.

Values are checked in `kinds.py`. When names are checked: `known.py`.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

_OF_AIRFLOW = "_airflow_"  # the names that Airflow itself gives to a mapped task begin so
_SHORTEST_PART = 4  # letters of a name that may stand for a longer one: `conn_id`
_MISSPELT = 0.88  # of `difflib`'s 1.0: names of other operators are less like ours (`poke_interval`, `poll_interval`)
# What other tools, other operators of this package or Airflow's own call an argument, and what it may be called here.
_MEANT = {
    "concurrency": ("max_concurrency",),
    "conn_id": ("hf_endpoints_conn_id",),
    "endpoint": ("name",),
    "endpoint_name": ("endpoint", "name"),
    "image": ("custom_image",),
    "input": ("inputs", "input_path"),
    "messages": ("inputs",),
    "model": ("repository",),
    "model_id": ("repository", "model"),
    "name": ("endpoint",),
    "output": ("output_path",),
    "poke_interval": ("poll_interval",),
    "poll_interval": ("poke_interval",),
    "prompt": ("inputs",),
    "startup_timeout": ("max_startup", "timeout"),
    "state": ("target_states",),
    "states": ("target_states",),
    "timeout": ("max_startup", "batch_timeout", "request_timeout"),
}
# Parameters of a request, which are given inside `parameters`.
_OF_REQUESTS = frozenset({"max_tokens", "max_new_tokens", "temperature", "top_p", "seed", "stop", "response_format"})
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def refuse_unknown(what: str, given: Iterable[str], known: Collection[str], inside: Mapping[str, str]) -> None:
    """Refuse names that are not arguments.

    :param what: whose arguments they are, for the error
    :param inside: names that belong into a mapping, with the argument that is this mapping
    :raises TypeError: with each unknown name and the nearest argument
    """
    unknown = [name for name in given if name not in known and not str(name).startswith(_OF_AIRFLOW)]
    if unknown:
        hints = (f"{name!r}. {_hint(str(name), known, inside)}" for name in unknown)
        raise TypeError(f"{what}: unknown argument {' Unknown argument '.join(hints)}")


def defaults_of(task: Any) -> dict[str, Any]:
    """The `default_args` that reach a task: of its DAG, and of the groups around the task."""
    return {**task.dag.default_args, **task.task_group.default_args} if task.has_dag() else {}


def tell_misspelt_defaults(task: Any) -> None:
    """Warn of names in `default_args` that are nearly an argument of the operator: Airflow ignores them silently.

    They may be another operator's, so they are not refused.
    """
    kind: Any = type(task)
    defaults, known = defaults_of(task), arguments_of(kind)
    for name in defaults.keys() - known:
        near = difflib.get_close_matches(name, known - defaults.keys(), n=1, cutoff=_MISSPELT)
        if near:
            warnings.warn(
                f"default_args has {name!r}, which {kind.__name__} does not take, so Airflow ignores the value. "
                f"Did you mean {near[0]!r}?",
                stacklevel=2,
            )


def did_you_mean(word: object, known: Iterable[object], otherwise: str = "") -> str:
    """The end of an error about a word that is not one of `known`: the nearest one, else `otherwise`."""
    near = difflib.get_close_matches(str(word), [str(each) for each in known], n=1)
    return f" Did you mean {near[0]!r}?" if near else otherwise


def _hint(name: str, known: Collection[str], inside: Mapping[str, str]) -> str:
    if name in inside:
        return f"Give it in {inside[name]}={{{name!r}: …}}."
    if name in _OF_REQUESTS and "parameters" in known:
        return f"Give it in parameters={{{name!r}: …}}."
    near = _nearest(name, {*known, *inside})
    if near is None:
        return "Check its spelling, or leave it out."
    return f"Did you mean {near!r}{f', in {inside[near]}' if near not in known else ''}?"


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is most like `name`, or the only one that contains it."""
    if meant := [each for each in _MEANT.get(name, ()) if each in known]:
        return meant[0]
    if near := difflib.get_close_matches(name, known, n=1):
        return near[0]
    longer = [each for each in known if name in each] if len(name) >= _SHORTEST_PART else []
    return longer[0] if len(longer) == 1 else None


@cache
def arguments_of(kind: type[Any]) -> frozenset[str]:
    """The names of the arguments that the `__init__` of an operator and of its bases take."""
    inits = [vars(cls)["__init__"] for cls in kind.__mro__[:-1] if "__init__" in vars(cls)]
    found = {each.name for init in inits for each in inspect.signature(init).parameters.values() if each.kind in _NAMED}
    return frozenset(found - {"self"})
