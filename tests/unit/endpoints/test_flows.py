"""What takes more than one request, with the service's part played by hand."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors, flows
from airflow_provider_hf_endpoints.endpoints.flows import Answer
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from tests.unit.endpoints.play import NOW, Play, changed, endpoint, raw, spec

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
ME = {"type": "user", "name": "alice", "orgs": [{"name": "acme"}, {"name": "beta"}]}

NOT_FOUND = errors.EndpointNotFoundError("Not Found", status=404)
UNAUTHORIZED = errors.AuthenticationError("Unauthorized", status=401)
FORBIDDEN = errors.PermissionDeniedError("Forbidden", status=403)
TIMEOUT = errors.RequestTimeoutError("no answer within 30 s")
CUT = errors.ConnectionLostError("Server disconnected")
UNREACHABLE = errors.ServiceUnreachableError("Connection refused")
TAKEN = errors.NameTakenError("Conflict: exists", status=409, method="POST", path="/v2/endpoint/acme")
VAGUE = errors.NameTakenError("Conflict", status=409, method="POST", path="/v2/endpoint/acme")
QUOTA = errors.QuotaExceededError("Conflict: Quota exceeded", status=409)

GET = "GET /v2/endpoint/acme/tickets"
POST = "POST /v2/endpoint/acme"


def service_error(status: int, retry_after: float | None = None) -> errors.ServiceError:
    return errors.ServiceError("Service Unavailable", status=status, retry_after=retry_after)


def page(*names: str, cursor: str | None = None) -> dict[str, Any]:
    return {"items": [raw(name=name) for name in names], "nextCursor": cursor, "totalItems": 99}


# --- whose token, which namespace


def test_whoami_is_asked_once() -> None:
    """The hub limits how often: a client asks whose token it is one time, whatever it does with it."""
    play = Play(ME, namespace=None)
    for _ in range(3):
        assert play.run(flows.whoami(play.session)).name == "alice"
        assert play.run(flows.resolve_namespace(play.session, None)) == "alice"
    assert play.asked == ["GET /api/whoami-v2"]


@pytest.mark.parametrize(("argument", "client", "chosen"), [("beta", "acme", "beta"), (None, "acme", "acme")])
def test_a_given_namespace_needs_no_question(argument: str | None, client: str, chosen: str) -> None:
    """The argument comes before the client's, and neither asks the hub."""
    play = Play(namespace=client)
    assert chosen == play.run(flows.resolve_namespace(play.session, argument))
    assert play.asked == []


def test_a_token_of_an_organisation_needs_a_namespace() -> None:
    """Where the token belongs to no user there is no default, and the error says what to give."""
    play = Play({"type": "org", "name": "acme"}, namespace=None)
    with pytest.raises(errors.InvalidArgumentError, match=r"'acme'.*namespace"):
        play.run(flows.resolve_namespace(play.session, None))


@pytest.mark.parametrize("answer", [[], None, "text", {"type": "user"}, 7])
def test_an_odd_whoami_is_a_typed_error(answer: Any) -> None:
    """An answer that does not say whose token it is fails as the service's fault, with the path."""
    play = Play(answer, namespace=None)
    with pytest.raises(errors.InvalidAnswerError, match="/api/whoami-v2"):
        play.run(flows.whoami(play.session))


# --- list


def test_a_list_has_all_pages() -> None:
    """Every page is fetched until there is no cursor, with the filters on each."""
    play = Play(page("a", "b", cursor="1"), page("c", cursor="2"), page("d"))
    found = play.run(flows.list_endpoints(play.session, None, {"state": ["running", "paused"], "limit": 2}))
    assert [each.name for each in found] == ["a", "b", "c", "d"]
    filters = {"state": "running,paused", "limit": "2"}
    assert [filters, {**filters, "cursor": "1"}, {**filters, "cursor": "2"}] == [each.params for each in play.requests]


