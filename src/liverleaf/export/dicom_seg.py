"""DICOM Segmentation of the liver and its lesions, on the reference phase's own images."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, MRImageStorage

from liverleaf import __version__
from liverleaf import terminology as terms
from liverleaf.segmentation import MANUAL_SOURCE, Method, Segmentation
from liverleaf.study import InputError, Modality, Phase, Study, same_grid
from liverleaf.system.files import whole_file

RESEARCH_USE = "segmentation, research use only"
"""How the description of every series ends."""
SOP_CLASS = {Modality.CT: CTImageStorage, Modality.MR: MRImageStorage}
TYPE_2_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Attributes a derived object copies from its source, and that the standard lets be empty but not
be absent."""
PLANE_ATTRIBUTES = (
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
"""Attributes without which a single-frame source has no place in space."""


def write_seg(
    path: Path,
    *,
    study: Study,
    segmentation: Segmentation,
    model_version: str = __version__,
    series_number: int = 9001,
) -> Path:
    """Write the liver and every lesion as a binary DICOM Segmentation.

    Segment 1 is the liver with its lesions where it was outlined, the segments after it are the
    lesions in the order of their labels; segments overlap. Each lesion carries its label as
    tracking identifier and a new tracking UID, for a report to refer to. What a person drew says so
    and names no algorithm.

    Args:
        path: the file to write; its folder exists. The file appears whole or not at all.
        study: the study that was segmented; its reference phase has DICOM headers.
        segmentation: masks on `study.grid`.
        model_version: version of the model of liverleaf, where one drew them.
        series_number: number of the new series within the DICOM study.

    Returns:
        `path`.

    Raises:
        ValueError: a mask is not on the reference phase's grid.
        InputError: all masks are empty, or the source headers cannot carry a segmentation.
    """
    lesions = segmentation.lesions
    if not same_grid(lesions, study.grid):
        raise ValueError(
            f"masks must lie on the reference phase's grid {study.grid.spatial_shape}, got"
            f" {lesions.spatial_shape}"
        )
    instances = segmentation.labels
    masks = [lesions.array == label for label in instances]
    if segmentation.liver is not None:
        masks.insert(0, segmentation.liver.array)
    slices = np.flatnonzero(np.logical_or.reduce([mask.any(axis=(1, 2)) for mask in masks]))
    if not len(slices):
        raise InputError(
            f"{path.name}: neither liver nor lesions were found, so there is nothing to segment;"
            " check that the liver is imaged"
        )
    part = slice(slices[0], slices[-1] + 1)
    algorithm = _algorithm(segmentation, model_version)
    written = _dataset(
        study,
        np.stack([mask[part] for mask in masks], axis=-1),
        study.grid[part],
        _descriptions(segmentation, instances, algorithm),
        description=_description(segmentation),
        series_number=series_number,
    )
    return _save(written, path)


def complete_headers(study: Study) -> tuple[Dataset, ...]:
    """Copies of the reference phase's headers with what a derived object must quote from them.

    Missing identifiers are derived from what the headers do say, so that every object written of
    one study quotes the same ones.

    Raises:
        InputError: there are no headers, they have no geometry, or they are of several series or of
            another frame of reference.
    """
    phase = study.reference
    if not study.phases[phase].headers:
        raise InputError(
            f"{phase.title} phase: no DICOM headers, so no DICOM object can refer to it; give the"
            " study as DICOM"
        )
    _check_sources(study.phases[phase].headers, phase)
    headers = tuple(_shallow(header) for header in study.phases[phase].headers)
    first = headers[0]
    frame = first.get("FrameOfReferenceUID") or study.grid.frame_of_reference_uid
    origin = str(frame or f"{study.case_id} {study.grid.affine.tolist()}")
    shared = {
        "StudyInstanceUID": first.get("StudyInstanceUID") or _derived_uid("study", origin),
        "SeriesInstanceUID": (
            first.get("SeriesInstanceUID") or _derived_uid("series", origin, phase.name)
        ),
        "FrameOfReferenceUID": frame or _derived_uid("frame", origin),
    }
    for index, header in enumerate(headers):
        meta = getattr(header, "file_meta", Dataset())
        own = {
            "SOPClassUID": meta.get("MediaStorageSOPClassUID") or SOP_CLASS[study.modality],
            "SOPInstanceUID": (
                meta.get("MediaStorageSOPInstanceUID")
                or _derived_uid("instance", shared["SeriesInstanceUID"], str(index))
            ),
        }
        _fill(
            header,
            shared
            | own
            | dict.fromkeys(TYPE_2_ATTRIBUTES)
            | {"SliceThickness": f"{study.grid.spacing[0]:.6g}"},
        )
    if study.grid.frame_of_reference_uid not in (None, first.FrameOfReferenceUID):
        raise InputError(
            f"{phase.title} phase: its images and its DICOM headers name different frames of"
            " reference; read the study again"
        )
    return headers


def _check_sources(headers: Sequence[Dataset], phase: Phase) -> None:
    """Refuse headers that cannot be the sources of one derived object."""
    series = {
        (header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")) for header in headers
    }
    if len(series) > 1:
        raise InputError(
            f"{phase.title} phase: its DICOM headers are of more than one series; give one series"
            " per phase"
        )
    for header in headers:
        missing = [keyword for keyword in PLANE_ATTRIBUTES if header.get(keyword) is None]
        if missing and "PerFrameFunctionalGroupsSequence" not in header:
            raise InputError(
                f"{phase.title} phase: a DICOM header lacks {', '.join(missing)}, so no DICOM"
                " object can refer to it"
            )


def _shallow(header: Dataset) -> Dataset:
    """A copy that shares its elements with the header: they may be replaced in it, not changed."""
    # over the keys, because iterating over the header would decode every element
    copied = Dataset({tag: header.get_item(tag) for tag in header.keys()})  # noqa: SIM118
    if hasattr(header, "file_meta"):
        copied.file_meta = header.file_meta
    return copied


def _fill(header: Dataset, defaults: dict[str, str | None]) -> None:
    """Give each attribute that is absent or empty a new element."""
    for keyword, value in defaults.items():
        if not header.get(keyword):
            header.add(DataElement(keyword, dictionary_VR(keyword), value))


def _derived_uid(*parts: str) -> UID:
    """The same UID for the same parts, as UUID-derived UIDs are made (DICOM PS3.5, B.2)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}")


def _algorithm(
    segmentation: Segmentation, model_version: str
) -> hd.AlgorithmIdentificationSequence | None:
    """What drew the masks; None for a person."""
    if segmentation.method is Method.MANUAL:
        return None
    if segmentation.method is Method.AUTOMATIC:
        return hd.AlgorithmIdentificationSequence(
            f"liverleaf {segmentation.source}",
            codes.DCM.ArtificialIntelligence,
            model_version,
            source="liverleaf",
        )
    # the standard asks for a family and a version even of a program about which we know its name
    return hd.AlgorithmIdentificationSequence(
        segmentation.source, codes.DCM.ManualProcessing, "unknown"
    )


def _description(segmentation: Segmentation) -> str:
    if segmentation.method is Method.AUTOMATIC:
        return f"liverleaf {RESEARCH_USE}"
    if segmentation.source == MANUAL_SOURCE:
        return f"Manual {RESEARCH_USE}"
    return f"{segmentation.source[:32]} {RESEARCH_USE}"  # an LO has room for 64 characters


def _dataset(
    study: Study,
    masks_ZYXS: NDArray[np.bool_],
    grid: hd.Volume,
    segments: Sequence[hd.seg.SegmentDescription],
    *,
    description: str,
    series_number: int,
) -> hd.seg.Segmentation:
    """The DICOM object, in memory."""
    headers = complete_headers(study)
    try:
        with warnings.catch_warnings():
            # on doubtful values in the source: they print the patient's name
            warnings.simplefilter("ignore", UserWarning)
            segmentation = hd.seg.Segmentation(
                source_images=headers,
                pixel_array=_segment_volume(masks_ZYXS, grid, headers[0].FrameOfReferenceUID),
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                series_instance_uid=hd.UID(),
                series_number=series_number,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="liverleaf",
                manufacturer_model_name="liverleaf",
                software_versions=__version__,
                device_serial_number="0",
                content_label="LIVER_LESIONS",
                content_description=description,
                series_description=description,
            )
    # highdicom, on values outside the standard
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{study.reference.title} phase: a DICOM header has a value outside the standard, so no"
            " segmentation can quote it; check the images with a DICOM validator"
        ) from error
    if not any(
        frame.get("DerivationImageSequence")
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    ):
        raise InputError(
            f"{study.reference.title} phase: its images do not lie on the slices of its files (was"
            " one missing and interpolated?)"
        )
    segmentation.ContentCreatorName = None  # required to be there; we know of no person
    return segmentation


def _segment_volume(
    masks_ZYXS: NDArray[np.bool_], grid: hd.Volume, frame_of_reference_uid: str
) -> hd.Volume:
    """The segments as one volume."""
    return hd.Volume(
        masks_ZYXS.view(np.uint8),
        grid.affine,
        "PATIENT",
        frame_of_reference_uid,
        channels={"SegmentNumber": range(1, masks_ZYXS.shape[-1] + 1)},
    )


def _descriptions(
    segmentation: Segmentation,
    instances: Sequence[int],
    algorithm: hd.AlgorithmIdentificationSequence | None,
) -> list[hd.seg.SegmentDescription]:
    """Segment 1 the liver, where it was outlined, then one segment per lesion."""
    method = hd.seg.SegmentAlgorithmTypeValues[segmentation.method.name]
    liver = segmentation.liver is not None
    whole = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Liver",
        segmented_property_category=Code(*terms.ORGAN_CATEGORY),
        segmented_property_type=Code(*terms.LIVER_CODE),
        algorithm_type=method,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_string(terms.LIVER_COLOUR),
    )
    lesions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Lesion {label}",
            segmented_property_category=Code(*terms.LESION_CATEGORY),
            segmented_property_type=Code(*terms.LESION_CODE),
            algorithm_type=method,
            algorithm_identification=algorithm,
            tracking_id=f"Lesion {label}",
            tracking_uid=hd.UID(),
            anatomic_regions=[Code(*terms.LIVER_CODE)],
            display_color=hd.color.CIELabColor.from_string(
                terms.LESION_COLOURS[(label - 1) % len(terms.LESION_COLOURS)]
            ),
        )
        for number, label in enumerate(instances, start=2 if liver else 1)
    ]
    return [whole, *lesions] if liver else lesions


def _save(dataset: Dataset, path: Path) -> Path:
    with whole_file(path) as part:
        dataset.save_as(part)
    return path
