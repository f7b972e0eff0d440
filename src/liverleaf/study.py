"""The nouns of the project: phases, studies and their annotations, as frozen values on voxel grids.

A voxel grid is a `highdicom.Volume`: an array of shape (Z, Y, X) and an affine from voxel indices
(z, y, x) to LPS millimetres. `volume.with_array(new)` puts another array on the same grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeVar, cast

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.terminology import LesionType, PhaseName


class InputError(ValueError):
    """Something is wrong with what the user gave.

    The message says what, where and what to do, in one line, and names no patient.
    """


Key = TypeVar("Key")
Value = TypeVar("Value")


class OnDemand(Mapping[Key, Value]):
    """Large values that are made anew each time one is asked for, and never kept.

    Args:
        make: what makes the value of each key.
    """

    def __init__(self, make: Mapping[Key, Callable[[], Value]]) -> None:
        self._make = dict(make)

    def __getitem__(self, key: Key) -> Value:
        return self._make[key]()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._make)

    def __len__(self) -> int:
        return len(self._make)


class Modality(StrEnum):
    """How the images were made. CT intensities are HU; MR intensities have an arbitrary scale."""

    CT = "CT"
    MR = "MR"

    @property
    def unit(self) -> str:
        """The unit of an intensity, for tables and axes."""
        return "HU" if self is Modality.CT else "a.u."


class BodyPart(StrEnum):
    """What a study shows, which decides which models may read it."""

    ABDOMEN = "abdomen"
    CHEST = "chest"


class Species(StrEnum):
    """Who was scanned."""

    HUMAN = "human"
    RAT = "rat"


class Phase(IntEnum):
    """Contrast phases in the order in which the bolus passes."""

    PRE = 0
    ARTERIAL = 1
    PORTAL = 2
    DELAYED = 3
    HEPATOBILIARY = 4

    @property
    def title(self) -> str:
        """The name as people read it."""
        return {"PRE": "pre-contrast", "PORTAL": "portal venous"}.get(self.name, self.key)

    @property
    def key(self) -> PhaseName:
        """The name in files, tables and options, as "portal"."""
        return cast(PhaseName, self.name.lower())

    @classmethod
    def parse(cls, text: str) -> Phase:
        """The phase of a `key`, in any case of letters.

        Raises:
            ValueError: there is no such phase.
        """
        if text.upper() not in cls.__members__:
            raise ValueError(f"{text!r} is no phase; use {', '.join(phase.key for phase in cls)}")
        return cls[text.upper()]


REFERENCE_ORDER = (Phase.PORTAL, Phase.DELAYED, Phase.ARTERIAL, Phase.HEPATOBILIARY, Phase.PRE)
"""The first of these that a study has is its reference phase: masks lie on its own grid."""


class AlignmentReason(StrEnum):
    """Why a phase may, or may not, be used beside the reference phase."""

    OK = "ok"
    """It lies on the reference phase and shows the liver."""
    PARTIAL_COVERAGE = "partial_coverage"
    """It shows too little of the body, or cuts the liver."""
    NOT_ALIGNED = "not_aligned"
    """Registration did not find its anatomy in the reference phase."""
    LIVER_NOT_ALIGNED = "liver_not_aligned"
    """Its liver does not lie on that of the reference phase."""
    WORSE_THAN_BEFORE = "worse_than_before"
    """Its liver lies worse after registration than before, and before was no better."""

    @property
    def text(self) -> str:
        """The reason as people read it, for "the arterial phase ..."."""
        return REASON_TEXTS[self]


REASON_TEXTS = {
    AlignmentReason.OK: "is aligned and shows the liver",
    AlignmentReason.PARTIAL_COVERAGE: "shows only a part of the liver (coverage)",
    AlignmentReason.NOT_ALIGNED: "could not be aligned with the reference phase (alignment)",
    AlignmentReason.LIVER_NOT_ALIGNED: (
        "does not show the liver where the reference phase does (alignment)"
    ),
    AlignmentReason.WORSE_THAN_BEFORE: (
        "lies worse on the reference phase after registration than before (alignment)"
    ),
}


@dataclass(frozen=True)
class Alignment:
    """How well one phase lies on the reference phase after registration.

    Attributes:
        method: "none", "resampled", "rigid" or "deformable".
        similarity_before: normalised cross-correlation (of gradient magnitudes) with the reference
            before, in [-1, 1].
        similarity_after: the same after.
        mean_shift_mm: mean displacement inside the body that registration applied.
        folding: share of voxels where the field folds (Jacobian determinant <= 0), in [0, 1].
        trusted: whether measures that compare this phase with others may be trusted. A phase that
            is aligned but cuts the liver is trusted where it shows it, and `reason` says so.
        liver_similarity_before: as `similarity_before`, inside and near the liver; None where no
            liver was found or looked for.
        liver_similarity_after: the same after.
        liver_match: share by which the liver matches better than when moved by some 6 mm, at most
            1; below 0 it lies elsewhere.
        liver_folding: as `folding`, inside and near the liver.
        reason: why it may or may not be used; None stands for OK where it is trusted, else for
            NOT_ALIGNED.
        coverage: share of the reference phase's body that the phase shows, in [0, 1]; None where
            nobody looked.
        liver_coverage: the same of the liver; None where no liver was found or looked for.
    """

    method: str
    similarity_before: float
    similarity_after: float
    mean_shift_mm: float
    folding: float
    trusted: bool
    liver_similarity_before: float | None = None
    liver_similarity_after: float | None = None
    liver_match: float | None = None
    liver_folding: float | None = None
    reason: AlignmentReason | None = None
    coverage: float | None = None
    liver_coverage: float | None = None

    def __post_init__(self) -> None:
        unsaid = AlignmentReason.OK if self.trusted else AlignmentReason.NOT_ALIGNED
        reason = unsaid if self.reason is None else AlignmentReason(self.reason)
        object.__setattr__(self, "reason", reason)

    @property
    def fit_for_model(self) -> bool:
        """Whether masks may be made with this phase."""
        return self.trusted and self.reason is AlignmentReason.OK


@dataclass(frozen=True)
class SourceIds:
    """The DICOM identifiers of the images that a phase was read from: how an archive finds them.

    Attributes:
        study_instance_uid: of their study; None where the images name none or are no DICOM.
        series_instance_uid: of their series, likewise.
        sop_instance_uids: of the images themselves in the order of the volume's Z axis, one in all
            for an enhanced multi-frame image; empty where the images name none or are no DICOM.
    """

    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uids: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class PhaseImage:
    """One contrast phase as acquired, or resampled onto the reference grid.

    Attributes:
        volume: float32 intensities (Z, Y, X) on their grid; HU for CT, arbitrary for MR.
        time_s: seconds from injection to the centre of acquisition, None when unknown.
        confidence: how sure the phase's name is, in [0, 1].
        evidence: why this is thought to be that phase, in plain words.
        description: the series' own description, "" when there is none or it could identify a
            person.
        headers: DICOM headers without pixels, one per slice in the order of the volume's Z axis
            (one in all for an enhanced multi-frame image); empty when the input was not DICOM.
        alignment: quality of the registration, None before registration and for the reference
            phase.
        source: the identifiers of the images this phase was read from. They outlive the headers,
            which registration drops.
        frame_numbers: of each header in turn the frames of a multi-frame image, counted from 1,
            that are of this phase; empty where they all are, or the images have one frame each.
        file_grid: the grid of the file that the phase was read from, its axes in the order of the
            file; None where it was no NIfTI file.
    """

    volume: hd.Volume
    time_s: float | None = None
    confidence: float = 1.0
    evidence: tuple[str, ...] = ()
    description: str = ""
    headers: tuple[Dataset, ...] = field(default=(), repr=False)
    alignment: Alignment | None = None
    source: SourceIds = SourceIds()
    frame_numbers: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    file_grid: hd.VolumeGeometry | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.volume.array.ndim != 3:
            raise ValueError(
                f"a phase image has three axes (Z, Y, X), got shape {self.volume.array.shape}"
            )
        if self.volume.array.dtype != np.float32:
            raise ValueError(f"a phase image is float32, got {self.volume.array.dtype}")


@dataclass(frozen=True)
class Study:
    """One multi-phase study of one patient. Any phase may be missing, at least one is there.

    Attributes:
        modality: CT or MR.
        phases: the images by phase, in the order of the bolus.
        case_id: a pseudonym safe to print (never a name or a hospital number).
        agent: contrast agent where known: "gadobutrol", "gadoxetate", "iodine", ...
        warnings: what was missing or doubtful while reading, one plain sentence each.
        subject_id: pseudonym of the patient or animal, where one has several studies; "" for
            `case_id`.
        week: weeks since the subject's first study, None where nobody follows it over time.
        other: images of the same session that are no contrast phase, by sequence: "t2w", ...
        body_part: the part of the body that was scanned.
        species: who was scanned.
    """

    modality: Modality
    phases: Mapping[Phase, PhaseImage]
    case_id: str = "case"
    agent: str | None = None
    warnings: tuple[str, ...] = ()
    subject_id: str = ""
    week: float | None = None
    other: Mapping[str, PhaseImage] = field(default_factory=dict)
    body_part: BodyPart = BodyPart.ABDOMEN
    species: Species = Species.HUMAN

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("a study needs at least one phase, got none")
        object.__setattr__(self, "phases", dict(sorted(self.phases.items())))

    @property
    def reference(self) -> Phase:
        """The phase on whose grid masks lie: portal venous where there is one."""
        return next(phase for phase in REFERENCE_ORDER if phase in self.phases)

    @property
    def grid(self) -> hd.Volume:
        """The reference phase's volume."""
        return self.phases[self.reference].volume

    @property
    def on_one_grid(self) -> bool:
        """Whether every phase has the reference's shape and affine, to 0.01 mm everywhere."""
        return all(same_grid(image.volume, self.grid) for image in self.phases.values())