def test_an_empty_list() -> None:
    """No endpoints is an empty list; an empty cursor is the end as well."""
    play = Play({"items": [], "totalItems": 0, "nextCursor": ""})
    assert play.run(flows.list_endpoints(play.session, None, {})) == []


@pytest.mark.parametrize("cursors", [["1", "1"], ["1", "2", "1"]])
def test_a_cursor_that_comes_back_ends_the_list(cursors: list[str]) -> None:
    """A service that repeats a cursor does not keep a client busy for ever."""
    play = Play(*(page("a", cursor=cursor) for cursor in cursors))
    with pytest.raises(errors.InvalidAnswerError, match="cursor"):
        play.run(flows.list_endpoints(play.session, None, {}))


@pytest.mark.parametrize("answer", [[], None, {}, {"items": None}, {"items": [7]}, {"items": [{}]}, {"items": "x"}])
def test_an_odd_page_is_a_typed_error(answer: Any) -> None:
    """A page that is none fails with the path, not with a KeyError."""
    play = Play(answer)
    with pytest.raises(errors.InvalidAnswerError, match="/v2/endpoint/acme"):
        play.run(flows.list_endpoints(play.session, None, {}))


def test_everywhere_leaves_out_what_cannot_be_listed(caplog: pytest.LogCaptureFixture) -> None:
    """Over the user and all organisations; one without billing answers 401 and is left out, and said so."""
    caplog.set_level(logging.INFO)
    play = Play(ME, page("a"), UNAUTHORIZED, page("c"), namespace=None)
    found = play.run(flows.list_endpoints(play.session, "*", {}))
    assert [(each.namespace, each.name) for each in found] == [("alice", "a"), ("beta", "c")]
    assert "acme" in caplog.text


def test_everywhere_does_not_hide_an_outage() -> None:
    """An organisation that could not be asked is not the same as one without endpoints."""
    play = Play(ME, page("a"), service_error(503), namespace=None)
    with pytest.raises(errors.ServiceError):
        play.run(flows.list_endpoints(play.session, "*", {}))


def test_everywhere_needs_the_user_at_least() -> None:
    """A token that may not list its own user's endpoints is told so."""
    play = Play(ME, UNAUTHORIZED, namespace=None)
    with pytest.raises(errors.AuthenticationError):
        play.run(flows.list_endpoints(play.session, "*", {}))


# --- one endpoint


@pytest.mark.parametrize("answer", [[], None, "text", 7, {}, {"name": "x"}, {"name": 7, "status": {"state": "x"}}])
def test_an_odd_endpoint_is_a_typed_error(answer: Any) -> None:
    """An answer that is no endpoint fails with the path, not with a KeyError or TypeError."""
    play = Play(answer)
    with pytest.raises(errors.InvalidAnswerError, match=GET.removeprefix("GET ")):
        play.run(flows.get(play.session, "tickets", None))


def test_a_bad_name_is_refused_before_anything_is_asked() -> None:
    """Not even whoami is asked for a name that can't exist."""
    play = Play(namespace=None)
    for flow in (flows.get, flows.pause, flows.scale_to_zero, flows.debug, flows.resume, flows.replicas, flows.logs):
        with pytest.raises(errors.InvalidArgumentError, match="33"):
            play.run(flow(play.session, "x" * 33, None))
    with pytest.raises(errors.InvalidArgumentError, match="33"):
        play.run(flows.delete(play.session, "x" * 33, None))
    assert play.asked == []


# --- resume


def test_an_endpoint_that_runs_already_is_resumed() -> None:
    """400 'already running' (also while updating) is what was wanted: the endpoint is fetched."""
    play = Play(errors.BadRequestError("Bad Request: Endpoint is already running", status=400), raw("running"))
    assert play.run(flows.resume(play.session, "tickets", None)).status == "running"
    assert play.asked == ["POST /v2/endpoint/acme/tickets/resume", GET]


