"""moto's S3 server on a free port of this machine, with a bucket in it: a real HTTP server for real clients."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moto.server import ThreadedMotoServer
from upath import UPath

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class S3:
    """A running server.

    :param environment: what a process needs to find it behind `s3://`
    :param folder: an empty place of this test's own in it
    """

    environment: dict[str, str]
    folder: UPath


@contextmanager
def s3_server() -> Iterator[S3]:
    """The server, as long as the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = f"bucket-{uuid.uuid4().hex[:8]}"  # moto keeps its buckets from one server to the next
        environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        os.environ.update({name: value for name, value in environment.items() if name != "AWS_ENDPOINT_URL"})
        folder = UPath(f"s3://{bucket}/batch", endpoint_url=environment["AWS_ENDPOINT_URL"])
        folder.fs.mkdir(bucket)
        yield S3(environment, folder)
    finally:
        server.stop()
