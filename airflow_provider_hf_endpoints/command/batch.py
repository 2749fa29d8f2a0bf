"""A batch from a shell: reads arguments, runs `inference.batch.run_batch`, prints the report as JSON on stdout.

The log goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from airflow_provider_hf_endpoints._options import OptionParser
from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.command import exits
from airflow_provider_hf_endpoints.command.words import TranslatedLog, Translation, options_of
from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchError,
    BatchInputError,
    BatchStopped,
    OutputConflictError,
)
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.inputs.formats import SUFFIXES, InputFormat
from airflow_provider_hf_endpoints.inference.job.output_form import RESULT_SUFFIXES, OutputFormat
from airflow_provider_hf_endpoints.inference.wire import TransportName

_EPILOG = """\
The token is read from --token-file or from the environment variable HF_TOKEN. Without either, no token is sent.

If the batch was stopped or killed, run the same command again to resume it. If the batch has finished, the same command
prints the report again and sends nothing.

exit status:
  0  every row was answered
  1  the endpoint is paused or deleted, refuses the token or did not start; or too many rows failed; or another run
     uses the output; run again to resume
  2  wrong arguments, invalid input, or another job's output at --output; nothing was sent
  3  finished, but some rows failed: see the errors file
  4  stopped by SIGTERM, SIGINT or SIGHUP, or by --job-timeout; run again to resume

example:
  python -m airflow_provider_hf_endpoints.batch --url https://….endpoints.huggingface.cloud --task chat-completion \\
      --input tickets.jsonl --output answers.jsonl --prompt 'Summarise: {text}' --parameters '{"max_tokens": 64}'