def test_running_is_an_error_where_the_caller_says_so() -> None:
    """`running_ok=False` passes the service's refusal on, and the request is not repeated blindly."""
    play = Play(errors.BadRequestError("Endpoint is already running", status=400))
    with pytest.raises(errors.BadRequestError):
        play.run(flows.resume(play.session, "tickets", None, running_ok=False))
    assert [request.repeatable for request in play.requests] == [False]


def test_other_refusals_of_a_resume_are_errors() -> None:
    """A configuration error is no success."""
    play = Play(errors.BadRequestError("Bad Request: configuration", status=400))
    with pytest.raises(errors.BadRequestError, match="configuration"):
        play.run(flows.resume(play.session, "tickets", None))


# --- create


def test_a_create_is_one_request() -> None:
    """The usual case: one POST, its answer parsed; nothing is reported as dropped."""
    play = Play(raw("pending"))
    made = play.run(flows.create(play.session, spec(), None))
    assert play.asked == [POST]
    assert (made.status, made.unapplied) == ("pending", ())
    assert play.requests[0].json == spec().payload()
    assert not play.requests[0].repeatable


def test_what_the_service_changed_is_logged_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    """Silent acceptance is not silent here."""
    play = Play(changed(raw("pending"), "type", "private"))
    made = play.run(flows.create(play.session, spec(), None))
    assert [each.field for each in made.unapplied] == ["type"]
    assert "acme/tickets: type: sent 'authenticated', the service answered 'private'" in caplog.text


@pytest.mark.parametrize("error", [TIMEOUT, CUT, service_error(500), service_error(504)], ids=str)
def test_a_create_that_had_arrived_is_not_sent_again(error: Exception) -> None:
    """The answer was lost, the endpoint is there and young: it is ours, and there is one POST."""
    play = Play(error, raw("pending"))
    assert play.run(flows.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET]
    assert len(play.pauses) == 1


@pytest.mark.parametrize("error", [TIMEOUT, CUT, service_error(502)], ids=str)
def test_a_create_that_had_not_arrived_is_sent_once_more(error: Exception) -> None:
    """The name is free: exactly one more POST."""
    play = Play(error, NOT_FOUND, raw("pending"))
    assert play.run(flows.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET, POST]


def test_an_older_endpoint_of_the_name_is_somebody_elses() -> None:
    """After an uncertain create, an endpoint that existed before is a taken name, not a success."""
    play = Play(TIMEOUT, raw("running", created=NOW - timedelta(hours=1)))
    with pytest.raises(errors.NameTakenError, match="existed before"):
        play.run(flows.create(play.session, spec(), None))
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
        assert play.run(flows.create(play.session, spec(), None)).name == "tickets"
    else:
        with pytest.raises(errors.NameTakenError):
            play.run(flows.create(play.session, spec(), None))


def test_a_create_that_stays_uncertain_ends() -> None:
    """Three tries, each looked up: then the last error, which says what the service said."""
    play = Play(TIMEOUT, NOT_FOUND, CUT, NOT_FOUND, service_error(503), NOT_FOUND)
    with pytest.raises(errors.ServiceError, match="503"):
        play.run(flows.create(play.session, spec(), None))
    assert play.asked == [POST, GET] * 3


def test_a_create_that_never_left_is_not_looked_up() -> None:
    """Connection refused proves that nothing was made."""
    play = Play(UNREACHABLE)
    with pytest.raises(errors.ServiceUnreachableError):
        play.run(flows.create(play.session, spec(), None))
    assert play.asked == [POST]


def test_an_answer_that_cannot_be_read_is_looked_up() -> None:
    """A success whose answer is no endpoint has made one: it is found, so that somebody can stop it."""
    play = Play({"accepted": True}, raw("pending"))
    assert play.run(flows.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET]


def test_retry_after_holds_for_a_create_too() -> None:
    """A 503 with Retry-After is looked up and sent again when the service said, not earlier."""
    play = Play(service_error(503, retry_after=20.0), NOT_FOUND, raw("pending"))
    play.run(flows.create(play.session, spec(), None))
    assert sum(play.pauses) >= 20.0


