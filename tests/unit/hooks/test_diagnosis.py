"""What a test of the connection says, in every case that a person at the form can be in; the emulator answers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from airflow_provider_hf_endpoints.emulator import Emulator, Token
from airflow_provider_hf_endpoints.endpoints.models import WhoAmI
from airflow_provider_hf_endpoints.hooks import diagnosis
from airflow_provider_hf_endpoints.hooks.connection import ConnectionSettings
from airflow_provider_hf_endpoints.hooks.diagnosis import CALL, READ, WRITE, diagnose, granted_in, lacks

TOKEN = "hf_diagnosis_token"
CLOSED = "http://127.0.0.1:9"  # the port of "discard": nobody listens


@pytest.fixture(autouse=True)
def _no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_RETRY_BUDGET", 0.0)


def settings(url: str, token: str = TOKEN, **changes: Any) -> ConnectionSettings:
    return ConnectionSettings(
        **{"token": SecretStr(token), "source": "the connection 'mine'", "base_url": url, **changes}
    )


def owner(*scopes: str, entity: str | None = "alice", **raw: Any) -> WhoAmI:
    scoped = [{"entity": {"type": "user", "name": entity}, "permissions": list(scopes)}]
    token = {"role": "fineGrained", "fineGrained": {"scoped": scoped}}
    return WhoAmI.model_validate({"type": "user", "name": "alice", "auth": {"accessToken": token}, **raw})


def test_a_good_connection() -> None:
    """Whose token it is, its role, the namespaces it sees, and that the control plane answers."""
    with Emulator(token=TOKEN, namespace="alice", orgs=("acme",)) as emulator:
        ok, text = diagnose(settings(emulator.url))
        asked = [request.path.partition("?")[0] for request in emulator.requests]
    assert ok
    assert text == (
        "The token belongs to alice, role write. Namespaces: alice, acme. "
        "The control plane answers: 0 endpoints in namespace alice."
    )
    assert asked == ["/api/whoami-v2", "/v2/endpoint/alice"]


def test_the_namespace_of_the_connection_is_the_one_that_is_asked() -> None:
    """With a namespace in the extra, or given to the hook, that one is looked at."""
    with Emulator(token=TOKEN, namespace="alice", orgs=("acme", "other")) as emulator:
        assert "in namespace acme" in diagnose(settings(emulator.url, namespace="acme"))[1]
        assert "in namespace other" in diagnose(settings(emulator.url, namespace="acme"), "other")[1]


def test_a_wrong_token() -> None:
    """A token that Hugging Face does not know fails, with where it came from, and is not shown."""
    with Emulator(token=TOKEN) as emulator:
        ok, text = diagnose(settings(emulator.url, token="hf_wrong_token"))
    assert not ok
    assert "does not accept the token of the connection 'mine'" in text
    assert "hf_wrong_token" not in text


def test_a_token_that_may_only_call() -> None:
    """Without the permission to look, the control plane's refusal is shown with what is missing."""
    caller = Token("hf_caller_token", permissions=frozenset({"infer"}))
    with Emulator(token=TOKEN, namespace="alice", tokens=(caller,)) as emulator:
        ok, text = diagnose(settings(emulator.url, token="hf_caller_token"))
    assert not ok
    assert text.startswith("The token of the connection 'mine' may not read namespace")
    assert (
        f"The token lacks these permissions for alice: {READ} (to look at endpoints), {WRITE} (to manage endpoints)."
        in text
    )


def test_a_token_that_may_only_look() -> None:
    """A connection that works for a sensor passes, and says what it can't do."""
    watcher = Token("hf_watcher_token", permissions=frozenset({"read"}))
    with Emulator(token=TOKEN, namespace="alice", tokens=(watcher,)) as emulator:
        ok, text = diagnose(settings(emulator.url, token="hf_watcher_token"))
    assert ok
    assert f"{WRITE} (to manage endpoints), {CALL} (to call endpoints)" in text


def test_nobody_pays() -> None:
    """A user without a payment method gets a warning before the first create is refused."""
    with Emulator(token=TOKEN, namespace="alice", can_pay=False) as emulator:
        ok, text = diagnose(settings(emulator.url))
    assert ok
    assert "alice has no payment method" in text


def test_the_hub_can_not_be_reached() -> None:
    """A network error of the hub is described in words."""
    ok, text = diagnose(settings(CLOSED, timeout=1.0))
    assert not ok
    assert text.startswith("Could not look up the owner of the token. Cannot connect to http://127.0.0.1:")
    assert "is the emulator running?" in text


def test_the_control_plane_can_not_be_reached() -> None:
    """When only the control plane fails, the token's owner is known and said."""
    with Emulator(token=TOKEN, namespace="alice") as emulator:
        ok, text = diagnose(settings(CLOSED, hub_url=emulator.url, timeout=1.0))
    assert not ok
    assert text.startswith("Cannot connect to http://127.0.0.1:")
    assert "The token belongs to alice" in text


def test_an_answer_that_is_no_list() -> None:
    """A login page instead of the control plane is recognised."""
    with Emulator(token=TOKEN, namespace="alice") as emulator:
        emulator.add_fault(path="/v2/", kind="not_json")
        ok, text = diagnose(settings(emulator.url))
    assert not ok
    assert "not JSON" in text


def test_a_namespace_that_is_not_the_tokens() -> None:
    """A namespace of which the token's user is not a member is refused, or at least named."""
    with Emulator(token=TOKEN, namespace="alice") as emulator:
        ok, text = diagnose(settings(emulator.url, namespace="strangers"))
    assert not ok
    assert text.startswith("The token of the connection 'mine' may not read namespace")


def test_scopes_count_where_they_are_granted() -> None:
    """A permission for the user is not one for an organisation; an entry without a name counts everywhere."""
    assert granted_in(owner(READ, WRITE), "alice") == {READ, WRITE}
    assert granted_in(owner(READ, WRITE), "acme") == set()
    assert granted_in(owner(READ, entity=None), "acme") == {READ}
    assert granted_in(WhoAmI(name="alice"), "alice") is None


def test_who_may_manage_may_look() -> None:
    """The write scope is not followed by a complaint about read."""
    assert lacks(owner(WRITE, CALL), "alice") == []
    assert lacks(owner(READ, WRITE, CALL), "alice") == []


def test_a_read_token() -> None:
    """A classic token with the role read can't manage; one with write lacks nothing."""
    [problem] = lacks(WhoAmI(name="alice", role="read"), "alice")
    assert "role read" in problem
    assert lacks(WhoAmI(name="alice", role="write"), "alice") == []


def test_a_namespace_without_a_payment_method() -> None:
    """`canPay` false is reported; an unknown `canPay` is not."""
    [problem] = lacks(WhoAmI(name="alice", role="write", can_pay=False), "alice")
    assert "no payment method" in problem
    assert lacks(WhoAmI(name="alice", role="write", can_pay=None), "alice") == []


@pytest.mark.parametrize("namespace", [None, "acme"])
def test_no_text_ever_shows_the_token(namespace: str | None) -> None:
    """Whatever comes out, the token is not in it."""
    with Emulator(token=TOKEN, namespace="alice", orgs=("acme",)) as emulator:
        emulator.add_fault(path="/v2/", status=403, body={"error": f"Forbidden: {TOKEN} may not"})
        ok, text = diagnose(settings(emulator.url), namespace)
    assert not ok
    assert TOKEN not in text
