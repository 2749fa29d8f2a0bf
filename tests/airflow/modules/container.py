"""The first process of a container, for the tests: `python container.py FOLDER COMMAND…`.

It does the work of dumb-init in Airflow's image and of a container runtime: a SIGTERM goes to the whole session of
the command. When the command ends, all processes that it has started are ended, and its folder is deleted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from types import FrameType

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans below become children of this process


def main() -> int:
    """Run the command; returns its exit code, as a shell has it."""
    folder, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    running: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    signal.signal(signal.SIGTERM, forward)
    child = subprocess.Popen(command, start_new_session=True)
    running.append(child.pid)
    code = child.wait()
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)
    shutil.rmtree(folder, ignore_errors=True)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
