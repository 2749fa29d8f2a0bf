"""Where the records of one service are: a path or Airflow's Variables, and what keeps two services apart there.

An emulator and Hugging Face, or two emulators, may have endpoints of the same name in namespaces of the same name. So
a key names the service, except for Hugging Face's own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 60  # characters of a service's name in a Variable's key, which takes 250


@dataclass(frozen=True)
class KeptAt:
    """The place of the records.

    :param path: below it, on any storage that Airflow's `ObjectStoragePath` knows; None for Variables
    :param service: the name of the service, see `service_name`; empty for Hugging Face's
    """

    path: str | None = None
    service: str = ""

    def key(self, name: str) -> str:
        """A namespace or the id of a DAG, as a key has it. Neither of them has an @."""
        return f"{name}@{self.service}" if self.service else name


def service_name(url: str) -> str:
    """A control plane's host, port and path, in characters that every storage takes."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    plain = "".join(each if each.isalnum() or each in "-." else "-" for each in host)
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"_{parts.port}"
    path = parts.path.strip("/")
    if plain == host and not path and len(host) <= _LONGEST:
        return plain + port
    return f"{plain[:_LONGEST]}{port}_{hashlib.sha256(f'{host}/{path}'.encode()).hexdigest()[:8]}"