def test_a_create_does_not_wait_for_an_hour() -> None:
    """A Retry-After that is out of proportion ends the create; the caller is told how long."""
    play = Play(service_error(503, retry_after=3600.0), NOT_FOUND)
    with pytest.raises(errors.ServiceError) as caught:
        play.run(flows.create(play.session, spec(), None))
    assert caught.value.retry_after == 3600.0
    assert sum(play.pauses) <= 60.0


def test_a_409_after_an_uncertain_try_is_ours() -> None:
    """The first try arrived late, between the look and the second try: no error, no second endpoint."""
    play = Play(TIMEOUT, NOT_FOUND, TAKEN, raw("pending"))
    assert play.run(flows.create(play.session, spec(), None)).status == "pending"
    assert play.asked == [POST, GET, POST, GET]


def test_a_409_after_an_uncertain_try_is_theirs_when_it_is_old() -> None:
    """The same with an endpoint from before our first try."""
    play = Play(TIMEOUT, NOT_FOUND, TAKEN, raw("running", created=NOW - timedelta(days=1)))
    with pytest.raises(errors.NameTakenError):
        play.run(flows.create(play.session, spec(), None))


def test_a_409_at_once_is_a_taken_name() -> None:
    """Without an uncertain try before it, even a young endpoint is somebody else's."""
    play = Play(TAKEN, raw("pending"))
    with pytest.raises(errors.NameTakenError, match="exists"):
        play.run(flows.create(play.session, spec(), None))


def test_a_409_with_words_of_quota_is_one() -> None:
    """The body tells: no lookup is needed."""
    play = Play(QUOTA)
    with pytest.raises(errors.QuotaExceededError):
        play.run(flows.create(play.session, spec(), None))
    assert play.asked == [POST]


def test_a_409_without_words_and_without_an_endpoint_is_a_quota() -> None:
    """Neither body nor name explains it: no endpoint has the name, so it is not the name."""
    play = Play(VAGUE, NOT_FOUND)
    with pytest.raises(errors.QuotaExceededError, match="not the name") as caught:
        play.run(flows.create(play.session, spec(), None))
    assert (caught.value.method, caught.value.path, caught.value.status) == ("POST", "/v2/endpoint/acme", 409)


@pytest.mark.parametrize("error", [FORBIDDEN, service_error(503)], ids=str)
def test_a_409_that_cannot_be_looked_up_stays_one(error: Exception) -> None:
    """A token that may write and not read, or an outage, does not replace the 409 by another error."""
    play = Play(TAKEN, error)
    with pytest.raises(errors.NameTakenError, match="exists"):
        play.run(flows.create(play.session, spec(), None))


@pytest.mark.parametrize("answer", [[], {}, None, {"name": "tickets"}])
def test_an_odd_answer_to_the_lookup_is_a_typed_error(answer: Any) -> None:
    """The lookup after an uncertain create fails as the service's fault, too."""
    play = Play(TIMEOUT, answer)
    with pytest.raises(errors.InvalidAnswerError):
        play.run(flows.create(play.session, spec(), None))


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
        play.run(flows.create(play.session, spec(), None))
    assert play.asked == [POST]


# --- update


def update(**changes: Any) -> EndpointUpdate:
    return EndpointUpdate.from_arguments(**changes)


PUT = "PUT /v2/endpoint/acme/tickets"
VLLM = {"vLLM": {"url": "r", "maxNumSeqs": 8}}


def test_an_update_is_one_put() -> None:
    """Only what changes is sent."""
    play = Play(changed(raw("updating"), "tags", ["a"]))
    assert play.run(flows.update(play.session, "tickets", None, update(tags=["a"]))).unapplied == ()
    assert play.asked == [PUT]
    assert play.requests[0].json == {"tags": ["a"]}


