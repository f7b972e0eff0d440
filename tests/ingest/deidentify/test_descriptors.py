"""Free text without identities: known words stay, names, numbers and dates go."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from liverleaf.ingest.deidentify.descriptors import clean_quotations, known_words, private_words
from liverleaf.ingest.phases.descriptions import phase_in_words


@pytest.mark.parametrize(
    ("descriptor", "kept"),
    [
        ("t1_vibe_fs_tra_bh_art", "t1_vibe_fs_tra_bh_art"),
        ("Portal Venous 70s 3.0 B30f", "Portal Venous 70s 3.0 B30f"),
        ("Frau Mustermann portal", "portal"),
        ("arterial 4711000", "arterial"),
        ("Leber 15.01.1960", "Leber"),
        ("delayed tel 061 265 25 25", "delayed"),
        ("ax dyn + GADOVIST", "ax dyn + GADOVIST"),
        ("Dr. phil. H. Weber", ""),
        ("30 60 90 s", "30 60 90 s"),
        ("Leber spätarteriell mDIXON portalVenous", "Leber spätarteriell mDIXON portalVenous"),
        ("*tfi2d1_ns ErikaPortal", "tfi2d1_ns Portal"),
        ("", ""),
    ],
)
def test_a_descriptor_keeps_known_words_only(descriptor: str, kept: str) -> None:
    assert known_words(descriptor) == kept


def test_a_known_word_that_is_the_patients_name_goes_too() -> None:
    header = Dataset()
    header.PatientName, header.PatientID = "Vene^Porta", "65"
    assert known_words("porta vene arterial 65", private_words(header)) == "arterial"


def test_private_words_are_those_of_identifying_attributes() -> None:
    header = Dataset()
    header.PatientName, header.PatientID, header.SeriesDescription = "Müller^A", "X-4711", "portal"
    assert private_words(header) == {"muller", "4711"}


def test_quotations_keep_known_words_and_the_rest_of_the_sentence_stays() -> None:
    assert clean_quotations("Meier: description says 'portal Meier'") == (
        "Meier: description says 'portal'"
    )


def test_what_evidence_quotes_of_a_description_is_cleaned() -> None:
    guess = phase_in_words("monitor mayor")
    assert guess is not None
    assert [clean_quotations(sentence) for sentence in guess.evidence] == [
        "bolus tracking: description says ''"
    ]
