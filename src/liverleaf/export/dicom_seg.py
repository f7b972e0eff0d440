"""DICOM Segmentation of the liver and its lesions, on the reference phase's own images."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from liverleaf import __version__
from liverleaf import terminology as terms
from liverleaf.export.dicom_references import refer
from liverleaf.export.dicom_sources import (
    SAME_PLACE_MM,
    UTF_8,
    SourceSlice,
    complete_headers,
    derived_uid,
    in_unicode,
    is_ascii,
    source_slices,
)
from liverleaf.segmentation import MANUAL_SOURCE, Method, Segmentation
from liverleaf.study import InputError, Study, same_grid
from liverleaf.system.files import whole_file

ON_ITS_SLICE = 0.05
"""Share of the slice step by which an image may lie beside a slice and still be that slice."""
RESEARCH_USE = "segmentation, research use only"
"""How the description of every series ends."""
QUOTED_VERBATIM = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
"""Attributes in which highdicom takes none but the values of the standard. Those of the source are
put in afterwards as they are, for the object belongs to the same patient and study."""


@dataclass(frozen=True)
class _Identity:
    """From what the UIDs of a segmentation are derived.

    They are the same for the same, so that an archive holds no duplicates and a lesion of one
    analysis is one thing for ever.

    Attributes:
        source: the study and the series that were segmented.
        drawn_by: the model, its version and its weights, or the person or program.
    """

    source: str
    drawn_by: str

    def uid(self, kind: str, *parts: str) -> hd.UID:
        """The UID of a thing of this segmentation."""
        return hd.UID(derived_uid(kind, self.source, self.drawn_by, *parts))


def write_seg(
    path: Path,
    *,
    study: Study,
    segmentation: Segmentation,
    model_version: str = __version__,
    weights_sha256: str | None = None,
    series_number: int = 9001,
) -> Path:
    """Write the liver and every lesion as a binary DICOM Segmentation.

    Segment 1 is the liver with its lesions where it was outlined, the segments after it are the
    lesions in the order of their labels; segments overlap. There is a frame wherever an image of
    the reference phase lies and none where a slice was interpolated, see `seg_warnings`. Each
    lesion carries its label as tracking identifier and a tracking UID, for a report to refer to.
    What a person drew says so and names no algorithm.

    Every UID is derived from the study, who drew the masks and the masks themselves: written again,
    the object is the same but for the date and time of its writing.

    Args:
        path: the file to write; its folder exists. The file appears whole or not at all.
        study: the study that was segmented; its reference phase has DICOM headers.
        segmentation: masks on `study.grid`.
        model_version: version of the model of liverleaf, where one drew them.
        weights_sha256: of its weights, where known; other weights are another model.
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
    drawn = np.logical_or.reduce([mask.any(axis=(1, 2)) for mask in masks])
    if not np.any(drawn):
        raise InputError(
            f"{path.name}: neither liver nor lesions were found, so there is nothing to segment;"
            " check that the liver is imaged"
        )
    sources = [source for source in source_slices(study) if drawn[source.z]]
    if not sources:
        raise InputError(
            f"{study.reference.title} phase: all that was outlined lies on slices that have no"
            " image of their own and were interpolated"
        )
    template = _template(study)
    identity = _Identity(
        f"{template.StudyInstanceUID} {template.SeriesInstanceUID}",
        f"{segmentation.method} {segmentation.source} {weights_sha256 or model_version}",
    )
    masks_NYXS = np.stack([mask[[source.z for source in sources]] for mask in masks], axis=-1)
    written = _dataset(
        study,
        masks_NYXS,
        sources,
        _descriptions(segmentation, instances, model_version, identity),
        template=template,
        description=_description(segmentation),
        series_number=series_number,
        name=identity.uid("object", __version__, str(series_number), _digest(segmentation)),
    )
    return _save(written, path)


