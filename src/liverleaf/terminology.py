"""Lesion types, organs, their colours and SNOMED CT codes: pure data, no code that computes."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple, cast

PhaseName = Literal["pre", "arterial", "portal", "delayed", "hepatobiliary"]
TypeName = Literal[
    "hcc", "icc", "metastasis", "haemangioma", "fnh", "cyst", "calcification", "other"
]
PatientRule = Literal["lesions", "liver-max"]
"""How probabilities of a patient come from a model: from its lesions, or from its maps."""

SMALLEST_SCORED_MM3 = 113.0
"""Lesions under this, a ball of 6 mm across, are not scored in detection. The number is that of the
published code of PLAN (Yan et al., MICCAI 2023); the papers of MTI-Net and LIDIA name none."""


class LesionType(IntEnum):
    """The eight lesion types, in the order of LIDIA's tables (Huang et al., MICCAI 2024)."""

    HCC = 0
    ICC = 1
    METASTASIS = 2
    HAEMANGIOMA = 3
    FNH = 4
    CYST = 5
    CALCIFICATION = 6
    OTHER = 7

    @property
    def title(self) -> str:
        """The name as people read it."""
        return TITLES[self]

    @property
    def key(self) -> TypeName:
        """The name in files, tables and options, as "hcc"."""
        return cast(TypeName, self.name.lower())

    @classmethod
    def parse(cls, text: str) -> LesionType:
        """The type of a `key`, in any case of letters.

        Raises:
            ValueError: there is no such type.
        """
        if text.upper() not in cls.__members__:
            raise ValueError(
                f"{text!r} is no lesion type; use {', '.join(kind.key for kind in cls)}"
            )
        return cls[text.upper()]

    @property
    def malignant(self) -> bool:
        """Whether the type counts as malignant (LIDIA's AUC-2)."""
        return self in MALIGNANT


TITLES = {
    LesionType.HCC: "hepatocellular carcinoma",
    LesionType.ICC: "intrahepatic cholangiocarcinoma",
    LesionType.METASTASIS: "metastasis",
    LesionType.HAEMANGIOMA: "haemangioma",
    LesionType.FNH: "focal nodular hyperplasia",
    LesionType.CYST: "cyst",
    LesionType.CALCIFICATION: "calcification",
    LesionType.OTHER: "other",
}

MALIGNANT = frozenset({LesionType.HCC, LesionType.ICC, LesionType.METASTASIS})


class Organ(IntEnum):
    """Values of an organ map. Lesions lie inside LIVER and carry a map of their own."""

    BACKGROUND = 0
    BODY = 1  # anything inside the skin that has no label of its own
    FAT = 2
    MUSCLE = 3
    BONE = 4
    LUNG = 5
    HEART = 6
    LIVER = 7
    PORTAL_VEIN = 8
    HEPATIC_VEIN = 9
    AORTA = 10
    VENA_CAVA = 11
    SPLEEN = 12
    KIDNEY = 13
    STOMACH = 14
    BOWEL = 15
    GALLBLADDER = 16
    PANCREAS = 17


LIVER_ORGANS = (Organ.LIVER, Organ.PORTAL_VEIN, Organ.HEPATIC_VEIN)
"""Organs that count as liver: its vessels lie inside it. Lesions have a map of their own."""


class Code(NamedTuple):
    """A coded concept: value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


ORGAN_CATEGORY = Code("91723000", "SCT", "Anatomical Structure")
LESION_CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LIVER_CODE = Code("10200004", "SCT", "Liver")
LESION_CODE = Code("52988006", "SCT", "Lesion")

LIVER_COLOUR = "#4cb5c4"
LESION_COLOURS = (
    "#ff4d4d",
    "#ffb000",
    "#7ed957",
    "#b18cff",
    "#ff7ab8",
    "#38d3ff",
    "#f4e04d",
    "#c98a5b",
)
"""sRGB colours of the liver and, in turn, of lesions 1, 2, 3, ...; read against grey images."""
