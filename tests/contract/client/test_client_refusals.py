"""What the service refuses, as both clients of the control plane tell it, on real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Ready
from tests.contract.client.client_play import GPU, TOKEN, Either, asked, goal


def test_a_wrong_token(emulator: Emulator, asynchronous: bool) -> None:
    """The error of a 401 names the 401 and what to check, without the token, whatever the request was."""
    client = Either(emulator, asynchronous, token="hf_WrongWrongWrong123", namespace="acme")
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("whoami", ()),
        ("list_inference_endpoints", ()),
        ("get_inference_endpoint", ("tickets",)),
        ("pause_inference_endpoint", ("tickets",)),
        ("delete_inference_endpoint", ("tickets",)),
        ("wait", ("tickets", goal())),
        ("poll", ("tickets", goal())),
    ]
    for method, args in calls:
        with pytest.raises(errors.AuthenticationError, match="password") as caught:
            client(method, *args)
        assert "WrongWrong" not in str(caught.value)
    client.close()


def test_a_token_that_may_only_read(asynchronous: bool) -> None:
    """403 names the scope that is missing; reading works."""
    reader = Token("hf_reader", permissions=frozenset({"read"}))
    with Emulator(token=TOKEN, namespace="acme", tokens=(reader,)) as emulator:
        client = Either(emulator, asynchronous, token="hf_reader")
        assert client("list_inference_endpoints") == []
        with pytest.raises(
            errors.PermissionDeniedError,
            match=r"may not change namespace 'acme'.* the permission inference\.endpoints\.write",
        ):
            client.create()
        assert client("whoami").permissions() == {"inference.endpoints.read"}
        client.close()


@pytest.mark.parametrize("to_zero", [False, True], ids=["running", "scaled-to-zero"])
def test_a_token_that_may_manage_and_not_call(asynchronous: bool, to_zero: bool) -> None:
    """Waiting for such an endpoint would never end: the missing permission is named, asleep or running."""
    manager = Token("hf_manager", permissions=frozenset({"read", "write"}))
    with Emulator(token=TOKEN, namespace="acme", tokens=(manager,)) as emulator:
        owner = Either(emulator, asynchronous)
        owner.running()
        client = Either(emulator, asynchronous, token="hf_manager")
        if to_zero:
            client("scale_to_zero_inference_endpoint", "tickets")
            assert isinstance(client.wait(target_states=frozenset({"scaledToZero"})), Ready)
        end = client.wait()
        owner.close()
        client.close()
    assert isinstance(end, Failed)
    assert "inference.endpoints.infer.write" in end.reason


def test_no_payment_method(asynchronous: bool) -> None:
    """A 403 with words about payment is not reported as a token problem; the error says who has to act."""
    with Emulator(token=TOKEN, namespace="acme", can_pay=False) as emulator:
        client = Either(emulator, asynchronous)
        with pytest.raises(errors.PaymentRequiredError, match="payment method") as caught:
            client.create()
        client.close()
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("x" * 33, {}, "33"),
        ("Tickets", {}, "lower-case"),
        ("tickets", {"scale_to_zero_timeout": 5}, "scale_to_zero_timeout=5"),
        ("tickets", {"type": "secret"}, "authenticated"),
    ],
)
def test_bad_arguments_send_nothing(
    emulator: Emulator, client: Either, name: str, changes: dict[str, Any], words: str
) -> None:
    """A name of 33 characters, five idle minutes and an unknown type are refused before any request."""
    with pytest.raises(errors.InvalidArgumentError, match=words):
        client.create(name, **changes)
    assert emulator.requests == []


def test_an_unknown_instance_type(emulator: Emulator, client: Either) -> None:
    """The service's own words name the hardware; a retry does not help."""
    with pytest.raises(errors.BadRequestError, match=r"c6i.*not found") as caught:
        client.create(instance_type="c6i", instance_size="medium")
    assert not caught.value.retryable


def test_no_capacity(emulator: Emulator, client: Either) -> None:
    """400 'not available yet' is its own error, with another choice as advice."""
    emulator.set_capacity("nvidia-a10g", available=False)
    with pytest.raises(errors.NoCapacityError, match="another instance type"):
        client.create(**GPU)
    assert asked(emulator, "POST") == 1


def test_a_duplicate_name_and_a_used_up_quota(emulator: Emulator, client: Either) -> None:
    """Both are 409: their words, and a look at the name, distinguish them."""
    client.create()
    with pytest.raises(errors.NameTakenError):
        client.create()
    emulator.set_quota("nvidia-a10g", 0)
    with pytest.raises(errors.QuotaExceededError):
        client.create("other", **GPU)


def test_a_409_that_says_nothing_is_looked_up(emulator: Emulator, client: Either) -> None:
    """A body without words: no endpoint has the name, so it is the quota; one has it, so it is the name."""
    emulator.add_fault("/v2/endpoint/acme$", method="POST", status=409, body={"error": "Conflict"})
    with pytest.raises(errors.QuotaExceededError, match="the name is not the cause"):
        client.create()
    emulator.clear_faults()
    client.create()
    emulator.add_fault("/v2/endpoint/acme$", method="POST", status=409, body={"error": "Conflict"})
    with pytest.raises(errors.NameTakenError):
        client.create()
