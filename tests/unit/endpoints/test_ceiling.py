"""What a connection allows to be started, and that every way to start something asks it first."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.api.ceiling import Ceiling, CeilingError
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

L4 = "aws/us-east-1/nvidia-l4/x1"


@pytest.mark.parametrize(
    "allowed",
    ["nvidia-l4", "nvidia-*", "*", "aws/*/nvidia-l4/*", "*/*/*/x1", L4],
)
def test_allowed_hardware(allowed: str) -> None:
    """A pattern is of the instance type, or of the whole path."""
    Ceiling(allowed_hardware=["intel-spr", allowed]).check("e", L4, None, 1)


@pytest.mark.parametrize("allowed", ["nvidia-t4", "l4", "gcp/*/nvidia-l4/*", "aws/us-east-1/nvidia-l4/x4"])
def test_hardware_that_is_not_allowed(allowed: str) -> None:
    """The error names the endpoint, the hardware and what is allowed."""
    with pytest.raises(CeilingError, match=r"'e' needs aws/us-east-1/nvidia-l4/x1.*allows only"):
        Ceiling(allowed_hardware=[allowed]).check("e", L4, 0.8, 1)


@pytest.mark.parametrize(
    ("price", "replicas", "fits"), [(0.8, 1, True), (0.8, 2, True), (0.8, 3, False), (2, 1, False)]
)
def test_the_price_counts_with_all_replicas(price: float, replicas: int, fits: bool) -> None:
    """An autoscaler that may start three is allowed three, or nothing."""
    ceiling = Ceiling(max_price_per_hour=1.6)
    if fits:
        ceiling.check("e", L4, price, replicas)
        return
    with pytest.raises(CeilingError, match=r"can cost up to \$2(\.4)? an hour .*at most \$1.6"):
        ceiling.check("e", L4, price, replicas)


def test_an_unknown_price_is_refused() -> None:
    """A limit that can't be checked is not kept by hoping."""
    with pytest.raises(CeilingError, match="does not list it"):
        Ceiling(max_price_per_hour=100.0).check("e", L4, None, 1)


def test_no_ceiling_forbids_nothing() -> None:
    """The default."""
    assert not Ceiling().is_set
    Ceiling().check("e", "?/?/?/?", None, 1000)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_price_per_hour": 0}, "max_price_per_hour=0 must be a positive"),
        ({"max_price_per_hour": float("nan")}, "must be a positive"),
        ({"allowed_hardware": ["aws/nvidia-t4"]}, "allowed_hardware contains 'aws/nvidia-t4'"),
        ({"allowed_hardware": [""]}, "allowed_hardware contains ''"),
    ],
)
def test_a_ceiling_that_makes_no_sense(fields: dict[str, Any], words: str) -> None:
    """It is refused where it is written, not where it would have mattered."""
    with pytest.raises(InvalidArgumentError, match=words):
        Ceiling(**fields)
