"""Case folders: written, read back equal; broken ones named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.storage.case_folder import (
    CASE_FILE,
    load_case,
    read_case_record,
    save_case,
)
from liverleaf.study import (
    Alignment,
    Annotation,
    BodyPart,
    InputError,
    LesionAnnotation,
    Modality,
    Phase,
    PhaseImage,
    SourceIds,
    Species,
    Study,
    same_grid,
)
from liverleaf.system.files import new_directory
from liverleaf.terminology import LesionType

STRAIGHT = np.array([[0, 0, 0.8, -150], [0, 0.8, 0, -120], [5.0, 0, 0, -900], [0, 0, 0, 1]])
FLIPPED = np.array([[0, 0, -0.8, 150], [0, 0.8, 0, -120], [-3.0, 0, 0, 40], [0, 0, 0, 1]])
ANGLE = np.deg2rad(20)
TILT = np.array(
    [
        [1, 0, 0, 0],
        [0, np.cos(ANGLE), -np.sin(ANGLE), 0],
        [0, np.sin(ANGLE), np.cos(ANGLE), 0],
        [0, 0, 0, 1],
    ]
)
OBLIQUE = TILT @ STRAIGHT
SHAPE = (4, 6, 5)


def volume(array: np.ndarray, affine: np.ndarray = STRAIGHT) -> hd.Volume:
    return hd.Volume(array, affine, "PATIENT", "1.2.3")


def case(affine: np.ndarray = STRAIGHT, case_id: str = "a") -> tuple[Study, Annotation]:
    rng = np.random.default_rng(0)
    whole = np.rint(rng.normal(50, 200, SHAPE)).astype(np.float32)
    fine = rng.normal(0, 1, (3, 5, 5)).astype(np.float32)
    aligned = Alignment("rigid", 0.5, 0.9, 2.0, 0.0, True)
    study = Study(
        Modality.CT,
        {
            Phase.PORTAL: PhaseImage(volume(whole, affine), 70.0, 0.9, ("name",), "PV"),
            Phase.PRE: PhaseImage(
                volume(fine, affine @ np.diag([1.3, 1.1, 1, 1])), alignment=aligned
            ),
        },
        case_id,
        "iodine",
        ("thin",),
        subject_id="s",
        week=2.0,
        other={"t2w": PhaseImage(volume(fine[:, :4], affine), description="T2")},
    )
    lesions = np.zeros(SHAPE, np.uint16)
    lesions[1, 2, 3] = 1
    truth = Annotation(
        volume(lesions, affine),
        volume(np.full(SHAPE, 7, np.uint8), affine),
        (LesionAnnotation(1, LesionType.FNH, {Phase.PORTAL: 115.5}, {"fnh.transit_s": 6.0}),),
        {Phase.PORTAL: 110.0},
        {Phase.PRE: rng.normal(0, 3, (*SHAPE, 3)).astype(np.float32)},
        diagnosis="responder",
        markers={"viability_percent": 62.0, "arm": "control"},
    )
    return study, truth


@pytest.mark.parametrize(
    "affine", [STRAIGHT, FLIPPED, OBLIQUE], ids=["straight", "flipped", "oblique"]
)
def test_a_case_comes_back_as_it_was(tmp_path: Path, affine: np.ndarray) -> None:
    study, truth = case(affine)
    save_case(tmp_path / "case", study, truth)
    again, truth_again = load_case(tmp_path / "case")
    assert truth_again is not None
    assert (again.modality, again.case_id, again.agent, again.warnings) == (
        study.modality,
        study.case_id,
        study.agent,
        study.warnings,
    )
    assert (again.subject_id, again.week) == ("s", 2.0)
    assert (truth_again.diagnosis, truth_again.markers) == (truth.diagnosis, truth.markers)
    for image, found in (
        (study.other["t2w"], again.other["t2w"]),
        *((image, again.phases[phase]) for phase, image in study.phases.items()),
    ):
        np.testing.assert_array_equal(found.volume.array, image.volume.array)
        assert same_grid(found.volume, image.volume)
        assert found.volume.frame_of_reference_uid == "1.2.3"
        assert replace(found, volume=image.volume) == image
    for attribute in ("lesions", "organs"):
        found, known = getattr(truth_again, attribute), getattr(truth, attribute)
        assert found.dtype == known.dtype
        assert same_grid(found, known)
        np.testing.assert_array_equal(found.array, known.array)
    assert truth_again.lesion_list == truth.lesion_list
    assert truth_again.liver_curve == truth.liver_curve
    np.testing.assert_array_equal(
        truth_again.displacement_mm[Phase.PRE], truth.displacement_mm[Phase.PRE]
    )
    assert read_case_record(tmp_path / "case").lesion_types == {LesionType.FNH}


def test_voxels_lie_where_other_software_expects_them(tmp_path: Path) -> None:
    study, _ = case(OBLIQUE)
    save_case(tmp_path / "case", study)
    image = sitk.ReadImage(tmp_path / "case/portal.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), study.grid.array)
    position = image.TransformIndexToPhysicalPoint((3, 2, 1))  # SimpleITK: x, y, z, in LPS
    np.testing.assert_allclose(
        position, study.grid.map_indices_to_reference(np.array([[1, 2, 3]]))[0], atol=1e-3
    )


def test_without_truth_and_without_displacements(tmp_path: Path) -> None:
    study, truth = case()
    save_case(tmp_path / "bare", study)
    save_case(tmp_path / "plain", study, replace(truth, displacement_mm={}))
    assert load_case(tmp_path / "bare")[1] is None
    plain = load_case(tmp_path / "plain")[1]
    assert plain is not None
    assert plain.displacement_mm == {}


def test_existing_folders_are_kept_and_failures_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    with pytest.raises(InputError, match="exists already"):
        save_case(tmp_path / "case", case()[0])
    with pytest.raises(RuntimeError), new_directory(tmp_path / "new") as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / CASE_FILE).read_text())
        (folder / CASE_FILE).write_text(json.dumps(record | changes))

    return edit


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / CASE_FILE).unlink(), r"case\.json is missing"),
        (
            lambda folder: (folder / CASE_FILE).write_text("{"),
            r"case\.json: the file: Invalid JSON",
        ),
        (
            lambda folder: (folder / CASE_FILE).write_bytes(b"\xff\xfe"),
            r"case\.json is not a text file",
        ),
        (lambda folder: (folder / "portal.nii.gz").unlink(), r"portal\.nii\.gz is missing"),
        (
            lambda folder: (folder / "portal.nii.gz").write_bytes(b"no"),
            r"portal\.nii\.gz cannot be read",
        ),
        (
            lambda folder: (folder / "pre.nii.gz").write_bytes(
                (folder / "pre.nii.gz").read_bytes()[:200]
            ),
            r"pre\.nii\.gz cannot be read",
        ),
        (
            lambda folder: (folder / "truth/lesions.nii.gz").write_bytes(
                (folder / "pre.nii.gz").read_bytes()
            ),
            r"lesions\.nii\.gz has shape",
        ),
        (_edit(schema_version=2), "schema_version"),
        (_edit(modality="PET"), "modality"),
        (_edit(phases={}), "at least one"),
        (_edit(phases={"venous": {"file": "portal.nii.gz"}}), "'venous' is no phase"),
        (
            _edit(
                truth={"lesions": "x", "lesion_list": [{"label": 1, "type": "wart", "curve": {}}]}
            ),
            "'wart' is no lesion type",
        ),
        (_edit(surprise=1), "surprise"),
    ],
)
def test_a_broken_case_is_named(tmp_path: Path, harm: Callable[[Path], None], message: str) -> None:
    save_case(tmp_path / "case", *case())
    harm(tmp_path / "case")
    with pytest.raises(InputError, match=message):
        load_case(tmp_path / "case")


def test_a_case_folder_never_holds_the_identifiers_of_its_source(tmp_path: Path) -> None:
    study, _ = case()
    known = SourceIds("1.22.333", "1.22.333.4", ("1.22.333.4.5",))
    phases = {phase: replace(image, source=known) for phase, image in study.phases.items()}
    save_case(tmp_path / "case", replace(study, phases=phases))
    assert "22.333" not in (tmp_path / "case" / CASE_FILE).read_text()
    again, _ = load_case(tmp_path / "case")
    assert {image.source for image in again.phases.values()} == {SourceIds()}


def test_the_usual_body_part_and_species_are_not_written(
    tiny_case: Callable, tmp_path: Path
) -> None:
    study, truth = tiny_case()
    rat = replace(study, species=Species.RAT, body_part=BodyPart.CHEST)
    for name, kept in (("usual", study), ("other", rat)):
        save_case(tmp_path / name, kept, truth)
        assert load_case(tmp_path / name)[0].species is kept.species
        assert load_case(tmp_path / name)[0].body_part is kept.body_part
    usual, other = (
        json.loads((tmp_path / n / "case.json").read_text()) for n in ("usual", "other")
    )
    assert other["body_part"] == "chest" and other["species"] == "rat"
    assert not {"body_part", "species"} & usual.keys()


def save_again(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nib.load(file)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), file)


@pytest.mark.parametrize("which", ["truth", "all"])
def test_an_annotation_that_another_program_saved_again_lies_where_it_was(
    tmp_path: Path, which: str
) -> None:
    study, truth = case(OBLIQUE)
    save_case(tmp_path / "case", study, truth)
    folder = tmp_path / "case" / ("truth" if which == "truth" else "")
    for file in folder.rglob("*.nii.gz"):
        nib.save(nib.as_closest_canonical(nib.load(file)), file)
    again, found = load_case(tmp_path / "case")
    assert found is not None
    to_saved = np.linalg.inv(again.grid.affine) @ study.grid.affine
    assert np.allclose(to_saved, np.eye(4), atol=1e-3) == (which == "truth")
    shift_mm = found.displacement_mm[Phase.PRE]
    for z, y, x in np.ndindex(SHAPE):
        there = tuple(np.rint(to_saved @ (z, y, x, 1))[:3].astype(int))
        assert found.lesions.array[there] == truth.lesions.array[z, y, x]
        assert again.grid.array[there] == study.grid.array[z, y, x]
        np.testing.assert_allclose(
            shift_mm[there], truth.displacement_mm[Phase.PRE][z, y, x], atol=1e-4
        )
    np.testing.assert_array_equal(found.lesions.affine, again.grid.affine)


def _organ(value: float) -> Callable[[Path], None]:
    return lambda folder: save_again(
        folder / "truth/organs.nii.gz", lambda a: np.where(a == 7, value, a).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda f: save_again(f / "truth/lesions.nii.gz", lambda a: (a * 0.5).astype("f4")),
            r"lesions\.nii\.gz is no label map: it holds 0\.5",
        ),
        (
            lambda f: save_again(f / "truth/lesions.nii.gz", lambda a: -a.astype(np.int16)),
            r"lesions\.nii\.gz is no label map: it holds -1",
        ),
        (
            lambda f: save_again(f / "truth/lesions.nii.gz", lambda a: a * np.uint16(77)),
            r"lesions\.nii\.gz holds the label 77, which case\.json does not name",
        ),
        (_organ(3.5), r"organs\.nii\.gz is no label map: it holds 3\.5"),
        (_organ(117), r"organs\.nii\.gz holds the label 117, which the list of organs"),
        (
            lambda f: save_again(f / "truth/lesions.nii.gz", lambda a: a[:, :, ::2]),
            r"lesions\.nii\.gz has shape .* resample it",
        ),
    ],
    ids=["halves", "negative", "not listed", "organ of 3.5", "foreign organ", "other grid"],
)
def test_an_annotation_that_cannot_be_trusted_is_refused_in_one_line(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    save_case(tmp_path / "case", *case())
    harm(tmp_path / "case")
    with pytest.raises(InputError, match=message) as caught:
        load_case(tmp_path / "case")
    assert "\n" not in str(caught.value)


def test_lesions_of_unknown_type_need_no_list(tmp_path: Path) -> None:
    study, truth = case()
    save_case(tmp_path / "case", study, replace(truth, lesion_list=()))
    found = load_case(tmp_path / "case")[1]
    assert found is not None
    assert found.lesions.array.max() == 1


def test_a_file_that_names_two_places_is_told(tmp_path: Path) -> None:
    save_case(tmp_path / "case", *case())
    file = tmp_path / "case/truth/organs.nii.gz"
    image = nib.load(file)
    image.set_qform(image.affine @ np.diag([-1, 1, 1, 1.0]), code=1)
    image.set_sform(image.affine, code=2)
    nib.save(image, file)
    (told,) = [note for note in load_case(tmp_path / "case")[0].warnings if note != "thin"]
    assert "truth/organs.nii.gz" in told
    assert "two places" in told
