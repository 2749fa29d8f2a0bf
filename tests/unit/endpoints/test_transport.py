"""How a request becomes bytes and an answer or a typed error; both clients over a played wire. Nothing sleeps."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.api.transport import Bases
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal, Wait
from tests.unit.endpoints.play import NEEDED, NOW, raw, spec

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
Reply = httpx.Response | Exception


class Wire:
    """The server for both clients: replies in order, the last one repeated; what was sent; the seconds slept."""

    def __init__(self, *replies: Reply | Callable[[], Reply]) -> None:
        self.replies = list(replies)
        self.sent: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, httpx.Response)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    async def answer_async(self, request: httpx.Request) -> httpx.Response:
        return self(request)


class Either:
    """One of the two clients, called the same way."""

    def __init__(self, wire: Wire, asynchronous: bool, **options: Any) -> None:
        self.asynchronous = asynchronous
        kind = AsyncEndpointsClient if asynchronous else EndpointsClient
        self.client: Any = kind(TOKEN, **{"namespace": "acme", **options})
        http = httpx.AsyncClient if asynchronous else httpx.Client
        self.client._http = http(
            transport=httpx.MockTransport(wire.answer_async if asynchronous else wire), timeout=self.client.http_timeout
        )

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.client, method)(*args, **kwargs)
        if inspect.isawaitable(result):

            async def awaited() -> Any:
                return await result

            return asyncio.run(awaited())
        return result


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping costs no time here; how long it would have taken is noted, and the clock of the retries moves."""
    pauses: list[float] = []
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("tenacity.nap.time.sleep", sleep)
    monkeypatch.setattr("asyncio.sleep", sleep_async)
    return pauses


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def answer(status: int = 200, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, str | bytes):
        return httpx.Response(status, content=body, headers=named)
    return httpx.Response(status, json=raw() if body is None else body, headers=named)


def refusal(status: int, words: str = "no", **headers: str) -> httpx.Response:
    return answer(status, {"error": words, "code": "X"}, **headers)


# --- what is sent


@both
def test_every_call_has_an_explicit_token(asynchronous: bool) -> None:
    """Each request has the token, `accept` and the user agent; nothing is taken from the environment."""
    wire = Wire(answer())
    Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    (sent,) = wire.sent
    assert str(sent.url) == "https://api.endpoints.huggingface.cloud/v2/endpoint/acme/tickets"
    assert f"Bearer {TOKEN}" == sent.headers["authorization"]
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["user-agent"].startswith("airflow-provider-hf-endpoints/")


@both
def test_a_body_is_json(asynchronous: bool) -> None:
    """What is created is sent as JSON, in the contract's words."""
    wire = Wire(answer())
    Either(wire, asynchronous)("create", spec())
    assert spec().payload() == json.loads(wire.sent[0].content)
    assert wire.sent[0].headers["content-type"] == "application/json"


def test_query_values_are_escaped() -> None:
    """A plus in a moment's zone arrives as a plus."""
    wire = Wire(answer(200, []))
    Either(wire, False)("get_inference_endpoint_logs", "tickets", since="2026-10-05T12:00:00+00:00", search="a&b=c")
    query = wire.sent[0].url.params
    assert (query["since"], query["search"]) == ("2026-10-05T12:00:00+00:00", "a&b=c")


@pytest.mark.parametrize("base", ["control", "hub", "catalog", "absolute"])
def test_time_limits_are_finite(base: Any) -> None:
    """No request without a limit, on connecting, sending, reading or waiting for a connection."""
    for client in (EndpointsClient(TOKEN), EndpointsClient(TOKEN, timeout=5)):
        limits = client.arguments(Request("GET", "https://x.example/", base=base))["timeout"].as_dict()
        assert {"connect", "read", "write", "pool"} == set(limits)
        assert all(value is not None and 0 < value <= 30 for value in limits.values())


