"""Masks that are given: completed with a liver, laid anew where a motion is taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from liverleaf import given_masks
from liverleaf.given_masks import GivenMasks, checked, lay, read_given
from liverleaf.prediction import Prediction
from liverleaf.registration.align import Registration
from liverleaf.segmentation import Segmentation
from liverleaf.storage.volumes import save_volume
from liverleaf.study import Alignment, InputError, Modality, Phase, Study
from liverleaf.terminology import Organ


@pytest.fixture
def study(tiny_case: Callable) -> Study:
    return tiny_case(phases=[Phase.PORTAL])[0]


@pytest.fixture
def lesions(study: Study, tmp_path: Path) -> Path:
    save_volume(
        tmp_path / "l.nii", study.grid.with_array((study.grid.array > 150).astype(np.uint8))
    )
    return tmp_path / "l.nii"


def seer(liver: bool) -> Callable:
    """Stands for a network that finds a liver, or none."""

    def predict(study: Study, **_: object) -> Prediction:
        mask = study.grid.with_array((study.grid.array > 80) & liver)
        none = study.grid.with_array(np.zeros(study.grid.spatial_shape, np.uint16))
        return Prediction("seer", Segmentation(none, {Organ.LIVER: mask}, "seer"))

    predict.card = SimpleNamespace(name="seer", input_config=SimpleNamespace(phases=tuple(Phase)))
    return predict


def laid(study: Study, masks: GivenMasks, *, liver: bool = True) -> given_masks.LaidMasks:
    return lay(read_given(study, masks), masks, Registration(study, None, {}, {}), seer(liver))


@pytest.fixture
def plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    """The liver of a tiny case is that of a child."""
    monkeypatch.setattr(given_masks, "doubts_of_liver", lambda *_: [])


@pytest.mark.usefixtures("plausible")
def test_a_liver_that_nobody_drew_is_the_networks(study: Study, lesions: Path) -> None:
    found = laid(study, GivenMasks(lesions))
    assert found.segmentation.liver is not None
    np.testing.assert_array_equal(found.segmentation.liver.array, study.grid.array > 80)
    assert (found.segmentation.source, found.segmentation.liver_source) == ("manual", "seer")
    assert "the liver was outlined by the model seer, not by who drew the lesions" in (
        found.study.warnings
    )


def test_a_liver_that_is_hardly_plausible_is_not_compared_with(study: Study, lesions: Path) -> None:
    found = laid(study, GivenMasks(lesions))
    assert found.segmentation.liver is None
    (told,) = found.study.warnings
    assert "that of the model seer was not used: a liver of 228 ml is hardly" in told


def test_without_a_liver_lesions_are_still_measured(study: Study, lesions: Path) -> None:
    found = laid(study, GivenMasks(lesions), liver=False)
    assert found.segmentation.liver is None
    assert "there is no liver mask, and the model seer found no liver" in found.study.warnings
    nobody = laid(study, GivenMasks(lesions, liver_from="nobody"))
    assert (nobody.segmentation.liver, nobody.study.warnings) == (None, study.warnings)


def test_a_study_that_no_model_fits_is_told(
    study: Study, lesions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: Study) -> str:
        raise InputError("no model ships for this")

    monkeypatch.setattr("liverleaf.models.shipped.default_model", none)
    masks = GivenMasks(lesions)
    found = lay(read_given(study, masks), masks, Registration(study, None, {}, {}))
    (told,) = found.study.warnings
    assert told == "there is no liver mask, and no model to outline it: no model ships for this"


def test_lesions_or_who_finds_them_are_given() -> None:
    for wrong in ({}, {"lesions": Path("a.nii"), "lesions_from": "totalsegmentator"}):
        with pytest.raises(InputError, match="one of them"):
            GivenMasks(**wrong)  # type: ignore[arg-type]


def test_masks_are_laid_anew_where_the_motion_of_their_phase_is_taken_back(
    tiny_case: Callable, lesions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_case(phases=[Phase.ARTERIAL, Phase.PORTAL], modality=Modality.CT)[0]
    moved, still = (Alignment(m, 0.5, 0.9, 3.0, 0.0, trusted=True) for m in ("rigid", "none"))

    def aligned(how: Alignment) -> Study:
        image = replace(study.phases[Phase.ARTERIAL], alignment=how)
        return replace(study, phases={**study.phases, Phase.ARTERIAL: image})

    asked = []

    def lay_again(drawn: object, registration: object, assessed: Study | None = None) -> tuple:
        asked.append(assessed)
        return Segmentation(
            study.grid.with_array(np.zeros(study.grid.spatial_shape, np.uint16))
        ), []

    monkeypatch.setattr(given_masks, "on_reference_grid", lay_again)
    masks = GivenMasks(lesions, drawn_on=Phase.ARTERIAL, liver_from="nobody")
    registration = Registration(aligned(moved), None, {}, {}, study)
    drawn = read_given(study, masks)
    first = lay(drawn, masks, registration)
    for how, times in ((moved, 1), (still, 2)):
        asked[1:] = []
        monkeypatch.setattr(given_masks, "assess_alignment", lambda *_, how=how, **__: aligned(how))
        checked(drawn, first, registration)
        assert len(asked) == times
