"""docs/operations/kubernetes.md: its settings exist in the chart, the compose file and Airflow, with the same type.

`chart.json` and `compose.json` contain what was read from the two, and how. The page's description of a pod's end is
tested with a live Airflow, in tests/airflow/test_pods.py; here are the numbers.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow import __version__ as AIRFLOW_VERSION
from airflow.configuration import conf

from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.journal.lock import PATIENCE, WAIT
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES
from airflow_provider_hf_endpoints.operators.common.emergency import KILL_BUDGET

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
TEXT = (ROOT / "docs" / "operations" / "kubernetes.md").read_text(encoding="utf-8")
CHART = json.loads((HERE / "chart.json").read_text(encoding="utf-8"))["values"]
COMPOSE = json.loads((HERE / "compose.json").read_text(encoding="utf-8"))
TYPES: dict[str, type] = {
    "array": list, "boolean": bool, "integer": int, "null": type(None), "number": float, "object": dict, "string": str
}  # fmt: skip
DRAIN = BatchJob(url="http://x", task="chat-completion", prompt="{a}", input_path="a", output_path="b").drain_timeout
A_MARGIN = 30.0  # seconds beyond a drain, in which a batch writes what is done


def blocks(language: str) -> list[str]:
    """The page's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def files() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The values with the KubernetesExecutor, those with the CeleryExecutor, the compose file."""
    kubernetes, celery, compose = (yaml.safe_load(block) for block in blocks("yaml"))
    return kubernetes, celery, compose


