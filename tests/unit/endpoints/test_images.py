"""The image of a request: flat or keyed, with credentials and parallelism where the engine knows them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.images import (
    ENGINES,
    build_image,
    reusable_image,
    with_parallelism,
)


def test_without_an_image_it_is_hugging_faces_own() -> None:
    """Nothing given means the default container, as in huggingface_hub."""
    assert build_image(None).payload == {"huggingface": {}}


def test_a_flat_image_is_a_custom_one() -> None:
    """The guide's flat form becomes the `custom` variant, whole."""
    assert build_image({"url": "r/i:1", "port": 80}).payload == {"custom": {"url": "r/i:1", "port": 80}}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_keyed_by_its_engine(engine: str) -> None:
    """Every engine of the contract is passed on as it is given."""
    settings: dict[str, Any] = {"url": "r/i:1", "port": 80}
    if engine == "llamacpp":
        settings["modelPath"] = "m.gguf"
    assert {engine: settings} == build_image({engine: settings}).payload


@pytest.mark.parametrize(("written", "engine"), [("vllm", "vLLM"), ("SGLANG", "sGLang"), ("TGI", "tgi")])
def test_the_case_of_an_engine_is_forgiven(written: str, engine: str) -> None:
    """`vllm` is meant as `vLLM`, which the service would not know."""
    assert [engine] == list(build_image({written: {"url": "r/i:1"}}).payload)


def test_an_engine_of_tomorrow_is_passed_on() -> None:
    """An engine that is added to the service later needs no new release of this package."""
    assert build_image({"quick": {"url": "r/i:1", "x": 1}}).payload == {"quick": {"url": "r/i:1", "x": 1}}


@pytest.mark.parametrize("image", [{"huggingface": {}}, {"huggingfaceNeuron": {"batchSize": 1}}])
def test_hugging_faces_own_images_need_no_url(image: dict[str, Any]) -> None:
    """The two variants without a url in the contract."""
    assert image == build_image(image).payload


@pytest.mark.parametrize(
    "image", [{"url": "r/i:1", "health_route": "/h"}, {"vLLM": {"url": "r", "health_route": "/h"}}]
)
def test_health_route_is_the_older_spelling(image: dict[str, Any]) -> None:
    """`health_route` works with a warning, flat or keyed: the service would drop it silently."""
    with pytest.warns(FutureWarning, match="healthRoute"):
        (settings,) = build_image(image).payload.values()
    assert settings["healthRoute"] == "/h"
    assert "health_route" not in settings


def test_the_newer_spelling_wins() -> None:
    """Who gives both means the newer one."""
    with pytest.warns(FutureWarning, match="healthRoute"):
        image = build_image({"url": "r/i:1", "health_route": "/old", "healthRoute": "/new"})
    assert image.payload == {"custom": {"url": "r/i:1", "healthRoute": "/new"}}


@pytest.mark.parametrize(
    "image", [{"url": "r/i:1", "env": {"A": 1}}, {"vLLM": {"url": "r/i:1", "env": {"A": 1}}}], ids=["flat", "keyed"]
)
def test_env_moves_out_of_the_image(image: dict[str, Any]) -> None:
    """`env` inside an image is taken out, as text, for the place where the service reads it."""
    with pytest.warns(FutureWarning, match="env"):
        built = build_image(image)
    assert built.env == {"A": "1"}
    assert list(built.payload.values()) == [{"url": "r/i:1"}]


