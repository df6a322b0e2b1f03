"""What every module's settings have. Each module adds its thresholds; its points are its table times `weight`."""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

Rate = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""Percent."""
Count = Annotated[int, Field(ge=1, le=1000)]
Weight = Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)]


def _falling(tiers: tuple[float, ...]) -> tuple[float, ...]:
    """
    Raises:
        ValueError: a threshold is not below the one before.
    """
    if any(lower >= higher for higher, lower in pairwise(tiers)):
        raise ValueError("must fall strictly")
    return tiers


Falling = AfterValidator(_falling)
"""For the thresholds of tiers: the highest first, as in the table of points."""
Listed = Strict(strict=False)
"""For tuples: JSON has lists only."""


class ModuleSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    enabled: bool = True
    weight: Weight = 1.0
    """Every signal's points are multiplied by it, and rounded toward zero."""
