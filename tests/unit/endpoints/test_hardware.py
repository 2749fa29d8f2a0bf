"""Whether hardware exists and is available, and the error if not."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.models import Hardware
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import check_hardware, nearest, shortage
from tests.unit.endpoints.play import spec


def instance(path: str, accelerator: str = "gpu", **changes: Any) -> Hardware:
    vendor, region, instance_type, size = path.split("/")
    return Hardware.model_validate(
        {
            "vendor": vendor,
            "region": region,
            "instanceType": instance_type,
            "instanceSize": size,
            "accelerator": accelerator,
            "numAccelerators": 1,
            "status": "available",
            "pricePerHour": 0.8,
            **changes,
        }
    )


L4 = instance("aws/us-east-1/nvidia-l4/x1")
OFFERED = [
    instance("aws/us-east-1/intel-spr/x1", "cpu", numAccelerators=0),
    instance("aws/us-east-1/nvidia-l4/x4", numAccelerators=4, pricePerHour=3.8),
    L4,
    instance("aws/us-east-1/nvidia-t4/x1"),
    instance("gcp/us-east4/nvidia-l4/x1"),
    instance("aws/eu-west-1/nvidia-l4/x1", status="not_available"),
]


def test_hardware_that_exists() -> None:
    """The very instance is found, with its price."""
    assert check_hardware(spec(), OFFERED) == L4


def test_unknown_hardware_is_refused_with_the_nearest() -> None:
    """A misspelt type names what was asked for and the nearest valid choices with their prices."""
    with pytest.raises(InvalidArgumentError) as caught:
        check_hardware(spec(instance_type="nvidia-l44"), OFFERED)
    for words in ("aws/us-east-1/nvidia-l44/x1", "aws/us-east-1/nvidia-l4/x1 (available, $0.8/h)", "list_inference"):
        assert words in str(caught.value)
    assert "intel-spr" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"region": "eu-west-3"}, {"vendor": "azure"}, {"instance_size": "x2"}, {"instance_type": "t4"}]
)
def test_every_part_of_the_path_counts(changes: dict[str, str]) -> None:
    """Region, vendor, type and size all have to be offered together."""
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        check_hardware(spec(**changes), OFFERED)


def test_the_wrong_accelerator_is_named() -> None:
    """Hardware that exists under another accelerator says which it is."""
    with pytest.raises(InvalidArgumentError, match=r"accelerator='cpu'.*'gpu'"):
        check_hardware(spec(accelerator="cpu"), OFFERED)


def test_an_answer_without_the_accelerator_refuses_nothing() -> None:
    """What the service does not say can't be held against the caller."""
    unsaid = instance("aws/us-east-1/nvidia-l4/x1", accelerator="")
    assert unsaid == check_hardware(spec(), [unsaid])


def test_nothing_offered() -> None:
    """The error about an empty list says that the list is empty."""
    with pytest.raises(InvalidArgumentError, match="none available"):
        check_hardware(spec(), [])


def test_the_nearest_are_of_the_same_kind_and_available() -> None:
    """Another accelerator comes last, and unavailable hardware after available hardware."""
    paths = [each.path for each in nearest("aws/us-east-2/nvidia-l4/x1", "gpu", OFFERED)]
    assert paths[0] == "aws/us-east-1/nvidia-l4/x1"
    assert len(paths) == 3
    assert not {"aws/us-east-1/intel-spr/x1", "aws/eu-west-1/nvidia-l4/x1"} & set(paths)


@pytest.mark.parametrize("status", ["available", "low_availability", "reserved", "", "novel"])
def test_no_shortage(status: str) -> None:
    """Only what the service calls unavailable is; an unknown status is not a reason to refuse."""
    assert shortage(instance("aws/us-east-1/nvidia-l4/x1", status=status), OFFERED) is None


@pytest.mark.parametrize("status", ["not_available", "deprecated"])
def test_a_shortage_names_what_can_be_had(status: str) -> None:
    """Missing capacity is an error at once, with others of the same kind; the same type in another region comes
    first.
    """
    said = shortage(instance("aws/us-east-1/nvidia-l4/x1", status=status), OFFERED)
    assert said is not None
    assert status.replace("_", " ") in said
    assert "aws/us-east-1/nvidia-l4/x4" in said
    assert "Available: aws/us-east-1/nvidia-l4/x4" in said
    assert "intel-spr" not in said


def test_a_shortage_of_everything() -> None:
    """The error also says if nothing else of that kind is available."""
    short = instance("aws/us-east-1/nvidia-l4/x1", status="not_available")
    assert "none of this kind" in str(shortage(short, [short]))


@pytest.mark.parametrize(
    ("quota", "needs", "short"),
    [
        ({"maxAccelerators": 4, "usedAccelerators": 3}, 1, False),
        ({"maxAccelerators": 4, "usedAccelerators": 4}, 1, True),
        ({"maxAccelerators": 4, "usedAccelerators": 3}, 4, True),
        ({"maxAccelerators": 1, "usedAccelerators": 1}, 0, True),
        ({"maxAccelerators": 0, "usedAccelerators": 0}, 1, True),
        ({}, 1, False),
        (None, 1, False),
    ],
)
def test_a_used_up_quota_is_said_at_once(quota: Any, needs: int, short: bool) -> None:
    """One replica has to fit into what is left; without numbers nothing is claimed."""
    said = shortage(instance("aws/us-east-1/nvidia-l4/x1", quota=quota, numAccelerators=needs), OFFERED)
    assert short is (said is not None)
    if said is not None:
        assert "quota" in said
        assert "nvidia-l4" in said
