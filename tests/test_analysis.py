"""The folder that is written of a study: its files agree, and appear whole or not at all.

Masks and DICOM lie where the images lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from liverleaf import analysis
from liverleaf.analysis import analyze, measure_masks
from liverleaf.findings import Findings
from liverleaf.given_masks import GivenMasks
from liverleaf.models import predictor
from liverleaf.models.family import Output
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.registration.align import Registration
from liverleaf.segmentation import Segmentation
from liverleaf.storage.case_folder import save_case
from liverleaf.storage.volumes import save_volume
from liverleaf.study import Alignment, AlignmentReason, InputError, Phase, Study
from liverleaf.terminology import LesionType, Organ

LESION_HU = 150.0
"""Lesions of `tiny_case` are brighter than this in the portal phase, and nothing else is."""


def look(study: Study, *, progress: object = None) -> Prediction:
    """Stands for a network.

    The liver is what is brighter than 80 HU in the reference phase, the lesions are the bright
    balls in it.
    """
    image = study.grid.array
    labels = (image > LESION_HU).astype(np.uint16)
    back = labels[:, image.shape[1] // 2 :]
    back[back > 0] = labels[:, : image.shape[1] // 2].max() + 1
    lesions = tuple(
        LesionPrediction(
            int(label),
            0.9,
            {LesionType.HCC: 0.75, LesionType.CYST: 0.25},
            (LesionType.HCC,),
            {study.reference: 180.0},
        )
        for label in np.unique(labels[labels > 0])
    )
    patient = {LesionType.HCC: 0.7, LesionType.CYST: 0.2}
    liver = study.grid.with_array(image > 80)
    segmentation = Segmentation(study.grid.with_array(labels), {Organ.LIVER: liver}, "bright")
    return Prediction("bright", segmentation, lesions, patient, 0.7)


def untouched(study: Study) -> Registration:
    """Stands for a registration that has nothing to do."""
    return Registration(study, None, {}, {})


# what `analyze` asks of a Predictor
look.of_given = lambda _study, segmentation, **_: Prediction(
    "bright",
    segmentation,
    tuple(
        LesionPrediction(label, None, {LesionType.HCC: 0.75, LesionType.CYST: 0.25})
        for label in segmentation.labels
    ),
)
look.network_seconds, look.directory = 0.01, Path("bright")
look.card = SimpleNamespace(
    name="bright", training={}, input_config=SimpleNamespace(phases=tuple(Phase))
)


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liverleaf.models.predictor.load_predictor", lambda *_, **__: look)
    monkeypatch.setattr("liverleaf.models.shipped.find_model", lambda *_: Path("bright"))
    monkeypatch.setattr("liverleaf.models.checkpoint.weights_hash", lambda *_: "0" * 64)


@pytest.fixture
def case(tmp_path: Path, tiny_case: Callable) -> Path:
    study, _ = tiny_case(
        types=[LesionType.HCC, LesionType.FNH], phases=[Phase.ARTERIAL, Phase.PORTAL]
    )
    save_case(tmp_path / "case", study)
    return tmp_path / "case"


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_tells_the_same_lesions(case: Path, tmp_path: Path) -> None:
    findings = analyze(case, tmp_path / "out")
    out = tmp_path / "out"
    assert {
        "findings.json",
        "lesions.nii.gz",
        "liver.nii.gz",
        "report.html",
        "figures/overview-axial.png",
    } <= tree(out)
    assert Findings.model_validate_json((out / "findings.json").read_text()) == findings
    assert not (out / "seg.dcm").exists()
    lesions, liver = nib.load(out / "lesions.nii.gz"), nib.load(out / "liver.nii.gz")
    labels = np.asarray(lesions.dataobj)
    voxel_ml = float(np.prod(lesions.header.get_zooms())) / 1000
    assert (
        [lesion.id for lesion in findings.lesions] == list(np.unique(labels[labels > 0])) == [1, 2]
    )
    for lesion in findings.lesions:
        voxels = np.argwhere(labels == lesion.id)
        assert lesion.volume_ml == pytest.approx(len(voxels) * voxel_ml, abs=1e-3)
        ras_mm = nib.affines.apply_affine(lesions.affine, voxels).mean(0)
        np.testing.assert_allclose(lesion.centroid_mm, ras_mm * (-1, -1, 1), atol=0.06)
        # files run along X, Y, Z
        np.testing.assert_array_equal(np.array(lesion.bbox)[::-1, 0], voxels.min(0))
        np.testing.assert_array_equal(np.array(lesion.bbox)[::-1, 1], voxels.max(0) + 1)
    assert findings.liver.volume_ml == pytest.approx(
        np.count_nonzero(liver.dataobj) * voxel_ml, abs=1e-3
    )
    assert findings.provenance is not None
    assert {
        "reading",
        "registering",
        "network",
        "measuring",
        "writing masks",
        "writing the report",
    } <= findings.provenance.seconds.keys()


def test_masks_of_a_case_folder_lie_beside_its_reference_phase(case: Path, tmp_path: Path) -> None:
    analyze(case, tmp_path / "out")
    portal, mask = nib.load(case / "portal.nii.gz"), nib.load(tmp_path / "out/lesions.nii.gz")
    assert mask.shape == portal.shape
    np.testing.assert_allclose(mask.affine, portal.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, portal.get_fdata() > LESION_HU)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SPR", "ARI"])
def test_masks_of_nifti_images_cover_the_same_places_however_their_axes_run(
    case: Path, tmp_path: Path, axes: str
) -> None:
    portal = nib.load(case / "portal.nii.gz")
    turn = ornt_transform(io_orientation(portal.affine), axcodes2ornt(axes))
    image = apply_orientation(portal.get_fdata(dtype=np.float32), turn)
    affine = portal.affine @ inv_ornt_aff(turn, portal.shape)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "in/portal.nii.gz")
    analyze(tmp_path / "in", tmp_path / "out")
    mask = nib.load(tmp_path / "out/lesions.nii.gz")
    there = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    true = nib.affines.apply_affine(affine, np.argwhere(image > LESION_HU))
    np.testing.assert_allclose(in_order(there), in_order(true), atol=1e-3)


TILT = np.eye(4)
TILT[:3, :3] = np.linalg.qr(np.array([[0.9, -0.2, 0.1], [0.3, 0.8, 0.3], [-0.1, -0.2, 0.9]]))[0]


@pytest.mark.parametrize("oblique", [False, True], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SPR", "ARI", "PIR"])
def test_masks_of_nifti_images_match_them_index_by_index(
    case: Path, tmp_path: Path, axes: str, oblique: bool
) -> None:
    portal = nib.load(case / "portal.nii.gz")
    turn = ornt_transform(io_orientation(portal.affine), axcodes2ornt(axes))
    image = apply_orientation(portal.get_fdata(dtype=np.float32), turn)
    affine = portal.affine @ inv_ornt_aff(turn, portal.shape)
    (tmp_path / "in").mkdir()
    source = nib.Nifti1Image(image, TILT @ affine if oblique else affine)
    nib.save(source, tmp_path / "in/portal.nii.gz")
    findings = analyze(tmp_path / "in", tmp_path / "out")
    source = nib.load(tmp_path / "in/portal.nii.gz")
    mask, liver = (nib.load(tmp_path / f"out/{name}.nii.gz") for name in ("lesions", "liver"))
    np.testing.assert_array_equal(mask.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, image > LESION_HU)
    np.testing.assert_array_equal(np.asarray(liver.dataobj) > 0, image > 80)
    assert findings.study.affine is not None
    assert findings.study.mask_axes is not None
    for lesion in findings.lesions:
        voxels = np.argwhere(np.asarray(mask.dataobj) == lesion.id)
        for axis, name in enumerate(findings.study.mask_axes):
            first, end = lesion.bbox["zyx".index(name[-1])]
            if name.startswith("-"):
                first, end = mask.shape[axis] - end, mask.shape[axis] - first
            assert (first, end) == (voxels[:, axis].min(), voxels[:, axis].max() + 1)
        corner = np.array(findings.study.affine) @ (*(span[0] for span in lesion.bbox), 1)
        boxed = nib.affines.apply_affine(source.affine * [[-1], [-1], [1], [1]], voxels)
        nearest = np.linalg.norm(boxed - corner[:3], axis=1).min()
        assert nearest < 15  # mm; a ball of 9 mm from the corner of its box


def test_maps_of_types_lie_beside_the_masks_on_request(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_maps(study: Study, *, progress: object = None) -> Prediction:
        level = (study.grid.array / 1000).clip(0, 1).astype(np.float32)
        maps = {LesionType.HCC: study.grid.with_array(level)}
        return replace(look(study), type_maps=maps)

    with_maps.network_seconds, with_maps.directory = 0.01, Path("bright")
    with_maps.card = SimpleNamespace(**vars(look.card), outputs={Output.TYPE_MAP})
    monkeypatch.setattr("liverleaf.models.predictor.load_predictor", lambda *_, **__: with_maps)
    analyze(case, tmp_path / "out", keep_maps=True)
    written = nib.load(tmp_path / "out/maps/hcc.nii.gz")
    lesions = nib.load(tmp_path / "out/lesions.nii.gz")
    assert np.allclose(written.affine, lesions.affine)
    image = nib.load(case / "portal.nii.gz").get_fdata()
    assert np.allclose(written.get_fdata(), (image / 1000).clip(0, 1), atol=6e-4)
    analyze(case, tmp_path / "without")
    assert not (tmp_path / "without/maps").exists()
    with_maps.card.outputs = {Output.LESION_MASK}
    with pytest.raises(InputError, match="the model bright makes no maps of types"):
        analyze(case, tmp_path / "refused", keep_maps=True)
    assert not (tmp_path / "refused").exists()


def test_masks_are_in_mm_where_the_image_is_in_metres(case: Path, tmp_path: Path) -> None:
    portal = nib.load(case / "portal.nii.gz")
    (tmp_path / "in").mkdir()
    metres = nib.Nifti1Image(
        np.asarray(portal.dataobj), np.diag([0.001, 0.001, 0.001, 1]) @ portal.affine
    )
    metres.header.set_xyzt_units("meter")
    nib.save(metres, tmp_path / "in/portal.nii.gz")
    findings = analyze(tmp_path / "in", tmp_path / "out")
    mask = nib.load(tmp_path / "out/lesions.nii.gz")
    np.testing.assert_allclose(mask.affine, portal.affine, rtol=1e-5)
    assert findings.study.spacing_mm == (5, 4, 4)
    assert any("in meters" in warning for warning in findings.study.warnings)


@pytest.fixture
def dicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DICOM study of which the reference phase alone is looked at."""
    write_cohort(
        Phantom("ct", 1, shape=(8, 40, 40), spacing_mm=(20.0, 9.0, 9.0)),
        1,
        tmp_path / "cohort",
        format="dicom",
    )
    monkeypatch.setattr(
        analysis,
        "register_phases",
        lambda study: untouched(
            Study(study.modality, {study.reference: study.phases[study.reference]})
        ),
    )
    return tmp_path / "cohort/case-00000/dicom"


