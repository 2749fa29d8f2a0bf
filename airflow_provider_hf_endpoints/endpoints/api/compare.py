"""What the service silently dropped or changed: a sent payload compared with the answer. Pure.

The service answers 200 to unknown fields (which it drops) and to an unknown `type` (which it makes `private`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_hf_endpoints.endpoints.models import Difference, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec

# Never answered as they were sent: secrets and credentials come back redacted, and these two are not in the answer.
_NOT_COMPARED = frozenset(
    {"model.secrets", "model.image.custom.credentials", "cacheHttpResponses", "model.fromCatalog"}
)
_ENVIRONMENTS = frozenset({"model.env", "customRouter.env"})
_ABSENT = object()


def unapplied(sent: Mapping[str, Any], answered: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Every setting of `sent` that `answered` does not show as it was sent."""
    return tuple(_compare(sent, answered, ""))


def _compare(sent: Mapping[str, Any], answered: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key, value in sent.items():
        here = f"{path}.{key}" if path else key
        got = answered.get(key, _ABSENT)
        if here in _NOT_COMPARED or value is None:
            continue
        if isinstance(value, Mapping):
            # Always part by part: a difference that quoted a whole part would show the secrets in it.
            compare = _compare_env if here in _ENVIRONMENTS else _compare
            yield from compare(value, got if isinstance(got, Mapping) else {}, here)
        elif got is _ABSENT or got is None:
            if value != []:
                yield Difference(field=here, sent=value, dropped=True)
        elif not _same(value, got):
            yield Difference(field=here, sent=value, answered=got)


def _compare_env(sent: Mapping[str, Any], answered: Mapping[str, Any], path: str) -> Iterator[Difference]:
    """By name only: people put into `env` what belongs into `secrets`, so its values are shown nowhere."""
    for name, value in sent.items():
        if answered.get(name) != value:
            shown = "***" if name in answered else None
            yield Difference(field=f"{path}.{name}", sent="***", answered=shown, dropped=name not in answered)


def _same(sent: Any, answered: Any) -> bool:
    if isinstance(sent, list) and isinstance(answered, list):
        return sorted(map(str, sent)) == sorted(map(str, answered))
    return bool(sent == answered)


def conflicts(spec: EndpointSpec, existing: InferenceEndpoint) -> list[str]:
    """Where an existing endpoint is not the one that `spec` asks for: its model, engine or hardware.

    Settings that may differ (replicas, tags, environment) are not compared, nor are settings that the spec does not
    contain.
    """
    # A spec without an image leaves the image to the service, so an endpoint with an image may be reused.
    engine = next(iter(spec.payload()["model"]["image"])) if spec.custom_image is not None else None
    pairs = [
        ("repository", spec.repository, existing.repository),
        ("revision", spec.revision, existing.revision),
        ("task", spec.task, existing.task),
        ("engine", engine, existing.engine),
        ("vendor", spec.vendor, existing.vendor),
        ("region", spec.region, existing.region),
        ("accelerator", spec.accelerator, existing.accelerator),
        ("instance_type", spec.instance_type, existing.instance_type),
        ("instance_size", spec.instance_size, existing.instance_size),
    ]
    return [
        f"{field}: wanted {wanted!r}, found {has!r}"
        for field, wanted, has in pairs
        if wanted is not None and has is not None and wanted != has
    ]