def seg_warnings(study: Study) -> tuple[str, ...]:
    """What a segmentation of a study lacks because of the images it was read from.

    Slices are counted from 0, as `bbox` does in the findings.

    Raises:
        InputError: as `write_seg`.
    """
    sources = source_slices(study)
    slices = study.grid.spatial_shape[0]
    without = sorted(set(range(slices)) - {source.z for source in sources})
    told = []
    if without:
        told.append(
            f"The DICOM SEG has no frame on {len(without)} of {slices} slices (Z"
            f" {', '.join(map(str, without))}, counted from 0): no image was acquired there, the"
            " slices were interpolated."
        )
    farthest = max(abs(source.offset_mm) for source in sources)
    beside = sum(abs(s.offset_mm) > ON_ITS_SLICE * study.grid.spacing[0] for s in sources)
    if beside:
        told.append(
            f"{beside} of {len(sources)} images lie up to {farthest:.2g} mm beside the evenly"
            " spaced slices that were measured: frames of the DICOM SEG lie on the images and show"
            " the nearest slice."
        )
    nameless = sum(source.sop_instance_uid is None for source in sources)
    if nameless:
        told.append(
            f"{nameless} of {len(sources)} images have no SOP Instance UID of their own (it is"
            " missing, or several images share it): frames of the DICOM SEG lie on them by their"
            " position and do not name them."
        )
    return tuple(told)


def _digest(segmentation: Segmentation) -> str:
    """A number for the masks and their place."""
    digest = hashlib.sha256(segmentation.lesions.affine.round(4).tobytes())
    digest.update(str(segmentation.lesions.spatial_shape).encode())
    digest.update(np.ascontiguousarray(segmentation.lesions.array, np.uint32).tobytes())
    if segmentation.liver is not None:
        digest.update(np.packbits(segmentation.liver.array).tobytes())
    return digest.hexdigest()


def _lesion_digest(lesions: hd.Volume, label: int) -> str:
    """A number for the voxels of a lesion and their place."""
    digest = hashlib.sha256(lesions.affine.round(4).tobytes())
    digest.update(np.argwhere(lesions.array == label).astype(np.int32).tobytes())
    return digest.hexdigest()


def _template(study: Study) -> Dataset:
    """A header of one image for highdicom to quote: patient, study and equipment of the source.

    Its texts are in Unicode, its geometry is the study's, and whatever the kind of the source it is
    a single-frame image.
    """
    header, grid = complete_headers(study)[0], study.grid
    template = in_unicode(header)
    template.SOPClassUID = CTImageStorage  # its modules of patient and study are those of all
    for keyword in QUOTED_VERBATIM:
        template.add(DataElement(keyword, template[keyword].VR, None))
    for keyword in ("SharedFunctionalGroupsSequence", "NumberOfFrames", "LossyImageCompression"):
        template.pop(keyword, None)
    if header.get("LossyImageCompression") == "01":
        template.LossyImageCompression = "01"
    template.Rows, template.Columns = grid.spatial_shape[1:]
    template.PixelSpacing = [f"{size:.10g}" for size in grid.spacing[1:]]
    template.SpacingBetweenSlices = f"{grid.spacing[0]:.10g}"
    template.SliceThickness = f"{_slice_thickness_mm(header) or grid.spacing[0]:.10g}"
    cosines = np.concatenate([grid.direction[:, 2], grid.direction[:, 1]]) + 0.0
    template.ImageOrientationPatient = [f"{cosine:.10g}" for cosine in cosines]
    template.ImagePositionPatient = [f"{at:.10g}" for at in grid.affine[:3, 3]]
    return template