"""


def run(argv: Sequence[str] | None, stop: threading.Event) -> int:
    """Run a batch as the arguments say; returns the exit status.

    :param stop: set when the batch has to stop
    """
    parser = _parser()
    options, translation = parser.parse_args(argv), Translation(options_of(parser))
    log = logging.StreamHandler()
    log.setFormatter(TranslatedLog("%(asctime)s %(levelname)s %(message)s", translation))
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, handlers=[log])
    try:
        report = run_batch(_job(options), stop=stop)
    except BatchError as error:
        return _end(_status_of(error), translation(str(error)), getattr(error, "report", None))
    except (ValueError, TypeError) as error:
        return _end(exits.USAGE, translation(str(error)))
    except (InferenceError, OSError) as error:
        return _end(exits.ABORTED, translation(str(error)))
    return _end(exits.ROWS_FAILED if report.failed else 0, None, report)


def _status_of(error: BatchError) -> int:
    match error:
        case BatchStopped():
            return exits.STOPPED
        case BatchInputError() | OutputConflictError():
            return exits.USAGE
        case _:
            return exits.ABORTED


def _end(status: int, error: str | None, report: BatchReport | None = None) -> int:
    try:
        if report is not None:
            _tell(report)
        if error is not None:
            print(f"error: {redact(error)}", file=sys.stderr)
    except OSError:  # the terminal or the pipe is closed; the status still tells how the batch ended
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python fails once more at its end
    return status


def _tell(report: BatchReport) -> None:
    try:
        print(json.dumps(report.as_dict(), ensure_ascii=False), flush=True)
    except UnicodeEncodeError:  # a terminal of another encoding, or a file whose name is no text
        print(json.dumps(report.as_dict()), flush=True)


def _job(options: argparse.Namespace) -> BatchJob:
    optional = {
        name: getattr(options, name)
        for name in (
            "input_format",
            "encoding",
            "delimiter",
            "output_format",
            "engine",
            "model",
            "prompt",
            "messages",
            "body",
            "system",
            "route",
            "id_column",
            "parameters",
            "row_parameters",
            "rows_per_request",
            "order_window",
            "hedge_after",
            "max_attempts",
            "request_timeout",
            "row_timeout",
            "startup_timeout",
            "job_timeout",
            "response_schema",
            "on_bad_input",
            "on_empty",
            "on_existing",
            "transport",
            "max_response_bytes",
            "max_media_bytes",
        )
        if getattr(options, name) is not None
    }
    return BatchJob(
        url=options.url,
        token=_token(options),
        task=options.task,
        input_path=options.input if len(options.input) > 1 else options.input[0],
        output_path=options.output,
        keep_columns=tuple(options.keep_column),
        keep_response=options.keep_response,
        max_concurrency=options.max_concurrency,
        retry_budget=options.retry_budget,
        max_error_rate=options.max_error_rate,
        **optional,
    )


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file is not None:
        try:
            return str(options.token_file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeError) as error:
            raise ValueError(f"--token-file cannot be read: {error}. Give a file that contains the token") from None
    return os.environ.get("HF_TOKEN") or None


def _number_or_auto(text: str) -> Any:
    if text == "auto":
        return text
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, or auto, not {text!r}")
    return number


def _seconds_or_auto(text: str) -> Any:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, or auto, not {text!r}") from None


def _share_or_none(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a share of the rows such as 0.2, or none, not {text!r}") from None


def _json(text: str) -> Any:
    """JSON, or with a leading @ the name of a file that contains it."""
    try:
        return json.loads(Path(text[1:]).read_text(encoding="utf-8-sig") if text.startswith("@") else text)
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not JSON ({error}). Write JSON in quotes, such as '{{\"max_tokens\": 64}}', or @FILE"
        ) from None


class _Parser(OptionParser):
    """A parser whose errors show no token that was given by mistake."""

    def error(self, message: str) -> NoReturn:
        super().error(redact(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m airflow_provider_hf_endpoints.batch",
        description="Send every row of the input to an inference endpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_places(parser.add_argument)
    _add_requests(parser.add_argument)
    _add_pace(parser.add_argument)
    _add_ends(parser.add_argument)
    return parser


def _add_places(add: Callable[..., Any]) -> None:
    """The options of the endpoint, the input and the output."""
    add("--url", required=True, help="URL of the endpoint")
    add("--task", required=True, help="task of the endpoint: chat-completion, text-generation, feature-extraction, …")
    add(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help=(
            f"input files, folders or quoted patterns: {', '.join(SUFFIXES)}, also compressed (.gz, .zst); s3://… "
            "needs s3fs"
        ),
    )
    add("--input-format", choices=get_args(InputFormat), help="format of all input files (default: by the file name)")
    add("--encoding", metavar="NAME", help="encoding of CSV files, such as cp1252 (default: utf-8)")
    add("--delimiter", metavar="CHARACTER", help="delimiter of CSV files, such as ';' (default: comma)")
    add(
        "--output",
        required=True,
        metavar="PATH",
        help=f"output: a file that ends in {', '.join(RESULT_SUFFIXES)}; or a folder",
    )
    add("--output-format", choices=get_args(OutputFormat), help="format of the results in a folder (default: jsonl)")


def _add_requests(add: Callable[..., Any]) -> None:
    """The options of what is sent for a row, and of what is kept of it."""
    add("--prompt", help="template of the prompt, with columns in braces, e.g. 'Summarise: {text}'")
    add("--messages", type=_json, metavar="JSON", help="template of the chat messages (JSON), or @file")
    add("--body", type=_json, metavar="JSON", help="template of the whole request body (JSON), or @file")
    add("--system", help="template of the system prompt")
    add("--route", help="route that --body is posted to, instead of the route of the task")
    add(
        "--parameters",
        type=_json,
        metavar="JSON",
        help="parameters sent with every row (JSON), e.g. '{\"max_tokens\": 64}', or @file",
    )
    add(
        "--row-parameters",
        type=_json,
        metavar="JSON",
        help='parameters of each row (JSON template), e.g. \'{"seed": "{seed}"}\', or @file',
    )
    add("--response-schema", type=_json, metavar="JSON", help="JSON schema that every answer has to match, or @file")
    add("--id-column", help="column with a unique id per row (default: the row's position)")
    add("--keep-column", action="append", default=[], metavar="NAME", help="column to copy to the output; repeatable")
    add("--engine", help="engine of the endpoint (vLLM, sGLang, tgi, tei, llamacpp, …); default: detected")
    add("--model", help="model name sent in requests; default: detected")


def _add_pace(add: Callable[..., Any]) -> None:
    """The options of how many requests are sent, how often and how long."""
    add(
        "--max-concurrency",
        type=_number_or_auto,
        default="auto",
        metavar="N|auto",
        help="number of requests in flight (default: auto, which finds the number)",
    )
    add(
        "--rows-per-request",
        type=_number_or_auto,
        metavar="N|auto",
        help="rows per request, for embeddings and, on TEI, classification (default: auto)",
    )
    add(
        "--order-window",
        type=int,
        metavar="ROWS",
        help="number of rows within which the batch may reorder requests (default: 2000; 0: input order)",
    )
    add("--max-attempts", type=int, help="attempts per row when the engine fails (default: 5)")
    add(
        "--retry-budget",
        type=_share_or_none,
        default=BatchJob.retry_budget,
        metavar="SHARE|none",
        help="maximum of retries as a share of the rows (default: 0.2)",
    )
    add(
        "--max-error-rate",
        type=_share_or_none,
        default=BatchJob.max_error_rate,
        metavar="SHARE|none",
        help="share of failed rows above which the batch stops (default: 0.5)",
    )
    add("--request-timeout", type=float, metavar="SECONDS", help="seconds to wait for one response (default: 600)")
    add(
        "--row-timeout",
        type=float,
        metavar="SECONDS",
        help="seconds after which a row fails if every request with it was refused (default: 3600)",
    )
    add(
        "--hedge-after",
        type=_seconds_or_auto,
        metavar="SECONDS|auto",
        help="send a slow request a second time after this time (default: never)",
    )
    add(
        "--startup-timeout",
        type=float,
        metavar="SECONDS",
        help="seconds to wait for an endpoint that is not ready (default: 1200)",
    )
    add("--job-timeout", type=float, metavar="SECONDS", help="seconds for the whole run (default: 7 days)")


def _add_ends(add: Callable[..., Any]) -> None:
    """The options of the response, of odd inputs and outputs, and of this command itself."""
    add("--keep-response", action="store_true", help="keep the engine's full response under `response`")
    add(
        "--on-bad-input",
        choices=("error_row", "stop"),
        help="what to do with a line that is not a valid row (default: error_row)",
    )
    add(
        "--on-empty",
        choices=("fail", "succeed"),
        help="what to do with an input without rows (default: fail)",
    )
    add(
        "--on-existing",
        choices=("resume", "overwrite", "fail"),
        help="what to do if the output exists (default: resume)",
    )
    add(
        "--transport",
        choices=get_args(TransportName),
        help="HTTP client: auto (default) is the built-in client, and httpx behind a proxy; httpx is always httpx",
    )
    add(
        "--max-response-bytes",
        type=int,
        metavar="BYTES",
        help="maximum size of one response in bytes (default: 64 MiB)",
    )
    add(
        "--max-media-bytes",
        type=int,
        metavar="BYTES",
        help="maximum size of one image, sound or video of a row (default: 50,000,000)",
    )
    add("--token-file", type=Path, metavar="PATH", help="file that contains the token")
    add("--quiet", action="store_true", help="do not print progress to stderr")
