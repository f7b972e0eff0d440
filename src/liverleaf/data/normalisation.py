"""Normalisation of intensities on the liver: a scale on which liver parenchyma stands at zero.

Networks trained on phantoms fail on absolute HU and on arbitrary MR scales: a shift of 30 HU halves
the Dice of a tumour. So every phase is expressed by its contrast to the liver, here and nowhere
else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from liverleaf.study import Modality, Phase

TYPICAL_LIVER_HU = {
    Phase.PRE: 55.0,
    Phase.ARTERIAL: 70.0,
    Phase.PORTAL: 110.0,
    Phase.DELAYED: 95.0,
    Phase.HEPATOBILIARY: 95.0,
}
"""Mean HU of normal liver by phase."""
TYPICAL_SPREAD_HU = 30.0
"""Standard deviation of that between patients: how far the first guess may be trusted."""
CONTRAST_LIMIT = 5.0
"""Contrasts are clipped to this: air and bone need no more."""


@dataclass(frozen=True)
class LiverNormalisation:
    """How one phase's intensities become contrast to the liver.

        contrast = (intensity - liver) / unit,  unit = 50 HU for CT, half the liver's intensity for
        MR

    Attributes:
        liver: intensity of liver parenchyma in the image's own unit.
        unit: intensity that counts as a contrast of one.
    """

    liver: float
    unit: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.liver) and np.isfinite(self.unit) and self.unit > 0):
            raise ValueError(
                f"a normalisation needs a finite liver and a positive unit, got liver={self.liver},"
                f" unit={self.unit}"
            )

    @classmethod
    def on(cls, liver: float, modality: Modality) -> LiverNormalisation:
        """The normalisation for a liver of this intensity."""
        return cls(liver, 50.0 if modality is Modality.CT else max(liver, 1e-3) / 2)

    def contrast(self, intensity: NDArray[np.floating]) -> NDArray[np.float32]:
        """Contrast to the liver, clipped to +-`CONTRAST_LIMIT`; same shape."""
        scaled = (intensity - np.float32(self.liver)) * np.float32(1 / self.unit)
        return np.clip(
            scaled, -CONTRAST_LIMIT, CONTRAST_LIMIT, out=scaled if scaled.ndim else None
        ).astype(np.float32, copy=False)

    def intensity(self, contrast: float) -> float:
        """Back to the image's own unit."""
        return contrast * self.unit + self.liver


def liver_level(
    values: NDArray[np.floating], *, modality: Modality, expected: float | None = None
) -> float:
    """The liver's intensity: the mode of the values under its mask, however much tumour that holds.

    The histogram is smoothed; with `expected`, it is weighted by a broad prior around it, so that a
    tumour larger than the parenchyma does not become the liver.

    Args:
        values: intensities under the mask, any shape, at least one value.
        modality: sets the width of the bins (2 HU, or 1/100 of the median for MR) and of the prior.
        expected: the level a liver of this phase usually has, in the image's unit.

    Raises:
        ValueError: no values.
    """
    if values.size == 0:
        raise ValueError("the liver's level needs at least one voxel, got none")
    low, high = np.percentile(values, [1, 99])
    width = 2.0 if modality is Modality.CT else max(float(np.median(np.abs(values))) / 100, 1e-6)
    if high - low < width:
        return float(np.median(values))
    edges = np.arange(low, high + width, width)[:2000]
    counts, edges = np.histogram(values, bins=edges)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = gaussian_filter1d(counts.astype(float), sigma=3.0, mode="constant")
    if expected is not None:
        spread = TYPICAL_SPREAD_HU if modality is Modality.CT else 0.4 * abs(expected)
        weight = weight * np.exp(-0.5 * ((centres - expected) / max(spread, width)) ** 2)
    return float(centres[int(weight.argmax())])


def first_guess(
    image_ZYX: NDArray[np.floating], *, phase: Phase | None, modality: Modality
) -> float:
    """The liver's probable intensity before anything is known of it.

    It is the phase's typical HU in CT, and the median of the foreground elsewhere (MR, and images
    that are no contrast phase).
    """
    if modality is Modality.CT and phase is not None:
        return TYPICAL_LIVER_HU[phase]
    sample = image_ZYX[:: max(1, image_ZYX.shape[0] // 16), ::4, ::4]
    foreground = sample[sample > 0.15 * np.percentile(sample, 99)]
    return float(np.median(foreground)) if foreground.size else 1.0