def same_grid(
    a: hd.VolumeGeometry | hd.Volume,
    b: hd.VolumeGeometry | hd.Volume,
    *,
    tolerance_mm: float = 0.01,
) -> bool:
    """Whether two grids have one shape and put every voxel in one place, to `tolerance_mm`."""
    if a.spatial_shape != b.spatial_shape:
        return False
    far = np.array([*a.spatial_shape, 1.0])
    return bool(
        np.abs(a.affine[:3, 3] - b.affine[:3, 3]).max() <= tolerance_mm
        and np.abs((a.affine - b.affine) @ far)[:3].max() <= tolerance_mm
    )


@dataclass(frozen=True)
class LesionAnnotation:
    """What is true of one phantom or annotated lesion.

    Attributes:
        label: its value in `Annotation.lesions`, from 1.
        type: its type; None where it was outlined without being named, beside lesions that were.
        curve: noise-free mean intensity per phase, in the image's own unit.
        kinetics: parameters of the kinetic model by name with unit, for instance
            {"arterial_fraction": 0.9, "mean_transit_s": 12.0}.
    """

    label: int
    type: LesionType | None
    curve: Mapping[Phase, float]
    kinetics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotation:
    """The truth of a study, on the reference phase's grid.

    Attributes:
        lesions: uint16 instance labels, 0 outside lesions.
        organs: uint8 values of `terminology.Organ`; lesion voxels are Organ.LIVER.
        lesion_list: one entry per label.
        liver_curve: noise-free mean intensity of the lesion-free liver parenchyma per phase.
        displacement_mm: per phase, the (Z, Y, X, 3) float32 LPS shift from a point of the reference
            phase to the same tissue in that phase.
        diagnosis: what the whole case is, where lesions alone do not say it: "normal", "covid-19",
            "responder", ...; "" where they do.
        markers: what was found beside the images, by name with unit, for instance
            {"viability_percent": 62.0}.
    """

    lesions: hd.Volume
    organs: hd.Volume | None
    lesion_list: tuple[LesionAnnotation, ...]
    liver_curve: Mapping[Phase, float] = field(default_factory=dict)
    displacement_mm: Mapping[Phase, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    diagnosis: str = ""
    markers: Mapping[str, float | str] = field(default_factory=dict)
