"""Types of fields that only inform: an answer with an odd value in one of them is still an answer.

The answers that have these fields are in `models.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


def _none_if_invalid(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:
        return None


def _in_utc(value: datetime | None) -> datetime | None:
    """Moments can always be compared: one without a zone is UTC."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def readable(model: type[BaseModel]) -> Callable[[object], list[BaseModel]]:
    """The items of a list that are a `model`; the rest is left out."""

    def read(value: object) -> list[BaseModel]:
        found = []
        for item in value if isinstance(value, list) else []:
            try:
                found.append(model.model_validate(item))
            except ValidationError:
                continue
        return found

    return read


OrNone = WrapValidator(_none_if_invalid)
MaybeDatetime = Annotated[datetime | None, AfterValidator(_in_utc), OrNone]
MaybeStr = Annotated[str | None, OrNone]
MaybeInt = Annotated[int | None, OrNone]
MaybeFloat = Annotated[float | None, OrNone]
FalseUnlessTrue = Annotated[bool, BeforeValidator(lambda value: value is True)]
IntOrZero = Annotated[int, BeforeValidator(lambda value: value if isinstance(value, int) else 0)]
TextOrEmpty = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")]
StringMap = Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})]
