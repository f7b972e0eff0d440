"""The front door: what is let in, what is refused in one line, and the real images."""

import os
import zipfile
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverleaf.ingest.reader import inspect, read_phase_table, read_study, write_phase_table
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality, Phase

DATA = Path(__file__).parents[2] / "../shared/data"
LIVER = 5
"""In TotalSegmentator's organ maps."""


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip("../shared/data is not on this machine")
    return path


def empty(folder, make, stored):
    return folder


def missing(folder, make, stored):
    return folder / "nowhere"


def endless_name(folder, make, stored):
    return folder / ("x" * 5000)


def text_as_dicom(folder, make, stored):
    (folder / "a.dcm").write_text("Mustermann, Erika: this is no image")
    return folder


def truncated(folder, make, stored):
    path = make.save(make.slice(stored[0], (0, 0, 0)), folder / "a")
    path.write_bytes(path.read_bytes()[:300])
    return folder


def truncated_pixels(folder, make, stored):
    path = make.save(make.slice(stored[0], (0, 0, 0)), folder / "a")
    path.write_bytes(path.read_bytes()[:-50])
    return folder


def ultrasound(folder, make, stored):
    make.save(make.slice(stored[0], (0, 0, 0), Modality="US"), folder / "a")
    return folder


def no_position(folder, make, stored):
    make.save(make.slice(stored[0], (0, 0, 0), ImagePositionPatient=None), folder / "a")
    return folder


def impossible_orientation(folder, make, stored):
    make.save(make.slice(stored[0], (0, 0, 0), (1, 0, 0, 1, 0, 0)), folder / "a")
    return folder


def zip_of_nothing(folder, make, stored):
    zipfile.ZipFile(folder / "a.zip", "w").close()
    return folder / "a.zip"


BAD = {
    missing: "does not exist",
    endless_name: "does not exist",
    empty: "the folder is empty",
    text_as_dicom: r"no CT or MR image found \(files: 1 not DICOM\)",
    truncated: "1 unreadable or damaged|1 without position|1 DICOM without an image",
    truncated_pixels: "none of its 1 slices can be decoded",
    ultrasound: r"1 of modality US \(neither CT nor MR\)",
    no_position: "1 without position, orientation or pixel spacing",
    impossible_orientation: "1 with an impossible position",
    zip_of_nothing: "the folder is empty",
}


# it reads none
CASES = [
    (ask, build)
    for ask in (read_study, inspect)
    for build in BAD
    if (ask, build) != (inspect, truncated_pixels)
]


@pytest.mark.parametrize(
    ("ask", "build"), CASES, ids=[f"{ask.__name__}-{build.__name__}" for ask, build in CASES]
)
def test_bad_input_is_refused_in_one_line(tmp_path, make, stored, ask, build) -> None:
    with pytest.raises(InputError, match=BAD[build]) as raised:
        ask(build(tmp_path, make, stored))
    assert "\n" not in str(raised.value)
    assert not any(part in str(raised.value).lower() for part in ("mustermann", "erika", "4711"))


def test_rubbish_among_the_images_is_counted(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path / "images")
    (tmp_path / "a.dcm").write_text("text")
    (tmp_path / ".DS_Store").write_text("text")
    damaged = make.save(make.slice(stored[0], (0, 0, 0)), tmp_path / "b.dcm")
    damaged.write_bytes(damaged.read_bytes()[:150])
    make.save(make.slice(stored[0], (0, 0, 0), Modality="SR", Rows=None), tmp_path / "c.dcm")
    study = read_study(tmp_path)
    assert study.phases[Phase.PORTAL].volume.shape == (6, 8, 7)
    (warning,) = study.warnings
    assert warning.startswith("left out 3 of 9 files: ")
    assert "1 not DICOM" in warning
    assert "1 of modality SR" in warning


def test_one_file_and_one_without_preamble(tmp_path, make, stored) -> None:
    path = make.save(make.slice(stored[0], (0, 0, 0)), tmp_path / "a.dcm")
    assert read_study(path).phases[Phase.PORTAL].volume.shape == (1, 8, 7)
    path.write_bytes(path.read_bytes()[132:])
    assert read_study(path).phases[Phase.PORTAL].volume.shape == (1, 8, 7)


def test_a_case_folder_is_read_back(tmp_path, make, stored) -> None:
    study = read_study(make.shuffled(make.series(stored), tmp_path / "dicom"))
    save_case(tmp_path / "cohort/one", study)
    again = read_study(tmp_path / "cohort/one")
    np.testing.assert_array_equal(
        again.phases[Phase.PORTAL].volume.array, study.phases[Phase.PORTAL].volume.array
    )
    assert [report.phase for report in inspect(tmp_path / "cohort/one")] == [Phase.PORTAL]
    save_case(tmp_path / "cohort/two", study)
    with pytest.raises(InputError, match="holds 2 case folders; give one of them"):
        read_study(tmp_path / "cohort")


@settings(
    max_examples=120,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory, make, stored, data) -> None:
    """Any damaged file of a series leads to a study or an InputError; neither gives a name away."""
    folder = tmp_path_factory.mktemp("fuzz")
    for index, dataset in enumerate(make.series(stored[:4])):
        make.save(dataset, folder / f"{index}")
    victim = folder / "1"
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    victim.write_bytes(content)
    try:
        study = read_study(folder)
    except InputError as error:
        told = str(error)
    else:
        told = " ".join(
            [*study.warnings, *(word for image in study.phases.values() for word in image.evidence)]
        )
        assert all(np.isfinite(image.volume.array).all() for image in study.phases.values())
    assert "\n" not in told
    assert not any(part in told.lower() for part in ("mustermann", "erika", "4711"))


