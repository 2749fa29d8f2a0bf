"""A user who is not root, and a folder for this user: root may read and write whatever the permissions are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_nobody() -> Iterator[None]:
    """What root may do, other users may not; whoever runs the tests otherwise is such a user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Where every user may write, which is not so of pytest's own folders. It is deleted, whatever in it is closed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        try:
            yield folder
        finally:
            for path, names, _ in os.walk(folder):
                for each in names:
                    (Path(path) / each).chmod(0o777)