def test_the_dicom_seg_of_a_dicom_study_agrees_with_the_masks(dicom: Path, tmp_path: Path) -> None:
    findings = analyze(dicom, tmp_path / "out")
    seg = hd.seg.segread(tmp_path / "out/seg.dcm")
    assert len(seg.segment_numbers) == 1 + len(findings.lesions) > 1
    volume = seg.get_volume(combine_segments=False)
    liver, lesions = (nib.load(tmp_path / f"out/{name}.nii.gz") for name in ("liver", "lesions"))
    masks = [
        (liver, np.asarray(liver.dataobj) > 0),
        *((lesions, np.asarray(lesions.dataobj) == lesion.id) for lesion in findings.lesions),
    ]
    for segment, (file, mask) in enumerate(masks):
        there = nib.affines.apply_affine(volume.affine, np.argwhere(volume.array[..., segment]))
        true = nib.affines.apply_affine(file.affine, np.argwhere(mask)) * (-1, -1, 1)
        np.testing.assert_allclose(in_order(there), in_order(true), atol=1e-2)


def in_order(points: np.ndarray) -> np.ndarray:
    points = points.round(1)
    return points[np.lexsort(points.T)]


def test_one_phase_alone_is_analysed_with_a_warning_per_lesion(
    tmp_path: Path, tiny_case: Callable
) -> None:
    save_case(tmp_path / "case", tiny_case(phases=[Phase.PORTAL])[0])
    findings = analyze(tmp_path / "case", tmp_path / "out")
    assert any(
        "Only the portal venous phase" in warning for warning in findings.lesions[0].warnings
    )
    assert findings.lesions[0].wash_in is None


