"""What the owner of a connection allows to be started: a price per hour, and kinds of instances. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError


class CeilingError(InvalidArgumentError):
    """The connection does not allow what would be started; nothing was sent."""


@dataclass(frozen=True)
class Ceiling:
    """Limits on every endpoint that a client creates, updates or resumes.

    :param max_price_per_hour: USD per hour of one endpoint with all the replicas that it may scale to; None for no
        limit. An instance whose price is not listed is refused under any limit.
    :param allowed_hardware: patterns of `vendor/region/instance-type/instance-size` (`aws/*/nvidia-t4/*`), or of the
        instance type alone (`nvidia-t4`, `intel-*`); empty allows all.
    """

    max_price_per_hour: float | None = None
    allowed_hardware: Sequence[str] = ()

    def __post_init__(self) -> None:
        limit = self.max_price_per_hour
        if limit is not None and not 0 < limit < math.inf:
            raise InvalidArgumentError(f"max_price_per_hour={limit!r} must be a positive number of USD.")
        for pattern in self.allowed_hardware:
            if not isinstance(pattern, str) or pattern.count("/") not in (0, 3) or not pattern:
                raise InvalidArgumentError(
                    f"allowed_hardware contains {pattern!r}, which is not valid. Write an instance type (nvidia-t4, "
                    "intel-*) or vendor/region/instance-type/instance-size, with * for any part that does not matter."
                )

    @property
    def is_set(self) -> bool:
        """Whether it forbids anything."""
        return self.max_price_per_hour is not None or bool(self.allowed_hardware)

    def check(self, name: str, hardware: str, price_per_hour: float | None, replicas: int) -> None:
        """Refuse an endpoint on `hardware` (vendor/region/type/size) with up to `replicas` replicas.

        :param price_per_hour: USD per replica; None where it is not known
        :raises CeilingError: the hardware or its price is not allowed
        """
        if self.allowed_hardware and not any(_fits(hardware, each) for each in self.allowed_hardware):
            raise CeilingError(
                f"Endpoint {name!r} needs {hardware}, but the connection allows only "
                f"{', '.join(self.allowed_hardware)} (allowed_hardware). Choose hardware from this list, or ask the "
                "owner of the connection."
            )
        if self.max_price_per_hour is None:
            return
        if price_per_hour is None:
            raise CeilingError(
                f"The price of {hardware} for endpoint {name!r} is not known: the service does not list it. The "
                f"connection allows at most {usd(self.max_price_per_hour)} an hour (max_price_per_hour). Choose "
                "hardware with a listed price."
            )
        most = price_per_hour * replicas
        if most > self.max_price_per_hour:
            raise CeilingError(
                f"Endpoint {name!r} can cost up to {usd(most)} an hour ({replicas} x {usd(price_per_hour)}, "
                f"{hardware}), but the connection allows at most {usd(self.max_price_per_hour)} (max_price_per_hour). "
                "Choose cheaper hardware or a smaller max_replica, or ask the owner of the connection."
            )


def _fits(hardware: str, pattern: str) -> bool:
    compared = hardware if "/" in pattern else hardware.split("/")[2]
    return fnmatchcase(compared, pattern)


NO_CEILING = Ceiling()
