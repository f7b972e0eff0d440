"""DICOM series: read back, they are the study; a validator finds no error."""

import shutil
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from liverleaf.ingest.reader import read_study
from liverleaf.phantom.dicom_series import with_headers, write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.protocol import FLAWS, Protocol, draw_protocol
from liverleaf.study import BodyPart, Modality, Phase, PhaseImage, Species, Study

OBLIQUE = hd.Volume.from_components(
    np.zeros((1, 1, 1)),
    spacing=(4.0, 0.9, 0.8),
    direction=np.array([[0, 0.2, 0.9797959], [0, 0.9797959, -0.2], [1, 0, 0]]),
    position=(-120.0, -90.0, 33.5),
    coordinate_system="PATIENT",
).affine


def study_of(modality: Modality) -> tuple[Study, Protocol]:
    rng = np.random.default_rng(0)
    low, high = (-1024, 3071) if modality is Modality.CT else (0, 32767)
    times_s = {Phase.PRE: -60.0, Phase.ARTERIAL: 32.5, Phase.PORTAL: 70.0}
    images = {
        phase: PhaseImage(
            hd.Volume(
                rng.integers(low, high, (5, 16, 12)).astype(np.float32),
                OBLIQUE,
                "PATIENT",
                "1.2.826.0.1.3680043.8.498.7",
            ),
            time_s,
            description=f"series {phase.title}",
        )
        for phase, time_s in times_s.items()
    }
    agent = "iodine" if modality is Modality.CT else "gadobutrol"
    protocol = replace(draw_protocol(rng, modality), agent=AGENTS[agent], flaws=frozenset())
    return with_headers(Study(modality, images, "case-7", agent), protocol), protocol


def read_series(folder: Path) -> list[list[Dataset]]:
    series = defaultdict(list)
    for path in folder.iterdir():
        dataset = dcmread(path)
        series[int(dataset.SeriesNumber)].append(dataset)
    return [sorted(series[number], key=lambda d: d.InstanceNumber) for number in sorted(series)]


@pytest.mark.parametrize("modality", Modality)
def test_what_is_read_is_what_was_written(tmp_path: Path, modality: Modality) -> None:
    study, protocol = study_of(modality)
    write_dicom(study, tmp_path)
    everything = read_series(tmp_path)
    assert len(everything) == 3
    for slices, (phase, image) in zip(everything, study.phases.items(), strict=True):
        volume = hd.get_volume_from_series(slices)
        aligned = volume.match_geometry(image.volume)
        np.testing.assert_array_equal(aligned.array, image.volume.array)
        np.testing.assert_allclose(aligned.affine, image.volume.affine, atol=1e-4)
        first = slices[0]
        assert ("ContrastBolusAgent" in first) == (phase is not Phase.PRE)
        assert first.SeriesDescription == image.description
        assert first.PatientName == "PHANTOM^CASE-7"
    datasets = [d for slices in everything for d in slices]
    assert (
        len({d.StudyInstanceUID for d in datasets})
        == len({d.FrameOfReferenceUID for d in datasets})
        == 1
    )
    assert len({d.SeriesInstanceUID for d in datasets}) == 3
    assert len({d.SOPInstanceUID for d in datasets}) == 15
    assert everything[1][0].AcquisitionTime == "100032.500000"
    if modality is Modality.CT:
        assert (datasets[0].RescaleIntercept, datasets[0].PixelRepresentation, datasets[0].KVP) == (
            -1024,
            1,
            protocol.kilovolt,
        )
    else:
        assert "RescaleSlope" not in datasets[0]
        assert datasets[0].EchoTime == pytest.approx(1000 * protocol.te_s, abs=1e-3)


@pytest.mark.parametrize("modality", Modality)
def test_a_validator_finds_no_error(tmp_path: Path, modality: Modality) -> None:
    check_with_validator(study_of(modality)[0], tmp_path)


