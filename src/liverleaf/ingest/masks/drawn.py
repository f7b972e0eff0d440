"""Masks as somebody drew them: named outlines on a grid of their own, whatever their format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np

from liverleaf.study import InputError

LARGEST_LABEL = np.iinfo(np.uint16).max
LESION_NAME = (
    r"lesions?|tumou?rs?|mass(es)?|metasta\w+|mets?|hcc|icc|ccc|cholangiocarcinoma|carcinoma"
    r"|h(a)?emangiomas?|fnh|cysts?|gtv\w*|nodules?|neoplasms?|adenomas?|nodul\w*|l[aä]sion\w*"
)
LIVER_NAME = r"liver|leber|foie|h[ií]gado|fegato|hepar"
OTHER_NAME = (
    r"spleen|kidneys?|pancreas|aorta|veins?|vena|vessels?|gallbladder|stomach|body|skin|segments?"
    r"|background|bones?|lungs?|heart|colon|bowel|duodenum|esophagus|adrenal|external|artery"
)


@dataclass(frozen=True)
class Outline:
    """One thing that was outlined.

    Attributes:
        name: what its file calls it, in lower case; "" where it has no name.
        number: its number in the file, from 1.
        labels: whole numbers (Z, Y, X) on the grid it was drawn on, uint16: 0 is outside.
    """

    name: str
    number: int
    labels: hd.Volume

    @property
    def is_lesion(self) -> bool:
        """Whether it is called like a lesion: "liver tumour" is, "liver" is not."""
        return _called(self.name, LESION_NAME)

    @property
    def is_liver(self) -> bool:
        """Whether it is called like the whole liver."""
        named = _called(self.name, LIVER_NAME)
        return named and not self.is_lesion and not _called(self.name, OTHER_NAME)

    @property
    def is_other(self) -> bool:
        """Whether it is called like another organ, a vessel or a part of the liver."""
        return _called(self.name, OTHER_NAME) and not self.is_lesion


def _called(name: str, words: str) -> bool:
    plain = re.sub(r"[\W_]+", " ", name.lower())
    return re.search(rf"(?<![^\W\d])({words})(?![^\W\d])", plain) is not None


@dataclass(frozen=True)
class DrawnOn:
    """What a file says of the images that it was drawn on; empty where it says nothing.

    Attributes:
        patient_id: of the patient, to be compared and never shown.
        study_uid: StudyInstanceUID.
        series_uids: SeriesInstanceUIDs.
        image_uids: SOPInstanceUIDs.
        frame_of_reference_uid: of its coordinates.
    """

    patient_id: str = field(default="", repr=False)
    study_uid: str = ""
    series_uids: frozenset[str] = frozenset()
    image_uids: frozenset[str] = frozenset()
    frame_of_reference_uid: str = ""


@dataclass(frozen=True)
class DrawnMasks:
    """All that one file or folder holds.

    Attributes:
        file: its name, for messages.
        outlines: what was outlined, all on one grid.
        drawn_on: the images that it names.
        classes: whether its labels say what a voxel is (as networks write them), so that several
            lesions share one.
        warnings: what was mended or left out.

    Raises:
        InputError: nothing was outlined.
    """

    file: str
    outlines: tuple[Outline, ...]
    drawn_on: DrawnOn = DrawnOn()
    classes: bool = False
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.outlines:
            raise InputError(f"{self.file} outlines nothing: give another file, or draw in it")

    @property
    def grid(self) -> hd.VolumeGeometry:
        """The grid of its outlines."""
        return self.outlines[0].labels.get_geometry()
