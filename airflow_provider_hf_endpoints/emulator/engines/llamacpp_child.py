"""The process of one llama.cpp server. It is run as a file and imports nothing of this package, to start fast.

Reads its settings, a line of JSON, from stdin; prints `{"address": ...}` once it listens; ends when stdin ends, which
happens even when the emulator is killed.
"""

from __future__ import annotations

import json
import os
import sys
import threading


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)  # end without waiting for llama.cpp's threads


def main() -> None:
    """Serve until stdin ends."""
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model_path"]
    params.model_alias = {settings["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context_length"]  # it is divided among the slots
    params.cpuparams.n_threads = 1  # with more, ggml spins on busy cores and throughput falls tenfold
    params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.warmup = False
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
