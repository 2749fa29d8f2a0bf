"""What a TLS handshake that failed means: whether a further try can come to anything. No I/O."""

from __future__ import annotations

import ssl

from airflow_provider_hf_endpoints.inference.errors import (
    CertificateError,
    ConnectionFailedError,
    InferenceError,
    TlsError,
)

#: Handshakes that may fail before one has worked: what stands before an endpoint may be about to get its settings.
TRIES = 3
#: OpenSSL's words for a peer that speaks something else, most likely plain HTTP; newer releases have the last.
_NO_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
)
#: The connection ended, which says nothing about TLS.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """The handshake's failure behind an exception; None where a connection merely ended, or TLS is not to blame."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            ended = isinstance(error, _ENDED) or "UNEXPECTED_EOF" in _reason(error)
            return None if ended else error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or ""  # one that OpenSSL did not make has none


def is_hopeless(error: ssl.SSLError) -> bool:
    """Whether one such failure is enough."""
    return isinstance(error, ssl.SSLCertVerificationError) or _reason(error) in _NO_TLS


def hopeless(error: ssl.SSLError, route: str) -> TlsError:
    """What ends the sending."""
    kind = CertificateError if isinstance(error, ssl.SSLCertVerificationError) else TlsError
    return kind(str(error), path=route)


class Handshakes:
    """Counts the handshakes with one endpoint, and says what a failed one means."""

    def __init__(self) -> None:
        self._worked = False
        self._failed = 0

    def worked(self) -> None:
        """One has come about: later failures are the moment's."""
        self._worked = True

    def failed(self, error: ssl.SSLError, route: str) -> InferenceError:
        """The error of a request for which no handshake came about."""
        self._failed += 1
        if is_hopeless(error) or (self._failed >= TRIES and not self._worked):
            return hopeless(error, route)
        return ConnectionFailedError(str(error), path=route)
