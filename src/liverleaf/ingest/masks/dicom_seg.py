"""Masks from DICOM Segmentations: BINARY, FRACTIONAL from a half on, and LABELMAP."""

from __future__ import annotations

import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import text
from liverleaf.ingest.masks.drawn import DrawnMasks, DrawnOn, Outline
from liverleaf.study import InputError

HALF = 0.5
"""Probability or occupancy from which a voxel of a fractional segment is inside."""


def read_dicom_seg(path: Path) -> DrawnMasks:
    """Read every segment of a DICOM Segmentation on the grid of its own frames.

    Raises:
        InputError: it cannot be read, or its frames are no volume.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its values may name the patient
            segmentation = hd.seg.segread(path)
            outlines, empty = _outlines(segmentation)
    except InputError:
        raise
    except Exception as error:  # pydicom and highdicom raise anything on damaged files
        raise InputError(
            f"{path.name} cannot be read as a volume of segments ({type(error).__name__}): export"
            " it again, as parallel slices of one spacing"
        ) from error
    told = [f"{path.name}: segment {number} is empty and was left out" for number in empty]
    return DrawnMasks(path.name, tuple(outlines), drawn_on(segmentation), warnings=tuple(told))


def drawn_on(dataset: Dataset) -> DrawnOn:
    """The images that a Segmentation names in its header and frames."""
    references = [
        series
        for series in dataset.get("ReferencedSeriesSequence", ())
        if text(series, "SeriesInstanceUID")
    ]
    images = {
        text(image, "ReferencedSOPInstanceUID")
        for series in references
        for image in series.get("ReferencedInstanceSequence", ())
    }
    groups = [
        *dataset.get("SharedFunctionalGroupsSequence", ()),
        *dataset.get("PerFrameFunctionalGroupsSequence", ()),
    ]
    for group in groups:
        for derivation in group.get("DerivationImageSequence", ()):
            for image in derivation.get("SourceImageSequence", ()):
                images.add(text(image, "ReferencedSOPInstanceUID"))
    return DrawnOn(
        text(dataset, "PatientID"),
        text(dataset, "StudyInstanceUID"),
        frozenset(text(series, "SeriesInstanceUID") for series in references),
        frozenset(images - {""}),
        text(dataset, "FrameOfReferenceUID"),
    )


def _outlines(segmentation: hd.seg.Segmentation) -> tuple[list[Outline], list[int]]:
    """An outline per segment, and the numbers of those that are empty."""
    fractional = segmentation.segmentation_type is hd.seg.SegmentationTypeValues.FRACTIONAL
    outlines, empty = [], []
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(
            segment_numbers=[number],
            combine_segments=not fractional,
            relabel=not fractional,
            dtype=np.float32 if fractional else np.uint8,
        )
        array = volume.array[..., 0] if volume.array.ndim == 4 else volume.array
        inside = array >= HALF if fractional else array > 0
        if not inside.any():
            empty.append(number)
            continue
        geometry = volume.get_geometry()
        labels = hd.Volume(
            inside.astype(np.uint16),
            geometry.affine,
            geometry.coordinate_system,
            geometry.frame_of_reference_uid,
        )
        outlines.append(Outline(_name(segmentation, number), number, labels))
    return outlines, empty


def _name(segmentation: hd.seg.Segmentation, number: int) -> str:
    """The segment's label and the meaning of its type."""
    description = segmentation.get_segment_description(number)
    types = description.get("SegmentedPropertyTypeCodeSequence", ())
    words = [text(description, "SegmentLabel"), *(text(item, "CodeMeaning") for item in types)]
    return " ".join(word for word in words if word).lower()