def test_an_update_reports_what_was_not_applied() -> None:
    """As after a create."""
    play = Play(raw("updating"))
    made = play.run(flows.update(play.session, "tickets", None, update(tags=["a"])))
    assert [each.field for each in made.unapplied] == ["tags"]


def test_parallelism_without_an_image_keeps_the_running_image() -> None:
    """The service takes images whole: the running one is read, and sent back with the sizes in it."""
    play = Play(changed(raw(), "model.image", VLLM), raw("updating"))
    play.run(flows.update(play.session, "tickets", None, update(tensor_parallel_size=2, data_parallel_size=4)))
    assert play.asked == [GET, PUT]
    assert play.requests[1].json == {
        "model": {"image": {"vLLM": {"url": "r", "maxNumSeqs": 8, "tensorParallelSize": 2, "dataParallelSize": 4}}}
    }


def test_parallelism_with_an_image_needs_no_look() -> None:
    """The given image is used."""
    play = Play(raw("updating"))
    play.run(flows.update(play.session, "tickets", None, update(tensor_parallel_size=2, custom_image=VLLM)))
    assert play.asked == [PUT]


@pytest.mark.parametrize(
    "image", [{"custom": {"url": "r", "credentials": {"username": "u", "password": "***"}}}, {}, {"tgi": {"url": "r"}}]
)
def test_an_image_that_cannot_carry_the_sizes_is_refused(image: dict[str, Any]) -> None:
    """Redacted credentials would overwrite the real ones; another engine would drop the sizes. Nothing is sent."""
    play = Play(changed(raw(), "model.image", image))
    with pytest.raises(errors.InvalidArgumentError):
        play.run(flows.update(play.session, "tickets", None, update(tensor_parallel_size=2)))
    assert play.asked == [GET]


def test_an_empty_update_sends_nothing() -> None:
    """Nothing to change is the caller's mistake."""
    play = Play()
    with pytest.raises(errors.InvalidArgumentError, match="Nothing to update"):
        play.run(flows.update(play.session, "tickets", None, update()))
    assert play.asked == []


# --- delete

DELETE = "DELETE /v2/endpoint/acme/tickets"


def test_a_delete_waits_until_it_is_gone() -> None:
    """GET answers 200 for a while after a DELETE: True is returned at the 404."""
    play = Play(raw(), None, raw(), raw(), NOT_FOUND)
    assert play.run(flows.delete(play.session, "tickets", None)) is True
    assert play.asked == [GET, DELETE, GET, GET, GET]
    assert sorted(play.pauses) == play.pauses


def test_a_delete_without_waiting() -> None:
    """`wait=False` returns at the service's word."""
    play = Play(raw(), None)
    assert play.run(flows.delete(play.session, "tickets", None, wait=False)) is True
    assert play.asked == [GET, DELETE]


def test_a_delete_that_is_gone_in_between() -> None:
    """A 404 to the DELETE itself means a first try had arrived."""
    play = Play(raw(), NOT_FOUND)
    assert play.run(flows.delete(play.session, "tickets", None)) is True


def test_a_missing_endpoint_is_an_error_or_not_by_choice() -> None:
    """`missing_ok` turns the 404 into False, so that a teardown can be run twice."""
    play = Play(NOT_FOUND)
    assert play.run(flows.delete(play.session, "tickets", None, missing_ok=True)) is False
    with pytest.raises(errors.EndpointNotFoundError):
        Play(NOT_FOUND).run(flows.delete(play.session, "tickets", None))


def test_a_delete_that_never_ends_is_given_up() -> None:
    """The wait is bounded, and the error says that the endpoint is still there."""
    play = Play(raw(), None, *([raw()] * 100))
    with pytest.raises(errors.InferenceEndpointTimeoutError, match="still there"):
        play.run(flows.delete(play.session, "tickets", None, timeout=60))
    assert sum(play.pauses) < 90


# --- replicas, logs, metrics