def check_with_validator(study: Study, folder: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    write_dicom(study, folder)
    for path in list(folder.iterdir())[:3]:
        found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = (found.stdout + found.stderr).splitlines()
        assert not [line for line in lines if line.startswith("Error")]


def test_uids_repeat() -> None:
    one, two = (study_of(Modality.CT)[0].phases[Phase.PORTAL].headers[2] for _ in range(2))
    assert one == two


def test_headers_are_needed(tmp_path: Path) -> None:
    study, _ = study_of(Modality.CT)
    bare = replace(
        study, phases={phase: replace(image, headers=()) for phase, image in study.phases.items()}
    )
    with pytest.raises(ValueError, match="use with_headers"):
        write_dicom(bare, tmp_path)


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("modality", Modality)
def test_a_flawed_study_still_reads_as_what_it_is(
    tmp_path: Path, modality: Modality, flaw: str
) -> None:
    source = Phantom(
        "ct" if modality is Modality.CT else "mr",
        0,
        shape=(8, 32, 32),
        spacing_mm=(20.0, 11.0, 11.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liverleaf.phantom.physics.protocol._draw_flaws", lambda _: frozenset({flaw}))
        study, _ = replace(source, headers=True)[0]
    write_dicom(study, tmp_path)
    found = read_study(tmp_path)
    assert set(found.phases) == set(study.phases)
    if flaw == "no acquisition times":
        assert {image.time_s for image in found.phases.values()} == {None}
    for phase, image in found.phases.items():
        known = study.phases[phase].volume.match_geometry(image.volume)
        np.testing.assert_array_equal(image.volume.array, known.array)


SMALL_RAT = {"shape": (4, 24, 24), "spacing_mm": (8.0, 3.0, 3.0), "headers": True}
SMALL_CHEST = {"shape": (4, 32, 32), "spacing_mm": (40.0, 12.0, 12.0), "headers": True}


def first_header(study: Study) -> Dataset:
    return study.phases[Phase.PRE].headers[0]


def test_a_chest_is_a_chest() -> None:
    study = Phantom("chest", 1, **SMALL_CHEST)[0][0]
    header = first_header(study)
    assert (study.body_part, study.species) == (BodyPart.CHEST, Species.HUMAN)
    assert (header.BodyPartExamined, header.StudyDescription) == ("CHEST", "CT CHEST")
    assert "PatientSpeciesDescription" not in header


def test_a_liver_study_is_of_the_abdomen_of_a_human() -> None:
    study = study_of(Modality.MR)[0]
    assert first_header(study).BodyPartExamined == "ABDOMEN"
    assert first_header(study).StudyDescription == "MR LIVER DYNAMIC"
    assert "PatientSpeciesCodeSequence" not in first_header(study)


def test_a_rat_is_a_rat() -> None:
    study = Phantom("rat-hcc", 1, **SMALL_RAT)[0][0]
    header = first_header(study)
    assert (study.body_part, study.species) == (BodyPart.ABDOMEN, Species.RAT)
    assert header.BodyPartExamined == "ABDOMEN"
    assert header.PatientSpeciesDescription == "Rattus norvegicus"
    (code,) = header.PatientSpeciesCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("371565004", "SCT")
    # type 2C: there, though empty
    for keyword in ("PatientBreedDescription", "ResponsiblePerson", "PatientSexNeutered"):
        assert header[keyword].value == ""
    assert all(h.PatientSpeciesCodeSequence for h in study.other["t2w"].headers)


@pytest.mark.parametrize(("preset", "size"), [("chest", SMALL_CHEST), ("rat-hcc", SMALL_RAT)])
def test_a_validator_finds_no_error_in_chests_and_rats(
    tmp_path: Path, preset: str, size: dict
) -> None:
    check_with_validator(Phantom(preset, 1, **size)[0][0], tmp_path)


def test_weekly_sessions_are_studies_of_one_patient(tmp_path: Path) -> None:
    for week in (0, 1):
        study, _ = Phantom("rat-hcc", 1, **SMALL_RAT)[week]
        (tmp_path / str(week)).mkdir()
        write_dicom(study, tmp_path / str(week))
    first, second = (read_series(tmp_path / str(week)) for week in (0, 1))
    assert len(first) == len(second) == 3  # before and after contrast, T2-weighted
    assert first[0][0].PatientID == second[0][0].PatientID
    assert first[0][0].StudyInstanceUID != second[0][0].StudyInstanceUID
    assert (first[0][0].StudyDate, second[0][0].StudyDate) == ("20240115", "20240122")
    assert first[2][0].ScanningSequence == "SE" and first[2][0].EchoTime > 40
