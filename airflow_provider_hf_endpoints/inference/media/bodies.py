"""A request's body with room for media: JSON without them, and the places where they belong. Filled when it is sent."""

from __future__ import annotations

import uuid
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.media.kinds import audio_word
from airflow_provider_hf_endpoints.inference.media.values import Medium
from airflow_provider_hf_endpoints.inference.wire import MediaForm

#: The type of a form; its boundary follows.
_FORM = "multipart/form-data; boundary="
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
    """The media of a request, and their places.

    :param content_type: of the whole body; empty for that of the first medium
    """

    items: tuple[Medium, ...]
    holes: tuple[Hole, ...]
    content_type: str = "application/json"

    @property
    def identity(self) -> bytes:
        """What tells them from others, without the versions of files."""
        return b"\0".join(b"%d %b" % (hole.at, self.items[hole.medium].identity) for hole in self.holes)


class ReadMedium(NamedTuple):
    """A medium that was read.

    :param url: for one that the engine fetches
    """

    content: bytes
    url: str
    content_type: str


class MediaPart(NamedTuple):
    """A medium in the JSON of a request, in the engine's form, where a `MediaForm` stands for the medium."""

    medium: Medium
    form: Mapping[str, Any] | MediaForm


def alone(medium: Medium) -> Media:
    """A body that is the medium itself."""
    return Media((medium,), (Hole(0, 0, MediaForm.BYTES),), "")


def form_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the texts of a form."""
    return {name: each if isinstance(each, str) else fastjson.encode(each).decode() for name, each in values.items()}


def form_data(fields: Mapping[str, str], medium: Medium) -> tuple[bytes, Media]:
    """A form with texts and the medium as its `file`, and the medium's places in it. Its boundary is one, too."""
    begun = (MediaForm.BOUNDARY, b'\r\ncontent-disposition: form-data; name="')
    parts: list[MediaForm | bytes] = [b"--"]
    for name, text in fields.items():
        parts += [*begun, b'%b"\r\n\r\n%b\r\n--' % (name.encode(), text.encode())]
    parts += [*begun, b'file"; filename="file.', MediaForm.FORMAT, b'"\r\ncontent-type: ', MediaForm.TYPE]
    parts += [b"\r\n\r\n", MediaForm.BYTES, b"\r\n--", MediaForm.BOUNDARY, b"--\r\n"]
    body, holes = bytearray(), []
    for part in parts:
        if isinstance(part, MediaForm):
            holes.append(Hole(len(body), 0, part))
        else:
            body += part
    return bytes(body), Media((medium,), tuple(holes), _FORM)


def compose(value: Any) -> tuple[bytes, Media | None]:
    """The body of a request, and its media; None without any.

    :param value: JSON in which each medium is a `MediaPart`
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
        case MediaPart(medium, form):
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


def fill(body: bytes, media: Media, read: Sequence[ReadMedium]) -> tuple[bytes, str]:
    """The body with its media, and its content type."""
    boundary = _boundary(body, read) if media.content_type == _FORM else ""
    pieces: list[bytes] = []
    at = 0
    for hole in media.holes:
        pieces += [body[at : hole.at], _written(read[hole.medium], hole.form, boundary)]
        at = hole.at
    return b"".join([*pieces, body[at:]]), (media.content_type or read[0].content_type) + boundary


def _boundary(body: bytes, read: Sequence[ReadMedium]) -> str:
    """A text that is in neither the texts nor the files, as it is their digest. The same request has the same."""
    found = blake2b(body, digest_size=20)
    for each in read:
        found.update(each.content)
    return f"hf-endpoints-{found.hexdigest()}"


def _written(read: ReadMedium, form: MediaForm, boundary: str) -> bytes:
    match form:
        case MediaForm.URL if read.url:
            return fastjson.encode(read.url)[1:-1]
        case MediaForm.URL:
            return b"data:%b;base64,%b" % (read.content_type.encode(), b2a_base64(read.content, newline=False))
        case MediaForm.BASE64:
            return b2a_base64(read.content, newline=False)
        case MediaForm.FORMAT:
            return audio_word(read.content_type).encode()
        case MediaForm.BYTES:
            return read.content
        case MediaForm.TYPE:
            return read.content_type.encode()
        case MediaForm.BOUNDARY:
            return boundary.encode()