LINE = {"timestamp": "2026-10-05T12:00:00Z", "line": "a", "stream": "stdout", "replica_id": "r"}
LOGS_3 = "GET /v3/endpoint/acme/tickets/logs"
LOGS_2 = "GET /v2/endpoint/acme/tickets/logs"


def lines(*entries: tuple[int | None, str]) -> list[dict[str, Any]]:
    return [
        {**LINE, "line": text, "timestamp": None if second is None else (NOW + timedelta(seconds=second)).isoformat()}
        for second, text in entries
    ]


@pytest.mark.parametrize(
    "answered",
    [lines((1, "a"), (2, "b"), (2, "c"), (3, "d")), lines((3, "d"), (2, "c"), (2, "b"), (1, "a"))],
    ids=["ascending", "descending"],
)
def test_logs_are_oldest_first(answered: list[dict[str, Any]]) -> None:
    """Whichever way the service lists them, lines of the same moment included."""
    play = Play(answered)
    assert [entry.line for entry in play.run(flows.logs(play.session, "tickets", None))] == ["a", "b", "c", "d"]


def test_the_newest_lines_are_asked_for() -> None:
    """The order is asked for and not left to a default: the oldest lines would explain nothing."""
    play = Play([])
    play.run(flows.logs(play.session, "tickets", None))
    assert play.requests[0].params == {"limit": "100", "order": "desc"}


def test_logs_without_moments_are_in_the_contracts_order() -> None:
    """Lines without times, or of one moment, come ascending, as the contract says; a time without a zone is UTC."""
    for second in (None, 1):
        play = Play(lines((second, "a"), (second, "b"), (second, "c")))
        assert [entry.line for entry in play.run(flows.logs(play.session, "tickets", None))] == ["a", "b", "c"]
    mixed = [{**LINE, "timestamp": "2026-10-05T12:00:00"}, {**LINE, "timestamp": "2026-10-05T12:00:01Z", "line": "b"}]
    play = Play(mixed)
    assert [entry.line for entry in play.run(flows.logs(play.session, "tickets", None))] == ["a", "b"]


def test_the_last_lines_are_kept() -> None:
    """`tail` bounds what is asked for and what is returned."""
    play = Play(lines((1, "a"), (2, "b"), (3, "c")))
    assert [entry.line for entry in play.run(flows.logs(play.session, "tickets", None, tail=2))] == ["b", "c"]
    assert play.requests[0].params["limit"] == "2"


@pytest.mark.parametrize("tail", [0, -1, 5001])
def test_a_tail_that_makes_no_sense(tail: int) -> None:
    """The service gives 1 to 5,000 lines; 0 would have been all of them."""
    with pytest.raises(errors.InvalidArgumentError, match=f"tail={tail}"):
        Play().run(flows.logs(Play().session, "tickets", None, tail=tail))


def test_logs_fall_back_to_text() -> None:
    """501 from the log search: the text log serves, with the same number of lines."""
    play = Play(service_error(501), "one\ntwo\nthree\n")
    found = play.run(flows.logs(play.session, "tickets", None, tail=2, replica="r"))
    assert [entry.line for entry in found] == ["two", "three"]
    assert play.asked == [LOGS_3, LOGS_2]
    assert play.requests[1].params == {"tail": "2", "replica": "r"}


@pytest.mark.parametrize(
    "filters", [{"level": "ERROR"}, {"search": "x"}, {"since": NOW}, {"until": "2026-10-05T12:00:00Z"}]
)
def test_a_filter_is_not_silently_dropped(filters: dict[str, Any]) -> None:
    """The text log knows no such filter: the 501 is raised rather than wrong lines returned."""
    with pytest.raises(errors.ServiceError, match="501"):
        Play(service_error(501)).run(flows.logs(Play().session, "tickets", None, **filters))


def test_other_errors_of_logs_are_errors() -> None:
    """Only 501 means "not here"."""
    play = Play(service_error(503))
    with pytest.raises(errors.ServiceError):
        play.run(flows.logs(play.session, "tickets", None))
    assert play.asked == [LOGS_3]


