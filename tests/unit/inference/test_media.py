"""Images, sounds and videos of rows: what a value means, which type a file has, where a medium stands in a body."""

from __future__ import annotations

import asyncio
import base64
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.engines import Dialect, traits
from airflow_provider_hf_endpoints.inference.engines.asking.media import form_of
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.errors import UnsuitableInputsError
from airflow_provider_hf_endpoints.inference.input_errors import MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.media.bodies import MediaPart, ReadMedium, alone, compose, fill, form_data
from airflow_provider_hf_endpoints.inference.media.errors import MediaInvalidError
from airflow_provider_hf_endpoints.inference.media.kinds import audio_word, content_type
from airflow_provider_hf_endpoints.inference.media.places import place_of
from airflow_provider_hf_endpoints.inference.media.reading import MediaReader, _Room
from airflow_provider_hf_endpoints.inference.media.stamps import Stamper
from airflow_provider_hf_endpoints.inference.media.values import Medium, medium_of
from airflow_provider_hf_endpoints.inference.requests.render import compile_requests
from airflow_provider_hf_endpoints.inference.requests.template import Template
from airflow_provider_hf_endpoints.inference.wire import MediaForm

LONG = "A" * 4000


@pytest.mark.parametrize(
    ("value", "source", "name"),
    [
        ("scans/1.png", "scans/1.png", ""),
        (" s3://b/1.png ", "s3://b/1.png", ""),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA", ""),
        (LONG, f"data:;base64,{LONG}", ""),
        ({"bytes": "AAAA", "path": "1.png"}, "data:;base64,AAAA", "1.png"),
        ({"bytes": None, "path": "1.png"}, "1.png", ""),
        ({"path": "s3://b/1.png"}, "s3://b/1.png", ""),
    ],
)
def test_a_value_is_a_path_or_bytes(value: Any, source: str, name: str) -> None:
    """In every form that datasets have."""
    assert Medium("image", source, name) == medium_of("image", value)


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x24\x00\x00\x00WAVE", b"OggS"])
def test_short_base64_of_a_medium_is_not_a_path(head: bytes) -> None:
    """Its first bytes say what it is. Other text in the letters of base64 may be a path."""
    text = b64encode(head.ljust(48, b"\0")).decode()
    assert f"data:;base64,{text}" == medium_of("file", text).source
    for path in (b64encode(b"BM".ljust(48, b"a")).decode(), b64encode(b"a" * 48).decode(), text[:28], f"{text}.png"):
        assert path == medium_of("file", path).source


@pytest.mark.parametrize("value", ["", "  ", 5, [], {}, {"bytes": ""}, {"path": None}, True])
def test_another_value_names_no_file(value: Any) -> None:
    """The error has the value, and the forms that are read."""
    with pytest.raises(BatchInputError, match=r"names no file\. Give a path, an http URL, a data URL"):
        medium_of("image", value)


@pytest.mark.parametrize(
    ("content", "name", "kind", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "a.jpg", "image", "image/png"),
        (b"\xff\xd8\xff\xe0", "", "image", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WAVE", "", "audio", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00WEBP", "", "image", "image/webp"),
        (b"\x00\x00\x00\x18ftypisom", "", "video", "video/mp4"),
        (b"\x00\x00\x00\x18ftypisom", "", "audio", "audio/m4a"),
        (b"OggS", "", "audio", "audio/ogg"),
        (b"?", "a.flac", "audio", "audio/flac"),
        (b"?", "a", "image", "application/octet-stream"),
    ],
)
def test_the_type_is_by_the_first_bytes(content: bytes, name: str, kind: str, expected: str) -> None:
    """A suffix counts only if the bytes do not say."""
    found = content_type(content, name, kind)
    assert expected == found.replace("x-flac", "flac")


def test_formats_of_sounds_have_their_words() -> None:
    """As chats name them."""
    assert ["wav", "mp3", "flac"] == [audio_word(f"audio/{each}") for each in ("x-wav", "mpeg", "flac")]


FORM = {"type": "x", "x": {"url": MediaForm.URL, "data": MediaForm.BASE64, "format": MediaForm.FORMAT}}


@given(texts=st.lists(st.text(), max_size=4), content=st.binary(min_size=1, max_size=50))
def test_a_body_with_its_media_is_the_json_of_both(texts: list[str], content: bytes) -> None:
    """Wherever they stand, and whatever the texts beside them are."""
    medium = Medium("audio", "a.wav")
    value = [[text, MediaPart(medium, FORM)] for text in texts]
    body, media = compose(value)
    encoded = base64.b64encode(content).decode()
    inside = {"url": f"data:audio/wav;base64,{encoded}", "data": encoded, "format": "wav"}
    if media is None:
        assert [] == texts
        return
    assert json.loads(body)  # without its media, it is JSON as well
    filled, kind = fill(body, media, [ReadMedium(content, "", "audio/wav")] * len(media.items))
    assert ("application/json", [[text, {"type": "x", "x": inside}] for text in texts]) == (kind, json.loads(filled))


