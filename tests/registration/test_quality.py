"""The flag inside the liver: good alignments keep their trust, misplaced livers lose it."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from scipy import ndimage

from liverleaf.registration.align import Registration, register_phases
from liverleaf.registration.quality import assess_alignment
from liverleaf.study import Modality, Phase, PhaseImage, Study

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


def test_what_matches_worse_than_before_is_refused() -> None:
    found = registration(scan(1))
    worse = registration(scan(1, shift=(0, 1, 0))).before[Phase.PRE]
    blurred = replace(worse, image=0.5 * (worse.image + found.before[Phase.PRE].image))
    study = assess_alignment(replace(found, after={Phase.PRE: blurred}), within=liver())
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
