"""Which errors of a store or a disk another try does not change: a refusal, or a path that cannot be used.

A full or failing disk, a busy or unreachable service, and what is not known are tried again. The clients of the stores
are not imported here. Their errors are known by HTTP statuses and names.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Any

#: No permission; a path that does not exist, exists as something else, or is not valid; an operation that the file
#: system does not have; a bucket in another region.
_NUMBERS = frozenset(
    number
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG"),
        *("EINVAL", "EILSEQ", "EMSGSIZE", "ENOSYS", "EOPNOTSUPP", "EREMCHG"),
    )
    if (number := getattr(errno, name, None)) is not None
)
_KINDS = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
# Not a timeout, a conflict, a read that met a write (S3 answers 412), a lock, too early, too many.
_STATUSES = frozenset(range(400, 500)) - {408, 409, 412, 423, 425, 429}
#: What a store's client raises before it asks the store: there are no credentials, or an argument is not valid.
_NAMES = frozenset(
    (
        # botocore
        *("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "ProfileNotFound"),
        *("UnauthorizedSSOTokenError", "SSOTokenLoadError", "InvalidRegionError", "NoRegionError"),
        # google.auth and azure.core
        *("DefaultCredentialsError", "ClientAuthenticationError"),
    )
)


def is_refusal(error: BaseException) -> bool:
    """Whether another try a moment later would fail in the same way."""
    if isinstance(error, TimeoutError | ConnectionError) or getattr(error, "errno", None) == errno.EBUSY:
        return False  # s3fs raises these for statuses that look like refusals
    return any(_is_one(each) for each in _with_causes(error))


def _is_one(error: BaseException) -> bool:
    if isinstance(error, _KINDS) or (isinstance(error, OSError) and error.errno in _NUMBERS):
        return True
    return status_of(error) in _STATUSES or any(kind.__name__ in _NAMES for kind in type(error).__mro__)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and the errors of the store's client that it was raised from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a store's error; None if the client's error has none."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, Mapping):  # botocore
        about = answer.get("ResponseMetadata")
        found = about.get("HTTPStatusCode") if isinstance(about, Mapping) else None
        return found if isinstance(found, int) else None
    known = (getattr(answer, "status_code", None), *(getattr(error, name, None) for name in _STATUS_FIELDS))
    return next((each for each in known if isinstance(each, int)), None)


_STATUS_FIELDS = ("status_code", "status", "code")
