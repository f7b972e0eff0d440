"""The references of a DICOM Segmentation to the images that its frames lie on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes

from liverleaf.export.dicom_sources import SourceSlice


def refer(segmentation: Dataset, sources: Sequence[SourceSlice], study: str) -> None:
    """Let every frame name the image that it lies on, and the object all of these images.

    Images are named as they name themselves, in a study that was put together too; `study` is that
    of the segmentation.
    """
    positions_mm = np.array([source.position_mm for source in sources])
    named: dict[str, Dataset] = {}
    by_study: dict[str, dict[str, list[Dataset]]] = {}
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        # the nearest, for DICOM's decimal strings round positions
        position_mm = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        source = sources[int(np.linalg.norm(positions_mm - position_mm, axis=1).argmin())]
        frame.DerivationImageSequence = []
        if source.sop_instance_uid is None:
            continue
        image = Dataset()
        image.ReferencedSOPClassUID = source.sop_class_uid
        image.ReferencedSOPInstanceUID = source.sop_instance_uid
        if source.sop_instance_uid not in named:
            named[source.sop_instance_uid] = Dataset(image)
            by_series = by_study.setdefault(source.study_instance_uid, {})
            of_series = by_series.setdefault(source.series_instance_uid, [])
            of_series.append(named[source.sop_instance_uid])
        if source.frame_number is not None:
            image.ReferencedFrameNumber = source.frame_number
        image.SpatialLocationsPreserved = "YES" if source.preserved else "NO"
        purpose = codes.DCM.SourceImageForImageProcessingOperation
        image.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(purpose)]
        derivation = Dataset()
        derivation.DerivationCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.Segmentation)]
        derivation.SourceImageSequence = [image]
        frame.DerivationImageSequence = [derivation]
    if not named:
        del segmentation.SourceImageSequence, segmentation.ReferencedSeriesSequence
        return
    segmentation.SourceImageSequence = [Dataset(image) for image in named.values()]
    own = by_study.pop(study, {})
    segmentation.ReferencedSeriesSequence = _series_items(own)
    if not own:
        del segmentation.ReferencedSeriesSequence
    segmentation.StudiesContainingOtherReferencedInstancesSequence = [
        _study_item(uid, by_series) for uid, by_series in by_study.items()
    ]
    if not by_study:
        del segmentation.StudiesContainingOtherReferencedInstancesSequence


def _series_items(by_series: Mapping[str, Sequence[Dataset]]) -> list[Dataset]:
    """The images of each series, as DICOM lists them."""
    items = []
    for uid, images in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = images
        items.append(item)
    return items


def _study_item(uid: str, by_series: Mapping[str, Sequence[Dataset]]) -> Dataset:
    """The images of another study than that of the segmentation."""
    item = Dataset()
    item.StudyInstanceUID = uid
    item.ReferencedSeriesSequence = _series_items(by_series)
    return item
