"""A request's body with room for media: JSON without them, and the places where they belong. Filled when it is sent."""

from __future__ import annotations

import uuid
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.media.kinds import audio_word
from airflow_provider_hf_endpoints.inference.media.values import Medium
from airflow_provider_hf_endpoints.inference.wire import MediaForm

_JSON = "application/json"
#: Not known to any row, so that no text of a row is taken for a place.
_MARK = f"medium-{uuid.uuid4().hex}"


class Hole(NamedTuple):
    """A place in a body.

    :param at: byte of the body
    :param medium: which of the request's media
    """

    at: int
    medium: int
    form: MediaForm


class Media(NamedTuple):
    """The media of a request, and their places. Without places, the body is the first medium itself."""

    items: tuple[Medium, ...]
    holes: tuple[Hole, ...]

    @property
    def identity(self) -> bytes:
        """What tells them from others, without the versions of files."""
        parts = [b"%d %b" % (hole.at, self.items[hole.medium].identity) for hole in self.holes]
        return b"\0".join(parts) if self.holes else self.items[0].identity


class Read(NamedTuple):
    """A medium that was read.

    :param url: for one that the engine fetches
    """

    content: bytes
    url: str
    content_type: str


class Part(NamedTuple):
    """A medium in the JSON of a request, in the engine's form, where a `MediaForm` stands for the medium."""

    medium: Medium
    form: Mapping[str, Any]


def compose(value: Any) -> tuple[bytes, Media | None]:
    """The body of a request, and its media; None without any.

    :param value: JSON in which each medium is a `Part`
    """
    items: list[Medium] = []
    body = fastjson.encode(_marked(value, items))
    if not items:
        return body, None
    mark = _MARK.encode()
    first, *pieces = body.split(mark)
    whole, holes, at = [first], [], len(first)
    for piece in pieces:
        place, form, rest = piece.split(b":", 2)
        holes.append(Hole(at, int(place), MediaForm(form.decode())))
        whole.append(rest)
        at += len(rest)
    return b"".join(whole), Media(tuple(items), tuple(holes))


def _marked(value: Any, items: list[Medium]) -> Any:
    match value:
        case Part(medium, form):
            items.append(medium)
            return _with_marks(form, len(items) - 1)
        case Mapping():
            return {name: _marked(each, items) for name, each in value.items()}
        case list() | tuple():
            return [_marked(each, items) for each in value]
        case _:
            return value


def _with_marks(form: Any, place: int) -> Any:
    if isinstance(form, MediaForm):
        return f"{_MARK}{place}:{form.value}:"
    if isinstance(form, Mapping):
        return {name: _with_marks(each, place) for name, each in form.items()}
    return form


def fill(body: bytes, media: Media, read: Sequence[Read]) -> tuple[bytes, str]:
    """The body with its media, and its content type."""
    if not media.holes:
        return read[0].content, read[0].content_type
    pieces: list[bytes] = []
    at = 0
    for hole in media.holes:
        pieces += [body[at : hole.at], _written(read[hole.medium], hole.form)]
        at = hole.at
    return b"".join([*pieces, body[at:]]), _JSON


def _written(read: Read, form: MediaForm) -> bytes:
    match form:
        case MediaForm.URL if read.url:
            return fastjson.encode(read.url)[1:-1]
        case MediaForm.URL:
            return b"data:%b;base64,%b" % (read.content_type.encode(), b2a_base64(read.content, newline=False))
        case MediaForm.BASE64:
            return b2a_base64(read.content, newline=False)
        case MediaForm.FORMAT:
            return audio_word(read.content_type).encode()
