"""Which errors of stores end the work at once, and which are tried again for two minutes."""

from __future__ import annotations

import asyncio
import errno
import logging
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchStoreError
from airflow_provider_hf_endpoints.inference.stores import patience
from airflow_provider_hf_endpoints.inference.stores.permanent import is_refusal

errors = pytest.importorskip("s3fs.errors")
ERROR_CODE_TO_EXCEPTION, translate_boto_error = errors.ERROR_CODE_TO_EXCEPTION, errors.translate_boto_error

REFUSED = ["ENOENT", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "EISDIR", "ENOTDIR", "ELOOP", "EEXIST", "EINVAL"]
AGAIN = ["ENOSPC", "EDQUOT", "EIO", "EBUSY", "ESTALE", "EAGAIN", "EINTR", "ETIMEDOUT", "ECONNRESET", "EMFILE", "ENOMEM"]
#: Codes of S3 that are the state of a moment.
BUSY = {
    *("InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"),
    *("RestoreAlreadyInProgress", "409", "500", "503"),
}


@pytest.mark.parametrize(("names", "refused"), [(REFUSED, True), (AGAIN, False)])
def test_errors_of_a_disk(names: list[str], refused: bool) -> None:
    """A path or a permission does not change by itself; a full disk and a broken network may."""
    assert dict.fromkeys(names, refused) == {name: is_refusal(OSError(getattr(errno, name), "told")) for name in names}


def client_error(code: str, status: int) -> Exception:
    """As botocore raises it, with its response as a mapping."""
    error = Exception(f"An error occurred ({code})")
    error.response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("code", sorted(ERROR_CODE_TO_EXCEPTION))
def test_errors_of_s3_by_their_codes(code: str) -> None:
    """Each code that s3fs knows, in the form that it gives to it."""
    status = 500 if code in ("InternalError", "500") else 503 if code in ("ServiceUnavailable", "SlowDown") else 400
    if code == "NotImplemented":
        status = 501
    assert (code not in BUSY) == is_refusal(translate_boto_error(client_error(code, status)))


@pytest.mark.parametrize(
    ("statuses", "refused"),
    [((400, 401, 403, 404, 405, 410), True), ((408, 409, 412, 423, 425, 429, 500, 502, 503, 504), False)],
)
def test_errors_of_clients_by_their_statuses(statuses: tuple[int, ...], refused: bool) -> None:
    """A code that s3fs does not know, and the forms of the clients of Google, Azure, aiohttp and requests."""
    for status in statuses:
        forms: list[Exception] = [translate_boto_error(client_error("SomethingNew", status))]
        for name in ("status_code", "status", "code"):
            forms.append(Exception("told"))
            setattr(forms[-1], name, status)
        forms.append(Exception("told"))
        forms[-1].response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
        assert [refused] * len(forms) == [is_refusal(each) for each in forms], status


def test_errors_in_a_circle_are_looked_at_once() -> None:
    """A client may raise an error from another one that was raised from the first."""
    one, other = RuntimeError("a"), RuntimeError("b")
    one.__cause__, other.__cause__ = other, one
    assert not is_refusal(one)


def test_a_bucket_that_cannot_be_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the words of the real client, with what was done and what to do."""
    pytest.importorskip("moto")
    from tests.contract.s3_server import CREDENTIALS, s3_server

    with s3_server() as server:
        for name, value in {**CREDENTIALS, **server.environment}.items():
            monkeypatch.setenv(name, value)
        for path in ("s3://Bad_Bucket!/a", "s3://no-such-bucket-here/a"):
            store = UPath(path, skip_instance_cache=True).fs
            told = refused_at_once(partial(store.pipe_file, path, b"x"), caplog)
            assert f"writing {path} failed" in told
            assert "Correct the path" in told


def test_missing_credentials_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The real client finds none before it asks the store."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    path = UPath("s3://bucket/a", endpoint_url="http://127.0.0.1:9", skip_instance_cache=True)
    assert "Unable to locate credentials" in refused_at_once(partial(path.fs.pipe_file, "s3://bucket/a", b"x"), caplog)


def refused_at_once(work: Any, caplog: pytest.LogCaptureFixture) -> str:
    """The error, after one try, of work before anything is sent."""
    path = work.args[0]
    with caplog.at_level(logging.WARNING), pytest.raises(BatchStoreError) as error:
        asyncio.run(patience.patiently(work, f"writing {path}", sent=False))
    assert "trying again" not in caplog.text
    return str(error.value)
