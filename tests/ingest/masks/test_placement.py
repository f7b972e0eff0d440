"""The phase that masks were drawn on: named, told by a grid, said by a person, or asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset

from liverleaf.ingest.masks.drawn import DrawnMasks, DrawnOn, Outline
from liverleaf.ingest.masks.placement import drawn_phase, embedded, offset_in
from liverleaf.study import InputError, Phase, SourceIds, Study


@pytest.fixture
def study(tiny_case: Callable) -> Study:
    """Arterial and portal phase, each of a series and on a grid of its own."""
    found = tiny_case(phases=[Phase.ARTERIAL, Phase.PORTAL])[0]
    phases = dict(found.phases)
    cropped = phases[Phase.ARTERIAL].volume[1:]
    header = Dataset()
    header.PatientID = "4711"
    for phase, volume in ((Phase.ARTERIAL, cropped), (Phase.PORTAL, phases[Phase.PORTAL].volume)):
        affine = volume.affine.copy()
        affine[2, 3] += 0.7 * phase  # a scan of its own
        moved = hd.Volume(volume.array, affine, "PATIENT", "1.2.3.4")
        series = f"1.2.{int(phase)}"
        source = SourceIds("1.2", series, tuple(f"{series}.{z}" for z in range(len(moved.array))))
        phases[phase] = replace(phases[phase], volume=moved, source=source, headers=(header,))
    return replace(found, phases=phases)


def masks(volume: hd.Volume, **drawn_on: object) -> DrawnMasks:
    labels = volume.with_array(np.ones(volume.spatial_shape, np.uint16))
    return DrawnMasks("m.dcm", (Outline("", 1, labels),), DrawnOn(**drawn_on))  # type: ignore[arg-type]


def shifted(volume: hd.Volume) -> hd.Volume:
    affine = volume.affine.copy()
    affine[0, 3] += 1.0
    return hd.Volume(volume.array, affine, "PATIENT")


@pytest.mark.parametrize("phase", [Phase.ARTERIAL, Phase.PORTAL])
def test_the_series_that_a_mask_names_is_its_phase_on_any_grid(study: Study, phase: Phase) -> None:
    series = frozenset({study.phases[phase].source.series_instance_uid})
    drawn = masks(shifted(study.grid), series_uids=series)
    assert drawn_phase(drawn, study, None) == (phase, [])


def test_the_images_that_a_mask_names_tell_phases_of_one_series_apart(study: Study) -> None:
    one = {
        phase: replace(image, source=replace(image.source, series_instance_uid="1.2.9"))
        for phase, image in study.phases.items()
    }
    named = frozenset(study.phases[Phase.ARTERIAL].source.sop_instance_uids[2:4])
    drawn = masks(shifted(study.grid), series_uids=frozenset({"1.2.9"}), image_uids=named)
    assert drawn_phase(drawn, replace(study, phases=one), None) == (Phase.ARTERIAL, [])


@pytest.mark.parametrize("phase", [Phase.ARTERIAL, Phase.PORTAL])
def test_a_grid_that_one_phase_has_is_its_phase(study: Study, phase: Phase) -> None:
    assert drawn_phase(masks(study.phases[phase].volume), study, None) == (phase, [])


def test_a_grid_that_all_phases_have_is_taken_for_the_reference_phase(tiny_case: Callable) -> None:
    study = tiny_case()[0]
    phase, (told,) = drawn_phase(masks(study.grid), study, None)
    assert phase is Phase.PORTAL
    assert "(pre and arterial and portal and delayed)" in told and "--drawn-on" in told
    assert drawn_phase(masks(study.grid), study, Phase.PRE) == (Phase.PRE, [])


def test_nothing_tells_so_the_phases_are_listed(study: Study) -> None:
    with pytest.raises(InputError, match=r"--drawn-on which it was drawn on: arterial, portal$"):
        drawn_phase(masks(shifted(study.grid)), study, None)


def test_a_person_overrules_what_the_file_names(study: Study) -> None:
    drawn = masks(study.grid, series_uids=frozenset({"1.2.2"}))
    phase, (told,) = drawn_phase(drawn, study, Phase.ARTERIAL)
    assert phase is Phase.ARTERIAL
    assert "names images of the portal venous phase" in told


def test_a_phase_that_is_not_there_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match=r"no delayed phase .* only arterial, portal"):
        drawn_phase(masks(study.grid), study, Phase.DELAYED)


def test_sources_that_are_not_there_are_told(study: Study) -> None:
    drawn = masks(study.grid, series_uids=frozenset({"1.2.77"}), study_uid="1.2")
    phase, (told,) = drawn_phase(drawn, study, None)
    assert phase is Phase.PORTAL
    assert "drawn on images that are not here" in told


@pytest.mark.parametrize(
    ("drawn_on", "message"),
    [
        ({"patient_id": "0815"}, "of another patient"),
        ({"study_uid": "1.9"}, "of another study"),
        ({"frame_of_reference_uid": "9.9"}, "another frame of reference"),
    ],
)
@pytest.mark.parametrize("said", [None, Phase.PORTAL])
def test_masks_of_somebody_else_are_refused(
    study: Study, drawn_on: dict, message: str, said: Phase | None
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        drawn_phase(masks(study.grid, **drawn_on), study, said)
    assert "0815" not in str(caught.value) and "4711" not in str(caught.value)


def test_a_part_of_a_grid_is_found_and_laid_into_it(study: Study) -> None:
    whole = study.grid.with_array(
        np.arange(study.grid.array.size).reshape(study.grid.spatial_shape)
    )
    part = whole[1:4, 2:, :-3].flip_spatial(1).permute_spatial_axes([2, 0, 1])
    laid = embedded(part, study.grid)
    assert laid is not None
    expected = np.zeros(whole.spatial_shape, int)
    expected[1:4, 2:, :-3] = whole.array[1:4, 2:, :-3]
    np.testing.assert_array_equal(laid.array, expected)
    padded = whole.pad([(2, 0), (0, 0), (0, 1)])
    laid = embedded(padded, study.grid)
    assert laid is not None
    np.testing.assert_array_equal(laid.array, whole.array)


def test_a_grid_beside_another_is_no_part_of_it(study: Study) -> None:
    affine = study.grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * 100
    beside = hd.VolumeGeometry(affine, study.grid.spatial_shape, "PATIENT")
    assert offset_in(beside, study.grid) is None
    assert offset_in(shifted(study.grid).get_geometry(), study.grid) is None