# --- where it is sent


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        (
            (None, None, None),
            (
                "https://api.endpoints.huggingface.cloud",
                "https://huggingface.co",
                "https://endpoints.huggingface.co/api/v1/catalog",
            ),
        ),
        (
            ("http://localhost:8080/", None, None),
            ("http://localhost:8080", "http://localhost:8080", "http://localhost:8080/api/v1/catalog"),
        ),
        (
            ("https://x.example/v2", "https://h.example/api/whoami-v2", "https://c.example/api/v1/catalog/"),
            ("https://x.example", "https://h.example", "https://c.example/api/v1/catalog"),
        ),
        (
            ("x.example/base", None, "c.example"),
            ("https://x.example/base", "https://x.example/base", "https://c.example/api/v1/catalog"),
        ),
        (
            ("https://api.endpoints.huggingface.cloud", None, None),
            (
                "https://api.endpoints.huggingface.cloud",
                "https://huggingface.co",
                "https://endpoints.huggingface.co/api/v1/catalog",
            ),
        ),
    ],
)
def test_where_the_three_services_are(given: tuple[str | None, ...], urls: tuple[str, ...]) -> None:
    """With another control plane, hub and catalog are there too, unless they are named; slips are corrected."""
    bases = Bases.of(*given)
    assert urls == (bases.control, bases.hub, bases.catalog)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x.example", "not a valid"),
        ("https://", "not a valid"),
        ("   ", "not a valid"),
        ("https://x.example:port", "not a valid"),
        ("https://[::1", "not a valid"),
        ("https://x.example/?a=1", "not a valid"),
        ("https://x.example/#a", "not a valid"),
        ("https://user:s3cr3t@x.example", "password field"),
    ],
)
def test_bad_urls_are_refused(url: str, words: str) -> None:
    """A connection's host that is not valid is an error at once, with the field, and without a password that is in
    it.
    """
    with pytest.raises(errors.InvalidArgumentError, match=words) as caught:
        EndpointsClient(TOKEN, base_url=url)
    assert "s3cr3t" not in str(caught.value)


def test_an_absolute_url_is_taken_as_it_is() -> None:
    """The health route lies where the service says."""
    assert (
        Bases.of(None, None, None).url(Request("GET", "https://x.example/h?a=1", base="absolute"))
        == "https://x.example/h?a=1"
    )


# --- whose it is


@pytest.mark.parametrize("token", ["", "  ", "hf_a b", "hf_a\nb", "hf_ä", "hf_a\x00b", "hf_a\x7fb"])
def test_tokens_that_are_none_are_refused_unseen(token: str) -> None:
    """A token that could not be sent is refused without being repeated."""
    with pytest.raises(errors.InvalidArgumentError, match="token") as caught:
        EndpointsClient(token)
    assert "hf_a" not in str(caught.value)


def test_blanks_around_a_token_are_forgiven() -> None:
    """A line end copied with the token is removed."""
    assert (
        EndpointsClient(f" {TOKEN}\n").arguments(Request("GET", "/x"))["headers"]["Authorization"] == f"Bearer {TOKEN}"
    )


@both
def test_a_client_does_not_show_its_token(asynchronous: bool) -> None:
    """Neither in repr nor in str; the base URL and the namespace are shown."""
    client = Either(Wire(answer()), asynchronous).client
    assert TOKEN not in repr(client) + str(client)
    assert "acme" in repr(client)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_limits_that_are_none_are_refused(timeout: float) -> None:
    """No request may wait forever."""
    with pytest.raises(errors.InvalidArgumentError, match="timeout="):
        EndpointsClient(TOKEN, timeout=timeout)


@pytest.mark.parametrize("budget", [-1, float("inf"), float("nan")])
def test_budgets_that_are_none_are_refused(budget: float) -> None:
    """No request may be repeated forever."""
    with pytest.raises(errors.InvalidArgumentError, match="retry_budget="):
        EndpointsClient(TOKEN, retry_budget=budget)


# --- what comes back


@both
@pytest.mark.parametrize(
    "body",
    ["", "<html>login</html>", "{", b"\xff\xfe\xfa", "[" * 100_000],
    ids=["empty", "html", "cut", "bytes", "deep"],
)
def test_a_success_that_is_no_json_is_a_typed_error(asynchronous: bool, body: str | bytes, slept: list[float]) -> None:
    """A proxy's login page answers 200: it is quoted, and the advice is to check the host."""
    with pytest.raises(errors.InvalidAnswerError, match="not JSON") as caught:
        Either(Wire(answer(200, body)), asynchronous)("get_inference_endpoint", "tickets")
    assert "host" in str(caught.value)
    assert len(str(caught.value)) < 1000


