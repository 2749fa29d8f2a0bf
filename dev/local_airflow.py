"""A whole separate Airflow in one `with`: database, scheduler, triggerer, DAG processor and API server.

Everything it has is in one folder, it listens on free ports of 127.0.0.1 only, and any number of them can run side by
side. The demo and the live tests use it, on every Airflow that the project supports; it runs the Airflow of the
Python that runs it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from dev.airflow_api import ANSWER_LIMIT, AirflowApi, Json, TaskState
from dev.processes import ChildProcess, end_marked, free_port, signals_held

RUN_LIMIT = 900.0  # seconds; a hang bound
START_LIMIT = 600.0  # seconds; a hang bound for a slow machine, it usually takes about 15
PORT_TRIES = 3
USERNAME = "admin"
# What is started, in this order; the API server comes first because the others need its address.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--host", "127.0.0.1", "--workers", "1"),
    # Logs are read from the folder itself, so that no process has to serve them on a default port.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}


class AirflowFailed(RuntimeError):
    """A component ended or did not come up; the message has the end of its log."""


class LocalAirflow:
    """One Airflow under `home`, with the DAGs of the folders `dags`.

    `connections` are connections by id as JSON; `variables` are further environment variables of every component.
    The folders are linked into `home`, which should be in a temporary folder: Airflow's configuration gives some
    characters that a checkout's name may have a special meaning.
    """

    def __init__(
        self,
        home: Path,
        dags: Sequence[Path],
        *,
        connections: Mapping[str, Json] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.resolve()
        self.dags = [folder.resolve() for folder in dags]
        self.password = secrets.token_urlsafe(12)
        self.url = ""
        self.components: dict[str, ChildProcess] = {}
        self._programs = COMPONENTS
        self._api: AirflowApi | None = None
        self._env = _clean_environment() | _settings(self.home) | dict(variables or {})
        for conn_id, connection in (connections or {}).items():
            self._env[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)

    @property
    def api(self) -> AirflowApi:
        """The REST API, logged in."""
        if self._api is None:
            raise RuntimeError("this Airflow is not running")
        return self._api

    @property
    def environment(self) -> dict[str, str]:
        """What a program has to find in its environment to use this Airflow's database and configuration."""
        return dict(self._env)

    # Start and end

    def start(self) -> None:
        """Make the database and start every component; returns when all are up and the DAGs are known."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._place_dags()
        passwords = self.home / "passwords.json"
        passwords.write_text(json.dumps({USERNAME: self.password}))
        passwords.chmod(0o600)
        self._make_database()
        self._start_api_server()
        for name in list(self._programs)[1:]:
            self.start_component(name)
        self._api = AirflowApi(self.url, USERNAME, self.password)
        self.wait_until(self._healthy, "every component reports a heartbeat")

    def stop(self) -> None:
        """End every component, and whatever of theirs is left."""
        with signals_held():
            if self._api is not None:
                self._api.close()
                self._api = None
            # All are asked first and waited for afterwards: they take a few seconds each to end.
            for component in reversed(self.components.values()):
                component.terminate()
            for component in reversed(self.components.values()):
                component.stop()
            self.components.clear()
            for home in {self._environment_of(name)["AIRFLOW_HOME"] for name in self._programs}:
                end_marked("AIRFLOW_HOME", home)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_component(self, name: str, *arguments: str) -> ChildProcess:
        """Start a component, for the first time or again after `kill_component`."""
        component = ChildProcess(
            name,
            (*_airflow(), *self._programs[name], *arguments),
            log=self.home / "logs" / f"{name}.log",
            env=self._environment_of(name),
            cwd=self.home,
        )
        self.components[name] = component
        return component

    def kill_component(self, name: str) -> None:
        """SIGKILL a component and its children, as if its machine had gone."""
        self.components.pop(name).kill()

    def stop_component(self, name: str) -> None:
        """End a component in order (SIGTERM), as a deploy does."""
        self.components.pop(name).stop()

    def command(self, *arguments: str) -> str:
        """Run one command of the `airflow` program to its end; returns its stdout."""
        result = subprocess.run(
            [*_airflow(), *arguments],
            env=self._env,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_LIMIT,
        )
        if result.returncode != 0:
            raise AirflowFailed(f"airflow {' '.join(arguments)}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
        return result.stdout

    # What another arrangement of the same components does otherwise (`dev/production/stack.py`)

    def _place_dags(self) -> None:
        """Put the DAGs where the components look for them."""
        (self.home / "dags").mkdir()
        for number, folder in enumerate(self.dags):
            (self.home / "dags" / f"{number}-{folder.name}").symlink_to(folder)

    def _make_database(self) -> None:
        """Make the database's tables."""
        self.command("db", "migrate")
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db")) as database:
            # The file remembers it. Otherwise who reads keeps out who writes, and many tasks at a time meet locks.
            database.execute("PRAGMA journal_mode=WAL")

    def _environment_of(self, name: str) -> dict[str, str]:
        """The environment of one component."""
        return self._env

    def _has_ended(self, name: str, what: str) -> None:
        """A component has ended by itself."""
        raise AirflowFailed(f"{name} ended while waiting until {what}:\n{self.components[name].tail()}")

    def _log_folders(self) -> list[Path]:
        """Where tasks and triggers write their logs."""
        return [self.home / "logs"]

    def _start_api_server(self) -> None:
        """Start the API server on a free port, and on another one when somebody was faster."""
        for attempt in range(1, PORT_TRIES + 1):
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            self._env |= {
                "AIRFLOW__API__BASE_URL": self.url,
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            }
            server = self.start_component("api-server", "--port", str(port))
            try:
                self.wait_until(self._answers, "the API server answers")
                return
            except AirflowFailed:
                taken = "address already in use" in server.log.read_text(errors="replace").lower()
                if not taken or attempt == PORT_TRIES:
                    raise

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/api/v2/version", timeout=5.0, trust_env=False).is_success
        return False

    def _healthy(self) -> bool:
        answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=ANSWER_LIMIT, trust_env=False).json()
        return all(answer[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))

    # Watch

    def poll(self, what: str, limit: float = START_LIMIT) -> Iterator[None]:
        """Yield a few times a second for as long as the caller goes on; an error when a component ended or `limit`
        seconds, a hang bound, have passed. Some tests act on what they see within two seconds.
        """
        deadline = time.monotonic() + limit
        while True:
            yield
            for name, component in list(self.components.items()):
                if not component.running:
                    self._has_ended(name, what)
            if time.monotonic() > deadline:
                raise AirflowFailed(f"gave up after {limit:.0f} s waiting until {what}; logs: {self.home}/logs")
            time.sleep(0.3)

    def wait_until(self, condition: Callable[[], bool], what: str, limit: float = START_LIMIT) -> None:
        """Wait for a condition."""
        for _ in self.poll(what, limit):
            if condition():
                return

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the DAG processor has read a DAG; its import error, if any, is the error."""
        for _ in self.poll(f"the DAG {dag_id} is known"):
            if dag_id in self.api.dag_ids():
                return
            if errors := self.api.import_errors():
                raise AirflowFailed("\n".join(f"{file}:\n{trace}" for file, trace in errors.items()))

    def wait_for_task(self, dag_id: str, run_id: str, task_id: str, *states: str, limit: float = START_LIMIT) -> str:
        """Wait until a task is in one of the states; returns which."""
        for _ in self.poll(f"{dag_id}.{task_id} is {' or '.join(states)}", limit):
            state = self.task_states(dag_id, run_id).get(task_id)
            if state in states:
                return str(state)
        raise AssertionError("unreachable: poll only ends by raising")

    def wait_for_handover(self, dag_id: str, run_id: str, task_id: str, *states: str) -> None:
        """Wait until a task has left its worker to wait elsewhere, and the scheduler has heard of it.

        Airflow fails a task whose wait is over before the scheduler has read that its worker is done: the task then
        runs again, and the message is taken for that run's.
        """
        self.wait_for_task(dag_id, run_id, task_id, *(states or ("deferred",)))
        [task] = [each for each in self.api.tasks(dag_id, run_id) if each.task_id == task_id]
        line = f"dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}', try_number={task.try_number},"
        logs = [each.log for name, each in self.components.items() if name.startswith("scheduler")]
        self.wait_until(
            lambda: any(line in log.read_text(errors="replace") for log in logs),
            f"the scheduler knows that {task_id} waits",
        )

    def wait_for_run(self, dag_id: str, run_id: str, limit: float = RUN_LIMIT) -> str:
        """Wait until a run has ended; returns `success` or `failed`."""
        for _ in self.poll(f"the run of {dag_id} ends", limit):
            state = self.api.run_state(dag_id, run_id)
            if state in ("success", "failed"):
                return state
        raise AssertionError("unreachable: poll only ends by raising")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """The state of every task of a run."""
        tasks: list[TaskState] = self.api.tasks(dag_id, run_id)
        return {task.task_id: task.state for task in tasks}

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> list[Json]:
        """What a task has logged so far, all attempts and its trigger included, oldest first."""
        place = f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}"
        records: list[Json] = []
        for file in (file for folder in self._log_folders() for file in (folder / place).rglob("attempt=*.log*")):
            for line in file.read_text(errors="replace").splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # a line that is being written
                    records.append(json.loads(line))
        return sorted(records, key=lambda record: str(record.get("timestamp", "")))

    def task_messages(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """The messages of `task_log`, each with the exceptions that came with it."""
        return [message_of(record) for record in self.task_log(dag_id, run_id, task_id)]


def message_of(record: Json) -> str:
    """What a line of a task's log says, with the exceptions that came with it."""
    errors = [f"\n{error['exc_type']}: {error['exc_value']}" for error in record.get("error_detail") or []]
    return "".join([str(record.get("event", "")), *errors])


