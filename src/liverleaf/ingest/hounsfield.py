"""Whether the values of a CT image are Hounsfield units (HU), told from the values themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liverleaf.study import InputError

OFFSET = 1024.0
"""What scanners add to HU so that no stored value is below 0."""

SOFT_HU = -200.0, 300.0
"""Fat, organs and vessels with contrast agent."""

NO_AIR_HU = -500.0
FAT_HU = -50.0
MIN_SHARE = 0.02
"""Of the values that must be air, fat or soft tissue, as far as a scan of a body has any."""

MAX_DENSE_SHARE = 0.15
"""Of the values that may be bone as dense as soft tissue is once 1024 were added; a body has a few
hundredths."""

BETWEEN_AIR_AND_FAT = 300.0, 700.0
MAX_BETWEEN = 0.15
"""In HU + 1024, and how many lie there in CT for each that is soft tissue."""

MAX_VALUES = 2**20
"""More are sampled."""


def offset_to_hounsfield(array: NDArray[np.float32]) -> float | None:
    """What to add to CT values to make them HU, where nothing but the values tells.

    Values are HU where they reach below -50, as fat does, and soft tissue is there. They are
    1024 too high where much lies near 1024, as no bone does, and air is near 0 or is padded.

    Args:
        array: values of one series, of any shape.

    Returns:
        0 or -1024; None where the values do not tell.

    >>> offset_to_hounsfield(np.array([-1000.0, -80.0, 40.0, 60.0], np.float32))
    0.0
    >>> offset_to_hounsfield(np.array([0.0, 24.0, 944.0, 1064.0, 1084.0], np.float32))
    -1024.0
    >>> offset_to_hounsfield(np.array([0.1, 0.5, 0.9], np.float32)) is None
    True
    """
    values = _sample(array)
    if not values.size:
        return None
    low, high = (limit + OFFSET for limit in SOFT_HU)
    dense = _share(values, low, high)
    padding_or_air = _share(values, -np.inf, NO_AIR_HU) + _share(values, -100.0, SOFT_HU[1])
    if dense >= MAX_DENSE_SHARE:
        return -OFFSET if padding_or_air >= MIN_SHARE else None
    dark = _share(values, -np.inf, FAT_HU)
    return 0.0 if dark >= MIN_SHARE and _share(values, *SOFT_HU) >= MIN_SHARE else None


def looks_like_ct(array: NDArray[np.float32]) -> bool:
    """Whether an image of unknown modality is CT: in HU, or 1024 too high.

    Only CT has values as low as air's, or many as low as fat's. If 1024 too high, hardly any lie
    between air and fat, where MR of any gain has muscle, fluid and shade: their share is at most
    0.05 of that of tissue in CT, and at least 0.3 in MR.
    """
    values = _sample(array)
    offset = offset_to_hounsfield(values)
    if offset:
        low, high = (limit + OFFSET for limit in SOFT_HU)
        between = _share(values, *BETWEEN_AIR_AND_FAT)
        return between < MAX_BETWEEN * _share(values, low, high)
    return offset == 0 or bool(values.size and values.min() < NO_AIR_HU)


def doubts_hounsfield(array: NDArray[np.float32], name: str) -> list[str]:
    """A warning about a CT image with hardly any soft tissue, none for any other.

    >>> doubts_hounsfield(np.array([-1000.0, 40.0, 60.0], np.float32), "series 2")
    []
    """
    values = _sample(array)
    if not values.size or _share(values, *SOFT_HU) >= MIN_SHARE:
        return []
    return [
        f"{name}: hardly any of its values, {values.min():.4g} to {values.max():.4g}, is that of"
        " soft tissue in Hounsfield units (HU): its scale is wrong, or it shows no body"
    ]


def not_hounsfield(array: NDArray[np.float32], name: str) -> InputError:
    """The refusal of values that are not HU."""
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    return InputError(
        f"{name}: nothing tells how to make Hounsfield units (HU) of its values, {low:.4g} to"
        f" {high:.4g}; export it again in HU"
    )


def _sample(array: NDArray[np.float32]) -> NDArray[np.float32]:
    values = array.reshape(-1)[:: max(1, array.size // MAX_VALUES)]
    return values[np.isfinite(values)]


def _share(values: NDArray[np.float32], low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high))) if values.size else 0.0
