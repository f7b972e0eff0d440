"""Masks that a person or another program drew, read from NIfTI files onto a study's grid."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from liverleaf.ingest.nifti import is_nifti, read_nifti_volume
from liverleaf.measure.lesions import boxes
from liverleaf.segmentation import MANUAL_SOURCE, Method, Segmentation
from liverleaf.storage.volumes import check_labels, grid_in_words, reordered
from liverleaf.study import InputError, Study
from liverleaf.terminology import Organ

LARGEST_LABEL = np.iinfo(np.uint16).max
LONGEST_SOURCE = 40
"""Characters of a source's name that DICOM has room for, beside what stands before it."""


def read_segmentation(
    study: Study, *, lesions: Path, liver: Path | None = None, source: str = MANUAL_SOURCE
) -> tuple[Segmentation, list[str]]:
    """Read masks that lie on the grid of a study's reference phase.

    Args:
        study: the study they were drawn in.
        lesions: NIfTI label map: 0 outside lesions, and a whole number for each lesion.
        liver: NIfTI mask of the liver: any whole number but 0 is liver. Lesions that touch it count
            as part of it, for people often leave them out.
        source: who drew them: "manual" for a person, else the name of a program.

    Returns:
        The masks, and warnings about what was mended in their files.

    Raises:
        InputError: a file cannot be read, holds other values, or lies on another grid; or all of it
            is empty; or the source's name does not fit into DICOM.
    """
    if not (source.isprintable() and "\\" not in source and 0 < len(source) <= LONGEST_SOURCE):
        raise InputError(
            f"the source of the masks is named by 1 to {LONGEST_SOURCE} characters without"
            " backslashes"
        )
    values, warnings = _on_grid(lesions, study)
    labels = values.astype(np.uint16)
    organs: dict[Organ, hd.Volume] = {}
    if liver is not None:
        values, more = _on_grid(liver, study)
        organs[Organ.LIVER] = study.grid.with_array(_with_lesions(values != 0, labels))
        warnings += more
        if not values.any():
            raise InputError(f"{liver.name} is empty: give a mask of the liver, or leave it out")
    elif not labels.any():
        raise InputError(
            f"{lesions.name} holds no lesion, and no liver mask was given: there is nothing to"
            " measure"
        )
    segmentation = Segmentation(
        study.grid.with_array(labels), organs, source, method=Method.SEMIAUTOMATIC
    )
    return segmentation, warnings


def _with_lesions(
    drawn_ZYX: NDArray[np.bool_], labels_ZYX: NDArray[np.uint16]
) -> NDArray[np.bool_]:
    """The liver with the lesions that lie in it or touch it."""
    liver = drawn_ZYX.copy()
    for label, box in enumerate(boxes(labels_ZYX), start=1):
        if box is None:
            continue
        around = tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in box)
        lesion = labels_ZYX[around] == label
        if drawn_ZYX[around][binary_dilation(lesion)].any():
            liver[around] |= lesion
    return liver


def _on_grid(path: Path, study: Study) -> tuple[NDArray[np.float32], list[str]]:
    """The values of a mask at the voxels of the reference phase, and warnings.

    Axes are permuted and flipped to those of the grid; nothing is resampled.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a NIfTI file")
    if not is_nifti(path):
        raise InputError(f"{path.name} is no NIfTI file: give masks as .nii or .nii.gz")
    volume, notes = read_nifti_volume(path)
    check_labels(path.name, volume.array, LARGEST_LABEL)
    grid = study.grid
    placed = reordered(volume, grid)
    if placed is None:
        raise InputError(
            f"{path.name} ({grid_in_words(volume)}) does not lie on the grid of the"
            f" {study.reference.title} phase ({grid_in_words(grid)}), on which masks are measured:"
            " draw it there, or resample it"
        )
    return np.rint(placed.array), [f"{path.name}: {note}" for note in notes]
