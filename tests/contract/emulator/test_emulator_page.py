"""The emulator's page of an endpoint, as a browser gets it: without a token, from the link of a task in Airflow."""

from __future__ import annotations

import httpx

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.links.endpoints import endpoint_page_url
from tests.contract.emulator_play import Play, client


def page(emulator: Emulator, name: str = "demo") -> httpx.Response:
    with client(emulator, token="") as browser:
        return browser.get(endpoint_page_url(emulator.url, "acme", name))


def test_what_a_page_shows(emulator: Emulator) -> None:
    """The state, the model, the hardware, the states before, and the requests; no value of a secret."""
    play = Play(emulator)
    play.create(model={"secrets": {"API_KEY": "a-value-to-hide"}})
    play.until("running")
    play.post("pause")
    answer = page(emulator)
    assert (200, "text/html; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    for text in (
        "<h1>acme/demo</h1>",
        '<span class="state paused">paused</span>',
        "org/model (text-generation)",
        "intel-icl x2, cpu",
        "<td>initializing</td>",
        "<td>/v2/endpoint/acme/demo/pause</td>",
        "Cost so far",
    ):
        assert text in answer.text
    assert "a-value-to-hide" not in answer.text


def test_a_page_escapes_what_it_shows(emulator: Emulator) -> None:
    """A message of an engine is text and never markup."""
    emulator.behave("demo", fail="<script>alert(1)</script>")
    play = Play(emulator)
    play.create()
    play.until("failed")
    answer = page(emulator).text
    assert "<script>" not in answer
    assert "&lt;script&gt;" in answer


def test_opening_a_page_is_no_request_to_the_service(emulator: Emulator) -> None:
    """It is not recorded, and meets no fault."""
    Play(emulator).create()
    before = len(emulator.requests)
    emulator.add_fault(".*", status=503)
    assert 200 == page(emulator).status_code
    assert before == len(emulator.requests)


def test_a_deleted_endpoint_has_a_page_and_an_unknown_one_has_none(emulator: Emulator) -> None:
    """The link of an old run still tells what the endpoint has cost."""
    play = Play(emulator)
    play.create()
    play.http.delete(f"{play.base}/demo")
    assert '<span class="state deleted">deleted</span>' in page(emulator).text
    assert 404 == page(emulator, "other").status_code
