"""The service's error answers: a status, the words of it, and a code."""

from __future__ import annotations

from http import HTTPStatus


class ApiError(Exception):
    """What a route refuses with; becomes `{"error": "<Status words>: <message>", "code": "<UPPER_SNAKE>"}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def body(self) -> dict[str, str]:
        return error_body(self.status, self.message)


# Python 3.13 renamed this phrase; the service's words do not depend on the Python that emulates them.
_WORDS = {422: "Unprocessable Entity"}


def error_body(status: int, message: str) -> dict[str, str]:
    """The JSON body of an error of the control plane, and of the proxy where it says more than its status."""
    words = _WORDS.get(status) or HTTPStatus(status).phrase
    return {"error": f"{words}: {message}", "code": words.upper().replace(" ", "_").replace("-", "_")}
