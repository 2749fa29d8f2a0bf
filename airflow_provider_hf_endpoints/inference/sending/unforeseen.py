"""Turns an unexpected exception into an error of its row, so that one row never ends a batch."""

from __future__ import annotations

import logging
import traceback

from airflow_provider_hf_endpoints.inference.errors import ConnectionFailedError, InferenceError, InternalError
from airflow_provider_hf_endpoints.inference.http.tls_failures import hopeless, is_hopeless, tls_failure

log = logging.getLogger(__name__)

_TOLD: set[tuple[str, str]] = set()
_MOST_TOLD = 100  # kinds of exceptions with a traceback in the log; a batch may have a million rows


def typed_failure(error: Exception, route: str) -> InferenceError:
    """The error of a request for an exception that neither the transport nor the reader of answers has typed."""
    if (failure := tls_failure(error)) is not None and is_hopeless(failure):
        return hopeless(failure, route)
    if isinstance(error, OSError):
        return ConnectionFailedError(f"{type(error).__name__}: {error}", path=route)
    return internal_error(error, "sending the request and reading its answer")


def internal_error(error: Exception, doing: str) -> InternalError:
    """The row's error for an exception. Its traceback is logged once for each type and place.

    :param doing: what was done with the row, as in "reading the answer"
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "unknown place"
    kind = (type(error).__name__, place)
    if kind not in _TOLD and len(_TOLD) < _MOST_TOLD:
        _TOLD.add(kind)
        log.error("%s failed while %s. The row gets this error; the batch continues.", kind[0], doing, exc_info=error)
    return InternalError(f"{type(error).__name__} at {place} while {doing}: {str(error)[:300]}")
