"""What the error of a file system means for an input: that it is not there, or may not be read. No I/O."""

from __future__ import annotations

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError

_HUB_TOKEN = (
    "the token is that of the connection which the path names (hf://conn_id@datasets/…), else of the default one"
)


def refusal(path: UPath, error: OSError) -> BatchInputError | None:
    """The error in words of an input; None for one that another try may not meet, such as a broken connection."""
    match error:
        case FileNotFoundError():
            return BatchInputError(f"input file {path} does not exist{words_of_hub(path, error)}")
        case IsADirectoryError():
            return BatchInputError(f"input {path} is a folder, not a file")
        case PermissionError():
            return BatchInputError(f"input file {path} may not be read: {error}")
    # huggingface_hub's errors, which this room does not import, carry the answer.
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return BatchInputError(f"input {path} may not be read: the Hub does not accept the token (401); {_HUB_TOKEN}")
    if status == 403:
        return BatchInputError(
            f"input {path} may not be read: the token has not the permission, or the terms of a gated repository were "
            f"not accepted by its owner (403); {_HUB_TOKEN}"
        )
    return None


def words_of_hub(path: UPath, error: FileNotFoundError) -> str:
    """What the Hub's client says besides that the path is not there."""
    if path.protocol != "hf":
        return ""
    if "repository not found" in str(error):
        return f": there is no such repository, or the token may not see it; {_HUB_TOKEN}"
    return ": there is no such revision in its repository" if "revision not found" in str(error) else ""
