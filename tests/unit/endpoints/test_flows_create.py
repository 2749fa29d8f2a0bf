"""An endpoint is created once, whatever becomes of the answer; the service's part is played by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api import creating
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer
from tests.unit.endpoints.play import (
    CUT,
    FORBIDDEN,
    NOT_FOUND,
    NOW,
    TIMEOUT,
    UNAUTHORIZED,
    Play,
    changed,
    raw,
    service_error,
    spec,
)

UNREACHABLE = errors.ServiceUnreachableError("Connection refused")
TAKEN = errors.NameTakenError("Conflict: exists", status=409, method="POST", path="/v2/endpoint/acme")
VAGUE = errors.NameTakenError("Conflict", status=409, method="POST", path="/v2/endpoint/acme")
QUOTA = errors.QuotaExceededError("Conflict: Quota exceeded", status=409)

GET = "GET /v2/endpoint/acme/tickets"
POST = "POST /v2/endpoint/acme"


def test_a_create_is_one_request() -> None:
    """The usual case: one POST, its answer parsed; nothing is reported as dropped."""
    play = Play(raw("pending"))
    made = play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST]
    assert (made.status, made.unapplied) == ("pending", ())
    assert play.requests[0].json == spec().payload()
    assert not play.requests[0].repeatable


def test_what_the_service_changed_is_logged_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    """Silent acceptance is not silent here."""
    play = Play(changed(raw("pending"), "type", "private"))
    made = play.run(creating.create(play.session, spec(), None))
    assert [each.field for each in made.unapplied] == ["type"]
    assert "acme/tickets: type: sent 'authenticated', but the service answered 'private'" in caplog.text


@pytest.mark.parametrize("error", [TIMEOUT, CUT, service_error(500), service_error(504)], ids=str)
def test_a_create_that_had_arrived_is_not_sent_again(error: Exception) -> None:
    """The answer was lost, the endpoint is there and young: it is ours, and there is one POST."""
    play = Play(error, raw("pending"))
    assert play.run(creating.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET]
    assert len(play.pauses) == 1


@pytest.mark.parametrize("error", [TIMEOUT, CUT, service_error(502)], ids=str)
def test_a_create_that_had_not_arrived_is_sent_once_more(error: Exception) -> None:
    """The name is free: exactly one more POST."""
    play = Play(error, NOT_FOUND, raw("pending"))
    assert play.run(creating.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET, POST]


def test_an_older_endpoint_of_the_name_is_somebody_elses() -> None:
    """After an uncertain create, an endpoint that existed before is a taken name, not a success."""
    play = Play(TIMEOUT, raw("running", created=NOW - timedelta(hours=1)))
    with pytest.raises(errors.NameTakenError, match="existed before"):
        play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST, GET]


@pytest.mark.parametrize(
    ("created", "date", "young"),
    [
        ("2026-10-05T12:00:01Z", None, True),
        ("2026-10-05T12:00:01", None, True),  # no zone: UTC
        ("2026-10-05T11:00:00Z", None, False),
        # The service's clock is an hour ahead: its own Date tells the age.
        ("2026-10-05T13:00:01Z", "Mon, 05 Oct 2026 13:00:02 GMT", True),
        ("2026-10-05T13:00:01Z", "Mon, 05 Oct 2026 13:00:02 -0000", True),
        ("2026-10-05T12:00:01Z", "Mon, 05 Oct 2026 13:00:02 GMT", False),
        ("2026-10-05T12:00:01Z", "no date", True),
        (None, None, False),
    ],
)
def test_the_age_is_told_by_the_services_clock(created: str | None, date: str | None, young: bool) -> None:
    """Young is what was made since our first try, by the clock of the service where its answer has it."""
    headers = {} if date is None else {"date": date}
    play = Play(TIMEOUT, Answer(200, headers, raw("pending", createdAt=created)))
    if young:
        assert play.run(creating.create(play.session, spec(), None)).name == "tickets"
    else:
        with pytest.raises(errors.NameTakenError):
            play.run(creating.create(play.session, spec(), None))


def test_a_create_that_stays_uncertain_ends() -> None:
    """Three tries, each looked up: then the last error, which says what the service said."""
    play = Play(TIMEOUT, NOT_FOUND, CUT, NOT_FOUND, service_error(503), NOT_FOUND)
    with pytest.raises(errors.ServiceError, match="503"):
        play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST, GET] * 3


def test_a_create_that_never_left_is_not_looked_up() -> None:
    """Connection refused proves that nothing was made."""
    play = Play(UNREACHABLE)
    with pytest.raises(errors.ServiceUnreachableError):
        play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST]


def test_an_answer_that_cannot_be_read_is_looked_up() -> None:
    """A success whose answer is not an endpoint has made one: it is found, so it can be stopped."""
    play = Play({"accepted": True}, raw("pending"))
    assert play.run(creating.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET]


def test_retry_after_holds_for_a_create_too() -> None:
    """A 503 with Retry-After is looked up and sent again when the service said, not earlier."""
    play = Play(service_error(503, retry_after=20.0), NOT_FOUND, raw("pending"))
    play.run(creating.create(play.session, spec(), None))
    assert sum(play.pauses) >= 20.0


def test_a_create_does_not_wait_for_an_hour() -> None:
    """A Retry-After that is out of proportion ends the create; the error says how long it was."""
    play = Play(service_error(503, retry_after=3600.0), NOT_FOUND)
    with pytest.raises(errors.ServiceError) as caught:
        play.run(creating.create(play.session, spec(), None))
    assert caught.value.retry_after == 3600.0
    assert sum(play.pauses) <= 60.0


def test_a_409_after_an_uncertain_try_is_ours() -> None:
    """The first try arrived late, between the look and the second try: no error, no second endpoint."""
    play = Play(TIMEOUT, NOT_FOUND, TAKEN, raw("pending"))
    assert play.run(creating.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET, POST, GET]


def test_a_409_after_an_uncertain_try_is_theirs_when_it_is_old() -> None:
    """The same with an endpoint from before our first try."""
    play = Play(TIMEOUT, NOT_FOUND, TAKEN, raw("running", created=NOW - timedelta(days=1)))
    with pytest.raises(errors.NameTakenError):
        play.run(creating.create(play.session, spec(), None))


def test_a_409_at_once_is_a_taken_name() -> None:
    """Without an uncertain try before it, even a young endpoint is somebody else's."""
    play = Play(TAKEN, raw("pending"))
    with pytest.raises(errors.NameTakenError, match="exists"):
        play.run(creating.create(play.session, spec(), None))


