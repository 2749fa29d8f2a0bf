"""The service's error answers: a status, a text, and a code."""

from __future__ import annotations

from http import HTTPStatus


class ApiError(Exception):
    """A refusal by a route. It becomes `{"error": "<Status words>: <message>", "code": "<UPPER_SNAKE>"}`.

    :param message: empty if the service says no more than its status: `{"error": "401 Unauthorized", …}`.
    :param plain: whether the answer is only the message as plain text, as the service's framework does for bad input.
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
    """The refusal of a body of another form, in the words of the service's framework and without JSON."""
    return ApiError(422, f"Failed to deserialize the JSON body into the target type: {words}", plain=True)


# Python 3.13 renamed this phrase. The service's words do not depend on the emulator's Python.
_WORDS = {422: "Unprocessable Entity"}


def error_body(status: int, message: str) -> dict[str, str]:
    """The JSON body of an error of the control plane, and of the proxy if it says more than its status."""
    words = _WORDS.get(status) or HTTPStatus(status).phrase
    text = f"{words}: {message}" if message else f"{status} {words}"
    return {"error": text, "code": words.upper().replace(" ", "_").replace("-", "_")}
