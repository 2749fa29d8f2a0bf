"""What a person would do in Airflow's UI, over its REST API: log in, trigger a DAG, look at its tasks.

Only what the demo and the live tests use; the paths are the same in Airflow 3.0 to 3.3.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

Json = dict[str, Any]
DATABASE_TRIES = 10
ANSWER_LIMIT = 120.0  # seconds; a hang bound for one request
COMMIT_LIMIT = 120.0  # seconds; a hang bound


@dataclass(frozen=True)
class TaskState:
    """One task instance as the API shows it. `state` is None until the scheduler has looked at it."""

    task_id: str
    state: str | None
    try_number: int
    map_index: int
    id: str  # another one for every attempt


class AirflowApi:
    """A logged-in session with one API server."""

    def __init__(self, url: str, username: str, password: str) -> None:
        # Proxies of the caller's environment are not for a server on this machine.
        self._http = httpx.Client(base_url=url, timeout=ANSWER_LIMIT, trust_env=False, verify=False)
        answer = self._http.post("/auth/token", json={"username": username, "password": password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, *, root: str = "/api/v2", **arguments: Any) -> Any:
        """One call; an answer other than 2xx is an error that carries the server's own words.

        A database that is locked is tried again: nothing was done, and SQLite lets only one write at a time.
        """
        for _ in range(DATABASE_TRIES):
            answer = self._http.request(method, root + path, **arguments)
            if answer.status_code != 500 or "Database error" not in answer.text:
                break
            time.sleep(0.5)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}

    def dag_ids(self) -> set[str]:
        """The DAGs that the DAG processor has found so far."""
        return {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]}

    def import_errors(self) -> dict[str, str]:
        """DAG files that failed to import, with the traceback."""
        errors = self.call("GET", "/importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def trigger(self, dag_id: str, conf: Json | None = None) -> str:
        """Unpause a DAG and start a run of it; returns the run's id."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        body = {"logical_date": None, "conf": conf or {}}
        run_id = str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])
        # Airflow 3.0 commits after it has answered: for a moment the run is not there yet.
        deadline = time.monotonic() + COMMIT_LIMIT
        while self._http.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").status_code == 404:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{dag_id}: the run {run_id} was triggered and is not there")
            time.sleep(0.05)
        return run_id

    def backfill(self, dag_id: str, since: datetime, until: datetime, conf: Json) -> list[str]:
        """Unpause a DAG and run it for each interval between two dates, all at once; returns the ids of the runs."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        body = {"dag_id": dag_id, "from_date": since.isoformat(), "to_date": until.isoformat(), "dag_run_conf": conf}
        self.call("POST", "/backfills", json=body)
        runs = self.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
        return [run["dag_run_id"] for run in runs if run["run_type"] == "backfill"]

    def switch_on(self, dag_id: str) -> None:
        """Unpause a DAG, and have its file read again: that is when Airflow sets up an asset's watchers."""
        self._switch(dag_id, is_paused=False)

    def switch_off(self, dag_id: str) -> None:
        """Pause a DAG, and have its file read again: that is when Airflow ends an asset's watchers."""
        self._switch(dag_id, is_paused=True)

    def _switch(self, dag_id: str, *, is_paused: bool) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": is_paused})
        token = self.call("GET", f"/dags/{dag_id}")["file_token"]
        self.call("PUT", f"/parseDagFile/{token}")

    def run_state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The run's task instances."""
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 100})
        return [
            TaskState(task["task_id"], task["state"], task["try_number"], task["map_index"], task["id"])
            for task in answer["task_instances"]
        ]

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task, as the buttons in the UI do (`failed`, `success`)."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": state})

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a run, as the buttons in the UI do (`failed`, `success`)."""
        self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task, so that it runs again."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task left in XCom."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"deserialize": "false"})["value"]

    def variable_keys(self, prefix: str) -> list[str]:
        """The keys of the Airflow Variables that begin so."""
        listed = self.call("GET", "/variables?limit=1000")["variables"]
        return [each["key"] for each in listed if each["key"].startswith(prefix)]

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """The task's extra links by name, as the UI shows them."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        return dict(self.call("GET", path)["extra_links"])

    def add_connection(self, connection: Json) -> None:
        """Save a connection (`connection_id`, `conn_type`, `host`, `password`, `extra` …)."""
        self.call("POST", "/connections", json=connection)

    def test_connection(self, connection: Json) -> tuple[bool, str]:
        """The Test button of the connection form: whether it worked, and what it said."""
        answer = self.call("POST", "/connections/test", json=connection)
        return bool(answer["status"]), str(answer["message"])

    def hook_meta(self) -> list[Json]:
        """What the UI's connection form is made of, for every connection type."""
        return list(self.call("GET", "/connections/hook_meta", root="/ui"))