def test_the_real_carcinoma() -> None:
    study = read_study(real("tcga-lihc-hcc-portal-ct"))
    assert study.modality is Modality.CT
    assert study.agent == "iodine"
    image = study.phases[Phase.PORTAL]
    assert len(study.phases) == 1
    assert image.confidence < 0.8  # the pixels of one series alone are never sure
    assert "most like the portal venous phase" in image.evidence[0]
    assert image.volume.shape == (60, 512, 512)
    assert image.volume.spacing == pytest.approx((8, 0.6953125, 0.6953125))
    assert (
        np.diff([header.ImagePositionPatient[2] for header in image.headers]).tolist() == [8.0] * 59
    )
    lungs = (image.volume.array[:, 128:384, 128:384] < -500).mean(axis=(1, 2))
    assert lungs[-1] > 0.3 > lungs[:20].max()  # the last slice is the highest
    assert "TCGA" not in repr(study.warnings) + study.case_id + image.description


def test_the_real_three_slices_beside_segmentations_and_reports() -> None:
    study = read_study(real("dcmqi-liver-ct3slice"))
    assert list(study.phases) == [Phase.PRE]
    assert study.phases[Phase.PRE].volume.spacing[0] == pytest.approx(1.0, abs=1e-6)
    assert any("3 of modality SEG" in warning for warning in study.warnings)


def test_the_real_jpeg_2000_slices_without_instance_uids() -> None:
    study = read_study(real("totalsegmentator-reference/example_ct_dicom"))
    image = study.phases[Phase.PORTAL]
    assert image.volume.shape == (20, 512, 512)
    assert image.time_s == pytest.approx(96.2, abs=0.1)
    organs = hd.Volume.from_nibabel(
        nib.load(real("totalsegmentator-reference/example_seg_dicom.nii.gz"))
    ).match_geometry(image.volume)
    assert 90 < np.median(image.volume.array[organs.array == LIVER]) < 130


def test_the_real_dynamic_series_is_split() -> None:
    reports = inspect(real("siemens-dynamic-tube-phantom"))
    assert [report.slices for report in reports] == [3, 3, 3]
    assert [report.phase for report in reports] == [Phase.ARTERIAL] * 3
    assert all(report.confidence < 0.5 for report in reports)


@pytest.mark.parametrize(
    ("file", "modality"),
    [("example_ct.nii.gz", Modality.CT), ("example_mr_sm.nii.gz", Modality.MR)],
)
def test_the_real_nifti_files(file, modality) -> None:
    study = read_study(real(f"totalsegmentator-reference/{file}"))
    assert study.modality is modality
    assert list(study.phases) == [Phase.PRE]


def test_a_table_of_phases_goes_there_and_back_whatever_the_bytes_of_the_names(tmp_path):
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    for phase in ("pre", "portal"):
        image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
        nib.save(image, folder / os.fsdecode(phase.encode() + b"_\xe9.nii"))
    write_phase_table(inspect(folder).series, tmp_path / "phases.csv")
    table = read_phase_table(tmp_path / "phases.csv")
    assert "portal_\\udce9.nii" in {row.series for row in table}
    assert set(read_study(folder, table=table).phases) == {Phase.PRE, Phase.PORTAL}


def test_linked_folders_and_files_are_read_once_and_broken_links_are_told(
    tmp_path, make, stored
) -> None:
    for number, name in ((2, "arterial"), (3, "portal venous"), (4, "delayed")):
        series = make.series(
            stored, SeriesNumber=number, SeriesInstanceUID=f"1.{number}", SeriesDescription=name
        )
        make.shuffled(series, tmp_path / f"archive/{number}")
    study = tmp_path / "study"
    make.shuffled(make.series(stored, SeriesDescription="native", SeriesInstanceUID="1.9"), study)
    for number in (2, 3):
        (study / f"linked-{number}").symlink_to(tmp_path / f"archive/{number}")
    (study / "again").symlink_to(tmp_path / "archive/2")
    (study / "loop").symlink_to(study)
    (study / "single").mkdir()
    for file in (tmp_path / "archive/4").iterdir():
        (study / "single" / file.name).symlink_to(file)
    (study / "nowhere").symlink_to("gone")
    read = read_study(study)
    assert list(read.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert {image.volume.shape for image in read.phases.values()} == {stored.shape}
    assert read.warnings == ("left out 1 of 25 files: 1 no regular file",)
    found = inspect(study)
    assert [report.slices for report in found if report.used] == [6] * 4
    assert found.warnings == read.warnings


def test_a_folder_of_nothing_but_links_is_no_empty_folder(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path / "archive")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/series").symlink_to(tmp_path / "archive")
    (tmp_path / "link").symlink_to(tmp_path / "study")
    assert list(read_study(tmp_path / "link").phases) == [Phase.PORTAL]
    assert [report.phase for report in inspect(tmp_path / "study")] == [Phase.PORTAL]


def test_damaged_dicom_beside_nifti_is_told_and_other_files_are_listed(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((6, 6, 6), 40, np.float32), np.eye(4))
    for phase in ("arterial", "portal"):
        nib.save(image, tmp_path / f"{phase}.nii.gz")
    (tmp_path / "IM0.dcm").write_bytes(b"torn")
    (tmp_path / "portal.json").write_text("{}")
    unused: dict[Path, str] = {}
    study = read_study(tmp_path, unused=unused)
    told = [warning for warning in study.warnings if "DICOM" in warning]
    assert told == ["left out: 1 file called like DICOM that cannot be read as DICOM"]
    assert told[0] in inspect(tmp_path).warnings
    assert {path.name for path in unused} == {"IM0.dcm", "portal.json"}
