"""Gives a process the host name that PRODUCTION_HOST says: every component of a test is like a separate machine.

Python imports this module at its start, because its folder is on the component's PYTHONPATH.
"""

import os
import socket

NAME = os.environ.get("PRODUCTION_HOST", "")


def _name_of_this_host(name: str = "") -> str:
    return NAME


if NAME:
    socket.gethostname = _name_of_this_host
    socket.getfqdn = _name_of_this_host
