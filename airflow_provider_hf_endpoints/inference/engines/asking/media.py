"""The form in which an engine takes an image, a sound or a video in a chat, and what it does not take.

What was not tried is by the engines' documentation; `docs/how_to/media.md` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import UnsuitableInputsError
from airflow_provider_hf_endpoints.inference.wire import MediaForm

KINDS = ("image", "audio", "video")
Forms = Mapping[str, Mapping[str, Any]]

_IMAGE = {"type": "image_url", "image_url": {"url": MediaForm.URL}}
_VIDEO = {"type": "video_url", "video_url": {"url": MediaForm.URL}}
_AUDIO_URL = {"type": "audio_url", "audio_url": {"url": MediaForm.URL}}
_AUDIO = {"type": "input_audio", "input_audio": {"data": MediaForm.BASE64, "format": MediaForm.FORMAT}}

#: OpenAI's own forms.
OF_OPENAI: Forms = {"image": _IMAGE, "audio": _AUDIO}
OF_IMAGES_ALONE: Forms = {"image": _IMAGE}
NONE: Forms = {}
#: Engines that take more or less than their dialect; by the engine's name in lower case.
_OF_ENGINE: Mapping[str, Forms] = {
    "vllm": {"image": _IMAGE, "audio": _AUDIO, "video": _VIDEO},
    "sglang": {"image": _IMAGE, "audio": _AUDIO_URL, "video": _VIDEO},
}
#: Forms for what the engine fetches by itself, if they are others.
_FETCHED: Mapping[str, Forms] = {"vllm": {"audio": _AUDIO_URL}}


def form_of(kind: str, forms: Forms, speaker: str, engine: str | None, *, fetched: bool) -> Mapping[str, Any]:
    """The part of a message for a medium; a `MediaForm` stands for the medium.

    :param forms: of the dialect
    :param speaker: the dialect
    :param engine: the engine's name in lower case, if known
    :param fetched: whether the engine is given a URL to fetch
    :raises UnsuitableInputsError: the engine does not take such media, or takes none by URL
    """
    known = _OF_ENGINE.get(engine or "", forms)
    form = _FETCHED.get(engine or "", {}).get(kind) if fetched else None
    form = form or known.get(kind)
    where = engine or speaker
    if form is None:
        taken = ", ".join(known) or "texts only"
        raise UnsuitableInputsError(
            f"messages contain a part of the type {kind!r}, but a chat on {where} takes {taken}. Leave the part out, "
            "or name the engine of the container with engine="
        )
    if fetched and form is _AUDIO:
        raise UnsuitableInputsError(
            f"messages contain {kind} by an http URL, but a chat on {where} takes {kind} only as bytes. Copy the files "
            "to a store, and give their paths"
        )
    return form
