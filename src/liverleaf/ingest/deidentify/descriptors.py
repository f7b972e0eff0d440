"""Free text of DICOM headers without what could identify a person."""

from __future__ import annotations

import re

from pydicom import Dataset

from liverleaf.ingest.deidentify.profile import IDENTIFYING, WORDS
from liverleaf.ingest.dicom.frames import text
from liverleaf.ingest.phases.descriptions import plain_words

SHORT = (
    r"\d{1,3}(s|sec|secs|seconds|sek|m|min|mins|minutes|mm|cm|kv|kev|ml|hu|d|t|p|x|ph)?|b\d{1,4}|"
    r"t[12]w?|[bhiqu][a-z]?\d{2}[a-z]?|[a-z]{1,5}[23]d\d{0,3}(r\d{0,3})?"
)
"""Short numbers with their units, kernels such as B30f and sequences such as fl3d1."""

CALENDAR = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}|(?:\d{1,4}[ ./-]+){3,}\d{1,4}")
"""Dates and telephone numbers, which are made of short numbers."""


def known_words(descriptor: str, private: frozenset[str] = frozenset()) -> str:
    """What a descriptor says of technique and phase, without names, long numbers and dates.

    Everything that is not known is left out.

    Args:
        descriptor: free text.
        private: words that are left out even where they are known ones, as `private_words` gives
            them.

    >>> known_words("Mustermann t1_vibe_fs_tra portal venous 70s 4711000")
    't1_vibe_fs_tra portal venous 70s'
    """

    def known(match: re.Match[str]) -> str:
        if fine(match[0]):
            return match[0]
        # camelCase joins words
        return " ".join(filter(fine, re.split(r"(?<=[a-z])(?=[A-Z])", match[0])))

    def fine(part: str) -> bool:
        word = plain_words(part).replace(" ", "")
        begins = len(word) > 2 and any(whole.startswith(word) for whole in WORDS)
        return word not in private and (
            word in WORDS or begins or re.fullmatch(SHORT, word) is not None
        )

    cleaned = re.sub(r"[^\W_]+", known, CALENDAR.sub(" ", descriptor))
    if not re.search(r"[^\W_]", cleaned):
        return ""
    return re.sub(r"[^\w+()-]{2,}|\s+", " ", re.sub(r"[^\w\s+,.:/()-]", " ", cleaned)).strip(
        " _,.:/"
    )


def private_words(header: Dataset) -> frozenset[str]:
    """The words and numbers in a header's identifying attributes."""
    values = (plain_words(str(text(header, keyword)).replace("\\", " ")) for keyword in IDENTIFYING)
    return frozenset(
        part for value in values for part in re.split(r"[\W_]+", value) if len(part) > 1
    )


def clean_quotations(message: str) -> str:
    """A message whose quotations hold known words only."""
    return re.sub(r"'([^']*)'", lambda quotation: f"'{known_words(quotation[1])}'", message)