@pytest.mark.parametrize("answer", [{}, None, "text", [7]])
def test_odd_logs_are_a_typed_error(answer: Any) -> None:
    """What is no list of lines fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v3/endpoint/acme/tickets/logs"):
        Play(answer).run(flows.logs(Play().session, "tickets", None))


def test_replicas() -> None:
    """Each with its stage."""
    play = Play({"items": [{"id": "r1", "versionId": "v", "status": {"stage": "pulling", "live": False}}]})
    assert [each.stage for each in play.run(flows.replicas(play.session, "tickets", None))] == ["pulling"]


@pytest.mark.parametrize("answer", [[], None, {"items": None}, {"items": [7]}])
def test_odd_replicas_are_a_typed_error(answer: Any) -> None:
    """What is no list of replicas fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/replica"):
        Play(answer).run(flows.replicas(Play().session, "tickets", None))


def test_a_metric_until_now() -> None:
    """Without an end it is now, by the client's clock."""
    play = Play({"series": []})
    play.run(flows.metric(play.session, "tickets", None, "replica-running", start=NOW - timedelta(hours=1)))
    assert play.requests[0].json == {"start": "2026-10-05T11:00:00+00:00", "stop": "2026-10-05T12:00:00+00:00"}


@pytest.mark.parametrize("field", ["start", "stop"])
def test_a_metric_needs_aware_moments(field: str) -> None:
    """A moment without a zone means another one for the service."""
    moments: dict[str, Any] = {"start": NOW, "stop": NOW, field: datetime(2026, 10, 5)}
    with pytest.raises(errors.InvalidArgumentError, match=rf"{field}=.*zone"):
        Play().run(flows.metric(Play().session, "tickets", None, "pending-request", **moments))


# --- hardware, quotas, catalog

COMPUTE = {"instanceType": "nvidia-l4", "instanceSize": "x1", "accelerator": "gpu"}


def vendors(*computes: Any) -> dict[str, Any]:
    return {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": list(computes)}]}]}


def test_hardware_knows_its_place() -> None:
    """Vendor and region of the nested answer are on every instance."""
    play = Play(vendors(COMPUTE))
    (found,) = play.run(flows.hardware(play.session, None))
    assert found.path == "aws/us-east-1/nvidia-l4/x1"
    assert play.asked == ["GET /v2/provider/acme"]


def test_hardware_without_quota_needs_no_namespace() -> None:
    """The public list asks nobody whose token it is."""
    play = Play(vendors(COMPUTE), namespace=None)
    assert len(play.run(flows.hardware(play.session, None, with_quota=False))) == 1
    assert play.asked == ["GET /v2/provider"]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"vendors": [7]},
        {"vendors": [{"name": "aws"}]},
        {"vendors": [{"regions": [7]}]},
        vendors(7),
        vendors({}),
    ],
)
def test_odd_hardware_is_a_typed_error(answer: Any) -> None:
    """What is no hardware list fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v2/provider/acme"):
        Play(answer).run(flows.hardware(Play().session, None))


def test_quotas() -> None:
    """Each with its vendor."""
    answer = {
        "vendors": [
            {
                "name": "aws",
                "quotas": [{"instanceType": "nvidia-l4", "maxAccelerators": 4, "usedAccelerators": 1}],
            }
        ]
    }
    play = Play(answer)
    (found,) = play.run(flows.quotas(play.session, None))
    assert (
        found.vendor,
        found.instance_type,
        found.max_accelerators,
        found.used_accelerators,
    ) == ("aws", "nvidia-l4", 4, 1)


@pytest.mark.parametrize("answer", [[], {"vendors": [{"name": "aws", "quotas": [7]}]}, {"vendors": [{"name": "aws"}]}])
def test_odd_quotas_are_a_typed_error(answer: Any) -> None:
    """What is no list of quotas fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v2/provider/quotas/acme"):
        Play(answer).run(flows.quotas(Play().session, None))