def test_a_409_with_words_of_quota_is_one() -> None:
    """The body tells: no lookup is needed."""
    play = Play(QUOTA)
    with pytest.raises(errors.QuotaExceededError):
        play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST]


def test_a_409_without_words_and_without_an_endpoint_is_a_quota() -> None:
    """Neither body nor name explains it: no endpoint has the name, so it is not the name."""
    play = Play(VAGUE, NOT_FOUND, NOT_FOUND)
    with pytest.raises(errors.QuotaExceededError, match="the name is not the cause") as caught:
        play.run(creating.create(play.session, spec(), None))
    assert (caught.value.method, caught.value.path, caught.value.status) == ("POST", "/v2/endpoint/acme", 409)


def test_a_taken_name_that_is_read_late_is_a_taken_name() -> None:
    """Reads lag behind writes: the second lookup finds what another user created a moment ago."""
    play = Play(TAKEN, NOT_FOUND, raw("pending"))
    with pytest.raises(errors.NameTakenError, match="exists") as caught:
        play.run(creating.create(play.session, spec(), None))
    assert (False, [POST, GET, GET], 1) == (caught.value.retryable, play.asked, len(play.pauses))


def test_our_own_late_create_is_found_although_reads_lag() -> None:
    """The first try arrived after its timeout, and the first lookup after the 409 does not show it yet."""
    play = Play(TIMEOUT, NOT_FOUND, TAKEN, NOT_FOUND, raw("pending"))
    assert "tickets" == play.run(creating.create(play.session, spec(), None)).name


def test_a_taken_name_that_nobody_can_read_is_free_again_later() -> None:
    """The service keeps the name of a deleted endpoint for a while: a retry helps, and other hardware does not."""
    play = Play(TAKEN, NOT_FOUND, NOT_FOUND)
    with pytest.raises(errors.NameTakenError, match="free again after about 90 seconds") as caught:
        play.run(creating.create(play.session, spec(), None))
    assert caught.value.retryable


@pytest.mark.parametrize("error", [FORBIDDEN, service_error(503)], ids=str)
def test_a_409_that_cannot_be_looked_up_stays_one(error: Exception) -> None:
    """A token that may write and not read, or an outage, does not replace the 409 by another error."""
    play = Play(TAKEN, error)
    with pytest.raises(errors.NameTakenError, match="exists"):
        play.run(creating.create(play.session, spec(), None))


