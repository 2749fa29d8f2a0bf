"""What the system test is made of, tried without an account: the records, the differences, the sweep, the visit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

import yaml

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, PermissionDeniedError
from tests.system import test_real_service as system
from tests.system.differences import Contract, Difference, between, leaves, listing
from tests.system.recording import Exchange, Recorder, RecordingClient
from tests.system.visit import Visit

CONTRACT = Path(__file__).resolve().parents[1] / "contract" / "inference-endpoints-2.0.0.yaml"
NAMES = ("one", "other")
ACME = "/v2/endpoint/the-namespace"


def record(*exchanges: Exchange, **outcomes: str) -> Recorder:
    return Recorder(exchanges=list(exchanges), outcomes=outcomes or {"look": "ok"})


def exchange(body: Any, status: int = 200, path: str = ACME, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange("look", "GET", path, status, named, body)


def whats(differences: list[Difference]) -> list[str]:
    return [difference.what for difference in differences]


def test_a_body_is_seen_by_its_places() -> None:
    """Lists are one place, however long; every type and text of it is kept."""
    seen = leaves({"items": [{"name": "a", "n": 1}, {"name": "b", "n": None}], "ok": True})
    assert {"(body)", "items", "items[]", "items[].name", "items[].n", "ok"} == set(seen)
    assert {"a", "b"} == seen["items[].name"].texts
    assert {"number", "null"} == seen["items[].n"].types


def test_equal_records_have_no_difference() -> None:
    """Numbers may differ: prices, counts and times do from day to day."""
    one = record(exchange({"a": 1, "text": "same"}, content_type="application/json"))
    other = record(exchange({"a": 2.5, "text": "same"}, content_type="application/json"))
    assert between(one, other, NAMES) == []


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (exchange({}), exchange({}, 202), "status [200] (one), [202] (other)"),
        (exchange({"a": 1}), exchange({}), "field a (number) only one"),
        (exchange({}), exchange({"a": {"b": [1]}}), "field a (object) only other"),
        (exchange({"a": None}), exchange({"a": "x"}), "type of a: null (one), string (other)"),
        (
            exchange({"error": "No"}, 400),
            exchange({"error": "Never"}, 400),
            "text of error: 'No' (one), 'Never' (other)",
        ),
        (exchange({}, retry="1"), exchange({}), "header retry only one"),
        (
            exchange({}, retry_after="1"),
            exchange({}, retry_after="9"),
            "header retry-after: '1' (one), '9' (other)",
        ),
    ],
)
def test_each_kind_of_difference_is_one_line(one: Exchange, other: Exchange, what: str) -> None:
    """Status, field, type, text, header: each is reported, and what is below a missing field is not reported again."""
    assert [what] == whats(between(record(one), record(other), NAMES))


def test_the_texts_of_the_market_are_not_compared() -> None:
    """What hardware is on offer differs from day to day; its fields do not."""
    one = record(exchange({"vendors": [{"name": "aws"}]}, path="/v2/provider"))
    other = record(exchange({"vendors": [{"name": "gcp"}]}, path="/v2/provider"))
    assert between(one, other, NAMES) == []


def test_outcomes_and_states_are_compared() -> None:
    """A step that ended otherwise, or went through other states, is reported even if each answer looks the same."""
    one = Recorder(outcomes={"wait": "ok"}, states={"wait": ["pending", "running"]})
    other = Recorder(outcomes={"wait": "EndpointFailedError"}, states={"wait": ["pending", "failed"]})
    assert whats(between(one, other, NAMES)) == [
        "the step ended with ok (one) and EndpointFailedError (other)",
        "states: pending -> running (one), pending -> failed (other)",
    ]


def test_a_difference_that_is_everywhere_is_told_once() -> None:
    """The list is for people: forty lines about one header hide the rest."""
    text = listing("Title", [Difference("header x only one", f"step {n}") for n in range(3)])
    assert "1 differences" in text
    assert "step 0 and in 2 more places" in text


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(yaml.safe_load(CONTRACT.read_text(encoding="utf-8")))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token="hf_Comparison0", namespace="acme") as running:
        yield running


def _body_of(recorder: Recorder, step: str) -> Any:
    return next(exchange.body for exchange in recorder.exchanges if exchange.step == step)


def visited(emulator: Emulator) -> Recorder:
    """The parts of the visit that create nothing, which take a second."""
    with RecordingClient(emulator.token, Recorder(), base_url=emulator.url) as client:
        visit = Visit(client, system.spec_of("hfe-system-unit"), patience=30.0)
        visit.account()
        visit.refusals()
    return client.recorder


def test_what_the_contract_does_not_say_is_listed(contract: Contract, emulator: Emulator) -> None:
    """A missing field, a wrong type, a field that is not documented, a status that was not announced."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        body = client.create(system.spec_of("hfe-system-unit")).raw
    assert contract.differences(record(exchange(body, path=f"{ACME}/the-endpoint"))) == []
    del body["provider"]
    body["status"]["brandNew"] = 1
    found = whats(contract.differences(record(exchange(body, path=f"{ACME}/the-endpoint"))))
    assert "field status.brandNew is not in the contract" in found
    assert any("'provider' is a required property" in what for what in found)
    teapot = contract.differences(record(exchange({}, 299, path=f"{ACME}/the-endpoint")))
    assert whats(teapot) == ["status 299 is not in the contract"]


