"""Batches on real engines that need no GPU: `python benchmarks/engines.py`, some fifteen minutes on two cores.

It makes its own environments in a folder that is deleted afterwards, with `transformers serve` and, where the
platform has a wheel of it, vLLM's CPU build; makes a tiny model of random weights; and starts servers on free ports.
The toolkit, which is in no package, is a pipeline of transformers behind the same route (`engines_pipeline.py`).

`--torch` is what pip installs as torch: on Linux the plain name brings a build of several GB for GPUs, so name a CPU
build that is at hand. `--serve PYTHON` and `--vllm PYTHON` take environments that are there already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bars import Bar, line
from engines_home import Home, NotToBeHad, metric, served
from engines_pairs import CHAT, FORMS, GENERATE, ROUTES, Tally, lines_of, try_pairs

from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch

HERE = Path(__file__).parent
NONE = Bar(0)
EMBED = "feature-extraction"


def questions(folder: Path, rows: int) -> Path:
    """Questions of many lengths."""
    path = folder / "questions.jsonl"
    words = "what does the baker earn who sells so many loaves and gives away the rest "
    texts = [(words * (1 + number % 7))[: 20 + 37 * (number % 11)] + str(number) for number in range(rows)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def batch(url: str, source: Path, folder: Path, task: str, **options: Any) -> tuple[BatchReport, list[dict[str, Any]]]:
    """A whole batch, and its lines."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    report = run_batch(BatchJob(url=url, task=task, input_path=source, output_path=folder / "out", **options))
    return report, lines_of(folder)


def whole(url: str, folder: Path, task: str, rows: int, *, counts: bool) -> None:
    """Questions whole and in order; tokens as the engine's own metrics have them, where it has some."""
    source = questions(folder, rows)
    before = metric(url, "vllm:generation_tokens_total") if counts else 0.0
    began = time.monotonic()
    report, lines = batch(url, source, folder, task, prompt="{text}", parameters={"max_tokens": 24, "temperature": 0})
    seconds = time.monotonic() - began
    line(f"{rows} questions ({rows / seconds:.1f} rows/s): lines that are missing", rows - len(lines), NONE, form=".0f")
    line("  lines out of their place", sum(n != each["index"] for n, each in enumerate(lines)), NONE, form=".0f")
    line("  rows that failed", report.failed, NONE, form=".0f")
    if counts:
        made = metric(url, "vllm:generation_tokens_total") - before
        line("  tokens beside the engine's own count", abs(made - report.completion_tokens), NONE, form=".0f")


def pairs(url: str, folder: Path, tasks: tuple[str, ...], forms: tuple[str, ...] = FORMS) -> None:
    """Every pair of what a caller may ask for."""
    found: Tally = try_pairs(url, tasks, forms, folder)
    words = f"pairs ({found.right} right, {found.refused} refused before anything is sent): wrong"
    line(words, len(found.wrong), NONE, form=".0f")
    for each in found.wrong:
        print(f"    {each}")


def run_batch_of_vllm(home: Home, python: Path, model: Path, url: str) -> None:
    """The same file by vLLM's `run-batch` and by this project, answer by answer."""
    folder, rows = home.folder, []
    for number in range(60):
        messages = [{"role": "user", "content": f"question {number}"}]
        body = {"model": "tiny", "messages": messages, "max_tokens": 24, "temperature": 0}  # it takes no completions
        rows.append({"custom_id": f"r{number}", "method": "POST", "url": ROUTES[CHAT], "body": body})
    source, theirs = folder / "batch.jsonl", folder / "theirs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [python, "-m", "vllm.entrypoints.openai.run_batch", "-i", source, "-o", theirs, "--model", model]
    command += ["--served-model-name", "tiny", "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"]
    home.run(*command, log="run-batch.log")
    _, ours = batch(url, source, folder, CHAT, input_format="openai-batch")
    other = {each["custom_id"]: each for each in map(json.loads, theirs.read_text().splitlines())}
    wrong = sum(told(each) != told(other[each["custom_id"]]) for each in ours)
    line("lines that differ from those of vllm run-batch", wrong + len(rows) - len(ours), NONE, form=".0f")