def test_a_create_that_is_answered_500_again_and_again_names_a_likely_cause() -> None:
    """A gated model without access is a 500 (huggingface_hub#2338, June 2024): the error says where to look."""
    play = Play(*[reply for _ in range(3) for reply in (service_error(500), NOT_FOUND)])
    with pytest.raises(errors.ServiceError, match=r"gated.*https://huggingface\.co/acme/small"):
        play.run(creating.create(play.session, spec(), None))


def test_a_create_whose_answer_can_not_change_is_looked_up_and_not_sent_again() -> None:
    """501: nothing was made, and nothing would be."""
    lasting = errors.ServiceError("Not Implemented", status=501, retryable=False)
    play = Play(lasting, NOT_FOUND)
    with pytest.raises(errors.ServiceError, match="Not Implemented"):
        play.run(creating.create(play.session, spec(), None))
    assert len(play.asked) == 2


@pytest.mark.parametrize("answer", [[], {}, None, {"name": "tickets"}])
def test_an_odd_answer_to_the_lookup_is_a_typed_error(answer: Any) -> None:
    """The lookup after an uncertain create fails as the service's fault, too."""
    play = Play(TIMEOUT, answer)
    with pytest.raises(errors.InvalidAnswerError):
        play.run(creating.create(play.session, spec(), None))


@pytest.mark.parametrize(
    "error",
    [
        errors.NoCapacityError("Compute instance not available yet", status=400),
        errors.PaymentRequiredError("Payment method required", status=403),
        FORBIDDEN,
        UNAUTHORIZED,
        errors.BadRequestError("no", status=422),
        errors.RateLimitError("slow down", status=429),
    ],
    ids=str,
)
def test_a_refused_create_is_refused(error: Exception) -> None:
    """What the service refused has not happened: the error goes to the caller at once."""
    play = Play(error)
    with pytest.raises(type(error)):
        play.run(creating.create(play.session, spec(), None))
    assert play.asked == [POST]


# --- from the catalog


def test_create_from_the_catalog() -> None:
    """The answer wraps the endpoint."""
    play = Play({"endpoint": raw("pending")})
    made = play.run(creating.create_from_catalog(play.session, None, {"repo_id": "acme/small", "name": "tickets"}))
    assert made.status == "pending"
    assert play.asked == ["POST /model/acme/small/deploy"]
    assert play.requests[0].json == {"namespace": "acme", "config": {"name": "tickets"}}
    assert not play.requests[0].repeatable


DEPLOY = "POST /model/acme/small/deploy"


def test_a_deploy_that_had_arrived_is_found() -> None:
    """A lost or unreadable answer does not leave an endpoint that no caller knows of."""
    for lost in (TIMEOUT, CUT, service_error(503), {"accepted": True}):
        play = Play(lost, raw("pending"))
        made = play.run(creating.create_from_catalog(play.session, None, {"repo_id": "acme/small", "name": "tickets"}))
        assert made.status == "pending"
        assert play.asked == [DEPLOY, GET]


@pytest.mark.parametrize("choice", [{"name": "tickets"}, {}], ids=["named", "unnamed"])
def test_a_deploy_of_unknown_fate_is_not_sent_again(choice: dict[str, str]) -> None:
    """Not found, or without a name to look for: the first error is the caller's, and there is one POST."""
    play = Play(TIMEOUT, NOT_FOUND)
    with pytest.raises(errors.RequestTimeoutError):
        play.run(creating.create_from_catalog(play.session, None, {"repo_id": "acme/small", **choice}))
    assert play.asked.count(DEPLOY) == 1


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "repo_id"),
        ({"repo_id": "acme/small", "recipe_id": "p"}, "exactly one"),
        ({"recipe_id": "p", "accelerator": "gpu"}, "accelerator"),
        ({"recipe_id": "p", "gguf_file": "f"}, "gguf_file"),
        ({"repo_id": "acme/small", "name": "x" * 33}, "33"),
        ({"repo_id": ""}, "repo_id=''"),
        ({"repo_id": "../../v2"}, "repo_id="),
        ({"repo_id": "a/b/c"}, "repo_id="),
    ],
)
def test_bad_choices_of_the_catalog(choice: dict[str, Any], words: str) -> None:
    """Refused before anything is sent, with the argument's name."""
    play = Play()
    with pytest.raises(errors.InvalidArgumentError, match=words):
        play.run(creating.create_from_catalog(play.session, None, choice))


@pytest.mark.parametrize("answer", [[], {}, {"endpoint": None}, {"endpoint": {}}])
def test_odd_answers_of_the_catalog_are_typed_errors(answer: Any) -> None:
    """An answer that is not an endpoint fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/model/acme/small/deploy"):
        Play(answer).run(creating.create_from_catalog(Play().session, None, {"repo_id": "acme/small"}))