@pytest.mark.parametrize(
    "stage",
    ["read_study", "register_phases", "measure", "write_report", "save_volume", "Provenance"],
)
@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError("no space left"), MemoryError])
def test_an_interrupted_analysis_leaves_nothing(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, fault: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(analysis, "register_phases", untouched)
    monkeypatch.setattr(analysis, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(analysis, stage, fail)
    with pytest.raises((KeyboardInterrupt, OSError, MemoryError)):
        analyze(case, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_overwriting_replaces_an_earlier_analysis_whole_or_not_at_all(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(analysis, "register_phases", untouched)
    monkeypatch.setattr(analysis, "write_report", lambda path, **_: path.write_text("page"))
    analyze(case, out)
    with pytest.raises(InputError, match="--overwrite"):
        analyze(case, out)
    (out / "report.html").write_text("the earlier one")
    with monkeypatch.context() as broken:
        broken.setattr(analysis, "write_report", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            analyze(case, out, overwrite=True)
    assert (out / "report.html").read_text() == "the earlier one"
    analyze(case, out, overwrite=True)
    assert (out / "report.html").read_text() == "page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "out"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "was not written by liverleaf"),
        ({"thesis.docx": ""}, "was not written by liverleaf"),
        ({"findings.json": "{}", "thesis.docx": ""}, "thesis.docx"),
    ],
)
def test_overwriting_leaves_the_folders_of_others_alone(
    case: Path, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, content in files.items():
        (out / name).write_text(content)
    with pytest.raises(InputError, match=message):
        analyze(case, out, overwrite=True)
    assert tree(out) == files.keys()


def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        analyze(tmp_path / "never read", tmp_path / "file/out")


def test_a_seg_that_cannot_be_written_is_a_warning_and_the_rest_is_written(
    dicom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("no headers")

    monkeypatch.setattr(analysis, "write_seg", refuse)
    analyze(dicom, tmp_path / "out")
    record = json.loads((tmp_path / "out/findings.json").read_text())
    assert record["warnings"][-1] == "No DICOM SEG was written: no headers"
    assert "seg.dcm" not in tree(tmp_path / "out")


# Masks that a person drew


@pytest.fixture
def drawn(case: Path, tmp_path: Path) -> dict[str, Path]:
    """Masks of `case` in files, as if by hand."""
    portal = nib.load(case / "portal.nii.gz")
    image = portal.get_fdata()
    masks = {"lesions": 7 * (image > LESION_HU), "liver": (image > 80) & (image <= LESION_HU)}
    for name, mask in masks.items():
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), portal.affine), tmp_path / f"{name}.nii.gz")
    return {name: tmp_path / f"{name}.nii.gz" for name in masks}


def test_masks_by_hand_give_the_same_folder_without_a_model(
    case: Path, tmp_path: Path, drawn: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(case, tmp_path / "model")
    monkeypatch.setattr("liverleaf.models.predictor.load_predictor", None)
    findings = measure_masks(case, tmp_path / "hand", **drawn)
    assert Findings.read(tmp_path / "hand/findings.json") == findings
    assert {name for name in tree(tmp_path / "hand") if "/" not in name} == {
        name for name in tree(tmp_path / "model") if "/" not in name
    }
    (lesion,) = findings.lesions
    assert (lesion.id, lesion.type_probabilities, findings.model) == (7, None, None)
    assert lesion.warnings[-1].startswith("Its mask falls into 2 pieces")
    written = nib.load(tmp_path / "hand/lesions.nii.gz")
    np.testing.assert_array_equal(written.dataobj, nib.load(drawn["lesions"]).dataobj)
    # the liver was drawn without its lesions, and measured with them
    by_model = Findings.read(tmp_path / "model/findings.json")
    assert findings.liver == by_model.liver
    assert findings.segmentation is not None and findings.segmentation.source == "manual"
    assert findings.provenance is not None and findings.provenance.weights_sha256 is None
    assert {"reading masks", "registering", "measuring"} <= findings.provenance.seconds.keys()
    page = (tmp_path / "hand/report.html").read_text(encoding="utf-8")
    assert "None" not in page and "drawn by hand" in page and "Most probable type" not in page


def test_masks_by_hand_become_a_manual_segmentation_in_dicom(dicom: Path, tmp_path: Path) -> None:
    by_model = analyze(dicom, tmp_path / "model")
    lesions, liver = (tmp_path / f"model/{name}.nii.gz" for name in ("lesions", "liver"))
    by_hand = measure_masks(dicom, tmp_path / "hand", lesions=lesions, liver=liver)
    assert [lesion.centroid_mm for lesion in by_hand.lesions] == [
        lesion.centroid_mm for lesion in by_model.lesions
    ]
    segments = {
        name: hd.seg.segread(tmp_path / name / "seg.dcm").SegmentSequence
        for name in ("model", "hand")
    }
    assert {segment.SegmentAlgorithmType for segment in segments["model"]} == {"AUTOMATIC"}
    assert {segment.SegmentAlgorithmType for segment in segments["hand"]} == {"MANUAL"}


def test_a_dicom_seg_that_was_written_is_measured_as_before(dicom: Path, tmp_path: Path) -> None:
    by_model = analyze(dicom, tmp_path / "model")
    again = measure_masks(dicom, tmp_path / "again", lesions=tmp_path / "model/seg.dcm")
    assert again.liver == by_model.liver
    for ours, theirs in zip(again.lesions, by_model.lesions, strict=True):
        assert ours.id == theirs.id + 1  # the number of its segment, after that of the liver
        assert (ours.volume_ml, ours.bbox) == (theirs.volume_ml, theirs.bbox)
        assert ours.curve == theirs.curve


def test_masks_of_a_lesion_alone_are_measured(
    case: Path, tmp_path: Path, drawn: dict[str, Path]
) -> None:
    findings = measure_masks(
        case, tmp_path / "out", lesions=drawn["lesions"], drawn_by="ITK-SNAP", liver_from="nobody"
    )
    assert findings.liver is None
    assert not (tmp_path / "out/liver.nii.gz").exists()
    assert findings.segmentation is not None and findings.segmentation.source == "ITK-SNAP"
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "None" not in page and "ITK-SNAP" in page


def test_a_model_types_what_a_person_outlined(
    case: Path, tmp_path: Path, drawn: dict[str, Path]
) -> None:
    findings = analyze(case, tmp_path / "out", masks=GivenMasks(**drawn))
    (lesion,) = findings.lesions
    assert (lesion.id, lesion.score, findings.model) == (7, None, "bright")
    assert lesion.type_probabilities is not None and lesion.type_probabilities["hcc"] == 0.75
    assert findings.segmentation is not None and findings.segmentation.source == "manual"
    assert findings.provenance is not None and findings.provenance.weights_sha256 == "0" * 64
    written = nib.load(tmp_path / "out/lesions.nii.gz")
    np.testing.assert_array_equal(written.dataobj, nib.load(drawn["lesions"]).dataobj)


def test_a_liver_that_nobody_drew_is_outlined_by_our_own_network(
    case: Path, tmp_path: Path, drawn: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liverleaf.given_masks.doubts_of_liver", lambda *_: [])  # it is small
    findings = measure_masks(case, tmp_path / "out", lesions=drawn["lesions"])
    assert findings.segmentation is not None
    assert (findings.segmentation.source, findings.segmentation.liver_source) == (
        "manual",
        "bright",
    )
    assert findings.liver == measure_masks(case, tmp_path / "both", **drawn).liver
    assert any("outlined by the model bright" in line for line in findings.study.warnings)


def test_findings_say_where_lesions_lie_in_the_phase_that_they_were_drawn_on(
    tmp_path: Path,
) -> None:
    phantom = Phantom("ct", 3, shape=(24, 72, 72), spacing_mm=(8.0, 4.8, 4.8), own_grids=True)
    study, truth = phantom[0]
    shift_mm = truth.displacement_mm[Phase.ARTERIAL]
    images, mask = tmp_path / "in", tmp_path / "arterial-lesions.nii.gz"
    images.mkdir()
    for phase, image in study.phases.items():
        save_volume(images / f"{phase.key}.nii.gz", image.volume)
    # the largest lesion as the arterial phase shows it
    lesions = truth.lesions
    label = int(np.bincount(lesions.array[lesions.array > 0]).argmax())
    moved = lesions.affine.copy()
    moved[:3, 3] += shift_mm[lesions.array == label].mean(axis=0)
    drawn = hd.Volume((lesions.array == label).astype(np.uint8), moved, "PATIENT")
    save_volume(mask, drawn)
    findings = measure_masks(
        images, tmp_path / "out", lesions=mask, drawn_on=Phase.ARTERIAL, liver_from="nobody"
    )
    (lesion,) = findings.lesions
    assert findings.segmentation is not None and findings.segmentation.drawn_on == "arterial"
    assert set(lesion.places) == {phase.key for phase in study.phases}
    there = np.argwhere(drawn.array > 0).mean(axis=0) @ moved[:3, :3].T + moved[:3, 3]
    np.testing.assert_allclose(lesion.places["arterial"].centre_mm, there, atol=2.5)
    assert lesion.places["arterial"].coverage == 1.0
    here = np.argwhere(lesions.array == label).mean(axis=0)
    true = here @ lesions.affine[:3, :3].T + lesions.affine[:3, 3]
    assert np.linalg.norm(np.array(lesion.centroid_mm) - true) < 6.0


def test_masks_on_another_grid_leave_nothing(
    case: Path, tmp_path: Path, drawn: dict[str, Path]
) -> None:
    mask = nib.load(drawn["lesions"])
    moved = mask.affine.copy()
    moved[0, 3] += 1.5
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), moved), drawn["lesions"])
    with pytest.raises(InputError, match=r"the grid of none of its phases.*--drawn-on"):
        measure_masks(case, tmp_path / "out", **drawn)
    assert not (tmp_path / "out").exists()


def test_findings_name_their_source_so_that_an_archive_finds_it(
    dicom: Path, tmp_path: Path
) -> None:
    record = analyze(dicom, tmp_path / "out").study
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in dicom.rglob("*")
        if path.is_file()
    ]
    (phase,) = record.phases
    series = [h for h in headers if h.SeriesInstanceUID == phase.series_instance_uid]
    assert record.study_instance_uid == series[0].StudyInstanceUID
    assert set(phase.sop_instance_uids) == {header.SOPInstanceUID for header in series}


