"""Passwords in the path of a file: Airflow stores rendered paths, and shows them in its pages and the task's log."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_hf_endpoints._airflow import ResolveMixin

_PATHS = frozenset({"input_path", "output_path"})
_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^@]+(?=@)")  # `key:secret@`; a secret key of AWS may have slashes


def refuse_credentials(name: str, value: Any) -> None:
    """Refuse a path, or one of a list, with a user and a password in it.

    :raises ValueError: with the argument, and what to use instead
    """
    if name not in _PATHS or isinstance(value, ResolveMixin):
        return
    for index, path in enumerate(value if isinstance(value, list | tuple) else [value]):
        shown = _PASSWORD.sub("***", str(path))
        if not isinstance(path, ResolveMixin) and shown != str(path):
            where = f"{name}[{index}]" if isinstance(value, list | tuple) else name
            raise ValueError(
                f"{where}={shown!r} contains a password, but Airflow stores and shows rendered paths. Put the "
                "credentials into a connection of Airflow, and name the connection in the path: s3://CONN_ID@BUCKET/…"
            )
