"""The flows around one endpoint and the list of them, with the service's part played by hand."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api import flows, readings
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from tests.unit.endpoints.play import (
    NOT_FOUND,
    UNAUTHORIZED,
    Play,
    changed,
    endpoint,
    raw,
    service_error,
)

ME = {"type": "user", "name": "alice", "orgs": [{"name": "acme"}, {"name": "beta"}]}
GET = "GET /v2/endpoint/acme/tickets"


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
    """If the token belongs to no user, there is no default, and the error says what to give."""
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
    """A service that repeats a cursor does not keep a client busy forever."""
    play = Play(*(page("a", cursor=cursor) for cursor in cursors))
    with pytest.raises(errors.InvalidAnswerError, match="cursor"):
        play.run(flows.list_endpoints(play.session, None, {}))


@pytest.mark.parametrize("answer", [[], None, {}, {"items": None}, {"items": [7]}, {"items": [{}]}, {"items": "x"}])
def test_an_odd_page_is_a_typed_error(answer: Any) -> None:
    """A page that is not valid fails with the path, not with a KeyError."""
    play = Play(answer)
    with pytest.raises(errors.InvalidAnswerError, match="/v2/endpoint/acme"):
        play.run(flows.list_endpoints(play.session, None, {}))


def test_everywhere_leaves_out_what_cannot_be_listed(caplog: pytest.LogCaptureFixture) -> None:
    """Over the user and all organisations; one without billing answers 401, is left out, and is named."""
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


def test_everywhere_works_for_a_token_of_one_organisation() -> None:
    """A fine-grained token may list an organisation's endpoints and not its own user's."""
    play = Play(ME, UNAUTHORIZED, page("b"), UNAUTHORIZED, namespace=None)
    found = play.run(flows.list_endpoints(play.session, "*", {}))
    assert [("acme", "b")] == [(each.namespace, each.name) for each in found]


def test_everywhere_needs_one_namespace_at_least() -> None:
    """A token that may not list raises an error, and does not give an empty list."""
    play = Play(ME, UNAUTHORIZED, UNAUTHORIZED, UNAUTHORIZED, namespace=None)
    with pytest.raises(errors.AuthenticationError):
        play.run(flows.list_endpoints(play.session, "*", {}))


# --- one endpoint


@pytest.mark.parametrize("answer", [[], None, "text", 7, {}, {"name": "x"}, {"name": 7, "status": {"state": "x"}}])
def test_an_odd_endpoint_is_a_typed_error(answer: Any) -> None:
    """An answer that is not an endpoint fails with the path, not with a KeyError or TypeError."""
    play = Play(answer)
    with pytest.raises(errors.InvalidAnswerError, match=GET.removeprefix("GET ")):
        play.run(flows.get(play.session, "tickets", None))


def test_a_bad_name_is_refused_before_anything_is_asked() -> None:
    """Not even whoami is asked for a name that can't exist."""
    play = Play(namespace=None)
    for flow in (
        flows.get,
        flows.pause,
        flows.scale_to_zero,
        flows.debug,
        flows.resume,
        readings.replicas,
        readings.logs,
    ):
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
    """A configuration error is not a success."""
    play = Play(errors.BadRequestError("Bad Request: configuration", status=400))
    with pytest.raises(errors.BadRequestError, match="configuration"):
        play.run(flows.resume(play.session, "tickets", None))


# --- update


def update(**changes: Any) -> EndpointUpdate:
    return EndpointUpdate.from_arguments(**changes)


PUT = "PUT /v2/endpoint/acme/tickets"
VLLM = {"vLLM": {"url": "r", "maxNumSeqs": 8}}


def test_an_update_is_one_put() -> None:
    """Only what changes is sent, after one look."""
    play = Play(raw(), changed(raw("updating"), "tags", ["a"]))
    assert play.run(flows.update(play.session, "tickets", None, update(tags=["a"]))).unapplied == ()
    assert play.asked == [GET, PUT]
    assert play.requests[1].json == {"tags": ["a"]}


@pytest.mark.parametrize("before", ["running", "paused", "scaledToZero", "failed"])
def test_an_update_tells_what_the_endpoint_was_before(before: str) -> None:
    """The answer to the PUT says `updating`; only a look before the PUT says that the endpoint was parked."""
    play = Play(raw(before), raw("updating"))
    made = play.run(flows.update(play.session, "tickets", None, update(revision="x")))
    assert (before, "updating") == (made.updated_from, made.status)


def test_an_update_does_not_look_twice() -> None:
    """A caller that has just looked passes what it saw."""
    play = Play(raw("updating"))
    made = play.run(flows.update(play.session, "tickets", None, update(revision="x"), current=endpoint("paused")))
    assert ([PUT], "paused") == (play.asked, made.updated_from)


def test_a_failed_endpoint_that_takes_no_update_is_no_passing_trouble() -> None:
    """Its 500 was seen to last (viraj-s15/openenv-faultline, 2026-04-26): one PUT, and advice to create it again."""
    play = Play(raw("failed"), service_error(500))
    with pytest.raises(errors.BadRequestError, match="recreate") as caught:
        play.run(flows.update(play.session, "tickets", None, update(revision="x")))
    assert ([GET, PUT], True, False) == (play.asked, play.requests[1].once, caught.value.retryable)


def test_an_update_of_a_failed_endpoint_rides_out_what_passes() -> None:
    """A 503 is sent again as for every other endpoint; if the service accepts the update, there is no warning."""
    play = Play(raw("failed"), service_error(503), raw("pending"))
    made = play.run(flows.update(play.session, "tickets", None, update(revision="x")))
    assert ([GET, PUT, PUT], False, "pending") == (play.asked, play.requests[2].once, made.status)


def test_an_update_reports_what_was_not_applied() -> None:
    """As after a create."""
    play = Play(raw(), raw("updating"))
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


def test_parallelism_with_an_image_takes_the_given_one() -> None:
    """The image that runs is left alone."""
    play = Play(changed(raw(), "model.image", {"tgi": {"url": "r"}}), raw("updating"))
    play.run(flows.update(play.session, "tickets", None, update(tensor_parallel_size=2, custom_image=VLLM)))
    assert play.asked == [GET, PUT]
    assert play.requests[1].json == {"model": {"image": {"vLLM": {**VLLM["vLLM"], "tensorParallelSize": 2}}}}


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
    play = Play(NOT_FOUND, NOT_FOUND)
    assert play.run(flows.delete(play.session, "tickets", None, missing_ok=True)) is False
    with pytest.raises(errors.EndpointNotFoundError):
        Play(NOT_FOUND, NOT_FOUND).run(flows.delete(play.session, "tickets", None))


def test_a_read_that_is_wrong_prevents_no_delete() -> None:
    """The endpoint exists although a read says 404: the request to delete it is sent."""
    play = Play(NOT_FOUND, None, NOT_FOUND)
    assert play.run(flows.delete(play.session, "tickets", None, missing_ok=True)) is True


def test_a_delete_that_never_ends_is_given_up() -> None:
    """The wait is bounded, and the error says that the endpoint is still there."""
    play = Play(raw(), None, *([raw()] * 100))
    with pytest.raises(errors.InferenceEndpointTimeoutError, match="still exists"):
        play.run(flows.delete(play.session, "tickets", None, timeout=60))
    assert sum(play.pauses) < 90
