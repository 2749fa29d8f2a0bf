"""The service's error answers: a status, the words of it, and a code."""

from __future__ import annotations

from http import HTTPStatus


class ApiError(Exception):
    """What a route refuses with; becomes `{"error": "<Status words>: <message>", "code": "<UPPER_SNAKE>"}`.

    :param message: empty where the service says no more than its status: `{"error": "401 Unauthorized", …}`.
    :param plain: the answer is the message itself, as plain text: the service's framework says so what it can't read.
    """

    def __init__(self, status: int, message: str = "", *, plain: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.plain = plain

    @property
    def body(self) -> dict[str, str]:
        return error_body(self.status, self.message)


def misshapen(words: str) -> ApiError:
    """What a body of another shape is refused with, in the words of the service's framework and not in its own JSON."""
    return ApiError(422, f"Failed to deserialize the JSON body into the target type: {words}", plain=True)


# Python 3.13 renamed this phrase; the service's words do not depend on the Python that emulates them.
_WORDS = {422: "Unprocessable Entity"}


def error_body(status: int, message: str) -> dict[str, str]:
    """The JSON body of an error of the control plane, and of the proxy where it says more than its status."""
    words = _WORDS.get(status) or HTTPStatus(status).phrase
    text = f"{words}: {message}" if message else f"{status} {words}"
    return {"error": text, "code": words.upper().replace(" ", "_").replace("-", "_")}
