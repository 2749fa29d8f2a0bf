"""All dialects of engines, each with its traits, and a file for the form of each one's requests and answers.

To add a dialect, add a file with `build`, `read` and `ask_schema`, a member of `Dialect`, and a line in `_TRAITS`.
Nothing outside of `engines/` asks for the dialect itself: whatever differs is a trait. How an engine is found, and what
an error of it means, is one room above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.asking import ignored, media
from airflow_provider_hf_endpoints.inference.engines.dialects import openai, serve, tei, tgi, toolkit
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest


class Dialect(StrEnum):
    """The request and answer formats of engines."""

    OPENAI = "openai"
    TGI = "tgi"
    TEI = "tei"
    TOOLKIT = "toolkit"
    #: `transformers serve`. Another container uses the image key `hfServe` too, so the engine is asked.
    SERVE = "transformers-serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of a dialect.

    :param images: keys of `model.image` in the control plane's contract whose engines speak it
    :param build: from a task, its inputs, parameters and a model's name to a request
    :param read: from a task and the JSON of a 200 to a result
    :param ask_schema: from a task, a JSON schema and the engine's name (None if unknown) to the parameters that request
        texts which fit the schema
    :param refuses: parameters that it ignores or takes for something else, by task, with why
    :param any_names: whether a custom handler may take parameters of any name, also one that looks misspelt
    :param cuts_stops: whether this provider cuts a text at its stop, because the engine does not
    :param lists_models: its requests name the model, and `/v1/models` has the name
    :param array_tasks: tasks in which one call takes the texts of several rows; true if each text must be a list
        by itself
    :param media: the forms of images, sounds and videos in its chats
    :param transcribes: whether it has OpenAI's route for sounds
    :param tells_most_inputs: whether `/info` says how many texts one call takes
    """

    images: tuple[str, ...]
    build: Callable[[str, Any, Mapping[str, Any], str | None], WireRequest]
    read: Callable[[str, Any], InferenceResult]
    ask_schema: Callable[[str, dict[str, Any], str | None], dict[str, Any]]
    refuses: ignored.Ignored
    any_names: bool = False
    cuts_stops: bool = False
    lists_models: bool = False
    array_tasks: Mapping[str, bool] = field(default_factory=dict)
    tells_most_inputs: bool = False
    media: media.Forms = field(default_factory=dict)
    transcribes: bool = False


_TRAITS: dict[Dialect, Traits] = {
    Dialect.OPENAI: Traits(
        images=("vLLM", "vLLMNeuron", "vLLMOmni", "sGLang", "llamacpp"),
        build=openai.build,
        read=openai.read,
        ask_schema=openai.ask_schema,
        refuses=ignored.OF_OPENAI,
        lists_models=True,
        array_tasks={EMBED: False},
        media=media.OF_OPENAI,
        transcribes=True,
    ),
    Dialect.TGI: Traits(
        images=("tgi", "tgiNeuron"),
        build=tgi.build,
        read=tgi.read,
        ask_schema=tgi.ask_schema,
        refuses=ignored.OF_TGI,
        cuts_stops=True,  # the engine's texts end with the stop
        media=media.OF_IMAGES_ALONE,
    ),
    Dialect.TEI: Traits(
        images=("tei",),
        build=tei.build,
        read=tei.read,
        ask_schema=openai.ask_schema_of_chat,
        refuses=ignored.OF_TEI,
        # In `/predict`, a plain list of two texts is a pair.
        array_tasks={EMBED: False, CLASSIFY: True},
        tells_most_inputs=True,
    ),
    Dialect.TOOLKIT: Traits(
        images=("huggingface", "huggingfaceNeuron"),
        build=toolkit.build,
        read=toolkit.read,
        ask_schema=toolkit.ask_schema,
        refuses=ignored.OF_TOOLKIT,
        any_names=True,
        cuts_stops=True,  # `stop_sequence` differs between releases of transformers
        # Each other pipeline treats a list differently.
        array_tasks={EMBED: False},
    ),
    Dialect.SERVE: Traits(
        images=(),
        build=serve.build,
        read=openai.read,
        ask_schema=serve.ask_schema,
        refuses=ignored.OF_SERVE,
        cuts_stops=True,  # the engine's texts contain the stop, and more after it if a token contains both
        lists_models=True,
        media=media.OF_IMAGES_ALONE,
    ),
}
# The containers of these images may speak any dialect, so the engine is asked.
_TO_BE_ASKED = ("hfServe", "custom")


def traits(dialect: Dialect) -> Traits:
    """The traits of a dialect."""
    return _TRAITS[dialect]


def names_of(images: Mapping[Dialect, Iterable[str]], to_be_asked: Iterable[str] = ()) -> dict[str, Dialect | None]:
    """The dialect by each name that an engine may be given: an image's key or the dialect's own, in lower case.

    :raises ValueError: two dialects have the same name, so one would silently get the other's engines
    """
    names: dict[str, Dialect | None] = {}
    said: list[tuple[str, Dialect | None]] = [(image, None) for image in to_be_asked]
    said += [(name, dialect) for dialect, keys in images.items() for name in (*keys, dialect.value)]
    for name, dialect in said:
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
#: Names that a job may give: of images, and of dialects that no image has.
_NAMES = (*_IMAGES, *(dialect.value for dialect, each in _TRAITS.items() if not each.images))


def dialect_of(engine: str | None) -> Dialect | None:
    """The dialect of an engine (a key of `model.image`, or a dialect's own name); None if it must be
    discovered.

    :raises ValueError: the name is not an engine's
    """
    if engine is None:
        return None
    try:
        return _BY_NAME[engine.lower()]
    except KeyError:
        raise ValueError(f"unknown engine {engine!r}. Use one of {', '.join(_NAMES)}") from None
