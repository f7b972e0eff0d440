"""Body part and species by headers: alone, and of a study that is read."""

import pytest
from pydicom import Dataset

from liverleaf.ingest.dicom.subject import body_part, species
from liverleaf.ingest.reader import read_study
from liverleaf.study import BodyPart, Species


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def coded(value: str, meaning: str) -> Dataset:
    item = header(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    return header(PatientSpeciesCodeSequence=[item])


@pytest.mark.filterwarnings("ignore")  # pydicom's, about small letters
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["CHEST"], BodyPart.CHEST),
        (["THORAX", "LUNG", "CHEST"], BodyPart.CHEST),
        (["CHEST", "ABDOMEN"], BodyPart.ABDOMEN),
        (["CHEST", ""], BodyPart.ABDOMEN),
        (["CHESTABDPELVIS"], BodyPart.ABDOMEN),
        (["chest"], BodyPart.ABDOMEN),
        (["LIVER"], BodyPart.ABDOMEN),
        ([""], BodyPart.ABDOMEN),
        ([], BodyPart.ABDOMEN),
    ],
)
def test_the_chest_only_where_every_series_says_so(parts, expected) -> None:
    assert body_part([header(BodyPartExamined=part) for part in parts]) is expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (header(), Species.HUMAN),
        (header(PatientSpeciesDescription="Homo sapiens"), Species.HUMAN),
        (header(PatientSpeciesDescription="Rattus norvegicus"), Species.RAT),
        (header(PatientSpeciesDescription="RAT"), Species.RAT),
        (header(PatientSpeciesDescription="Mus musculus"), Species.HUMAN),
        (header(PatientSpeciesDescription="Separate"), Species.HUMAN),
        (coded("371565004", ""), Species.RAT),
        (coded("L-1", "Genus Rattus"), Species.RAT),
        (coded("447612001", "Mus musculus"), Species.HUMAN),
    ],
)
def test_a_rat_by_description_or_code(one, expected) -> None:
    assert species([header(), one]) is expected


def test_a_study_has_the_body_part_and_species_of_its_headers(tmp_path, make, stored) -> None:
    abdomen = make.shuffled(make.series(stored, BodyPartExamined="ABDOMEN"), tmp_path / "abdomen")
    study = read_study(abdomen)
    assert (study.body_part, study.species) == (BodyPart.ABDOMEN, Species.HUMAN)
    told = {"BodyPartExamined": "CHEST", "PatientSpeciesDescription": "Rattus norvegicus"}
    study = read_study(make.shuffled(make.series(stored, **told), tmp_path / "rat"))
    assert (study.body_part, study.species) == (BodyPart.CHEST, Species.RAT)


def test_series_that_are_not_used_do_not_tell_the_body_part(tmp_path, make, stored) -> None:
    used = make.series(stored, BodyPartExamined="CHEST", SeriesDescription="portal venous")
    make.shuffled(used, tmp_path / "used")
    scout = {
        "SeriesNumber": 1,
        "SeriesInstanceUID": "1.2.3.99",
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "BodyPartExamined": "ABDOMEN",
    }
    make.save(make.slice(stored[0], (0, 0, 0), **scout), tmp_path / "scout")
    assert read_study(tmp_path).body_part is BodyPart.CHEST
