"""The seam between the batch and an HTTP library: one method, `send`.

A transport is bound to one endpoint. It knows connections, timeouts and TLS; statuses and bodies are not its concern.
`streams.py` holds the fast one, `httpx_transport.py` the one that works everywhere, and this file imports neither: a
batch pays only for what it uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.wire import WireResponse

CONNECT_TIMEOUT = 10.0  # seconds


@dataclass(slots=True)  # not frozen, which would take three times as long for each row
class HttpRequest:
    """Bytes to be sent.

    :param route: path below the endpoint's URL, beginning with `/`
    :param timeout: seconds until the answer must have arrived whole
    """

    method: str
    route: str
    body: bytes
    timeout: float


class Transport(ABC):
    """Sends requests to one endpoint, any number at once. The batch calls `send` and, at its end,
    `aclose`."""

    #: How many requests were sent once more because a kept connection was found closed.
    resent: int = 0

    @abstractmethod
    async def send(self, request: HttpRequest) -> WireResponse:
        """The answer, whole, whatever its status.

        On a timeout or a cancellation the connection is closed, so that the engine stops working on the
        request. A kept connection that the server had closed meanwhile is replaced once, at once.

        :raises ConnectionFailedError: no connection, or none that brought the beginning of an answer
        :raises InferenceTimeoutError: no complete answer within the timeout
        :raises CertificateError: the server's certificate is not accepted; trying again does not help
        :raises CutAnswerError: an answer that ended too early
        :raises MalformedAnswerError: what came is not HTTP
        :raises AnswerTooLargeError: a body above the transport's bound
        :raises BadRequestError: a route that no URL can carry
        """

    async def aclose(self) -> None:  # noqa: B027 - a transport without connections has nothing to close
        """Close every connection."""
