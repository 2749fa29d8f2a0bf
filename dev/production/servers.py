"""Debian's PostgreSQL and Redis as child processes: in a separate folder, on a free port, with a password.

Nothing here knows of Airflow. Both may be stopped and started again, and keep their data.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from dev.processes import ChildProcess, free_port

START_LIMIT = 120.0  # seconds; a hang bound
#: PostgreSQL refuses to run as root. Debian's package makes the first of them.
UNPRIVILEGED = ("postgres", "nobody")


class ServerMissing(RuntimeError):
    """A program is not installed; the message says how it gets there."""


class Server(ABC):
    """One server below `folder`. `start` returns when it answers; `stop` ends it, and `start` may follow."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.password = secrets.token_urlsafe(16)
        self.port = free_port()
        self._child: ChildProcess | None = None
        folder.mkdir(parents=True)

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What to run."""

    @abstractmethod
    def _answers(self) -> bool:
        """True when it takes connections."""

    def start(self) -> None:
        """Run it and wait until it answers."""
        self._child = ChildProcess(
            self.name, self._command(), log=self.folder.parent / f"{self.name}.log", env=os.environ, cwd=self.folder
        )
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if not self._child.running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self._child.tail()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it; clients find their connections closed, and no new ones."""
        if self._child is not None:
            self._child.stop(grace=0.5)
            self._child = None


class PostgreSQL(Server):
    """PostgreSQL, its data below `folder`, with one database `airflow`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("postgresql", folder)
        self._as = _unprivileged() if os.geteuid() == 0 else None
        secret = folder / "password"
        secret.write_text(self.password)
        if self._as is not None:
            for path in (folder, secret):
                shutil.chown(path, self._as)
        secret.chmod(0o600)
        self._run("initdb", "--pgdata", "data", "--username", "airflow", "--pwfile", "password",
                  "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync")  # fmt: skip

    @property
    def address(self) -> str:
        """User, password, place and database, as a URL has them after its scheme."""
        return f"airflow:{self.password}@127.0.0.1:{self.port}/airflow"

    def start(self) -> None:
        """Run it and wait until it answers; the first time, make the database."""
        super().start()
        there = "select 1 from pg_database where datname = 'airflow'"
        if not self._client("psql", "--dbname", "postgres", "--tuples-only", "--command", there).strip():
            self._client("createdb", "airflow")

    def dump(self) -> bytes:
        """All that it holds, as `pg_dump` writes it."""
        return self._client("pg_dump", "--dbname", "airflow").encode()

    def _command(self) -> Sequence[str | Path]:
        # Without fsync a machine that loses power would lose data; a process that is killed does not.
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "",
                    "max_connections": 300, "fsync": "off"}  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self._drop("--pdeathsig", "TERM"), _postgresql("postgres"), "-D", "data", *options]

    def _answers(self) -> bool:
        command = [str(_postgresql("pg_isready")), "--host", "127.0.0.1", "--port", str(self.port), "--quiet"]
        return subprocess.run(command, check=False).returncode == 0

    def _drop(self, *options: str) -> list[str]:
        """What goes before a command so that it does not run as root."""
        if self._as is None:
            return []
        return ["setpriv", "--reuid", self._as, "--regid", _group(self._as), "--clear-groups", *options]

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str] = [*self._drop(), str(_postgresql(program)), *arguments]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{result.stdout}{result.stderr}")

    def _client(self, program: str, *arguments: str) -> str:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--username", "airflow"]
        command = [str(_postgresql(program)), *where, *arguments]
        environment = os.environ | {"PGPASSWORD": self.password}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


class Redis(Server):
    """Redis, which stores every write, so that a restart loses no message."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder)
        # In a file, since everybody may read a command line.
        lines = [f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir {folder}\nappendonly yes\n"]
        (folder / "redis.conf").write_text("".join(lines))

    @property
    def url(self) -> str:
        """Where Celery finds it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def dump(self) -> bytes:
        """All that it was ever told, as it wrote it down."""
        return b"".join(file.read_bytes() for file in sorted(self.folder.rglob("*.aof")))

    def _command(self) -> Sequence[str | Path]:
        return [_program("redis-server"), self.folder / "redis.conf"]

    def _answers(self) -> bool:
        command = [str(_program("redis-cli")), "-h", "127.0.0.1", "-p", str(self.port), "ping"]
        environment = os.environ | {"REDISCLI_AUTH": self.password}
        return "PONG" in subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _program(name: str) -> Path:
    """A program of the system."""
    if (found := shutil.which(name)) is None:
        raise ServerMissing(f"{name} is not on PATH. `make test-production` installs it where apt-get is there.")
    return Path(found)


def _postgresql(name: str) -> Path:
    """A program of PostgreSQL; Debian keeps the server's outside PATH, in a folder for each version."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return versions[-1] if versions else _program(name)


def _unprivileged() -> str:
    """Whom to run as in place of root."""
    users = {entry.pw_name for entry in pwd.getpwall()}
    found = [name for name in UNPRIVILEGED if name in users]
    if not found:
        raise ServerMissing(f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}.")
    return found[0]


def _group(user: str) -> str:
    return str(pwd.getpwnam(user).pw_gid)
