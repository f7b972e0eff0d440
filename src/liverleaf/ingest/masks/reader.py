"""Masks read from any file or folder, and told apart into lesions and liver of a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cc3d
import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import RTStructureSetStorage, SegmentationStorage
from scipy.ndimage import binary_dilation

from liverleaf.ingest.dicom.frames import counted
from liverleaf.ingest.masks.dicom_seg import read_dicom_seg
from liverleaf.ingest.masks.drawn import DrawnMasks, Outline
from liverleaf.ingest.masks.nifti import read_nifti_folder, read_nifti_masks
from liverleaf.ingest.masks.placement import drawn_phase
from liverleaf.ingest.masks.rtstruct import StructureSet, filled, read_rtstruct
from liverleaf.ingest.nifti import is_nifti
from liverleaf.measure.lesions import boxes, widened
from liverleaf.segmentation import MANUAL_SOURCE
from liverleaf.study import InputError, Phase, Study

LONGEST_SOURCE = 40
"""Characters of a source's name that DICOM has room for, beside what stands before it."""
LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
SURROUNDED = 0.5
"""Share of a label's rim inside another from which that one looks like the organ around it."""

Instances = Literal["labels", "split"]


@dataclass(frozen=True)
class PlacedLabels:
    """Labels on the grid that they were drawn on, and the phase whose space that is.

    Attributes:
        labels: uint16 (Z, Y, X).
        phase: of the study.
        file: name of their file, for messages.
    """

    labels: hd.Volume
    phase: Phase
    file: str


@dataclass(frozen=True)
class DrawnStudy:
    """Lesions and liver as they were drawn, before they travel to the reference phase.

    Attributes:
        lesions: instance labels.
        liver: not 0 inside; None where nobody outlined it.
        source: who drew them.
        liver_source: who drew the liver, where that was somebody else.
        warnings: what was mended or guessed.
    """

    lesions: PlacedLabels
    liver: PlacedLabels | None
    source: str
    liver_source: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def phases(self) -> set[Phase]:
        """The phases that anything was drawn on."""
        return {self.lesions.phase, *([] if self.liver is None else [self.liver.phase])}


