"""LiverMax: from a map of probabilities in the liver to probabilities for the patient.

Shape suffixes: T types, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liverleaf.terminology import MALIGNANT, LesionType


def liver_max(
    types_TZYX: NDArray[np.float32], liver_ZYX: NDArray[np.bool_], types: Sequence[LesionType]
) -> tuple[dict[LesionType, float], float]:
    """Per type the largest probability at any voxel inside the liver; and the same for malignant.

    Malignant is the sum over the malignant types at a voxel. All are 0 where there is no liver.

    Args:
        types_TZYX: probability of each type at each voxel.
        liver_ZYX: the liver with its lesions.
        types: which they are, in order.

    Reference: LIDIA (Huang et al., MICCAI 2024), section 2.2.
    """
    if not liver_ZYX.any():
        return dict.fromkeys(types, 0.0), 0.0
    inside_TN = types_TZYX[:, liver_ZYX]
    largest = {t: float(of_t.max()) for t, of_t in zip(types, inside_TN, strict=True)}
    malignant = [index for index, t in enumerate(types) if t in MALIGNANT]
    return largest, float(inside_TN[malignant].sum(0).max()) if malignant else 0.0
