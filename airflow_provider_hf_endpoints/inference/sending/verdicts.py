"""What a failed request means for its row and for the batch. One table, no I/O."""

from __future__ import annotations

from enum import Enum, auto

from airflow_provider_hf_endpoints.inference import errors


class Verdict(Enum):
    """What is done with a row whose request failed."""

    ROW_FAILS = auto()  #: the request is wrong: trying again gives the same answer
    TRY_AGAIN = auto()  #: it may work next time; counts against the row's attempts
    NOT_TAKEN = auto()  #: nobody worked on it: the endpoint is busy or away; counts against the row's time alone
    STOP = auto()  #: no row can succeed any more


def on_budget(error: errors.InferenceError) -> bool:
    """Whether sending a row again after `error` counts against the batch's retry budget."""
    # An answer that does not fit the schema is the model's, and the engine is well.
    return not isinstance(error, errors.OverloadedError) and error.kind != "invalid_output"


def verdict(error: errors.InferenceError, *, own_route: bool = False) -> Verdict:
    """What `error` means.

    :param own_route: the row chose its route or model itself, so that a 404 is the row's and not the
        endpoint's
    """
    match error:
        case errors.AuthenticationError() | errors.PermissionDeniedError() | errors.EndpointPausedError():
            return Verdict.STOP
        case errors.NotFoundError() | errors.ModelNotFoundError() | errors.UnsupportedTaskError():
            return Verdict.ROW_FAILS if own_route else Verdict.STOP
        case errors.OverloadedError() | errors.StartingError() | errors.ConnectionFailedError():
            return Verdict.NOT_TAKEN
        case _ if error.retryable:
            return Verdict.TRY_AGAIN
        case _:
            return Verdict.ROW_FAILS
