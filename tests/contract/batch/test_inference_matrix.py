"""The retry matrix: every status with every way in which an answer can fail, over real connections.

The result is one typed error, one decision about the row, and one party at fault.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.engines import Dialect, read_result
from airflow_provider_hf_endpoints.inference.http.streams import StreamsTransport
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest
from airflow_provider_hf_endpoints.inference.sending.retries import Verdict, verdict
from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving

Expected = tuple[type[errors.InferenceError], Verdict, str]

BY_STATUS: dict[int, Expected | None] = {
    200: None,
    400: (errors.BadRequestError, Verdict.ROW_FAILS, "caller"),
    401: (errors.AuthenticationError, Verdict.STOP, "token"),
    402: (errors.PaymentRequiredError, Verdict.STOP, "token"),
    403: (errors.PermissionDeniedError, Verdict.STOP, "token"),
    404: (errors.NotFoundError, Verdict.STOP, "endpoint"),
    408: (errors.InferenceTimeoutError, Verdict.TRY_AGAIN, "network"),
    409: (errors.ServerError, Verdict.TRY_AGAIN, "endpoint"),
    413: (errors.PayloadTooLargeError, Verdict.ROW_FAILS, "caller"),
    422: (errors.BadRequestError, Verdict.ROW_FAILS, "caller"),
    424: (errors.ServerError, Verdict.TRY_AGAIN, "endpoint"),
    429: (errors.OverloadedError, Verdict.NOT_TAKEN, "endpoint"),
    499: (errors.ServerError, Verdict.TRY_AGAIN, "endpoint"),
    500: (errors.ServerError, Verdict.TRY_AGAIN, "endpoint"),
    502: (errors.StartingError, Verdict.NOT_TAKEN, "endpoint"),
    503: (errors.StartingError, Verdict.NOT_TAKEN, "endpoint"),
    504: (errors.StartingError, Verdict.NOT_TAKEN, "endpoint"),
    529: (errors.OverloadedError, Verdict.NOT_TAKEN, "endpoint"),
}
CUT: Expected = (errors.CutAnswerError, Verdict.TRY_AGAIN, "endpoint")
# The status of these says that the request may succeed later; what the others mean, the rest of the body might say.
PASSING = (408, 429, 500, 502, 503, 504, 529)
# No whole answer came.
BY_CONNECTION: dict[str, Expected] = {
    "refused": (errors.ConnectionFailedError, Verdict.NOT_TAKEN, "network"),
    "reset before the answer": CUT,
    "cut in the head": CUT,
    "cut in the body": CUT,
    "cut in the chunks": CUT,
    "never answered": (errors.InferenceTimeoutError, Verdict.TRY_AGAIN, "network"),
}
# The answer is whole: an error's status decides, a 200 has to make sense.
IN_A_200: dict[str, Expected | None] = {
    "whole": None,
    "not JSON": (errors.MalformedAnswerError, Verdict.TRY_AGAIN, "endpoint"),
    "JSON of something else": (errors.MalformedAnswerError, Verdict.TRY_AGAIN, "endpoint"),
    "JSON that stops": CUT,
    "empty": CUT,
    "another content type": None,
}


def expected_of(status: int, fault: str) -> Expected | None:
    if fault in ("cut in the body", "cut in the chunks") and status in PASSING:
        return BY_STATUS[status]
    if fault in BY_CONNECTION:
        return BY_CONNECTION[fault]
    return BY_STATUS[status] if status != 200 else IN_A_200[fault]


def answer(request: Request) -> Reply:
    """The route says what: `/429/empty`."""
    _, status, fault = request.path.replace("_", " ").split("/")
    whole = chat_reply("yes").json if status == "200" else {"error": "so it is"}
    body = json.dumps(whole).encode()
    reply = Reply(int(status), raw=body)
    head = len(reply.to_bytes()) - len(body)
    match fault:
        case "reset before the answer":
            return Reply(cut=0)
        case "cut in the head":
            return Reply(int(status), raw=body, cut=head - 5)
        case "cut in the body":
            return Reply(int(status), raw=body, cut=head + 5)
        case "cut in the chunks":
            return Reply(int(status), raw=body, chunked=True, cut=head + 10)
        case "never answered":
            return Reply(hang=True)
        case "not JSON":
            return Reply(int(status), raw=b"<html>Something is in the way</html>")
        case "JSON of something else":
            return Reply(int(status), raw=b'{"weather": "fine"}')
        case "JSON that stops":
            return Reply(int(status), raw=body[:-3])
        case "empty":
            return Reply(int(status), raw=b"")
        case "another content type":
            return Reply(int(status), raw=body, headers={"Content-Type": "text/html"})
        case _:
            return reply


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(answer) as server:
        yield server


@pytest.fixture(scope="module")
def nobody() -> str:
    """An address at which no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def outcome(url: str, route: str, timeout: float) -> errors.InferenceError | None:
    transport = StreamsTransport(url, {})
    try:
        if timeout < 1:  # time for an answer, not for connecting, which a busy machine may take longer over
            await transport.send(HttpRequest("POST", "/200/whole", b"{}", 20.0))
        response = await transport.send(HttpRequest("POST", route, b"{}", timeout))
        read_result(Dialect.OPENAI, "chat-completion", response, route)
    except errors.InferenceError as error:
        return error
    finally:
        await transport.aclose()
    return None


@pytest.mark.parametrize("fault", [*BY_CONNECTION, *IN_A_200])
@pytest.mark.parametrize("status", BY_STATUS)
def test_what_becomes_of_a_row(server: Server, nobody: str, status: int, fault: str) -> None:
    """One class, one verdict, one to blame; retryable exactly where the row is not given up."""
    url = nobody if fault == "refused" else server.url
    timeout = 0.05 if fault == "never answered" else 20.0
    error = asyncio.run(outcome(url, f"/{status}/{fault}".replace(" ", "_"), timeout))
    expected = expected_of(status, fault)
    if expected is None:
        assert error is None
        return
    assert error is not None
    assert expected == (type(error), verdict(error), error.fault)
    assert error.retryable == (expected[1] in (Verdict.TRY_AGAIN, Verdict.NOT_TAKEN))