def set_values(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """What a file sets, each by the longest path that the chart's facts know."""
    known = known_path(path)
    deeper = any(each.startswith(f"{known}.") for each in CHART) if known else True
    if known and not deeper:
        yield known, values
    elif isinstance(values, dict):
        for name, value in values.items():
            yield from set_values(value, (*path, name))
    elif isinstance(values, list):
        yield str(known), values
        for value in values:
            yield from set_values(value, (*path, "*"))
    else:
        yield ".".join(path), values


def known_path(path: tuple[str, ...]) -> str | None:
    """The fact that a path is of, with `*` where any name may stand."""
    for each in CHART:
        names = each.split(".")
        if len(names) == len(path) and all(name in ("*", given) for name, given in zip(names, path, strict=True)):
            return str(each)
    return None


@pytest.mark.parametrize("which", [0, 1], ids=["KubernetesExecutor", "CeleryExecutor"])
def test_the_values_are_the_chart_s(which: int) -> None:
    """Each exists there, with that type, and is not deprecated."""
    found = list(set_values(files()[which]))
    assert [] == [path for path, _ in found if path not in CHART]
    for path, value in found:
        types = [CHART[path]["type"]] if isinstance(CHART[path]["type"], str) else CHART[path]["type"]
        assert type(value) in {TYPES[each] for each in types}, path
        assert not CHART[path].get("deprecated"), path


def test_a_value_that_the_chart_does_not_have_is_found() -> None:
    """The walk misses neither a wrong name nor a wrong place."""
    wrong = {"workers": {"kubernetes": {"gracePeriod": 1}}, "triggerers": {"replicas": 2}, "secret": [{"name": "x"}]}
    found = {path for path, _ in set_values(wrong) if path not in CHART}
    assert {"workers.kubernetes.gracePeriod", "triggerers.replicas", "secret.*.name"} == found


def test_volumes_are_mounted_and_resources_are_quantities() -> None:
    """Of Kubernetes' own objects, in which the chart's schema was not read."""
    kubernetes, _, _ = files()
    pod = kubernetes["workers"]["kubernetes"]
    assert {each["name"] for each in pod["extraVolumes"]} == {each["name"] for each in pod["extraVolumeMounts"]}
    assert ["/tmp"] == [each["mountPath"] for each in pod["extraVolumeMounts"]]
    for resources in (pod["resources"], kubernetes["triggerer"]["resources"]):
        assert set(resources) <= {"requests", "limits"}
        for quantities in resources.values():
            assert set(quantities) <= {"cpu", "memory"}
            assert all(re.fullmatch(r"\d+(m|Mi|Gi)", quantity) for quantity in quantities.values())


def test_the_compose_file_adds_to_services_that_are_there() -> None:
    """To all that run code of this provider; the image's variable is one that Airflow's file reads."""
    _, _, compose = files()
    assert set(compose["services"]) <= set(COMPOSE["of Airflow's image"])
    runs = {"airflow-worker", "airflow-triggerer", "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor"}
    assert runs == set(compose["services"])
    assert all("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT" in each["environment"] for each in compose["services"].values())
    (variable,) = re.findall(r'echo "(\w+)=', TEXT)
    assert variable in COMPOSE["variables"]


def test_the_options_are_airflow_s() -> None:
    """Of the one in the page's image: by section and name in `values.yaml`, and as environment variables."""
    kubernetes, _, compose = files()
    if kubernetes["airflowVersion"].rpartition(".")[0] != AIRFLOW_VERSION.rpartition(".")[0]:
        pytest.skip("the page is for another Airflow")
    options = {(section, name) for section, names in kubernetes["config"].items() for name in names}
    for service in compose["services"].values():
        for variable in service["environment"]:
            if match := re.fullmatch(r"AIRFLOW__(\w+?)__(\w+)", variable):
                options.add((match[1].lower(), match[2].lower()))
    options |= {(section, name) for section, name in re.findall(r"`\[(\w+)\] (\w+)`", TEXT)}
    missing = [option for option in sorted(options) if not conf.has_option(*option)]
    assert [] == missing


def test_the_connection_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret's text, in the variable that the values name, is a connection that the hook takes."""
    kubernetes, _, _ = files()
    (secret,) = kubernetes["secret"]
    (name, key, text) = re.findall(r"generic (\S+) --from-literal=(\w+)='(\{.*?\})'", TEXT, re.DOTALL)[0]
    assert (name, key) == (secret["secretName"], secret["secretKey"])
    monkeypatch.setenv(secret["envName"], text.replace("hf_…", "hf_token"))
    hook = InferenceEndpointsHook()
    extra = json.loads(text)["extra"]
    assert extra["lease_path"] == hook.kept_at.path
    assert extra["namespace"] == hook.get_conn().session.namespace


def test_the_image_has_an_extra_of_ours_and_the_tested_airflow() -> None:
    """The newest that the project is tested on."""
    (dockerfile,) = blocks("dockerfile")
    first, second = dockerfile.splitlines()
    tested = re.search(r"apache-airflow==(\S+)", (ROOT / "requirements" / "airflow-3.3.in").read_text(encoding="utf-8"))
    assert tested is not None
    assert f"FROM apache/airflow:{tested[1]}" == first
    assert files()[0]["airflowVersion"] == tested[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.findall(r"\[(\w+)\]", second)) | set(re.findall(r"`\[(\w+)\]`", TEXT))
    assert extras <= set(project["optional-dependencies"])


def test_the_graces_are_long_enough() -> None:
    """For what a task may do between SIGTERM and SIGKILL."""
    kubernetes, celery, compose = files()
    needed = max(KILL_BUDGET, DRAIN) + A_MARGIN
    assert needed <= kubernetes["workers"]["kubernetes"]["terminationGracePeriodSeconds"]
    assert needed <= celery["workers"]["celery"]["terminationGracePeriodSeconds"]
    assert "1h" == compose["services"]["airflow-worker"]["stop_grace_period"]


def test_the_page_s_numbers_are_the_code_s() -> None:
    """Each in the sentence that has it. A holder that is gone is taken over before the next one gives up."""
    said = " ".join(TEXT.split())
    assert PATIENCE < WAIT
    for sentence in (
        f"within {KILL_BUDGET:.0f} seconds",
        f"`drain_timeout` (default {DRAIN:.0f} seconds)",
        f"A holder without one for {PATIENCE:.0f} seconds is dead",
        f"the next waits {WAIT:.0f} seconds",
        f"`max_response_bytes` (default {MAX_RESPONSE_BYTES >> 20} MiB)",
        f"The chart's default grace is {CHART['workers.terminationGracePeriodSeconds']['default']} seconds",
        f"the chart's own default, {CHART['airflowVersion']['default'].removesuffix('.0')},",
    ):
        assert sentence in said
