"""The seam between the batch and an HTTP library: one method, `send`.

A transport is for one endpoint. It handles connections, timeouts and TLS, not statuses and bodies.
`streams.py` has the fast transport, `httpx_transport.py` the one that works everywhere. This file imports neither, so
that a batch imports only what it uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.wire import WireResponse

CONNECT_TIMEOUT = 10.0  # seconds
JSON = "application/json"


@dataclass(slots=True)  # not frozen, which would take three times as long for each row
class HttpRequest:
    """The bytes of a request.

    :param route: path below the endpoint's URL, beginning with `/`
    :param timeout: seconds until the answer must be complete
    :param content_type: of the body
    """

    method: str
    route: str
    body: bytes
    timeout: float
    content_type: str = JSON


class Transport(ABC):
    """Sends requests to one endpoint, any number at the same time. The batch calls `send` and, at its end,
    `aclose`."""

    #: How many requests were sent twice because a kept connection was closed.
    resent: int = 0

    @abstractmethod
    async def send(self, request: HttpRequest) -> WireResponse:
        """The complete answer, with any status.

        After a timeout or a cancellation the connection is closed, so that the engine stops working on the
        request. A kept connection that the server had closed is replaced at once, one time.

        :raises ConnectionFailedError: there is no connection, or it broke before an answer began
        :raises InferenceTimeoutError: no complete answer within the timeout
        :raises CertificateError: the server's certificate is not accepted; a retry does not help
        :raises CutAnswerError: the answer is incomplete
        :raises MalformedAnswerError: the answer is not HTTP
        :raises AnswerTooLargeError: the body exceeds the maximum
        :raises BadRequestError: the route is not valid in a URL
        """

    async def aclose(self) -> None:  # noqa: B027 - a transport without connections has nothing to close
        """Close every connection."""