@both
def test_a_redirect_is_not_followed(asynchronous: bool, slept: list[float]) -> None:
    """A token is not carried to another host."""
    wire = Wire(answer(302, "", location="https://evil.example/"))
    with pytest.raises(errors.InvalidAnswerError, match=r"redirected to https://evil\.example/"):
        Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    assert ["api.endpoints.huggingface.cloud"] == [sent.url.host for sent in wire.sent]


@both
def test_a_page_that_stays_is_no_passing_trouble(asynchronous: bool, slept: list[float]) -> None:
    """A 200 that is not JSON is requested three times in all, not for a minute."""
    wire = Wire(answer(200, "<html>login</html>"))
    with pytest.raises(errors.InvalidAnswerError):
        Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    assert (len(wire.sent), len(slept)) == (3, 2)


@both
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), "SSL_CERT_FILE"),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "http://"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "HTTPS_PROXY"),
        (httpx.UnsupportedProtocol("ftp"), "host"),
        (httpx.LocalProtocolError("illegal header"), "host"),
    ],
    ids=["certificate", "no-tls", "proxy", "protocol", "header"],
)
def test_a_connection_that_cannot_come_about_is_tried_once(
    asynchronous: bool, failure: Exception, words: str, slept: list[float]
) -> None:
    """A failure that lasts until a person acts is an error at once, with what to do."""
    wire = Wire(failure)
    with pytest.raises(errors.ServiceUnreachableError, match=words) as caught:
        Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    assert (len(wire.sent), slept, caught.value.retryable) == (1, [], False)
    assert "A retry does not help." in str(caught.value)


@both
def test_a_delete_needs_no_body(asynchronous: bool) -> None:
    """202 and an empty body are a success."""
    wire = Wire(answer(), answer(202, ""))
    assert Either(wire, asynchronous)("delete_inference_endpoint", "tickets", wait=False) is True


@both
def test_secrets_that_the_service_quotes_are_redacted(asynchronous: bool) -> None:
    """An error that repeats the request shows neither token nor secrets nor the registry's password."""
    given: dict[str, Any] = {
        **NEEDED,
        "secrets": {"KEY": "s3cr3t-value"},
        "custom_image": {"url": "r/i:1"},
        "container_registry_username": "u",
        "container_registry_password": "passw0rd",
    }
    quoted = json.dumps({"error": f"{TOKEN} s3cr3t-value passw0rd"})
    with pytest.raises(errors.BadRequestError) as caught:
        Either(Wire(answer(422, quoted)), asynchronous)("create_inference_endpoint", **given)
    assert caught.value.message == "*** *** ***"


@both
def test_secrets_in_an_answer_that_is_no_json_are_redacted(asynchronous: bool, slept: list[float]) -> None:
    """The same for a success that can't be read, also where the quote is cut in the middle of a secret."""
    body = "x" * 195 + "s3cr3t-value"
    wire = Wire(answer(200, body), refusal(404), answer(200, body), refusal(404), answer(200, body), refusal(404))
    with pytest.raises(errors.InvalidAnswerError) as caught:
        Either(wire, asynchronous)("create_inference_endpoint", **NEEDED, secrets={"KEY": "s3cr3t-value"})
    assert "s3cr3t-value"[:5] not in str(caught.value)


# --- what fails on the way

FAILURES: list[tuple[Exception, type[errors.ApiError]]] = [
    (httpx.ConnectError("refused"), errors.ServiceUnreachableError),
    (httpx.ConnectTimeout("slow"), errors.ServiceUnreachableError),
    (httpx.PoolTimeout("full"), errors.ServiceUnreachableError),
    (httpx.ReadTimeout("slow"), errors.RequestTimeoutError),
    (httpx.WriteTimeout("slow"), errors.RequestTimeoutError),
    (httpx.RemoteProtocolError("Server disconnected"), errors.ConnectionLostError),
    (httpx.ReadError("cut"), errors.ConnectionLostError),
    (httpx.DecodingError("gzip"), errors.ConnectionLostError),
    (httpx.TooManyRedirects("loop"), errors.ConnectionLostError),
]


