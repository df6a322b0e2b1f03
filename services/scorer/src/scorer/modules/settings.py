"""What every module's settings have. Each module adds its thresholds; its points are its table times `weight`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""Percent."""
Count = Annotated[int, Field(ge=1, le=1000)]
Weight = Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)]


class ModuleSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    weight: Weight = 1.0
    """Every signal's points are multiplied by it, and rounded toward zero."""
