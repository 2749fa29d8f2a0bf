"""What Airflow knows of the provider without running anything: its metadata, checked as Airflow itself checks it."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from airflow_provider_hf_endpoints.get_provider_info import get_provider_info

DISTRIBUTION = "airflow-provider-hf-endpoints"
ROOMS = ("hooks", "operators", "sensors", "triggers")
# What only Airflow's release tools read: provider.yaml has it, the dict for the running Airflow has not.
RELEASE_ONLY = {"state", "source-date-epoch", "versions", "lifecycle", "build-system"}


def provider_yaml() -> dict[str, Any]:
    text = files("airflow_provider_hf_endpoints").joinpath("provider.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads(files("airflow").joinpath(name).read_text(encoding="utf-8")))


@functools.cache
def airflow_command(*arguments: str) -> str:
    """The output of an `airflow` command of the Python that runs the tests."""
    command = [sys.executable, "-m", "airflow", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def airflow_json(*arguments: str) -> Any:
    """The same, as JSON; Airflow 3.0 prints log lines before it."""
    output = airflow_command(*arguments, "--output", "json")
    return json.loads(next(line for line in output.splitlines() if line.startswith("[{")))


def named_modules() -> list[str]:
    info = get_provider_info()
    return [module for room in ROOMS for entry in info[room] for module in entry["python-modules"]]


def test_the_file_fits_the_schema_that_airflow_ships() -> None:
    """provider.yaml is what Airflow's tools expect of one."""
    known, ours = schema("provider.yaml.schema.json"), provider_yaml()
    tags = known["properties"]["integrations"]["items"]["properties"]["tags"]
    if tags.get("maxItems") == 1:  # Airflow 3.0 knows one tag; the registry reads the newest schema
        for each in ours["integrations"]:
            each["tags"] = each["tags"][:1]
    jsonschema.validate(ours, known)


def test_the_dict_fits_the_schema_that_airflow_ships() -> None:
    """Discovery checks get_provider_info() against this schema, and leaves a provider out that does not fit."""
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_the_file_and_the_dict_agree() -> None:
    """Both say the same of everything that the running Airflow reads."""
    of_file = {key: value for key, value in provider_yaml().items() if key not in RELEASE_ONLY}
    assert of_file == get_provider_info()


def test_the_entry_point_leads_to_the_dict() -> None:
    """Airflow finds the provider by its entry point; the package's name has to equal the distribution's."""
    found = [point for point in entry_points(group="apache_airflow_provider") if point.dist is not None]
    ours = [point for point in found if point.dist is not None and point.dist.name == DISTRIBUTION]
    assert [get_provider_info] == [point.load() for point in ours]
    assert get_provider_info()["package-name"] == DISTRIBUTION


@pytest.mark.parametrize("module", named_modules())
def test_every_named_module_imports(module: str) -> None:
    """No name in the metadata leads nowhere."""
    importlib.import_module(module)


@pytest.mark.parametrize(
    "path",
    [
        *get_provider_info()["extra-links"],
        *(
            connection["hook-class-name"]
            for connection in get_provider_info()["connection-types"]
            if ".common_ai." not in connection["hook-class-name"]  # needs an extra: `tests/common_ai`
        ),
        *(each["class-name"] for each in get_provider_info()["task-decorators"]),
    ],
)
def test_every_named_class_is_there(path: str) -> None:
    """The classes of the hook and of the links are where the metadata says."""
    module, _, name = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_providers_get_shows_all_there_is() -> None:
    """`airflow providers get` shows hook, operators, sensor, trigger, connection type and links."""
    (shown,) = airflow_json("providers", "get", DISTRIBUTION, "--full")
    root = "airflow_provider_hf_endpoints"
    for room in ROOMS:
        modules = [module for entry in shown[room] for module in entry["python-modules"]]
        assert f"{root}.{room}.{'inference' if room == 'operators' else 'endpoints'}" in modules
    assert [connection["connection-type"] for connection in shown["connection-types"]] == [
        "hf_endpoints",
        "pydanticai_hf_endpoints",
    ]
    assert shown["extra-links"]


def test_airflow_takes_the_hook() -> None:
    """Airflow's list of hooks has the connection type with the class that serves it, and no error."""
    (hook,) = [hook for hook in airflow_json("providers", "hooks") if hook["connection_type"] == "hf_endpoints"]
    assert hook["class"].endswith("InferenceEndpointsHook")
