"""What a class of a segmentation is called: a lesion of a type, a lesion of none, or no lesion."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from liverleaf.terminology import LesionType

TYPES = {
    LesionType.HCC: r"\bhccs?\b|\bhepatocellular\b(?! adenoma)|hepatocarcinoma|hepatoma",
    LesionType.ICC: r"\biccs?\b|\biccas?\b|cholangio ?(?:cellular )?(?:carcinoma|ca\b)",
    LesionType.METASTASIS: r"metasta|\bmets?\b|\bcrlms?\b",
    LesionType.HAEMANGIOMA: r"ha?e?mangiom",
    LesionType.FNH: r"\bfnhs?\b|focal nodular hyperplas",
    LesionType.CYST: r"\b(?:cysts?|zysten?|kystes?)\b",
    LesionType.CALCIFICATION: r"calcif|\bkalk",
    LesionType.OTHER: r"\bother (?:(?:liver|hepatic|focal) )*(?:lesion|tumou?r)",
}
LESION = (
    r"lesion|tumou?r|cancer|carcinoma|neoplas|malignan|\bmass(?:es)?\b|nodul|adenoma|abscess"
    r"|sarcoma|blastoma|lipoma|lymphoma|endothelioma|\bcyst"
)
GENERIC = (
    r"lesions?|tumou?rs?|cancers?|carcinomas?|neoplasms?|malignan(?:t|cy)|benign|mass(?:es)?"
    r"|nodules?|liver|hepatic|focal|all|any|whole|of|the|in|and|or|\d+"
)
"""Words that name a lesion and no type."""
ELSEWHERE = (
    r"kidney|renal|pancrea|lung|pulmon|spleen|splenic|colon|bowel|stomach|gastric|bladder|prostat"
    r"|uter|ovar|adrenal|esophag|bone|brain|breast|thyroid"
)
"""Organs whose lesions are none of the liver."""


class LesionName(NamedTuple):
    """What the name of a lesion says.

    Attributes:
        type: its type; None where the name tells none, or more than one.
        generic: whether it says no more than that there is a lesion.
    """

    type: LesionType | None
    generic: bool


def lesion_name(name: str) -> LesionName | None:
    """What the name of a class says of the lesions in it; None where it names no lesion.

    >>> lesion_name("Hepatocellular carcinoma").type.key
    'hcc'
    >>> lesion_name("liver_tumor")
    LesionName(type=None, generic=True)
    >>> lesion_name("adenoma")
    LesionName(type=None, generic=False)
    >>> lesion_name("kidney cyst")
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = " ".join(re.findall(r"[^\W_]+", plain))
    types = [kind for kind, pattern in TYPES.items() if re.search(pattern, words)]
    if not types and not re.search(LESION, words):
        return None
    if re.search(ELSEWHERE, words) and not re.search("liver|hepat", words):
        return None
    denied = re.search(r"\b(?:non|not|no)\b", words)
    kind = types[0] if len(types) == 1 and not denied else None
    generic = not types and not denied and re.fullmatch(rf"(?:(?:{GENERIC})\s?)+", words)
    return LesionName(kind, bool(generic))