@both
@pytest.mark.parametrize(("failure", "kind"), FAILURES, ids=lambda value: getattr(value, "__name__", repr(value)))
def test_failures_on_the_way_are_typed(
    asynchronous: bool, failure: Exception, kind: type[errors.ApiError], slept: list[float]
) -> None:
    """Whether the request can have arrived is what the type says; method and path are named, the token is not."""
    with pytest.raises(kind, match="GET /v2/endpoint/acme/tickets") as caught:
        Either(Wire(failure), asynchronous)("get_inference_endpoint", "tickets")
    assert caught.value.status is None
    assert caught.value.retryable


@both
def test_an_address_that_is_none_is_a_typed_error(asynchronous: bool) -> None:
    """A `status.url` that no client can open is a finding of the health check, not a crash."""
    odd = raw("running", url="http://x:port")
    client = Either(Wire(answer(200, odd)), asynchronous)
    assert isinstance(client("poll", "tickets", Goal(started=NOW)), Wait)


# --- what is tried again


@both
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_reading_is_tried_again(asynchronous: bool, status: int, slept: list[float]) -> None:
    """A passing error of a GET costs a pause."""
    wire = Wire(refusal(status), refusal(status), answer())
    assert Either(wire, asynchronous)("get_inference_endpoint", "tickets").name == "tickets"
    assert (len(wire.sent), len(slept)) == (3, 2)


@both
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 501])
def test_a_refusal_is_not_tried_again(asynchronous: bool, status: int, slept: list[float]) -> None:
    """What will be refused again is asked once. After a 404 the names of other endpoints are asked for, once, too."""
    wire = Wire(refusal(status))
    with pytest.raises(errors.ApiError):
        Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    assert 1 == len([sent for sent in wire.sent if sent.url.path.endswith("/tickets")])
    assert (len(wire.sent), slept) == (2 if status == 404 else 1, [])


@both
@pytest.mark.parametrize("method", ["pause_inference_endpoint", "resume_inference_endpoint"])
def test_what_may_be_repeated_is_tried_again(asynchronous: bool, method: str, slept: list[float]) -> None:
    """Pausing twice pauses once."""
    wire = Wire(httpx.ReadTimeout("slow"), answer())
    Either(wire, asynchronous)(method, "tickets")
    assert [sent.method for sent in wire.sent] == ["POST", "POST"]


@both
def test_what_may_not_be_repeated_is_not(asynchronous: bool, slept: list[float]) -> None:
    """A deploy from the catalog, and a resume where running is an error, are sent once when their fate is unknown."""
    wire = Wire(httpx.ReadTimeout("slow"))
    client = Either(wire, asynchronous)
    with pytest.raises(errors.RequestTimeoutError):
        client("create_inference_endpoint_from_catalog", "acme/small")
    with pytest.raises(errors.RequestTimeoutError):
        client("resume_inference_endpoint", "tickets", running_ok=False)
    assert len(wire.sent) == 2


@both
@pytest.mark.parametrize("first", [refusal(429), httpx.ConnectError("refused")], ids=["429", "refused"])
def test_what_proves_that_nothing_was_done_is_tried_again(asynchronous: bool, first: Reply, slept: list[float]) -> None:
    """A create that was turned away at the door is sent again without being looked up."""
    wire = Wire(first, answer())
    Either(wire, asynchronous)("create", spec())
    assert [sent.method for sent in wire.sent] == ["POST", "POST"]


@both
def test_retry_after_is_not_undercut(asynchronous: bool, slept: list[float]) -> None:
    """The service says 17 seconds: at least 17 seconds."""
    Either(Wire(refusal(503, retry_after="17"), answer()), asynchronous)("get_inference_endpoint", "tickets")
    assert slept[0] >= 17


@both
def test_the_hubs_rate_limit_is_not_undercut(asynchronous: bool, slept: list[float]) -> None:
    """The Hub's 429 of whoami has no Retry-After and says `RateLimit: "api";r=0;t=17`: at least 17 seconds."""
    wire = Wire(refusal(429, RateLimit='"api";r=0;t=17'), answer(200, {"type": "user", "name": "alice"}))
    assert Either(wire, asynchronous)("whoami").name == "alice"
    assert slept[0] >= 17