def messages(kind: str = "image", value: str = "{page}") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "{q}"}, {"type": kind, kind: value}]}]


def test_a_template_has_its_columns() -> None:
    """Those of the media, too. A row without one is an error; so is a null."""
    template = Template("chat-completion", messages=messages(), system="Be {tone}.")
    assert (["q", "page", "tone"], ["page"]) == (template.columns, template.media_columns)
    render = compile_requests(template, Target(Dialect.OPENAI, "m"), {})
    with pytest.raises(MissingColumnError):
        render({"q": "?", "tone": "short"})
    with pytest.raises(BatchInputError, match="null"):
        render({"q": "?", "tone": "short", "page": None})
    request = render({"q": "?", "tone": "short", "page": "1.png"})
    assert request.media is not None
    assert (Medium("image", "1.png"),) == request.media.items


def test_rows_with_other_media_are_other_rows() -> None:
    """By the path, and by the bytes in the row."""
    render = compile_requests(Template("chat-completion", messages=messages()), Target(Dialect.OPENAI, "m"), {})
    pages = ["1.png", "2.png", "data:;base64,AAAA", "data:;base64,BBBB"]
    assert 4 == len({render({"q": "?", "page": page}).whole for page in pages})


def test_a_row_cannot_make_media_of_its_texts() -> None:
    """A part is a medium because the template says so. A chat that a row has is sent as it is."""
    chat = [{"role": "user", "content": [{"type": "image", "image": "/etc/passwd"}]}]
    request = compile_requests(Template("chat-completion"), Target(Dialect.OPENAI, "m"), {})({"messages": chat})
    assert (None, chat) == (request.media, json.loads(request.body)["messages"])


@pytest.mark.parametrize(
    ("source", "base", "expected"),
    [
        ("a/1.png", "/data", "/data/a/1.png"),
        ("/other/1.png", "/data", "/other/1.png"),
        ("file:///other/1.png", "/data", "file:///other/1.png"),
        ("1.png", "memory://in", "memory://in/1.png"),
        ("memory://other/1.png", "memory://in", "memory://other/1.png"),
    ],
)
def test_a_path_is_of_the_inputs_folder(source: str, base: str, expected: str) -> None:
    """Or whole."""
    assert str(UPath(expected)) == str(place_of(source, UPath(base)))


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc/passwd", "local:///etc/passwd", "sftp://h/1.png"])
def test_rows_of_a_store_name_no_other_places(source: str) -> None:
    """The worker's disk, and protocols that lead into its network."""
    with pytest.raises(MediaInvalidError):
        place_of(source, UPath("memory://in"))


@pytest.mark.once
def test_a_row_does_not_choose_a_connection() -> None:
    """The input's is used on its kind of store; another one in a row's path would read with other credentials."""
    base: Any = ObjectStoragePath("s3://mine@bucket/in")
    for source in ("s3://bucket/1.png", "s3://mine@bucket/1.png", "1.png", "s3://mine@bucket/in/1.png"):
        assert str(place_of(source, base)).startswith("s3://mine@bucket/")
    assert "s3a://mine@bucket/1.png" == str(place_of("s3a://bucket/1.png", base))
    for source in ("s3://other@bucket/1.png", "gs://other@bucket/1.png", "gs://mine@bucket/1.png"):
        with pytest.raises(MediaInvalidError, match="which is not the input's"):
            place_of(source, base)


def test_lines_have_the_versions_of_their_files(tmp_path: Path) -> None:
    """Also when reading breaks off in between: the lines before that are not lost."""
    (tmp_path / "a.png").write_bytes(b"abc")

    def lines() -> Any:
        yield Line(0, 1, b'{"page": "a.png"}')
        yield Line(1, 2, b'{"page": "gone.png"}')
        yield Line(2, 3, b"no row")
        raise OSError("the store fails")

    def media_of(line: Line) -> list[Medium]:
        return [Medium("image", str(tmp_path / json.loads(line.raw)["page"]))]

    found: list[Line] = []
    stamped = Stamper(media_of).stamped(lines())
    with pytest.raises(OSError, match="the store fails"):
        found.extend(stamped)
    assert [3, None, None] == [line.versions[0].size if line.versions else None for line in found]
    assert found[0].whole != Line(0, 1, found[0].raw).whole


