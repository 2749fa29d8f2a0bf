"""A server that answers a look at a message batch as anthropic's API does, for the baseline of that name: never ended.

Counts its requests; a thread of the benchmark's own process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BATCH = {
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "ended_at": None,
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}


class Batches(BaseHTTPRequestHandler):
    """One route: `GET /v1/messages/batches/{id}`."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        """The batch goes on."""
        type(self).asked += 1
        body = json.dumps({"id": self.path.rsplit("/", 1)[1], **_BATCH}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def batches() -> Iterator[str]:
    """The server's address, while it runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Batches) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