def test_findings_of_a_case_folder_name_no_source(case: Path, tmp_path: Path) -> None:
    record = analyze(case, tmp_path / "out").study
    assert record.study_instance_uid is None
    assert {(p.series_instance_uid, p.sop_instance_uids) for p in record.phases} == {(None, ())}


def marked(study: Study, reason: AlignmentReason) -> Study:
    """The study with an arterial phase that is unfit for this reason."""
    trusted = reason is AlignmentReason.PARTIAL_COVERAGE
    alignment = Alignment("resampled", 0.1, 0.1, 0.0, 0.0, trusted, reason=reason)
    image = replace(study.phases[Phase.ARTERIAL], alignment=alignment)
    return replace(study, phases={**study.phases, Phase.ARTERIAL: image})


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[set[Phase]]:
    """The phases that the model was given, each time that it was asked."""
    asked: list[set[Phase]] = []

    def watched(study: Study, *, progress: object = None) -> Prediction:
        asked.append(set(study.phases))
        return look(study)

    watched.network_seconds, watched.directory, watched.card = 0.01, look.directory, look.card
    monkeypatch.setattr("liverleaf.models.predictor.load_predictor", lambda *_, **__: watched)
    return asked


def test_a_phase_that_could_not_be_aligned_does_not_shape_the_masks(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[set[Phase]]
) -> None:
    unfit = partial(marked, reason=AlignmentReason.NOT_ALIGNED)
    monkeypatch.setattr(analysis, "register_phases", lambda study: untouched(unfit(study)))
    findings = analyze(case, tmp_path / "out")
    assert shown == [{Phase.PORTAL}]
    said = [warning for warning in findings.warnings if "arterial" in warning]
    assert said[0] == (
        "The arterial phase could not be aligned with the reference phase (alignment): the masks"
        " were made without it; it is left out of all curves and features."
    )
    given = {record.phase: record.given_to_model for record in findings.study.phases}
    assert given == {"arterial": False, "portal": True}
    assert all("arterial" not in lesion.curve.mean for lesion in findings.lesions)


