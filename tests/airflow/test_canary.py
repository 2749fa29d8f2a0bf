"""No secret is anywhere in Airflow: a search through its logs and its whole database after runs full of failures."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow
from tests.airflow.cases import Case
from tests.airflow.conftest import CANARIES, TOKEN

pytestmark = pytest.mark.extended

# Of the endpoints that the example DAGs use, which somebody else has made: nobody but the service knows the values.
ENDPOINTS_OWN = {"LICENCE": "canary of the endpoint 4715", "DB_URL": "canary of a database 4716"}
EXAMPLES = ("airflow-example", "airflow-example-fallback")
# So that the examples take them for theirs.
LIKE_EXAMPLES: dict[str, Any] = {
    "repository": "bartowski/SmolLM2-135M-Instruct-GGUF",
    "framework": "llamacpp",
    "task": "text-generation",
    "custom_image": {
        "llamacpp": {
            "url": "ghcr.io/ggml-org/llama.cpp:server",
            "modelPath": "SmolLM2-135M-Instruct-Q8_0.gguf",
            "ctxSize": 4096,
            "nParallel": 4,
        }
    },
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-spr",
    "instance_size": "x1",
}


def places(home: Path) -> Iterator[tuple[str, str]]:
    """Everything that Airflow has written, by where it stands: each row of each table, each file of a log."""
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        for line in database.iterdump():
            yield f"database: {line[:60]}", line
    for file in (home / "logs").rglob("*"):
        if file.is_file():
            yield str(file.relative_to(home)), file.read_text(errors="replace")


def spelt(secret: str) -> set[str]:
    """As it is, and in base64 and for a URL: all may be read back."""
    return {secret, base64.b64encode(secret.encode()).decode(), quote(secret)}


def found(home: Path, secrets: Mapping[str, str]) -> list[str]:
    """Where each secret stands, with what is around it."""
    return [
        f"{name} in {place}: …{text[max(0, text.index(form) - 120) : text.index(form) + 40]}…"
        for place, text in places(home)
        for name, secret in secrets.items()
        for form in spelt(secret)
        if form in text
    ]


def printed(secrets: Mapping[str, str], names: Mapping[str, str]) -> tuple[str, ...]:
    """What a container prints of its secrets that has a mind to be found out."""
    lines: list[str] = []
    for which, name in names.items():
        value = secrets[which]
        lines += [f"{name}={value}", f"export {name}='{value}'", json.dumps({name: value}), f"{name}: {value}"]
        lines += [quote(f"{name}={value}"), base64.b64encode(f"{name}={value}".encode()).decode()]
    return tuple(lines)


def test_no_secret_is_anywhere(airflow: LocalAirflow, case: Case) -> None:
    """Token, secrets given inline, by connection and by variable, and a registry's password: printed by a container
    that fails, quoted by create, sensors, update and resume, deferred and not, on both attempts."""
    # With the names that the endpoint has for them, and without: a registry's password the container never has.
    told = printed(CANARIES, {"inline": "API_KEY", "vault": "VAULT", "variable": "VARIABLE"})
    words = (*told, *(f"read {value}" for value in CANARIES.values()), f"token {TOKEN}")
    case.emulator.behave(case.endpoint, fail="exit 1 after " + "\n".join(words), logs=("Booting", *words[-12:]))
    run = case.trigger("canary")
    airflow.wait_for_run("canary", run)  # its last tasks run in any case, and by these Airflow judges the run
    states = airflow.task_states("canary", run)
    assert {states[task] for task in ("create", "watch", "poke")} == {"failed"}
    quoted = "\n".join(
        line for task in ("create", "watch", "poke") for line in airflow.task_messages("canary", run, task)
    )
    assert quoted.count("exit 1 after") >= 3, "the container's words are quoted, or the search proves nothing"
    assert found(airflow.home, {"a word that is there": "exit 1 after"}), "the search finds what is there"
    assert [] == found(airflow.home, {**CANARIES, "token": TOKEN})


def test_no_secret_of_a_failed_example_is_anywhere(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Every example DAG, on endpoints of somebody else that fail and print what they have: what may be hidden by the
    endpoints' own names alone."""
    words = (*printed(ENDPOINTS_OWN, {name: name for name in ENDPOINTS_OWN}), f"token {TOKEN}")
    with EndpointsClient(emulator.token, base_url=emulator.url, hub_url=emulator.url) as client:
        for name in EXAMPLES:
            emulator.behave(name, fail="exit 1 after " + "\n".join(words), logs=("Booting", *words))
            client.delete_inference_endpoint(name, missing_ok=True)
            client.create_inference_endpoint(name, **LIKE_EXAMPLES, secrets=ENDPOINTS_OWN)
            client.pause_inference_endpoint(name)
    airflow.wait_for_dag("hf_endpoints_batch_text_generation")
    dags = {dag for dag in airflow.api.dag_ids() if dag.startswith("hf_endpoints_")}
    last = {"hf_endpoints_delete_endpoint"}  # of the endpoint that all the others use
    states: dict[str, str] = {}
    for together in (dags - last, last):
        runs = {dag: airflow.api.trigger(dag) for dag in together}
        states |= {dag: airflow.wait_for_run(dag, run) for dag, run in runs.items()}
    assert "failed" in states.values(), states
    assert found(airflow.home, {"a word that is there": "exit 1 after"}), f"nobody quotes the container: {states}"
    assert [] == found(airflow.home, {**ENDPOINTS_OWN, "token": TOKEN})
