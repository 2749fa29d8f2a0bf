"""Records below a path, an object each, on any storage that Airflow's `ObjectStoragePath` knows.

A reader sees an object whole or not at all. Object stores write so by themselves. On a local or shared folder a record
is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_hf_endpoints.kept.attempts import StoreError, attempt
from airflow_provider_hf_endpoints.kept.places import Document, Records

_AT_ONCE = 16  # objects that are read at the same time
_FOLDERS = frozenset({"file", "local"})  # what fsspec calls storages that write in place, and rename whole


class PathDocument(Document):
    """An object."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self) -> Any:
        """The value."""
        return _read(self._file.fs, self._file)

    def write(self, value: Any) -> None:
        """Replace it."""
        data = json.dumps(value).encode()

        def put() -> None:
            if is_folder(self._file):
                _put_whole(Path(self._file.path), data)
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.fs.pipe_file(self._file.path, data)

        attempt(self._file, "written", put)

    def remove(self) -> None:
        """Remove it."""
        PathRecords(self._file.parent).remove([self._file.stem])


class PathRecords(Records):
    """An object for each record, `key.json` in one folder. Each object has one writer.

    Works between several Airflow deployments. On any storage that lists an object once it is written, as S3, Google
    Cloud Storage, Azure and shared files do.
    """

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    def read(self) -> dict[str, Any]:
        """All of them."""
        files = self._files()
        # Looked up once, here: in Airflow 3.0 several threads cannot ask for a connection.
        storage = self._folder.fs
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            values = pool.map(lambda file: _read(storage, file), files)
            read = {file.name.removesuffix(".json"): value for file, value in zip(files, values, strict=True)}
        return {key: record for key, record in read.items() if record is not None}  # None: removed since it was listed

    def _files(self) -> list[Any]:
        def look() -> list[Any]:
            # A listing that was cached would not show who came since.
            self._folder.fs.invalidate_cache()
            try:
                return [each for each in self._folder.iterdir() if each.name.endswith(".json")]
            except (FileNotFoundError, NotADirectoryError):  # either, by the storage, where nothing was written yet
                if self._folder.fs.isfile(self._folder.path):
                    raise
                return []

        return attempt(self._folder, "read", look)

    def write(self, key: str, record: Any) -> None:
        """Keep this one."""
        PathDocument(self._folder / f"{key}.json").write(record)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these, and on a folder what killed writers of them have left."""
        gone = tuple(keys)

        def delete() -> None:
            for key in gone:
                try:
                    self._folder.fs.rm_file((self._folder / f"{key}.json").path)
                except FileNotFoundError:
                    continue
            if is_folder(self._folder):
                for left in [each for key in gone for each in Path(self._folder.path).glob(f".{key}.*.tmp")]:
                    left.unlink(missing_ok=True)

        attempt(self._folder, "removed", delete)


def folder_at(path: str, folder: Sequence[str]) -> Any:
    """The folder `folder` below `path`. Raises `StoreError` for a path that names no storage."""
    try:
        found = ObjectStoragePath(path)
        for each in folder:
            found = found / each
        return found
    except Exception as error:  # of the storage that is named, or of a package that is missing
        raise StoreError(f"Cannot use {path}: {type(error).__name__}: {error}") from error


def is_folder(path: Any) -> bool:
    """Whether `path` is on this machine's own file system, or one that is mounted there."""
    protocol = path.fs.protocol
    return bool(_FOLDERS & {protocol, *(() if isinstance(protocol, str) else protocol)})


def _read(storage: Any, file: Any) -> Any:
    """The value of a file; None if the file does not exist."""

    def get() -> Any:
        try:
            # In one request: a read that opens first and fetches then fails where the object is replaced between.
            return json.loads(storage.cat_file(file.path))
        except FileNotFoundError:
            return None

    return attempt(file, "read", get)


def _put_whole(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with written.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        written.replace(file)
    finally:
        written.unlink(missing_ok=True)
