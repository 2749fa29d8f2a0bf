"""`python -m airflow_provider_hf_endpoints.batch`: a batch from a shell, without Airflow.

Takes signals before anything else: the imports of a batch take seconds, and a signal must end it well then, too.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a batch as the arguments say; returns the exit status."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it for SIGHUP
            signal.signal(number, lambda *_: stop.set())
    from airflow_provider_hf_endpoints.command.batch import run  # not above: this takes the seconds

    return run(argv, stop)


if __name__ == "__main__":
    sys.exit(main())