def test_create_from_the_catalog() -> None:
    """The answer wraps the endpoint."""
    play = Play({"endpoint": raw("pending")})
    made = play.run(flows.create_from_catalog(play.session, None, {"repo_id": "acme/small", "name": "tickets"}))
    assert made.status == "pending"
    assert play.asked == ["POST /model/acme/small/deploy"]
    assert play.requests[0].json == {"namespace": "acme", "config": {"name": "tickets"}}
    assert not play.requests[0].repeatable


DEPLOY = "POST /model/acme/small/deploy"


def test_a_deploy_that_had_arrived_is_found() -> None:
    """An answer that was lost, or can't be read, does not leave an endpoint that nobody knows of."""
    for lost in (TIMEOUT, CUT, service_error(503), {"accepted": True}):
        play = Play(lost, raw("pending"))
        made = play.run(flows.create_from_catalog(play.session, None, {"repo_id": "acme/small", "name": "tickets"}))
        assert made.status == "pending"
        assert play.asked == [DEPLOY, GET]


@pytest.mark.parametrize("choice", [{"name": "tickets"}, {}], ids=["named", "unnamed"])
def test_a_deploy_of_unknown_fate_is_not_sent_again(choice: dict[str, str]) -> None:
    """Not found, or without a name to look for: the first error is the caller's, and there is one POST."""
    play = Play(TIMEOUT, NOT_FOUND)
    with pytest.raises(errors.RequestTimeoutError):
        play.run(flows.create_from_catalog(play.session, None, {"repo_id": "acme/small", **choice}))
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
        play.run(flows.create_from_catalog(play.session, None, choice))


@pytest.mark.parametrize("answer", [[], {}, {"endpoint": None}, {"endpoint": {}}])
def test_odd_answers_of_the_catalog_are_typed_errors(answer: Any) -> None:
    """What is no endpoint fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/model/acme/small/deploy"):
        Play(answer).run(flows.create_from_catalog(Play().session, None, {"repo_id": "acme/small"}))


# --- describe_failure


def test_the_last_lines_of_a_failure_are_redacted() -> None:
    """The lines explain, and neither tokens nor the endpoint's own secrets are in them."""
    play = Play(lines((1, f"token {TOKEN}"), (2, "secret s3cr3t-value  "), (3, "CUDA out of memory")))
    said = play.run(flows.describe_failure(play.session, endpoint("failed"), secrets=("s3cr3t-value",)))
    assert said == "Last 3 lines of its log:\n  token ***\n  secret ***\n  CUDA out of memory"


@pytest.mark.parametrize(
    "replies",
    [
        [NOT_FOUND],
        [FORBIDDEN],
        [TIMEOUT],
        [service_error(501), service_error(500)],
        [{"no": "list"}],
        [[7]],
        [errors.BadRequestError("quotes s3cr3t-value", status=400)],
    ],
    ids=str,
)
def test_a_log_that_cannot_be_read_is_said(replies: list[Any]) -> None:
    """Explaining a failure never fails itself, nor shows what it must not."""
    play = Play(*replies)
    said = play.run(flows.describe_failure(play.session, endpoint("failed"), secrets=("s3cr3t-value",)))
    assert said.startswith("(Its log could not be read: ")
    assert "s3cr3t-value" not in said


def test_an_empty_log_is_said() -> None:
    """No lines, no header over nothing."""
    assert Play([]).run(flows.describe_failure(Play().session, endpoint("failed"))) == "(Its log is empty.)"


def test_an_endpoint_with_an_odd_name_can_be_described() -> None:
    """An old endpoint whose name this package would refuse still gets its explanation, not an error."""
    odd = endpoint("failed").model_copy(update={"name": "Odd_Name"})
    assert "could not be read" in Play().run(flows.describe_failure(Play().session, odd))


def test_the_clock_of_a_session_is_aware() -> None:
    """Ages are counted between aware moments."""
    assert flows.Session().now().tzinfo == UTC