def read_masks(path: Path) -> DrawnMasks | StructureSet:
    """Read a file or folder of masks: NIfTI, DICOM SEG or RTSTRUCT.

    Raises:
        InputError: there is none, it cannot be read, or it is something else.
    """
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        dicom = [file for file in files if _sop_class(file)]
        if not dicom or any(is_nifti(file) for file in files):
            return read_nifti_folder(path)
        if len(dicom) > 1:
            raise InputError(
                f"{path.name} holds {len(dicom)} DICOM files: give the one file with the masks"
            )
        path = dicom[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a file or folder of masks")
    if is_nifti(path):
        return read_nifti_masks(path)
    kind = _sop_class(path)
    if kind in {SegmentationStorage, LABEL_MAP_SEG}:
        return read_dicom_seg(path)
    if kind == RTStructureSetStorage:
        return read_rtstruct(path)
    raise InputError(
        f"{path.name} is no NIfTI file, DICOM Segmentation or structure set: give masks as one of"
        " them"
    )


def read_drawn(
    study: Study,
    *,
    lesions: Path,
    liver: Path | None = None,
    drawn_on: Phase | None = None,
    liver_drawn_on: Phase | None = None,
    instances: Instances | None = None,
    source: str = MANUAL_SOURCE,
) -> DrawnStudy:
    """Read the masks of a study, tell liver from lesions, and find the phase they were drawn on.

    Args:
        study: as read, before registration.
        lesions: file or folder. What it calls liver is the liver, where `liver` is not given.
        liver: file or folder of the liver.
        drawn_on: the phase that lesions were drawn on; None to be told by their file.
        liver_drawn_on: the same of the liver.
        instances: "labels" keeps each label as a lesion, "split" takes each connected part for one;
            None for "split" where labels say what a voxel is, as networks write them.
        source: "manual" for a person, else the name of the program.

    Raises:
        InputError: a file cannot be read, is of other images or empty, nothing tells its phase, or
            the source's name does not fit into DICOM.
    """
    if not (source.isprintable() and "\\" not in source and 0 < len(source) <= LONGEST_SOURCE):
        raise InputError(
            f"the source of the masks is named by 1 to {LONGEST_SOURCE} characters without"
            " backslashes"
        )
    drawn, phase, warnings = _on_its_phase(lesions, study, drawn_on)
    chosen, told = _lesions_of(drawn)
    labels, more = _instances(drawn, chosen, instances)
    warnings += told + more
    outline = next((outline for outline in drawn.outlines if outline.is_liver), None)
    organ = None if outline is None else PlacedLabels(outline.labels, phase, drawn.file)
    if liver is not None:
        of_liver, liver_phase, more = _on_its_phase(liver, study, liver_drawn_on)
        warnings += [line for line in more if line not in warnings]
        organ = PlacedLabels(_liver_of(of_liver), liver_phase, of_liver.file)
    if organ is not None and not organ.labels.array.any():
        raise InputError(f"{organ.file} is empty: give a mask of the liver, or leave it out")
    if organ is None and not labels.array.any():
        raise InputError(
            f"{drawn.file} holds no lesion, and no liver mask was given: there is nothing to"
            " measure"
        )
    placed = PlacedLabels(labels, phase, drawn.file)
    return DrawnStudy(placed, organ, source, warnings=tuple(warnings))


def _sop_class(path: Path) -> str:
    """The SOP class of a DICOM file, "" of anything else."""
    try:
        with path.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return ""
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(header.get("SOPClassUID", ""))
    except Exception:  # pydicom raises anything on damaged files
        return ""


def _on_its_phase(
    path: Path, study: Study, drawn_on: Phase | None
) -> tuple[DrawnMasks, Phase, list[str]]:
    """Masks on a grid, the phase that they were drawn on, and warnings."""
    read = read_masks(path)
    phase, warnings = drawn_phase(read, study, drawn_on)
    drawn = read if isinstance(read, DrawnMasks) else filled(read, study.phases[phase].volume)
    return drawn, phase, [*drawn.warnings, *warnings]


def _lesions_of(drawn: DrawnMasks) -> tuple[list[Outline], list[str]]:
    """The outlines that are lesions, by their names where those tell."""
    named = [outline for outline in drawn.outlines if outline.is_lesion]
    chosen = named or [o for o in drawn.outlines if not o.is_liver and not o.is_other]
    left = [o for o in drawn.outlines if o not in chosen and not o.is_liver]
    if not left:
        return chosen, []
    return chosen, [
        f"{drawn.file}: {counted(len(left), 'outline')} left out, as by their names they are no"
        " lesions"
    ]


def _liver_of(drawn: DrawnMasks) -> hd.Volume:
    """The mask of the liver in a file of it: what is called so, or all of it."""
    livers = [o for o in drawn.outlines if o.is_liver] or list(drawn.outlines)
    inside = np.logical_or.reduce([outline.labels.array != 0 for outline in livers])
    return livers[0].labels.with_array(inside.astype(np.uint16))


def _instances(
    drawn: DrawnMasks, chosen: list[Outline], instances: Instances | None
) -> tuple[hd.Volume, list[str]]:
    """Lesions as instance labels on their own grid, and what is doubtful about them."""
    grid = drawn.outlines[0].labels
    if not chosen:
        return grid.with_array(np.zeros(grid.spatial_shape, np.uint16)), []
    labels, warnings = _merged(drawn.file, chosen)
    if (instances or ("split" if drawn.classes else "labels")) == "split":
        parts = cc3d.connected_components(labels > 0, connectivity=26, binary_image=True)
        sizes = np.bincount(parts.ravel())[1:]
        rank = np.zeros(len(sizes) + 1, np.uint16)
        rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
        return grid.with_array(rank[parts]), warnings
    return grid.with_array(labels), warnings + _doubtful_labels(drawn.file, labels)


def _merged(file: str, chosen: list[Outline]) -> tuple[NDArray[np.uint16], list[str]]:
    """One map of all outlines; where two overlap, voxels are those of the smaller one."""
    if len(chosen) == 1 and not chosen[0].name:
        return chosen[0].labels.array, []
    values = [
        int(np.unique(outline.labels.array[outline.labels.array > 0]).size) for outline in chosen
    ]
    own = len(chosen) == 1 and values[0] > 1
    labels = np.zeros(chosen[0].labels.spatial_shape, np.uint16)
    overlap = 0
    for outline in sorted(chosen, key=lambda o: -np.count_nonzero(o.labels.array)):
        inside = outline.labels.array > 0
        overlap += int((labels[inside] > 0).sum())
        labels[inside] = outline.labels.array[inside] if own else outline.number
    if not overlap:
        return labels, []
    return labels, [
        f"{file}: outlines overlap in {counted(overlap, 'voxel')}, which count as those of the"
        " smaller one"
    ]


def _doubtful_labels(file: str, labels: NDArray[np.uint16]) -> list[str]:
    """What speaks against each label being one lesion."""
    warnings = []
    for label, box in enumerate(boxes(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == label
        pieces = int(cc3d.connected_components(mask, connectivity=26, binary_image=True).max())
        if pieces > 1:
            warnings.append(
                f"{file}: label {label} lies in {pieces} pieces, which are measured as one lesion;"
                " --instances split measures each"
            )
        here = labels[widened(box, 1)]
        rim = here[binary_dilation(here == label) & (here != label)]
        outer = int(np.bincount(rim).argmax())
        if outer and (rim == outer).mean() > SURROUNDED:
            warnings.append(
                f"{file}: label {outer} surrounds label {label}: if it is the liver, give it with"
                " --liver"
            )
    return warnings
