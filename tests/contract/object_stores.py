"""Object stores on this machine for real clients: moto's S3, and Azurite for Azure's Blob Storage.

Azurite is a program of Node's, which `make test-stores` installs; without it the tests on Azure are skipped. Google's
Cloud Storage is missing: its servers on PyPI (gcp-storage-emulator 2026.7.19) ignore the precondition of a write, which
is what these tests are about.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from upath import UPath

from dev.setup import AZURITE as AZURITE_FOLDER
from tests.contract.s3_server import CREDENTIALS, s3_server

AZURITE = AZURITE_FOLDER / "node_modules" / ".bin" / "azurite-blob"
HANG = 60.0  # seconds after which a server that does not listen is a failure
#: Azurite's account, the same in each one and in its documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class ObjectStore:
    """A running server.

    :param environment: what a process needs to reach it
    :param folder: an empty place of this test's own in it
    """

    environment: dict[str, str]
    folder: UPath


@contextmanager
def s3() -> Iterator[ObjectStore]:
    """moto's server."""
    with s3_server() as server:
        yield ObjectStore({**CREDENTIALS, **server.environment}, server.folder)


@contextmanager
def azure() -> Iterator[ObjectStore]:
    """Azurite, which keeps its blobs in memory."""
    options = ("--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck")
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", "0", *options], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            port, until = None, time.monotonic() + HANG
            while port is None:
                time.sleep(0.1)
                log.seek(0)
                text = log.read()
                port = re.search(r"listens on http://127\.0\.0\.1:(\d+)", text)
                assert port or (process.poll() is None and time.monotonic() < until), text
            address = f"http://127.0.0.1:{port[1]}/{_ACCOUNT}"
            connection = (
                f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={address};"
            )
            container = f"container-{uuid.uuid4().hex[:8]}"
            folder = UPath(f"abfs://{container}/batch", connection_string=connection)
            folder.fs.mkdir(container)
            yield ObjectStore({"AZURE_STORAGE_CONNECTION_STRING": connection}, folder)
        finally:
            process.terminate()
            process.wait()


_SERVERS: dict[str, Callable[[], AbstractContextManager[ObjectStore]]] = {"s3": s3, "azure": azure}
OBJECT_STORES = tuple(_SERVERS)
#: The same as parameters of a test.
STORES = [
    "s3",
    pytest.param("azure", marks=pytest.mark.skipif(not AZURITE.exists(), reason="`make test-stores` runs this")),
]


@contextmanager
def object_store(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """One of the stores; this process reaches it, and so do those that it starts."""
    with _SERVERS[name]() as store:
        for variable, value in store.environment.items():
            monkeypatch.setenv(variable, value)
        yield store
