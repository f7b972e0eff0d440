"""The tables of attributes: they fit the DICOM dictionary and keep nothing that identifies."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

from liverleaf.ingest.deidentify.profile import (
    ALLOWED,
    IDENTIFYING,
    IMAGE_CLASSES,
    METHOD_CODES,
    WORDS,
    Action,
)
from liverleaf.ingest.phases.descriptions import plain_words


@pytest.mark.parametrize("keyword", ALLOWED)
def test_the_allow_list_fits_the_dictionary_and_keeps_no_name_or_comment(keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    kind, action = dictionary_VR(tag), ALLOWED[keyword]
    expected = {
        Action.UID: {"UI"},
        Action.ITEMS: {"SQ"},
        Action.DATE: {"DA", "DT"},
        Action.WORDS: {"LO", "SH"},
    }
    assert kind in expected.get(action, {kind})
    if action is Action.KEEP:
        assert kind not in {"PN", "DA", "DT", "LT", "ST", "UT", "UC", "SQ", "AE", "UN", "OB", "UR"}
        assert kind != "UI" or keyword == "SOPClassUID"


def test_what_identifies_is_not_kept() -> None:
    assert all(tag_for_keyword(keyword) is not None for keyword in IDENTIFYING)
    assert all(ALLOWED.get(keyword, Action.EMPTY) is Action.EMPTY for keyword in IDENTIFYING)


def test_only_images_of_ct_and_mr_may_pass() -> None:
    names = [UID(uid).name for uid in IMAGE_CLASSES]
    assert all(name.endswith("Image Storage") for name in names)
    assert all(" CT " in f" {name}" or " MR " in f" {name}" for name in names)


def test_known_words_are_written_as_they_are_looked_up() -> None:
    assert all(plain_words(word) == word for word in WORDS if word.isascii())
    assert not any(character.isspace() for word in WORDS for character in word)


def test_the_method_is_coded_as_the_standard_codes_it() -> None:
    assert METHOD_CODES["113100"] == "Basic Application Confidentiality Profile"