def test_the_callers_dict_is_not_changed() -> None:
    """Building an image leaves the caller's own dict as it was."""
    given = {"url": "r/i:1", "env": {"A": "1"}, "health_route": "/h"}
    before = dict(given)
    with pytest.warns(FutureWarning):
        build_image(given)
    assert before == given


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({}, ["custom_image", "empty"]),
        ("r/i:1", ["custom_image", "str"]),
        ({"url": ""}, ["has no 'url'"]),
        ({"url": None}, ["has no 'url'"]),
        ({"vLLM": {}}, ["custom_image['vLLM']", "has no 'url'"]),
        ({"vLLM": None}, ["custom_image['vLLM']", "dict"]),
        ({"vLLM": "r/i:1"}, ["custom_image['vLLM']", "dict"]),
        ({"llamacpp": {"url": "r/i:1"}}, ["modelPath"]),
        ({"vLLM": {"url": "a"}, "tgi": {"url": "b"}}, ["vLLM", "tgi", "exactly one"]),
        ({"port": 80, "healthRoute": "/h"}, ["port", "'url'"]),
        ({"url": "r/i:1", "env": "A=1"}, ["env", "dict", "str"]),
    ],
)
def test_bad_images(image: Any, words: list[str]) -> None:
    """An image that the service would refuse, or half drop, is refused here with what is missing."""
    with pytest.raises(InvalidArgumentError) as caught:
        build_image(image)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"custom_image": {"url": "r"}, "password": "p"}, "username"),
        ({"custom_image": None, "username": "u"}, "custom_image"),
        ({"custom_image": {"vLLM": {"url": "r"}}, "username": "u"}, "vLLM"),
    ],
)
def test_credentials_without_their_registry(arguments: dict[str, Any], words: str) -> None:
    """Credentials that nothing would use are refused, without the password."""
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        build_image(**arguments)
    assert "'p'" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "size", "key"),
    [
        ("vLLM", "tensor_parallel_size", "tensorParallelSize"),
        ("vLLM", "data_parallel_size", "dataParallelSize"),
        ("sGLang", "tensor_parallel_size", "tensorParallelSize"),
        ("quick", "data_parallel_size", "dataParallelSize"),
    ],
)
def test_parallelism_goes_into_the_engine(engine: str, size: str, key: str) -> None:
    """The sizes are settings of the engine; they overwrite what the image says. A new engine gets them too."""
    sizes: dict[str, Any] = {size: 2}
    built = build_image({engine: {"url": "r", key: 9}}, **sizes)
    assert {engine: {"url": "r", key: 2}} == built.payload


@pytest.mark.parametrize(
    ("image", "size"),
    [
        ({"huggingface": {}}, "tensor_parallel_size"),
        ({"tgi": {"url": "r"}}, "tensor_parallel_size"),
        ({"custom": {"url": "r"}}, "data_parallel_size"),
        ({"sGLang": {"url": "r"}}, "data_parallel_size"),
    ],
)
def test_parallelism_that_would_be_dropped_is_refused(image: dict[str, Any], size: str) -> None:
    """An engine without such a setting would run unparallel, with a 200: better an error."""
    sizes: dict[str, Any] = {size: 2}
    with pytest.raises(InvalidArgumentError, match=size):
        build_image(image, **sizes)


def test_without_sizes_nothing_changes() -> None:
    """No size given, no size sent."""
    assert with_parallelism({"vLLM": {"url": "r", "tensorParallelSize": 4}}, None, None) == {
        "vLLM": {"url": "r", "tensorParallelSize": 4}
    }


def test_the_running_image_can_be_sent_back() -> None:
    """What runs now is sent whole, because the service takes no part of an image."""
    image = {"vLLM": {"url": "r", "maxNumSeqs": 8}}
    assert image == reusable_image(image, "tickets")
    assert reusable_image({"custom": {"url": "r", "credentials": None}}, "tickets") == {
        "custom": {"url": "r", "credentials": None}
    }


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "no image"),
        ({}, "no image"),
        ({"custom": {"url": "r", "credentials": {"username": "u", "password": "***"}}}, "redacts"),
        ({"vLLM": None}, "dict"),
    ],
)
def test_an_image_that_cannot_be_sent_back(image: Any, words: str) -> None:
    """Redacted credentials must not overwrite the real ones; an image that is not reported cannot be sent."""
    with pytest.raises(InvalidArgumentError, match=words):
        reusable_image(image, "tickets")
