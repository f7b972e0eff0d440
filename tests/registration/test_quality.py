"""The flag inside the liver: good alignments keep their trust, misplaced livers lose it."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from scipy import ndimage

from liverleaf.registration.align import Registration, register_phases
from liverleaf.registration.quality import assess_alignment, fit_phases
from liverleaf.study import AlignmentReason, Modality, Phase, PhaseImage, Study

SHAPE = (24, 40, 40)
AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])[[2, 1, 0, 3]]
LIVER = np.zeros(SHAPE, bool)
LIVER[7:17, 12:28, 10:28] = True


def scan(seed: int, contrast: float = 1.0, shift: tuple[int, int, int] = (0, 0, 0)) -> hd.Volume:
    """A body with a textured liver of its own per seed, moved by whole voxels."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2)
    image = np.zeros(SHAPE)
    image[:, 4:36, 4:36] = 100
    image = np.where(LIVER, 200 + contrast * 400 * texture, image)
    noise = np.random.default_rng(99 + int(10 * contrast)).normal(0, 4, SHAPE)
    return hd.Volume(
        (np.roll(image, shift, (0, 1, 2)) + noise).astype(np.float32), AFFINE, "PATIENT"
    )


def registration(moving: hd.Volume) -> Registration:
    study = Study(Modality.MR, {Phase.PORTAL: PhaseImage(scan(1)), Phase.PRE: PhaseImage(moving)})
    return register_phases(study)


def liver(mask: np.ndarray = LIVER) -> hd.Volume:
    return hd.Volume(mask, AFFINE, "PATIENT")


@pytest.mark.parametrize("contrast", [0.6, -0.6], ids=["paler", "inverted"])
def test_an_aligned_liver_is_trusted_in_any_contrast(contrast: float) -> None:
    study = assess_alignment(registration(scan(1, contrast)), within=liver())
    alignment = study.phases[Phase.PRE].alignment
    assert alignment is not None
    assert alignment.trusted
    assert alignment.liver_match is not None and alignment.liver_match > 0.2
    assert alignment.liver_folding == 0
    assert study.warnings == ()


def test_a_liver_that_was_left_in_the_wrong_place_is_named() -> None:
    found = registration(scan(1, 0.8, shift=(3, 0, 0)))
    left = replace(found, after=found.before)
    study = assess_alignment(left, within=liver())
    alignment = study.phases[Phase.PRE].alignment
    assert alignment is not None
    assert not alignment.trusted
    assert alignment.liver_match is not None and alignment.liver_match < 0.1
    assert len(study.warnings) == 1
    assert study.warnings[0].startswith(
        "pre-contrast phase: its liver does not lie on that of the reference phase"
    )
    repaired = assess_alignment(found, within=liver()).phases[Phase.PRE].alignment
    assert repaired is not None and repaired.trusted


def test_what_matches_worse_than_before_is_left_where_it_was() -> None:
    found = registration(scan(1))
    worse = registration(scan(1, shift=(0, 1, 0)))
    harmed = replace(found, study=worse.study, after={Phase.PRE: worse.before[Phase.PRE]})
    study = assess_alignment(harmed, within=liver())
    image = study.phases[Phase.PRE]
    assert image.alignment is not None
    assert image.alignment.trusted and image.alignment.reason is AlignmentReason.OK
    np.testing.assert_array_equal(image.volume.array, scan(1).array)
    assert study.warnings == (
        (
            "pre-contrast phase: registration made its liver lie worse, so it was left where the"
            " scanner put it"
        ),
    )


def half_scan(shown: slice) -> Registration:
    """A portal phase, and an arterial one that shows only some of its slices."""
    whole = scan(1, 0.8)
    part = whole[shown]
    phases = {Phase.PORTAL: PhaseImage(scan(1)), Phase.ARTERIAL: PhaseImage(part)}
    return register_phases(Study(Modality.MR, phases))


def test_a_phase_that_cuts_the_liver_is_named_and_measured_only_where_it_shows_something() -> None:
    study = assess_alignment(half_scan(slice(0, 13)), within=liver())
    image = study.phases[Phase.ARTERIAL]
    assert image.alignment is not None
    assert image.alignment.reason is AlignmentReason.PARTIAL_COVERAGE
    assert image.alignment.trusted and not image.alignment.fit_for_model
    assert image.alignment.coverage == pytest.approx(13 / 24, abs=0.06)
    assert image.alignment.liver_coverage == pytest.approx(6 / 10, abs=0.11)
    assert "it cuts the liver" in study.warnings[-1]
    assert np.isfinite(image.volume.array[:11]).all()
    assert np.isnan(image.volume.array[16:]).all()


def test_a_liver_that_was_outlined_only_where_a_phase_shows_it_does_not_hide_the_cut() -> None:
    outlined = LIVER.copy()
    outlined[13:] = False
    study = assess_alignment(half_scan(slice(0, 13)), within=liver(outlined))
    alignment = study.phases[Phase.ARTERIAL].alignment
    assert alignment is not None and alignment.reason is AlignmentReason.PARTIAL_COVERAGE


def test_a_phase_that_shows_less_than_the_reference_but_all_of_the_liver_is_fit() -> None:
    study = assess_alignment(half_scan(slice(4, 22)), within=liver())
    alignment = study.phases[Phase.ARTERIAL].alignment
    assert alignment is not None and alignment.fit_for_model
    assert alignment.liver_coverage == 1


def test_a_phase_that_shows_hardly_anything_is_unfit_before_there_is_a_liver() -> None:
    alignment = half_scan(slice(0, 6)).study.phases[Phase.ARTERIAL].alignment
    assert alignment is not None
    assert (alignment.trusted, alignment.reason) == (False, AlignmentReason.PARTIAL_COVERAGE)


def test_unfit_phases_are_left_out_for_the_model_unless_nothing_it_looks_at_were_left() -> None:
    study = half_scan(slice(0, 6)).study
    fit, reasons = fit_phases(study, tuple(Phase))
    assert list(fit.phases) == [Phase.PORTAL]
    assert list(reasons) == [Phase.ARTERIAL] and "coverage" in reasons[Phase.ARTERIAL]
    whole, reasons = fit_phases(study, [Phase.ARTERIAL])
    assert whole is study and reasons == {}


def test_what_was_no_better_before_registration_is_refused() -> None:
    found = registration(scan(1))
    worse = registration(scan(1, shift=(0, 1, 0))).before[Phase.PRE]
    blurred = replace(worse, image=0.5 * (worse.image + found.before[Phase.PRE].image))
    harmed = replace(found, after={Phase.PRE: blurred}, unmoved=None)
    study = assess_alignment(harmed, within=liver())
    assert study.warnings == (
        (
            "pre-contrast phase: its liver lies worse on that of the reference phase after"
            " registration than before"
        ),
    )


def test_nothing_is_said_without_a_liver() -> None:
    found = registration(scan(1))
    assert assess_alignment(found, within=liver(np.zeros(SHAPE, bool))) is found.study
    alone = Study(Modality.MR, {Phase.PORTAL: PhaseImage(scan(1))})
    assert assess_alignment(register_phases(alone), within=liver()) is alone