def _airflow() -> tuple[str, ...]:
    """The `airflow` program of the Python that runs us, whatever else is on PATH."""
    return (sys.executable, "-m", "airflow")


def _clean_environment() -> dict[str, str]:
    """Our environment without what the caller set for an Airflow, a Hugging Face account or a separate Python."""
    prefixes = ("AIRFLOW", "HF_", "HUGGING", "_AIRFLOW")
    single = {"PYTHONPATH", "PYTHONHOME"}
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    env = {name: value for name, value in env.items() if name not in single}
    local = "127.0.0.1,localhost"
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = f"{env[name]},{local}" if env.get(name) else local
    return env


def _settings(home: Path) -> dict[str, str]:
    """Airflow's configuration: small, quick to react, silent to the outside."""
    options = {
        ("core", "dags_folder"): str(home / "dags"),
        ("core", "executor"): "LocalExecutor",
        ("core", "load_examples"): "False",
        ("core", "parallelism"): "4",
        ("core", "fernet_key"): base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        ("core", "simple_auth_manager_users"): f"{USERNAME}:admin",
        ("core", "simple_auth_manager_passwords_file"): str(home / "passwords.json"),
        ("core", "test_connection"): "Enabled",
        # The default looks the machine's name up in DNS.
        ("core", "hostname_callable"): "socket.gethostname",
        ("database", "sql_alchemy_conn"): f"sqlite:///{home}/airflow.db",
        ("logging", "base_log_folder"): str(home / "logs"),
        ("logging", "dag_processor_child_process_log_directory"): str(home / "logs" / "dag_processor"),
        ("logging", "colored_console_log"): "False",
        ("api", "secret_key"): secrets.token_hex(16),
        ("api_auth", "jwt_secret"): secrets.token_urlsafe(48),
        ("scheduler", "scheduler_heartbeat_sec"): "1",
        ("scheduler", "job_heartbeat_sec"): "1",
        ("scheduler", "scheduler_idle_sleep_time"): "0.3",
        ("scheduler", "trigger_timeout_check_interval"): "2",
        ("triggerer", "job_heartbeat_sec"): "1",
        # So that the triggers of a killed triggerer are soon given to the next one.
        ("triggerer", "triggerer_health_check_threshold"): "6",
        ("dag_processor", "refresh_interval"): "5",
        ("dag_processor", "min_file_process_interval"): "600",
        # 3.0.6 takes DAGs for gone whose file was read again a while before they are stored.
        ("dag_processor", "stale_dag_threshold"): "3600",
        ("dag_processor", "parsing_processes"): "1",
        ("usage_data_collection", "enabled"): "False",
        # Hang bounds. By default 5 s for a worker's request, 30 and 50 s for a DAG file, which a busy machine exceeds.
        ("workers", "execution_api_timeout"): "60",
        ("core", "dagbag_import_timeout"): "300",
        ("dag_processor", "dag_file_processor_timeout"): "300",
    }
    env = {f"AIRFLOW__{section.upper()}__{name.upper()}": value for (section, name), value in options.items()}
    return env | {"AIRFLOW_HOME": str(home), "SCARF_ANALYTICS": "false", "PYTHONUNBUFFERED": "1"}
