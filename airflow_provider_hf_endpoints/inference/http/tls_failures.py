"""What a failed TLS handshake means: whether another try can succeed. No I/O."""

from __future__ import annotations

import ssl

from airflow_provider_hf_endpoints.inference.errors import (
    CertificateError,
    ConnectionFailedError,
    InferenceError,
    TlsError,
)

#: Handshakes that may fail before the first success: a server in front of an endpoint may still be configured.
TRIES = 3
#: OpenSSL's texts for a server that does not use TLS, most likely plain HTTP; newer releases have the last.
_NO_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
)
#: The connection ended, which says nothing about TLS.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """The handshake's failure in an exception; None if only the connection ended, or TLS is not at fault."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            ended = isinstance(error, _ENDED) or "UNEXPECTED_EOF" in _reason(error)
            return None if ended else error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or ""  # an error that is not OpenSSL's has no reason


def is_hopeless(error: ssl.SSLError) -> bool:
    """Whether one such failure is enough to give up."""
    return isinstance(error, ssl.SSLCertVerificationError) or _reason(error) in _NO_TLS


def hopeless(error: ssl.SSLError, route: str) -> TlsError:
    """The error that ends the sending."""
    kind = CertificateError if isinstance(error, ssl.SSLCertVerificationError) else TlsError
    return kind(str(error), path=route)


class Handshakes:
    """Counts the handshakes with one endpoint, and decides what a failed one means."""

    def __init__(self) -> None:
        self._worked = False
        self._failed = 0

    def worked(self) -> None:
        """One has succeeded: later failures are temporary."""
        self._worked = True

    def failed(self, error: ssl.SSLError, route: str) -> InferenceError:
        """The error of a request whose handshake failed."""
        self._failed += 1
        if is_hopeless(error) or (self._failed >= TRIES and not self._worked):
            return hopeless(error, route)
        return ConnectionFailedError(str(error), path=route)
