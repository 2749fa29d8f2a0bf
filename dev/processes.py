"""Child processes that do not outlive us: started in their own group, logged to a file, ended whatever happens.

Nothing here knows of Airflow. A caller keeps a process in a `with`, so that an error, Ctrl-C and SIGTERM
(see `signals_raise`) all lead to its end; on Linux the kernel ends it even when we are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

import psutil

TERMINATION_GRACE = 15.0  # seconds between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Stopped(SystemExit):
    """A signal asked us to end; raised in the main thread so that every `with` and `finally` runs."""


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, as Python does with SIGINT."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Ignore requests to end while we are ending already: a second Ctrl-C must not leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago. Another process may take it first: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """In the child, before exec: SIGTERM when the thread that started it ends, even by SIGKILL (Linux only)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class ChildProcess:
    """One started program with all the processes that it starts itself."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdout: int | None = None,
    ) -> None:
        """Start it. `stdout` may be `subprocess.PIPE`; otherwise it goes to `log`, as stderr does."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=sink if stdout is None else stdout,
                stderr=sink,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """True until the program has ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the program and everything below it: no handler runs, as when a machine goes away."""
        family = _family(self.pid)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=TERMINATION_GRACE)

    def terminate(self) -> None:
        """Ask the program to end. Returns at once; `stop` waits."""
        if self.running:
            self.process.terminate()

    def stop(self, grace: float = TERMINATION_GRACE) -> None:
        """End the program and everything below it: SIGTERM, and SIGKILL to what is left after `grace` seconds."""
        family = _family(self.pid)
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_held():
            self.stop()


def _family(pid: int) -> list[psutil.Process]:
    """The process and its descendants; psutil remembers when each began, so that a re-used id is never signalled."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end_marked(variable: str, value: str) -> list[int]:
    """Kill what is left of ours by the mark that we put into its environment; returns the process ids.

    For children that left their parent's tree, so that nothing else can find them.
    """
    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                process.kill()
                ended.append(process.pid)
    return ended