def told(answer: dict[str, Any]) -> Any:
    """What an answer says, without names and times."""
    body = answer["response"]["body"]
    usage = {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    choices = [each["message"]["content"] for each in body["choices"]]
    return choices, [each["finish_reason"] for each in body["choices"]], usage


def arrays(url: str, folder: Path, rows: int) -> None:
    """Vectors of rows that share requests beside those of rows that are sent alone."""
    source = questions(folder, rows)
    alone, one = batch(url, source, folder, EMBED, prompt="{text}", rows_per_request=1)
    shared, many = batch(url, source, folder, EMBED, prompt="{text}", rows_per_request=32)
    apart = max(
        abs(a - b) for x, y in zip(one, many, strict=True) for a, b in zip(x["output"][0], y["output"][0], strict=True)
    )
    line(f"{rows} texts in {shared.requests} requests in place of {alone.requests}: rows that failed",
         alone.failed + shared.failed, NONE, form=".0f")  # fmt: skip
    line("  largest difference between two vectors", apart, Bar(1e-3))
    line("  tokens beside those of rows alone", abs(shared.prompt_tokens - alone.prompt_tokens), NONE, form=".0f")


def try_serve(home: Home, python: Path, model: Path, rows: int) -> None:
    """`transformers serve`, and the pipeline as the toolkit has it."""
    with served(home, "transformers serve", python, model) as url:
        print("\ntransformers serve")
        whole(url, home.folder, CHAT, rows, counts=False)
        pairs(url, home.folder, (CHAT, GENERATE))
    with served(home, "toolkit", python, model) as url:
        print("\nthe toolkit's pipeline")
        whole(url, home.folder, GENERATE, rows, counts=False)
        pairs(url, home.folder, (GENERATE,), FORMS[:2])  # it has none of OpenAI's routes


def try_vllm(home: Home, python: Path, model: Path, rows: int) -> None:
    """vLLM with texts and with embeddings."""
    with served(home, "vLLM", python, model) as url:
        print("\nvLLM")
        whole(url, home.folder, CHAT, rows, counts=True)
        pairs(url, home.folder, (CHAT, GENERATE))
        run_batch_of_vllm(home, python, model, url)
    with served(home, "vLLM pooling", python, model) as url:
        print("\nvLLM with embeddings")
        arrays(url, home.folder, rows)


def installed(home: Home, version: str) -> Path | None:
    """vLLM's CPU build, None where it is not to be had."""
    print("\ninstalling vLLM")
    try:
        return home.vllm(version)
    except NotToBeHad as error:
        print(f"vLLM's CPU build is not to be had here; --vllm PYTHON takes one that is.\n{error}")
        return None


def main() -> None:
    """Make, try, tell, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="torch", help="what pip installs as torch")
    parser.add_argument("--serve", type=Path, help="the Python of an environment with transformers[serving]")
    parser.add_argument("--vllm", type=Path, help="the Python of an environment with vLLM")
    parser.add_argument("--vllm-version", default="", help="of the CPU build that is installed; the newest otherwise")
    parser.add_argument("--only", choices=("serve", "vllm"))
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="a folder that is not deleted")
    options = parser.parse_args()
    os.nice(10)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="engines-"))
    folder.mkdir(parents=True, exist_ok=True)
    home = Home(folder.resolve(), options.torch)
    try:
        python, model = options.serve, home.folder / "model"
        if python is None and (options.vllm is None or options.only != "vllm"):
            print("installing transformers serve")
            python = home.serve()
        home.run(python or options.vllm, HERE / "engines_model.py", model, log="model.log")
        if options.only != "vllm":
            try_serve(home, python, model, options.rows)
        if options.only != "serve":
            vllm = options.vllm or installed(home, options.vllm_version)
            if vllm is not None:
                try_vllm(home, vllm, model, options.rows)
    finally:
        if options.keep is None:
            shutil.rmtree(home.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
