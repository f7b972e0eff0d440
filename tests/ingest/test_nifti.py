"""NIfTI phases by file name, in any orientation."""

import nibabel as nib
import numpy as np
import pytest

from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError, Modality, Phase

RAS = np.diag([-0.7, -0.8, 2.5, 1.0])
RAS[:3, 3] = (30, 20, -100)


def write(path, *, low=-1000, shape=(5, 6, 4), affine=RAS, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (np.arange(np.prod(shape)).reshape(shape) + low).astype(dtype)
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


NAMES = {
    Phase.PRE: [
        "pre",
        "native",
        "C-pre",
        "nc",
        "case01_PRE",
        "AMPL_1_DRY",
        "sub-01_acq-native_T1w",
    ],
    Phase.ARTERIAL: ["art", "ART", "C+A", "case01_arterial", "sub-01_ce-arterial"],
    Phase.PORTAL: ["pv", "portal", "VEN", "pvp", "C+V", "case01_portal_venous", "liver_portal"],
    Phase.DELAYED: ["del", "late", "C+Delay", "delayed", "3min"],
    Phase.HEPATOBILIARY: ["hbp", "hepatobiliary", "20min"],
}


@pytest.mark.parametrize(
    ("phase", "name"), [(phase, name) for phase, several in NAMES.items() for name in several]
)
def test_the_file_name_tells_the_phase(tmp_path, phase, name) -> None:
    write(tmp_path / f"{name}.nii.gz")
    study = read_study(tmp_path)
    assert list(study.phases) == [phase]
    assert study.phases[phase].confidence >= 0.9


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SAL", "ILA"])
def test_every_orientation_comes_out_the_same(tmp_path, axes) -> None:
    array = write(tmp_path / "a/pv.nii.gz")
    image = nib.load(tmp_path / "a/pv.nii.gz")
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(RAS), nib.orientations.axcodes2ornt(axes)
        )
    )
    (tmp_path / "b").mkdir()
    nib.save(turned, tmp_path / "b/pv.nii.gz")
    volume = read_study(tmp_path / "b").phases[Phase.PORTAL].volume
    np.testing.assert_array_equal(volume.array, array.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7), atol=1e-6)
    np.testing.assert_allclose(volume.position, (-30, -20, -100), atol=1e-5)
    assert (
        volume.get_closest_patient_orientation()
        == volume.to_patient_orientation("HPL").get_closest_patient_orientation()
    )


def test_oblique_and_scaled(tmp_path) -> None:
    turn = np.deg2rad(15)
    affine = RAS.copy()
    affine[:3, :3] = (
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        @ RAS[:3, :3]
    )
    image = nib.Nifti1Image(np.arange(120).reshape(5, 6, 4).astype(np.int16), affine)
    image.header.set_slope_inter(2, -7)
    nib.save(image, tmp_path / "pv.nii")
    volume = read_study(tmp_path / "pv.nii").phases[Phase.PORTAL].volume
    for x, y, z in ((0, 0, 0), (4, 0, 1), (2, 5, 3)):
        place = (affine @ (x, y, z, 1))[:3] * (-1, -1, 1)
        index = volume.map_reference_to_indices(place[None], round_output=True)[0]
        assert volume.array[tuple(index)] == 2 * image.dataobj[x, y, z] - 7


