"""An executor that runs each task as the KubernetesExecutor does in a pod, without a cluster.

A task has its own first process, host name, home, folder for temporary files and working folder. It runs the command of
such a pod (`workload_to_command_args` in pod_generator.py of the Kubernetes provider, 10.25). A pod that fails also
fails its task, as in `KubernetesExecutor._change_state`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from airflow.executors.base_executor import BaseExecutor

CONTAINER = Path(__file__).with_name("container.py")
HOSTS = Path(__file__).resolve().parents[3] / "dev" / "production" / "hosts"


class PodExecutor(BaseExecutor):
    """Local processes in place of pods."""

    is_local = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pods: dict[Any, subprocess.Popen[bytes]] = {}

    def queue_workload(self, workload: Any, session: Any) -> None:
        """Airflow 3.0 leaves that to each executor."""
        self.queued_tasks[workload.ti.key] = workload

    def _process_workloads(self, workload_items: Any) -> None:
        for workload in workload_items:
            key = workload.ti.key
            del self.queued_tasks[key]
            self.running.add(key)
            self._pods[key] = begin(workload)

    def sync(self) -> None:
        """What the watcher of pods does."""
        for key, pod in list(self._pods.items()):
            code = pod.poll()
            if code is not None:
                del self._pods[key]
                if code == 0:
                    self.success(key)
                else:
                    self.fail(key)

    def end(self) -> None:
        """A scheduler that ends leaves its pods alone."""

    def terminate(self) -> None:
        """Likewise."""


def begin(workload: Any) -> subprocess.Popen[bytes]:
    """Start the pod of a task, below `pods` in Airflow's home."""
    ti = workload.ti
    name = f"{ti.dag_id}.{ti.task_id}.{ti.try_number}.{uuid.uuid4().hex[:8]}"
    folder = Path(os.environ["AIRFLOW_HOME"], "pods", name)
    for each in ("home", "tmp", "work"):
        (folder / each).mkdir(parents=True)
    own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PRODUCTION_HOST": name}
    own["PYTHONPATH"] = os.pathsep.join((str(HOSTS), os.environ["PYTHONPATH"]))
    task = ("-m", "airflow.sdk.execution_time.execute_workload", "--json-string", workload.model_dump_json())
    with (folder.parent / f"{name}.log").open("ab") as log:
        pod = subprocess.Popen(
            (sys.executable, str(CONTAINER), str(folder), sys.executable, *task),
            cwd=folder / "work",
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    (folder / "pid").write_text(str(pod.pid))
    return pod
