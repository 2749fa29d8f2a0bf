"""The content type of a file, by its first bytes, else by its name. Pure."""

from __future__ import annotations

import mimetypes

#: First bytes, and the type.
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
)
_SHORT_HEADS = tuple(head for head, _ in _HEADS if len(head) == 2)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
#: The brand in a file of the MP4 family; others are videos.
_BRANDS = {
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"M4A ": "audio/m4a",
}
#: Containers of sound alone, too.
_BOTH = {"video/webm": "audio/webm", "video/mp4": "audio/m4a", "audio/ogg": "video/ogg"}
#: How chats name the formats of sounds.
_AUDIO_WORDS = {"mpeg": "mp3", "x-wav": "wav", "mp4": "m4a", "wave": "wav", "x-m4a": "m4a"}
UNKNOWN = "application/octet-stream"


def content_type(content: bytes, name: str, kind: str = "") -> str:
    """The type of a file's content.

    :param name: of the file, for its suffix
    :param kind: `image`, `audio` or `video`: what it should be, if the bytes fit both
    """
    found = _by_head(content) or mimetypes.guess_type(name)[0] or UNKNOWN
    other = _BOTH.get(found, "")
    return other if kind and other.startswith(f"{kind}/") else found


def is_medium(content: bytes) -> bool:
    """Whether the first bytes are surely those of a file of a known type. Two bytes are also in other texts."""
    return bool(_by_head(content)) and not content.startswith(_SHORT_HEADS)


def _by_head(content: bytes) -> str:
    if content[:4] == b"RIFF":
        return _RIFF.get(content[8:12], "")
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "video/mp4")
    return next((kind for head, kind in _HEADS if content.startswith(head)), "")


def audio_word(content_type: str) -> str:
    """The format of a sound as chats name it: `wav`, `mp3`, `flac` …"""
    word = content_type.partition("/")[2]
    return _AUDIO_WORDS.get(word, word)
