"""Who was scanned and which part of the body, by DICOM headers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom import Dataset

from liverleaf.ingest.dicom.frames import text
from liverleaf.study import BodyPart, Species

CHEST_TERMS = {"CHEST", "THORAX", "LUNG"}
"""Values of Body Part Examined (0018,0015) that stand for the chest and nothing below it."""

RAT_CODES = {"371564000", "371565004"}
"""SNOMED CT codes of the genus Rattus and of Rattus norvegicus (DICOM PS3.16, CID 7454)."""

RAT_WORDS = re.compile(r"\b(rattus|rats?)\b", re.IGNORECASE)


def body_part(headers: Sequence[Dataset]) -> BodyPart:
    """The part of the body that all series show.

    Args:
        headers: one of each series that is used.

    Returns:
        The chest only where every series says so and nothing else; the abdomen in any doubt.
    """
    named = {text(header, "BodyPartExamined") for header in headers}
    return BodyPart.CHEST if named and named <= CHEST_TERMS else BodyPart.ABDOMEN


def species(headers: Sequence[Dataset]) -> Species:
    """Who was scanned: a rat where any series says so by description or code, else a human."""
    return Species.RAT if any(_is_rat(header) for header in headers) else Species.HUMAN


def _is_rat(header: Dataset) -> bool:
    codes = header.get("PatientSpeciesCodeSequence") or ()
    words = [text(header, "PatientSpeciesDescription")]
    words += [text(item, "CodeMeaning") for item in codes]
    return any(text(item, "CodeValue") in RAT_CODES for item in codes) or any(
        RAT_WORDS.search(word) for word in words
    )