@pytest.mark.parametrize(
    "reason", [AlignmentReason.PARTIAL_COVERAGE, AlignmentReason.LIVER_NOT_ALIGNED]
)
def test_masks_are_made_again_once_where_a_phase_is_found_unfit_inside_the_liver(
    case: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: list[set[Phase]],
    reason: AlignmentReason,
) -> None:
    monkeypatch.setattr(
        analysis,
        "assess_alignment",
        lambda registration, **_: marked(registration.study, reason),
    )
    monkeypatch.setattr(analysis, "register_phases", untouched)
    findings = analyze(case, tmp_path / "out")
    assert shown == [{Phase.ARTERIAL, Phase.PORTAL}, {Phase.PORTAL}]
    said = f"The arterial phase {reason.text}: the masks were made without it"
    assert any(warning.startswith(said) for warning in findings.warnings)
    assert not any("made with it" in warning for warning in findings.warnings)
    assert findings.provenance is not None
    assert findings.provenance.seconds["network"] == pytest.approx(0.02)  # of both times
    record = findings.study.phases[0].alignment
    assert record is not None and record.reason == reason.value


def test_an_unfit_phase_that_is_the_only_one_for_the_model_is_kept_and_named(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[set[Phase]]
) -> None:
    wanted = SimpleNamespace(phases=(Phase.ARTERIAL,))
    only = SimpleNamespace(**vars(look.card) | {"input_config": wanted})
    watched = predictor.load_predictor()
    monkeypatch.setattr(watched, "card", only)
    unfit = partial(marked, reason=AlignmentReason.NOT_ALIGNED)
    monkeypatch.setattr(analysis, "register_phases", lambda study: untouched(unfit(study)))
    findings = analyze(case, tmp_path / "out")
    assert shown == [{Phase.ARTERIAL, Phase.PORTAL}]
    assert any("but the masks were made with it" in warning for warning in findings.warnings)