def test_phases_masks_and_other_contrasts_in_one_folder(tmp_path) -> None:
    for name in ("C-pre", "C+A", "C+V", "C+Delay", "T2WI", "In Phase", "liver_seg", "tumor"):
        write(tmp_path / f"{name}.nii.gz", low=0)
    study = read_study(tmp_path)
    assert study.modality is Modality.MR
    assert list(study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert any("4 of 8 files were left out" in warning for warning in study.warnings)
    assert sum(report.used for report in inspect(tmp_path)) == 4
    assert len(inspect(tmp_path).series) == 8


def test_one_unnamed_file_is_one_phase_with_a_warning(tmp_path) -> None:
    write(tmp_path / "scan.nii.gz", low=0)
    study = read_study(tmp_path / "scan.nii.gz")
    assert list(study.phases) == [Phase.PRE]
    assert any("does not tell the phase" in warning for warning in study.warnings)
    assert any("taken for MR" in warning for warning in study.warnings)


def test_several_unnamed_files_are_refused(tmp_path) -> None:
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.nii.gz")
    with pytest.raises(
        InputError,
        match=r"do not tell the phase of a\.nii\.gz, b\.nii\.gz; name them pre, arterial",
    ):
        read_study(tmp_path)


def test_two_files_of_one_phase_are_refused(tmp_path) -> None:
    write(tmp_path / "pv.nii.gz")
    write(tmp_path / "portal.nii.gz")
    with pytest.raises(InputError, match="two files are of the portal venous phase"):
        read_study(tmp_path)


def test_what_is_no_image(tmp_path) -> None:
    (tmp_path / "pv.nii.gz").write_text("no image")
    with pytest.raises(InputError, match=r"pv\.nii\.gz cannot be read as NIfTI"):
        read_study(tmp_path)
    write(tmp_path / "pv.nii.gz", shape=(4, 4, 4, 3))
    with pytest.raises(InputError, match=r"shape \(4, 4, 4, 3\), a phase has three axes"):
        read_study(tmp_path)
    write(
        tmp_path / "pv.nii.gz",
        affine=np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    with pytest.raises(InputError, match="sheared or degenerate"):
        read_study(tmp_path)
    whole = (tmp_path / "pv.nii.gz").read_bytes()
    (tmp_path / "pv.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_study(tmp_path)


def test_what_is_too_large(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("liverleaf.ingest.nifti.MAX_VOXELS", 100)
    write(tmp_path / "pv.nii.gz")
    with pytest.raises(InputError, match=r"shape \(5, 6, 4\), too large to read"):
        read_study(tmp_path)


def test_a_trailing_axis_is_dropped_and_nan_is_told(tmp_path) -> None:
    array = np.arange(120, dtype=np.float32).reshape(5, 6, 4, 1)
    array[2, 3, 1] = np.nan
    nib.save(nib.Nifti1Image(array, RAS), tmp_path / "pv.nii.gz")
    study = read_study(tmp_path)
    assert study.phases[Phase.PORTAL].volume.array[1, 3, 2] == 0
    assert any("not numbers" in warning for warning in study.warnings)


def body(name, change=lambda hu: hu):
    """A disc of soft tissue and fat in air, changed by a function of its HU."""
    z, y, x = np.indices((6, 24, 24)) - 11.5
    radius = np.hypot(y, x)
    hu = np.where(radius < 8, 60 + np.rint(z + x), np.where(radius < 10, -100, -1000))
    name.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(change(hu).astype(np.float32), RAS), name)
    return hu.transpose(2, 1, 0)


def test_the_modality_that_a_person_says_counts(tmp_path) -> None:
    body(tmp_path / "pv.nii.gz", lambda hu: hu + 1500)
    assert read_study(tmp_path).modality is Modality.MR
    body(tmp_path / "pv.nii.gz", lambda hu: hu + 1024)
    assert read_study(tmp_path).modality is Modality.CT
    assert read_study(tmp_path, modality=Modality.MR).modality is Modality.MR
    study = read_study(tmp_path, modality=Modality.CT)
    assert study.modality is Modality.CT
    assert not any("does not tell the modality" in warning for warning in study.warnings)
    body(tmp_path / "pv.nii.gz")
    assert read_study(tmp_path).modality is Modality.CT
    study = read_study(tmp_path, modality=Modality.MR)
    assert (study.modality, study.warnings) == (Modality.MR, ())
    assert [report.modality for report in inspect(tmp_path, modality=Modality.MR)] == ["MR"]


def test_ct_that_is_1024_too_high_is_mended_and_told(tmp_path) -> None:
    hu = body(tmp_path / "pv.nii.gz", lambda hu: hu + 1024)
    study = read_study(tmp_path, modality=Modality.CT)
    np.testing.assert_array_equal(study.phases[Phase.PORTAL].volume.array, hu)
    assert study.warnings == (
        "pv.nii.gz: its tissue has values near 1024, so 1024 was subtracted to make HU",
    )


def test_ct_in_hounsfield_units_is_left_alone(tmp_path) -> None:
    hu = body(tmp_path / "pv.nii.gz")
    study = read_study(tmp_path, modality=Modality.CT)
    np.testing.assert_array_equal(study.phases[Phase.PORTAL].volume.array, hu)
    assert study.warnings == ()


def test_ct_cut_off_at_a_window_is_ct_and_told(tmp_path) -> None:
    hu = body(tmp_path / "pv.nii.gz", lambda hu: np.clip(hu, -160, 240))
    for modality in (None, Modality.CT):
        study = read_study(tmp_path, modality=modality)
        assert study.modality is Modality.CT
        np.testing.assert_array_equal(
            study.phases[Phase.PORTAL].volume.array, np.clip(hu, -160, 240)
        )
        assert "pv.nii.gz: no value is below -160" in study.warnings[0]


def test_ct_on_another_scale_is_refused(tmp_path) -> None:
    body(tmp_path / "pv.nii.gz", lambda hu: (np.clip(hu, -160, 240) + 160) / 400)
    assert read_study(tmp_path).modality is Modality.MR
    said = (
        r"pv.nii.gz: nothing tells how to make Hounsfield units \(HU\) of its values, 0 to 0\.\d+"
    )
    with pytest.raises(InputError, match=said):
        read_study(tmp_path, modality=Modality.CT)
    (report,) = (inspected := inspect(tmp_path, modality=Modality.CT))
    assert (report.used, report.warnings) == (False, (inspected.refused,))


def test_words_of_mr_in_the_name_of_what_a_person_calls_ct_are_no_reason(tmp_path) -> None:
    body(tmp_path / "t2spir_pv.nii.gz")
    body(tmp_path / "art.nii.gz")
    assert list(read_study(tmp_path).phases) == [Phase.ARTERIAL]
    both = read_study(tmp_path, modality=Modality.CT).phases
    assert list(both) == [Phase.ARTERIAL, Phase.PORTAL]


def test_a_mask_that_cannot_be_read_stops_nothing(tmp_path) -> None:
    write(tmp_path / "pv.nii.gz")
    (tmp_path / "liver_seg.nii.gz").write_text("no image")
    assert list(read_study(tmp_path).phases) == [Phase.PORTAL]
    mask, image = inspect(tmp_path).series
    assert (mask.slices, mask.shape, mask.used, image.used) == (0, (), False, True)
    assert "cannot be read as NIfTI" in mask.warnings[0]