@both
def test_a_retry_after_beyond_the_budget_is_raised_at_once(asynchronous: bool, slept: list[float]) -> None:
    """Told to come back in an hour, the caller hears it now, with the number."""
    wire = Wire(refusal(503, retry_after="3600"))
    with pytest.raises(errors.ServiceError) as caught:
        Either(wire, asynchronous)("get_inference_endpoint", "tickets")
    assert (caught.value.retry_after, len(wire.sent), slept) == (3600.0, 1, [])


@both
def test_tries_are_bounded_in_time(asynchronous: bool, slept: list[float]) -> None:
    """A service that stays down is given up after the budget, with the last error; the waits grow."""
    wire = Wire(refusal(503))
    with pytest.raises(errors.ServiceError):
        Either(wire, asynchronous, retry_budget=30)("get_inference_endpoint", "tickets")
    assert sum(slept) <= 30
    assert len(wire.sent) == len(slept) + 1 >= 4
    assert slept[-1] > slept[0]


@both
def test_waits_are_jittered(asynchronous: bool, slept: list[float]) -> None:
    """Clients that failed together do not come back together."""
    for _ in range(8):
        Either(Wire(refusal(503), answer()), asynchronous)("get_inference_endpoint", "tickets")
    assert len(set(slept)) > 1


@both
def test_no_budget_means_one_try(asynchronous: bool, slept: list[float]) -> None:
    """`retry_budget=0` is for who tries again by itself."""
    wire = Wire(refusal(503))
    with pytest.raises(errors.ServiceError):
        Either(wire, asynchronous, retry_budget=0)("get_inference_endpoint", "tickets")
    assert len(wire.sent) == 1


# --- the clients' life


def test_a_sync_client_closes_and_opens_again() -> None:
    """Leaving the context closes the connections; a later call opens new ones."""
    with EndpointsClient(TOKEN) as client:
        client._http = http = httpx.Client(transport=httpx.MockTransport(Wire(answer())))
        client.get_inference_endpoint("tickets", namespace="acme")
    assert http.is_closed
    assert client._http is None
    client.close()


def test_an_async_client_closes_and_opens_again() -> None:
    """The same for asyncio."""

    async def live() -> httpx.AsyncClient:
        async with AsyncEndpointsClient(TOKEN) as client:
            client._http = http = httpx.AsyncClient(transport=httpx.MockTransport(Wire(answer()).answer_async))
            await client.get_inference_endpoint("tickets", namespace="acme")
        assert client._http is None
        await client.close()
        return http

    assert asyncio.run(live()).is_closed


def test_an_async_client_survives_its_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Used in one asyncio.run after the other, it opens new connections: the old ones died with their loop."""
    opened: list[httpx.AsyncClient] = []
    real = httpx.AsyncClient

    def open_one(**_: Any) -> httpx.AsyncClient:
        opened.append(real(transport=httpx.MockTransport(Wire(answer()).answer_async)))
        return opened[-1]

    monkeypatch.setattr(httpx, "AsyncClient", open_one)
    client = AsyncEndpointsClient(TOKEN, namespace="acme")

    async def twice() -> None:
        await client.get_inference_endpoint("tickets")
        await client.get_inference_endpoint("tickets")

    asyncio.run(twice())
    asyncio.run(twice())
    assert len(opened) == 2
    asyncio.run(client.close())


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name in vars(kind)
    }


def test_every_method_has_its_twin() -> None:
    """The two clients have the same methods, and all of the asynchronous one's are awaited."""
    assert set(public(EndpointsClient)) == set(public(AsyncEndpointsClient))
    assert all(inspect.iscoroutinefunction(member) for member in public(AsyncEndpointsClient).values())
    assert not any(inspect.iscoroutinefunction(member) for member in public(EndpointsClient).values())


@pytest.mark.parametrize("name", sorted(public(EndpointsClient)))
def test_twins_have_the_same_signature(name: str) -> None:
    """Arguments, defaults and types are the same in both clients."""
    assert inspect.signature(public(EndpointsClient)[name]) == inspect.signature(public(AsyncEndpointsClient)[name])
