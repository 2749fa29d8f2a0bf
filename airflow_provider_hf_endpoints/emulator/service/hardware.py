"""The hardware for rent: instance types, sizes, regions, prices in USD per replica and hour, and quantities.

A table and look-ups in it. The prices were published by the service in October 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hardware:
    """One row of the price list: `compute` and `provider` of an endpoint together."""

    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    architecture: str
    num_accelerators: int
    num_cpus: int
    memory_gb: float
    gpu_memory_gb: int | None
    price_per_hour: float
    status: str = "available"

    @property
    def id(self) -> str:
        return f"{self.vendor}-{self.region}-{self.instance_type}-{self.instance_size}"


@dataclass(frozen=True)
class _Family:
    vendor: str
    instance_type: str
    accelerator: str
    architecture: str
    cpus: int  # per accelerator
    memory_gb: float  # per accelerator
    gpu_memory_gb: int | None  # per accelerator
    prices: Mapping[int, float]  # by number of accelerators
    regions: tuple[str, ...]
    status: str = "available"


_AWS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1")
_GCP = ("us-east4", "europe-west4")

_FAMILIES = (
    _Family("aws", "intel-spr", "cpu", "Intel Sapphire Rapids", 1, 2, None,
            {1: 0.033, 2: 0.067, 4: 0.134, 8: 0.268}, _AWS),
    # The guide of huggingface_hub uses these; today's price list does not have them.
    _Family("aws", "intel-icl", "cpu", "Intel Ice Lake", 1, 2, None,
            {1: 0.032, 2: 0.064, 4: 0.128, 8: 0.256}, ("us-east-1",)),
    _Family("aws", "nvidia-t4", "gpu", "Nvidia T4", 3, 14, 14, {1: 0.5, 4: 3}, _AWS),
    _Family("aws", "nvidia-l4", "gpu", "Nvidia L4", 7, 30, 24, {1: 0.8, 4: 3.8}, _AWS),
    _Family("aws", "nvidia-a10g", "gpu", "Nvidia A10G", 6, 30, 24, {1: 1, 4: 5}, _AWS),
    _Family("aws", "nvidia-l40s", "gpu", "Nvidia L40S", 7, 60, 48, {1: 1.8, 4: 8.3, 8: 23.5}, _AWS,
            "low_availability"),
    _Family("aws", "nvidia-a100", "gpu", "Nvidia A100", 11, 145, 80, {1: 2.5, 2: 5, 4: 10, 8: 20}, ("us-east-1",)),
    _Family("aws", "nvidia-h200", "gpu", "Nvidia H200", 23, 256, 141, {1: 5, 2: 10, 4: 20, 8: 40}, ("us-east-1",),
            "not_available"),
    _Family("aws", "inf2", "neuron", "AWS Inferentia2", 4, 14, None, {1: 0.75, 12: 12}, ("us-east-1",),
            "low_availability"),
    # The service's spelling of this instance type is not known.
    _Family("aws", "nvidia-rtx-pro-6000", "gpu", "Nvidia RTX PRO 6000", 16, 120, 96, {1: 2.75}, ("us-east-2",)),
    _Family("azure", "intel-xeon", "cpu", "Intel Xeon", 1, 2, None,
            {1: 0.06, 2: 0.12, 4: 0.24, 8: 0.48}, ("eastus",)),
    _Family("gcp", "nvidia-l4", "gpu", "Nvidia L4", 7, 30, 24, {1: 0.7, 4: 3.8}, _GCP),
    _Family("gcp", "nvidia-a100", "gpu", "Nvidia A100", 11, 145, 80, {1: 3.6, 4: 14.4}, ("us-east4",)),
    _Family("gcp", "nvidia-h100", "gpu", "Nvidia H100", 25, 225, 80, {1: 10, 4: 40}, ("us-east4",),
            "low_availability"),
)  # fmt: skip

_LABELS = {
    "us-east-1": "N. Virginia",
    "us-east-2": "Ohio",
    "us-west-2": "Oregon",
    "eu-west-1": "Ireland",
    "eastus": "Virginia",
    "us-east4": "N. Virginia",
    "europe-west4": "Netherlands",
}


def _rows() -> Iterable[Hardware]:
    for family in _FAMILIES:
        for region in family.regions:
            for count, price in family.prices.items():
                yield Hardware(
                    vendor=family.vendor,
                    region=region,
                    accelerator=family.accelerator,
                    instance_type=family.instance_type,
                    instance_size=f"x{count}",
                    architecture=family.architecture,
                    num_accelerators=count,
                    num_cpus=family.cpus * count,
                    memory_gb=family.memory_gb * count,
                    gpu_memory_gb=None if family.gpu_memory_gb is None else family.gpu_memory_gb * count,
                    price_per_hour=price,
                    status=family.status,
                )


HARDWARE: tuple[Hardware, ...] = tuple(_rows())
_BY_KEY = {(h.vendor, h.region, h.accelerator, h.instance_type, h.instance_size): h for h in HARDWARE}


def find(vendor: str, region: str, accelerator: str, instance_type: str, instance_size: str) -> Hardware | None:
    """The row for an endpoint's `provider` and `compute`, or None if there is no such hardware."""
    return _BY_KEY.get((vendor, region, accelerator, instance_type, instance_size))


def not_found_message(vendor: str, region: str, accelerator: str, instance_type: str, instance_size: str) -> str:
    """The service's own words for hardware that it does not have."""
    kind = accelerator.title().replace("_", "")
    return f"Instance compute '{kind}' - '{instance_type}' - '{instance_size}' in '{vendor}' - '{region}' not found"


def vendors(status_of: Mapping[str, str], maximum: Mapping[str, int], used: Mapping[tuple[str, str], int]) -> Any:
    """The answer of the price list: by vendor and region, each row with its status and the namespace's quota.

    `status_of` is by hardware id, `maximum` by instance type, `used` by (vendor, instance type).
    """
    answer: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in HARDWARE:
        regions = answer.setdefault(row.vendor, {})
        regions.setdefault(row.region, []).append(
            {
                "id": row.id,
                "accelerator": row.accelerator,
                "numAccelerators": row.num_accelerators,
                "numCpus": row.num_cpus,
                "memoryGb": row.memory_gb,
                "gpuMemoryGb": row.gpu_memory_gb,
                "instanceType": row.instance_type,
                "instanceSize": row.instance_size,
                "architecture": row.architecture,
                "status": status_of[row.id],
                "pricePerHour": row.price_per_hour,
                "quota": {
                    "maxAccelerators": maximum[row.instance_type],
                    "usedAccelerators": used.get((row.vendor, row.instance_type), 0),
                },
            }
        )
    return {
        "vendors": [
            {
                "name": vendor,
                "status": "available",
                "regions": [
                    {"name": name, "label": _LABELS[name], "status": "available", "computes": computes}
                    for name, computes in regions.items()
                ],
            }
            for vendor, regions in answer.items()
        ]
    }


def quotas(maximum: Mapping[str, int], used: Mapping[tuple[str, str], int]) -> Any:
    """The answer of the quota route: by vendor, one line per instance type."""
    answer: dict[str, dict[str, dict[str, Any]]] = {}
    for row in HARDWARE:
        answer.setdefault(row.vendor, {})[row.instance_type] = {
            "instanceType": row.instance_type,
            "architecture": row.architecture,
            "maxAccelerators": maximum[row.instance_type],
            "usedAccelerators": used.get((row.vendor, row.instance_type), 0),
        }
    return {"vendors": [{"name": vendor, "quotas": list(lines.values())} for vendor, lines in answer.items()]}
