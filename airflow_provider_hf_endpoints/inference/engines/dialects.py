"""Every way in which engines are spoken to, each with all that is particular to it. The one place to add another.

A dialect is a module of this package with `build` and `read`, a member of `Dialect`, and a line in `_TRAITS`. Nothing
outside this room asks which dialect it has: whatever differs between them is a trait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import openai, serve, tei, tgi, toolkit
from airflow_provider_hf_endpoints.inference.engines.asking import refusals
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest


class Dialect(StrEnum):
    """The ways in which engines are spoken to."""

    OPENAI = "openai"
    TGI = "tgi"
    TEI = "tei"
    TOOLKIT = "toolkit"
    #: `transformers serve`; the image's key `hfServe` is another container's as well, so it is asked.
    SERVE = "transformers-serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a dialect is.

    :param images: keys of `model.image` in the control plane's contract whose engines speak it
    :param build: from a task, its inputs, parameters and a model's name to a request
    :param read: from a task and the JSON of a 200 to a result
    :param ask_schema: from a task, a JSON schema and the engine's name (None where unknown) to the parameters that ask
        for texts which fit the schema
    :param refuses: parameters that it ignores or takes for something else, by task, with why
    :param cuts_stops: its engines do not end a text before its stop as all others do, so this provider cuts it there
    :param lists_models: its requests name the model, and `/v1/models` tells the name
    :param array_tasks: tasks in which one call takes the texts of several rows; true where each text has to be a list
        of its own
    :param tells_most_inputs: `/info` says how many texts one call takes
    """

    images: tuple[str, ...]
    build: Callable[[str, Any, Mapping[str, Any], str | None], WireRequest]
    read: Callable[[str, Any], InferenceResult]
    ask_schema: Callable[[str, dict[str, Any], str | None], dict[str, Any]]
    refuses: refusals.Refusals
    cuts_stops: bool = False
    lists_models: bool = False
    array_tasks: Mapping[str, bool] = field(default_factory=dict)
    tells_most_inputs: bool = False


_TRAITS: dict[Dialect, Traits] = {
    Dialect.OPENAI: Traits(
        images=("vLLM", "vLLMNeuron", "vLLMOmni", "sGLang", "llamacpp"),
        build=openai.build,
        read=openai.read,
        ask_schema=openai.ask_schema,
        refuses=refusals.OF_OPENAI,
        lists_models=True,
        array_tasks={EMBED: False},
    ),
    Dialect.TGI: Traits(
        images=("tgi", "tgiNeuron"),
        build=tgi.build,
        read=tgi.read,
        ask_schema=tgi.ask_schema,
        refuses=refusals.OF_TGI,
        cuts_stops=True,  # the stop is the end of its texts
    ),
    Dialect.TEI: Traits(
        images=("tei",),
        build=tei.build,
        read=tei.read,
        ask_schema=openai.ask_schema_of_chat,
        refuses=refusals.OF_TEI,
        # `/predict` takes a plain list of two texts for a pair.
        array_tasks={EMBED: False, CLASSIFY: True},
        tells_most_inputs=True,
    ),
    Dialect.TOOLKIT: Traits(
        images=("huggingface", "huggingfaceNeuron"),
        build=toolkit.build,
        read=toolkit.read,
        ask_schema=toolkit.ask_schema,
        refuses=refusals.OF_TOOLKIT,
        cuts_stops=True,  # `stop_sequence` is another thing in each release of transformers
        # What other pipelines make of a list differs from task to task.
        array_tasks={EMBED: False},
    ),
    Dialect.SERVE: Traits(
        images=(),
        build=serve.build,
        read=openai.read,
        ask_schema=serve.ask_schema,
        refuses=refusals.OF_SERVE,
        cuts_stops=True,  # the stop stands in its texts, and more behind it where a token holds both
        lists_models=True,
    ),
}
# Images whose containers speak what they speak: that is found out by asking.
_TO_BE_ASKED = ("hfServe", "custom")


def traits(dialect: Dialect) -> Traits:
    """What a dialect is."""
    return _TRAITS[dialect]


def names_of(images: Mapping[Dialect, Iterable[str]], to_be_asked: Iterable[str] = ()) -> dict[str, Dialect | None]:
    """The dialect by each name that an engine may be given: an image's key or the dialect's own, in lower case.

    :raises ValueError: two dialects claim one name, so that one would silently take the other's engines over
    """
    names: dict[str, Dialect | None] = {}
    claims: list[tuple[str, Dialect | None]] = [(image, None) for image in to_be_asked]
    claims += [(name, dialect) for dialect, keys in images.items() for name in (*keys, dialect.value)]
    for name, dialect in claims:
        known = names.setdefault(name.lower(), dialect)
        if known is not dialect:
            owners = " and ".join(each.value if each else "the images that are asked" for each in (known, dialect))
            raise ValueError(
                f"the name {name!r} belongs to two dialects ({owners}), so the second would silently replace the "
                "first. Names are compared in lower case. Choose another name for the newer dialect"
            )
    return names


_BY_NAME = names_of({dialect: each.images for dialect, each in _TRAITS.items()}, _TO_BE_ASKED)
_IMAGES = (*(image for each in _TRAITS.values() for image in each.images), *_TO_BE_ASKED)


def dialect_of(engine: str | None) -> Dialect | None:
    """The dialect of an engine (a key of `model.image`, or a dialect's own name); None when it has to be
    discovered.

    :raises ValueError: the name is not an engine's
    """
    if engine is None:
        return None
    try:
        return _BY_NAME[engine.lower()]
    except KeyError:
        raise ValueError(f"unknown engine {engine!r}. Use one of {', '.join(_IMAGES)}") from None
