"""An Airflow on PostgreSQL, Redis and Celery: two schedulers, two triggerers, two workers, no disk that they share.

Each component has a folder, a host name and its own copy of the DAGs. One that ends by itself is started again, as
systemd or Kubernetes would.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.local_airflow import COMPONENTS, LocalAirflow
from dev.processes import ChildProcess, signals_held
from dev.production.servers import PostgreSQL, Redis

HOSTS = Path(__file__).parent / "hosts"
SLOTS = 4  # of each worker
OUTAGE = 30.0  # seconds: what the tests are about
SERVERS = ("postgresql", "redis", "api-server")  # in the order in which each finds what it needs
MANY_ENDS = 30  # components that end by themselves, until we stop believing in starting them again
WORKER = ("celery", "worker", "--concurrency", str(SLOTS), "--skip-serve-logs")
PROGRAMS = {
    "api-server": COMPONENTS["api-server"],
    **{f"scheduler-{number}": COMPONENTS["scheduler"] for number in (1, 2)},
    **{f"triggerer-{number}": COMPONENTS["triggerer"] for number in (1, 2)},
    "dag-processor": COMPONENTS["dag-processor"],
    **{f"worker-{number}": (*WORKER, "--celery-hostname", f"worker-{number}@here") for number in (1, 2)},
}


class ProductionAirflow(LocalAirflow):
    """The stack below `home`, which other users have to be able to pass through: PostgreSQL does not run as root.

    Use it as `LocalAirflow`. The components are `api-server`, `scheduler-1`, `triggerer-2`, `worker-1` and so on.
    """

    def __init__(self, home: Path, dags: Sequence[Path], *, variables: Mapping[str, str] | None = None) -> None:
        home.mkdir(parents=True)
        self.postgresql = PostgreSQL(home.resolve() / "postgresql")
        self.redis = Redis(home.resolve() / "redis")
        #: What ended by itself or was killed, and was started again, in order.
        self.ended: list[str] = []
        self.many_ends = MANY_ENDS
        self._up = False
        super().__init__(home, dags, variables={**self._settings(), **(variables or {})})
        self._programs = PROGRAMS

    def start(self) -> None:
        """Start everything; returns when both workers take tasks, too."""
        self.postgresql.start()
        self.redis.start()
        super().start()
        for name in ("worker-1", "worker-2"):
            self.wait_for_worker(name)
        self._up = True

    def stop(self) -> None:
        """End everything."""
        self._up = False
        super().stop()
        with signals_held():
            self.redis.stop()
            self.postgresql.stop()

    def start_component(self, name: str, *arguments: str) -> ChildProcess:
        """Start a component, for the first time or again; the API server on the port that the others know."""
        port = ("--port", self.url.rpartition(":")[2]) if name == "api-server" else ()
        return super().start_component(name, *(arguments or port))

    def wait_for_worker(self, name: str) -> None:
        """Wait until a worker takes tasks."""
        log = self.components[name].log
        starts = 1 + self.ended.count(name)
        self.wait_until(lambda: log.read_text(errors="replace").count(" ready.") >= starts, f"{name} takes tasks")

    def replace_component(self, name: str) -> ChildProcess:
        """SIGKILL a component with all its children, and start it again."""
        self.ended.append(name)
        self.kill_component(name)
        return self.start_component(name)

    @contextmanager
    def outage(self, *names: str) -> Iterator[None]:
        """PostgreSQL, Redis or the API server is away for the block and until `OUTAGE` seconds have passed.

        :param names: of `SERVERS`; several are away at the same time
        """
        begun = time.monotonic()
        servers = {"postgresql": self.postgresql, "redis": self.redis}
        for name in names:
            servers[name].stop() if name in servers else self.kill_component(name)
        try:
            yield
            time.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
        finally:
            for name in (each for each in SERVERS if each in names):
                servers[name].start() if name in servers else self.start_component(name)
        self.wait_until(self._answers, "the API server answers")

    def host(self, name: str) -> Path:
        """The folder of a component's own."""
        return self.home / "hosts" / name

    # What differs from one Airflow on SQLite

    def _settings(self) -> dict[str, str]:
        options = {
            ("core", "executor"): "CeleryExecutor",
            ("core", "parallelism"): "32",
            ("core", "max_active_tasks_per_dag"): "64",
            ("core", "max_active_runs_per_dag"): "64",
            ("database", "sql_alchemy_conn"): f"postgresql+psycopg2://{self.postgresql.address}",
            ("celery", "broker_url"): self.redis.url,
            # With the driver's name: without one, provider and SQLAlchemy look for psycopg 3.
            ("celery", "result_backend"): f"db+postgresql+psycopg2://{self.postgresql.address}",
            # Otherwise a warning at each lookup of a connection whose type has an underscore.
            ("logging", "namespace_levels"): "airflow.models.connection.Connection=ERROR",
            # What a killed worker had is found by its missing heartbeats; `OUTAGE` has to be shorter.
            ("scheduler", "task_instance_heartbeat_timeout"): "90",
            ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "5",
            ("scheduler", "orphaned_tasks_check_interval"): "30",
            ("scheduler", "scheduler_health_check_threshold"): "60",
            ("triggerer", "triggerer_health_check_threshold"): "30",
        }
        env = {f"AIRFLOW__{section.upper()}__{name.upper()}": value for (section, name), value in options.items()}
        return env | {"C_FORCE_ROOT": "1"}

    def _place_dags(self) -> None:
        for name in self._programs:
            (self.host(name) / "tmp").mkdir(parents=True)
            for number, folder in enumerate(self.dags):
                shutil.copytree(folder, self.host(name) / "dags" / f"{number}-{folder.name}")

    def _make_database(self) -> None:
        self.command("db", "migrate")

    def _environment_of(self, name: str) -> dict[str, str]:
        place = self.host(name)
        own = {
            "AIRFLOW_HOME": str(place),
            "AIRFLOW__CORE__DAGS_FOLDER": str(place / "dags"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(place / "logs"),
            "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(place / "logs" / "dag_processor"),
            "TMPDIR": str(place / "tmp"),
            "PRODUCTION_HOST": name,
            "PYTHONPATH": os.pathsep.join(part for part in (str(HOSTS), self._env.get("PYTHONPATH")) if part),
        }
        return self._env | own

    def _log_folders(self) -> list[Path]:
        return [self.host(name) / "logs" for name in self._programs]

    def _has_ended(self, name: str, what: str) -> None:
        if not self._up or len(self.ended) > self.many_ends:
            super()._has_ended(name, what)
        self.ended.append(name)
        self.start_component(name)
        if name == "api-server":
            self.wait_until(self._answers, f"{name} answers again")
