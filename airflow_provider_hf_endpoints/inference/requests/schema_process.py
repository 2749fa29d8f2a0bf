"""The check of answers whose check may take forever: in a separate process, which ends the check after a while.

Nothing in one process can interrupt a regular expression: Python keeps its lock for the whole search. The process is
started at the first such answer. A check there costs some tens of microseconds more than one at hand.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any

#: Seconds of the processor's time for one check. jsonschema looks at some 50,000 values in it.
CHECK_SECONDS = 1.0
#: Seconds on the clock after which a process that does not answer is ended. A busy machine may take so long.
PATIENCE = 60.0
_SIZE = struct.Struct(">Q")
_MOST_WORDS = 500  # characters
# What the process says of a value.
_TOO_LONG = 1
_TOO_DEEP = 2
_TOO_LARGE = 3


class CheckTooLongError(Exception):
    """The check of a value took longer than it may."""


class SchemaProcess:
    """Checks values against one schema in another process.

    :param schema: plain JSON
    :param seconds: of the processor's time for one check
    """

    def __init__(self, schema: Mapping[str, Any], seconds: float = CHECK_SECONDS) -> None:
        self._begin = _framed((list(sys.path), dict(schema), seconds))
        self._process: subprocess.Popen[bytes] | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, in words; None where it fits.

        :raises CheckTooLongError: it is not known
        :raises RecursionError: it is nested too deeply to be checked
        :raises ArithmeticError: a number in it is too large
        :raises OSError: no process can be started here
        """
        try:
            data = _framed(value)
        except ValueError:
            raise RecursionError from None
        match self._asked(data):
            case None:
                return None
            case str() as words:
                return words
            case n if n == _TOO_DEEP:
                raise RecursionError
            case n if n == _TOO_LARGE:
                raise OverflowError
            case _:
                raise CheckTooLongError

    def _asked(self, data: bytes) -> Any:
        """What the process says. One that was ended from outside is replaced once."""
        for last in (False, True):
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(data)
                process.stdin.flush()
                if not _answers(process.stdout):
                    self.close()
                    return _TOO_LONG
                return _read(process.stdout)
            except (EOFError, BrokenPipeError) as error:
                self.close()
                if last:
                    raise OSError(f"the process that checks answers ended ({error})") from error
        raise AssertionError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            if not sys.executable:
                raise OSError("this Python does not know where its own program is")
            self._process = subprocess.Popen(
                # Without what a site adds: the paths of this process come along.
                [sys.executable, "-S", "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdin is not None
            self._process.stdin.write(self._begin)
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not sent to it is of no use any more
                if pipe is not None:
                    pipe.close()
        process.wait()


def _answers(pipe: IO[bytes]) -> bool:
    """Whether something comes in time."""
    poll = select.poll()  # not `select`, which takes no more than a thousand open files
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))


def _framed(value: Any) -> bytes:
    """A value with its size before it.

    :raises ValueError: it is nested too deeply
    """
    data = marshal.dumps(value)
    return _SIZE.pack(len(data)) + data


def _read(pipe: IO[bytes]) -> Any:
    """The next value.

    :raises EOFError: there is none
    """
    head = pipe.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError("nothing more comes")
    (size,) = _SIZE.unpack(head)
    return marshal.loads(pipe.read(size))


def _serve() -> None:
    """Run in the other process: read values from the standard input, and check each, until the input ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    # Ctrl-C reaches every process of a terminal. The one that began this one says when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError):
        sys.path[:], schema, seconds = _read(source)
        from jsonschema.validators import validator_for

        validator = validator_for(schema)(schema)
        signal.signal(signal.SIGVTALRM, _interrupt)
        while True:
            value = _read(source)
            target.write(_framed(_said(validator, value, seconds)))
            target.flush()


def _interrupt(number: int, frame: object) -> None:
    raise CheckTooLongError


def _said(validator: Any, value: Any, seconds: float) -> Any:
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            return first_problem(validator, value)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except CheckTooLongError:
        return _TOO_LONG
    except RecursionError:
        return _TOO_DEEP
    except ArithmeticError:
        return _TOO_LARGE


def first_problem(validator: Any, value: Any) -> str | None:
    """The first thing that is wrong with a value, in words; None where it fits its schema.

    :param validator: of jsonschema
    """
    problem = next(iter(validator.iter_errors(value)), None)
    return None if problem is None else f"{problem.json_path}: {problem.message}"[:_MOST_WORDS]


if __name__ == "__main__":
    _serve()
    os._exit(0)
