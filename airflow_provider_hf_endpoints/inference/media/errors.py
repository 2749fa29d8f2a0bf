"""The errors of a row whose file cannot be sent. Nothing was sent for the row, so they say nothing of the endpoint."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.errors import InferenceError


class MediaError(InferenceError):
    """A file that a row names cannot be sent."""

    fault = "caller"
    what = "A file of the row could not be sent"
    todo = "Correct the file or its path, and run the row again."


class MediaMissingError(MediaError):
    """The file does not exist."""

    what = "A file that the row names does not exist"
    todo = "Check the path. Paths without a scheme start at the input's folder."


class MediaEmptyError(MediaError):
    """The file has no bytes."""

    what = "A file that the row names is empty"
    todo = "Write the file again."


class MediaTooLargeError(MediaError):
    """The file has more than `max_media_bytes`."""

    what = "A file that the row names is too large"
    todo = "Make the file smaller, or raise max_media_bytes."


class MediaInvalidError(MediaError):
    """The path may not be read, the base64 is not valid, or the file is of another kind."""

    what = "A file of the row is not what the template says"
    todo = "Correct the value in the row, or the file."


class MediaChangedError(MediaError):
    """The file was replaced between its listing and its reading."""

    retryable = True
    what = "A file that the row names was changed while the batch ran"
    todo = "Run the same job again: the row is then sent with the new file."


class MediaUnreadableError(MediaError):
    """The store refused the file, or failed for half a minute."""

    retryable = True
    what = "A file that the row names could not be read"
    todo = "Check the store and the permission to read the file. The same job then sends the row again."
