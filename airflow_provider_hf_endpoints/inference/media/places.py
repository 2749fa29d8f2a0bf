"""Which file a path in a row means, and which files a row may name.

A row is data, perhaps of somebody else. It may name files next to its input, and on the stores that a batch reads. If
the input is on a store, its rows cannot make the batch send files of the worker's disk.
"""

from __future__ import annotations

from typing import Any, cast

from upath import UPath

from airflow_provider_hf_endpoints._packages import STORES
from airflow_provider_hf_endpoints.inference.media.errors import MediaInvalidError
from airflow_provider_hf_endpoints.inference.media.values import scheme_of
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_ON_DISK = ("file", "local")
#: What fsspec, UPath and the stores' packages raise for a path that they cannot open, before any store is asked.
NOT_A_PLACE = (ImportError, ValueError, AttributeError, TypeError, NotImplementedError)


def place_of(source: str, base: UPath) -> UPath:
    """The file of a path in a row.

    :param source: the path; without a scheme, from the input's folder
    :param base: the input's folder. Its connection and its options are used for paths on the same kind of store
    :raises MediaInvalidError: the row may not name such a path
    """
    prefix = f"{str(base).rstrip('/')}/"
    if source.startswith(prefix):  # as in all rows of a listing
        return base / source[len(prefix) :]
    scheme, on_disk = scheme_of(source), local_path(base) is not None
    if not scheme and (on_disk or not source.startswith("/")):
        return base / source
    if on_disk and scheme in _ON_DISK:
        return UPath(source)
    if not scheme or scheme in _ON_DISK:
        raise MediaInvalidError(
            f"{source!r} is a path of the worker's disk, but the row comes from {base}. Such rows may name only files "
            "on stores. Give a path that is relative to the input, or one with a scheme"
        )
    if scheme != base.protocol and scheme not in STORES:
        raise MediaInvalidError(
            f"{source!r} has the scheme {scheme}://, which rows may not name. Use one of {', '.join(STORES)}, or an "
            "http URL, which the engine fetches"
        )
    return _opened_as(base, source, same=STORES.get(scheme, scheme) == STORES.get(base.protocol, base.protocol))


def _opened_as(base: UPath, source: str, *, same: bool) -> UPath:
    """A path with the connection and the options of the base, if it is on the same kind of store.

    :raises MediaInvalidError: the path names another connection
    """
    if not any(each.__name__ == "ObjectStoragePath" for each in type(base).__mro__):
        return cast(UPath, UPath(source, **(dict(base.storage_options) if same else {})))
    scheme, _, rest = source.partition("://")  # Airflow's paths have connections
    named, own = _connection_in(rest), _connection_in(str(base).partition("://")[2])
    if named and not (same and named == own):
        raise MediaInvalidError(
            f"{source!r} names the connection {named!r}, which is not the input's. A row may not choose whose "
            "credentials are used. Leave the connection out of the row's path"
        )
    kind: Any = type(base)
    return cast(UPath, kind(f"{scheme}://{own}@{rest}" if same and own and not named else source))


def _connection_in(rest: str) -> str:
    """The connection in a path without its scheme; empty if there is none."""
    return rest.partition("/")[0].rpartition("@")[0]