def _slice_thickness_mm(header: Dataset) -> float | None:
    """As the source names it; None where it does not, or no number."""
    groups = [
        *(header.get("PerFrameFunctionalGroupsSequence") or ())[:1],
        *(header.get("SharedFunctionalGroupsSequence") or ()),
    ]
    measures = [item for group in groups for item in group.get("PixelMeasuresSequence") or ()]
    for item in (*measures, header):
        try:
            thickness = float(item.get("SliceThickness") or 0)
        except (TypeError, ValueError):
            continue
        if thickness > 0 and np.isfinite(thickness):
            return thickness
    return None


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
    masks_NYXS: NDArray[np.bool_],
    sources: Sequence[SourceSlice],
    segments: Sequence[hd.seg.SegmentDescription],
    *,
    template: Dataset,
    description: str,
    series_number: int,
    name: hd.UID,
) -> hd.seg.Segmentation:
    """The DICOM object, in memory; its N planes lie on the sources."""
    positions = [hd.PlanePositionSequence("PATIENT", source.position_mm) for source in sources]
    if any(abs(source.offset_mm) > SAME_PLACE_MM for source in sources):
        del template.SpacingBetweenSlices  # it is not the same everywhere
    texts_are_ascii = description.isascii() and all(map(is_ascii, (template, *segments)))
    try:
        with warnings.catch_warnings():
            # on doubtful values in the source: they print the patient's name
            warnings.simplefilter("ignore", UserWarning)
            segmentation = hd.seg.Segmentation(
                source_images=[template],
                pixel_array=masks_NYXS.view(np.uint8),
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                plane_positions=positions,
                plane_orientation=study.grid.get_plane_orientation(),
                pixel_measures=hd.PixelMeasuresSequence(
                    study.grid.spacing[1:],
                    float(template.SliceThickness),
                    template.get("SpacingBetweenSlices"),
                ),
                series_instance_uid=derived_uid("series", name),
                series_number=series_number,
                sop_instance_uid=name,
                instance_number=1,
                manufacturer="liverleaf",
                manufacturer_model_name="liverleaf",
                software_versions=__version__,
                device_serial_number="0",
                content_label="LIVER_LESIONS",
                content_description=description,
                series_description=description,
                specific_character_set=None if texts_are_ascii else UTF_8,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # the text of the error may quote the patient
        raise InputError(
            f"{study.reference.title} phase: highdicom cannot make a segmentation of its headers"
            f" ({type(error).__name__}); check the images with a DICOM validator"
        ) from error
    header = study.phases[study.reference].headers[0]
    for keyword in QUOTED_VERBATIM:
        if header.get(keyword):
            element = header[keyword]
            segmentation.add(DataElement(element.tag, element.VR, element.value))
    refer(segmentation, sources, str(template.StudyInstanceUID))
    _name_dimensions(segmentation, derived_uid("dimensions", name))
    segmentation.ContentCreatorName = None  # required to be there; we know of no person
    return segmentation


def _name_dimensions(segmentation: hd.seg.Segmentation, uid: str) -> None:
    """Give the dimensions of the frames a derived UID in place of a drawn one."""
    for item in (
        *segmentation.DimensionOrganizationSequence,
        *segmentation.DimensionIndexSequence,
    ):
        item.DimensionOrganizationUID = uid


def _descriptions(
    segmentation: Segmentation,
    instances: Sequence[int],
    model_version: str,
    identity: _Identity,
) -> list[hd.seg.SegmentDescription]:
    """Segment 1 the liver, where it was outlined, then one segment per lesion."""
    algorithm = _algorithm(segmentation, model_version)
    method = hd.seg.SegmentAlgorithmTypeValues[segmentation.method.name]
    liver = segmentation.liver is not None
    of_liver = segmentation
    if segmentation.liver_source is not None:
        of_liver = replace(
            segmentation, source=segmentation.liver_source, method=segmentation.liver_method
        )
    whole = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Liver",
        segmented_property_category=Code(*terms.ORGAN_CATEGORY),
        segmented_property_type=Code(*terms.LIVER_CODE),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues[of_liver.method.name],
        algorithm_identification=_algorithm(of_liver, model_version),
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
            tracking_uid=identity.uid("lesion", _lesion_digest(segmentation.lesions, label)),
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