def test_room_is_given_in_order_and_given_back() -> None:
    """What is too large for all the room gets it alone; a cancelled wait takes none."""

    async def scene() -> list[str]:
        room, seen = _Room(10), []

        async def use(name: str, size: int) -> None:
            async with room.of(size):
                seen.append(name)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(use(name, size)) for name, size in (("a", 6), ("b", 6), ("c", 50), ("d", 1))]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 0 == room._used
        return seen

    assert ["a", "c", "d"] == asyncio.run(scene())


def test_the_table_of_engines_is_what_the_code_does() -> None:
    """Each cell of the page is the type of the part that the engine gets, or that there is none."""
    page = (Path(__file__).parents[3] / "docs/how_to/media.md").read_text(encoding="utf-8")
    head, _, *rows = page.partition("## What the engines take\n")[2].partition("\n\n")[0].splitlines()
    engines = [cell.strip() for cell in head.split("|")[2:-1]]
    targets = dict(zip(engines, ENGINES, strict=True))
    for row in rows:
        name, *cells = [cell.strip() for cell in row.split("|")[1:-1]]
        fetched = "http URL" in name
        kind = name.split("`")[1]
        for engine, cell in zip(engines, cells, strict=True):
            dialect, named = targets[engine]
            try:
                form = form_of(kind, traits(dialect).media, dialect, named, fetched=fetched)
            except UnsuitableInputsError:
                assert "refused" == cell, (name, engine)
            else:
                assert f"`{form['type']}`" == cell, (name, engine)


ENGINES = [
    (Dialect.OPENAI, "vllm"),
    (Dialect.OPENAI, "sglang"),
    (Dialect.OPENAI, "llamacpp"),
    (Dialect.TGI, None),
    (Dialect.SERVE, None),
    (Dialect.OPENAI, None),
    (Dialect.TOOLKIT, None),
]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": {"type": "image", "image": "{x}"}},
        {"role": "assistant", "content": "a", "tool_calls": [{"type": "image", "image": "{x}"}]},
        {"role": "tool", "content": [{"type": "tool_result", "content": [{"type": "image", "image": "{x}"}]}]},
    ],
)
def test_only_the_parts_of_a_message_are_media(message: dict[str, Any]) -> None:
    """An object that looks like one, deeper or elsewhere, is sent as it is written."""
    template = Template("chat-completion", messages=[message])
    request = compile_requests(template, Target(Dialect.OPENAI, "m", engine="vllm"), None)({"x": "1.png"})
    assert request.media is None
    assert json.loads(request.body)["messages"] == json.loads(json.dumps([message]).replace("{x}", "1.png"))


@pytest.mark.parametrize("source", ["file:/etc/passwd", "simplecache::file:///etc/passwd", "s3://[bad/1.png"])
def test_a_path_that_cannot_be_opened_is_the_rows_error(source: str) -> None:
    """It was called an error of this package."""

    async def read() -> None:
        reader = MediaReader(100)
        try:
            async with reader.filled(b"", alone(Medium("file", source)), UPath("memory://b/in"), ()):
                pass
        finally:
            reader.close()

    with pytest.raises(MediaInvalidError, match="cannot be opened"):
        asyncio.run(read())


def test_a_store_whose_package_refuses_it_does_not_end_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package for `adl://` raises an AttributeError: that store was retired."""

    def retired(*_: Any) -> None:
        raise AttributeError("retired")

    monkeypatch.setattr("airflow_provider_hf_endpoints.inference.media.stamps.version_at", retired)
    stamper = Stamper(lambda line: [Medium("image", "1.png")])
    assert len(list(stamper.stamped(iter([Line(0, 1, b"{}", None)])))) == 1


def test_a_file_cannot_contain_the_boundary_of_its_form() -> None:
    """It depends on the file. The same form has the same."""
    body, media = form_data({"model": "m"}, Medium("audio", "1.wav"))
    whole, kind = fill(body, media, [ReadMedium(b"RIFF", "", "audio/wav")])
    boundary = kind.partition("boundary=")[2].encode()
    assert whole.split(b"--" + boundary) == [
        b"",
        b'\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n',
        b'\r\ncontent-disposition: form-data; name="file"; filename="file.wav"\r\n'
        b"content-type: audio/wav\r\n\r\nRIFF\r\n",
        b"--\r\n",
    ]
    assert fill(body, media, [ReadMedium(b"RIFF", "", "audio/wav")]) == (whole, kind)
    again, other = fill(body, media, [ReadMedium(boundary, "", "audio/wav")])
    assert again.count(b"--" + other.partition("boundary=")[2].encode()) == 3
    assert other != kind
