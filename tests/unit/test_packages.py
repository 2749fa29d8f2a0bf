"""The text about a package that is not installed: one message, with the right command."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath

from airflow_provider_hf_endpoints._packages import STORES, extra_of, missing_package, missing_store
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath, require_store
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator

ROOT = Path(__file__).resolve().parents[2]


def advised() -> set[str]:
    """What the package's texts say that a package brings: the stores, and what calls of `missing_package` name."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "airflow_provider_hf_endpoints").rglob("*.py")]
    found = {what for text in texts for what in re.findall(r"missing_package\(f.*?, [\"'](\w+)[\"']\)", text)}
    assert {"Parquet", "zstd"} <= found
    return found | set(STORES.values())


@pytest.mark.parametrize("what", sorted(advised()))
def test_every_extra_that_is_advised_is_there(what: str) -> None:
    """By the names of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra_of(what) in project["optional-dependencies"]


def test_the_message_has_who_what_and_the_command() -> None:
    """In this order."""
    expected = "input_path s3://b/k needs S3: pip install 'airflow-provider-hf-endpoints[s3]'"
    assert expected == missing_package("input_path s3://b/k", "S3") == missing_store("input_path s3://b/k", "s3")
    assert "no installed package reads nope://" in missing_store("input_path nope://b", "nope")


@pytest.mark.parametrize("make", [as_upath, ObjectStoragePath])
def test_a_path_without_its_package_is_refused(make: Any) -> None:
    """As fsspec says it, and as Airflow does."""
    with pytest.raises(BatchInputError, match=r"input_path gs://.* needs .*: pip install"):
        require_store("input_path", make("gs://bucket/in.jsonl"))


def test_a_path_whose_storage_lacks_credentials_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the storage's own words, and where to give them."""
    pytest.importorskip("adlfs")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(BatchInputError) as caught:
        require_store("input_path", as_upath("abfs://box/in.jsonl"))
    expected = r"input_path abfs://box/in.jsonl: the client .* \(.*credentials.*\)\. Name .*\(abfs://CONNECTION@…\)"
    assert re.match(expected, str(caught.value))


@pytest.mark.parametrize("argument", ["input_path", "output_path"])
def test_a_batch_says_so_before_the_endpoint_is_woken(tmp_path: Path, argument: str) -> None:
    """Of the output, too: without, the rows would be answered first and lost then."""
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    paths = {"input_path": str(tmp_path / "in.jsonl"), "output_path": str(tmp_path / "out"), argument: "gs://b/x.jsonl"}
    operator = BatchInferenceOperator(
        task_id="batch",
        endpoint="demo",
        task="text-generation",
        prompt="{text}",
        input_path=paths["input_path"],
        output_path=paths["output_path"],
    )
    with pytest.raises(AirflowFailException, match=rf"{argument} gs://.* needs Google Cloud Storage: pip install"):
        operator._check()
