"""The manifest of an output: written last, so that an output which has one is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing


def write_manifest(layout: OutputLayout, manifest: dict[str, Any], check: Callable[[], None] = lambda: None) -> None:
    """Write the manifest; with it the output is finished.

    :param check: see `replacing`
    """
    with replacing(layout.manifest, check) as file:
        file.write(json.dumps(manifest, indent=2, ensure_ascii=False, default=str).encode() + b"\n")


def read_manifest(layout: OutputLayout) -> dict[str, Any] | None:
    """The manifest of a finished output, None when there is none."""
    try:
        text = layout.manifest.read_bytes()
    except FileNotFoundError:
        return None
    manifest = json.loads(text)
    return manifest if isinstance(manifest, dict) else None