def test_two_emulators_do_not_differ(contract: Contract, emulator: Emulator) -> None:
    """The visit itself brings no difference in, and what the emulator says is in the contract."""
    with Emulator(token="hf_Comparison1", namespace="other-name") as second:
        one, other = visited(emulator), visited(second)
    assert between(one, other, NAMES) == []
    assert contract.differences(one) == []


def test_a_fault_is_found(emulator: Emulator) -> None:
    """One of two emulators answers otherwise in one place: that place is listed, and nothing else."""
    with Emulator(token="hf_Comparison1", namespace="acme") as second:
        second.add_fault(
            "/v2/provider/quotas/", status=403, body={"error": "Forbidden: no quotas today"}, headers={"x-odd": "1"}
        )
        found = between(visited(emulator), visited(second), NAMES)
    assert {
        "the step ended with ok (one) and PermissionDeniedError (other)",
        "status [200] (one), [403] (other)",
    } == set(whats(found))
    assert {"quotas", "quotas: GET /v2/provider/quotas/the-namespace"} == {each.where for each in found}


def test_another_text_and_header_are_found(emulator: Emulator) -> None:
    """The same status in other words, and with another header."""
    with Emulator(token="hf_Comparison1", namespace="acme") as second:
        second.add_fault(
            "no-such-endpoint-here/pause", status=404, body={"error": "Gone fishing"}, headers={"x-odd": "1"}
        )
        found = whats(between(visited(emulator), visited(second), NAMES))
    assert "header x-odd only other" in found
    assert any(what.startswith("text of error: ") and "Gone fishing" in what for what in found)
    assert any(what.startswith("field code ") and what.endswith("only one") for what in found)


def test_a_record_names_no_account_and_no_token(emulator: Emulator) -> None:
    """The list is made to be sent to others."""
    recorder = visited(emulator)
    text = repr(recorder.exchanges)
    assert {"(text)"} == leaves(_body_of(recorder, "whoami"))["name"].texts
    assert "acme" not in text
    assert emulator.token not in text
    assert emulator.url not in text


def test_a_step_ends_with_an_error_and_the_visit_goes_on() -> None:
    """An error of the service is an outcome; a mistake of the test's own is not swallowed."""
    recorder = Recorder()
    with recorder.step("refused"):
        raise PermissionDeniedError("no")
    with recorder.step("cut"):
        raise httpx.ReadError("reset")
    with pytest.raises(ZeroDivisionError), recorder.step("mistake"):
        _ = 1 / 0
    assert recorder.outcomes == {"refused": "PermissionDeniedError", "cut": "ReadError"}


def test_what_a_killed_run_left_behind_is_swept(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ones with the test's own prefix go; young ones may be another run's, and other names are not touched."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        for name in (f"{system.PREFIX}old-a", "somebody-elses"):
            client.create(system.spec_of(name))
        account = system.Account(client)
        account.sweep()
        assert len(client.list_inference_endpoints()) == 2
        monkeypatch.setattr(system, "LEFT_BEHIND", -60)
        account.sweep()
        assert [endpoint.name for endpoint in client.list_inference_endpoints()] == ["somebody-elses"]


def test_everything_of_a_run_is_deleted(emulator: Emulator) -> None:
    """Names that were never used are fine; one that can't be deleted is named, after the others are gone."""
    with EndpointsClient(emulator.token, base_url=emulator.url, retry_budget=0.1) as client:
        account = system.Account(client)
        for suffix in ("a", "d"):
            client.create(system.spec_of(account.name(suffix)))
        account.name("never")
        emulator.add_fault(f"{account.names[0]}$", method="DELETE", status=403, count=1)
        with pytest.raises(AssertionError, match=f"BY HAND.*{account.names[0]}"):
            account.clean_up()
        with pytest.raises(EndpointNotFoundError):
            client.get_inference_endpoint(account.names[1])
        account.clean_up()
        assert client.list_inference_endpoints() == []


def test_names_are_unique_and_fit() -> None:
    """A run's names differ from any other run's, and are not longer than the service takes."""
    with EndpointsClient("hf_Comparison0", base_url="http://127.0.0.1:1") as client:
        names = [system.Account(client).name("a") for _ in range(20)]
    assert len(set(names)) == 20
    assert all(name.startswith(system.PREFIX) and len(f"{name}-c") <= 32 for name in names)


def test_it_is_skipped_without_a_token() -> None:
    """No account is used by accident: the marker and the condition apply to the whole module."""
    assert "system" in [mark.name for mark in system.pytestmark]
    skip = next(mark for mark in system.pytestmark if mark.name == "skipif")
    assert (not system.TOKEN,) == skip.args
    assert sys.modules[system.__name__].__doc__
