"""Cases on the network's grid: what they hold, made once, and which are refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import (
    InputConfig,
    air,
)
from liverleaf.data.prepared import (
    PreparedCase,
    PreparedLesion,
    curve_statistics,
    data_fingerprint,
    liver_mask,
    prepare,
)
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality, Phase, Species
from liverleaf.system.files import PARTIAL
from liverleaf.terminology import LesionType, Organ

CT = InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0, size=48)


@pytest.fixture(scope="module")
def prepared(ct_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedCase]:
    return prepare(ct_cohort, range(6), CT, tmp_path_factory.mktemp("prepared"))


def test_a_prepared_case_is_the_case_in_contrast_to_the_liver(
    tiny_case: Callable, prepared: list[PreparedCase]
) -> None:
    _, truth = tiny_case(3)
    images, labels = prepared[3].slice(2)
    liver, lesions = liver_mask(truth)[2], truth.lesions.array[2]
    np.testing.assert_array_equal(labels, np.stack([liver, lesions]))
    assert (images.dtype, images.shape) == (np.float32, (4, 48, 48))
    np.testing.assert_allclose(images[:, liver & (lesions == 0)], 0.0, atol=0.25)
    np.testing.assert_allclose(images[:, lesions == 1], 1.5, atol=0.25)
    np.testing.assert_allclose(
        images[:, truth.organs.array[2] == Organ.BACKGROUND], air(Modality.CT), atol=0.01
    )
    (lesion,) = prepared[3].lesions
    np.testing.assert_allclose(lesion.curve, 1.5, atol=0.08)
    assert (lesion.label, lesion.type, prepared[3].pixel_mm, prepared[3].slices) == (
        1,
        3,
        (4.0, 4.0),
        6,
    )
    assert lesion.pixels == {
        z: int(n) for z, n in enumerate((truth.lesions.array == 1).sum((1, 2))) if n
    }
    assert prepared[3].liver_slices == tuple(np.flatnonzero(liver_mask(truth).any((1, 2))))


def test_contrast_does_not_depend_on_the_scale_of_an_mr(
    tiny_case: Callable, tmp_path: Path
) -> None:
    config = dataclasses.replace(CT, modality=Modality.MR)
    slices = []
    for name, scale in (("a", 1.0), ("b", 7.0)):
        study, truth = tiny_case(0, modality=Modality.MR)
        phases = {
            p: dataclasses.replace(
                i, volume=i.volume.with_array(i.volume.array * np.float32(scale))
            )
            for p, i in study.phases.items()
        }
        truth = dataclasses.replace(
            truth,
            lesion_list=tuple(
                dataclasses.replace(t, curve={p: scale * v for p, v in t.curve.items()})
                for t in truth.lesion_list
            ),
        )
        save_case(tmp_path / name / "case", dataclasses.replace(study, phases=phases), truth)
        (case,) = prepare(Cohort.open(tmp_path / name), [0], config, tmp_path / "scratch" / name)
        slices.append((case.slice(2)[0], np.array(case.lesions[0].curve)))
    np.testing.assert_allclose(slices[0][0], slices[1][0], atol=0.02)
    np.testing.assert_allclose(slices[0][1], slices[1][1], atol=0.02)


def test_a_missing_phase_is_absent_and_its_curve_unknown(
    tiny_case: Callable, tmp_path: Path
) -> None:
    save_case(tmp_path / "cohort/a", *tiny_case(0, phases=[Phase.ARTERIAL, Phase.PORTAL]))
    (case,) = prepare(Cohort.open(tmp_path / "cohort"), [0], CT, tmp_path / "scratch")
    assert case.present == (False, True, True, False)
    assert np.isnan(case.lesions[0].curve).tolist() == [True, False, False, True]


def test_preparing_twice_does_the_work_once(ct_cohort: Cohort, tmp_path: Path) -> None:
    done = []
    first = prepare(ct_cohort, [0, 1], CT, tmp_path, progress=lambda _, i, n: done.append((i, n)))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = prepare(ct_cohort, [0, 1], CT, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    assert first == second
    assert done == [(1, 2), (2, 2)]
    # other settings, other files
    prepare(ct_cohort, [0], dataclasses.replace(CT, pixel_mm=8.0), tmp_path)
    assert prepare(ct_cohort, [0, 1], CT, tmp_path) == first


def test_half_a_prepared_case_is_made_again(ct_cohort: Cohort, tmp_path: Path) -> None:
    (case,) = prepare(ct_cohort, [0], CT, tmp_path)
    expected = case.slice(2)
    part = case.directory.with_name(f"{PARTIAL}{case.directory.name}-left")
    case.directory.rename(part)
    (part / "case.json").unlink()
    (again,) = prepare(ct_cohort, [0], CT, tmp_path)
    np.testing.assert_array_equal(again.slice(2)[0], expected[0])
    assert not part.exists()


def test_cases_that_do_not_fit_are_refused(
    ct_cohort: Cohort, tiny_case: Callable, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is CT, this recipe is for MR"):
        prepare(ct_cohort, [0], dataclasses.replace(CT, modality=Modality.MR), tmp_path / "a")
    with pytest.raises(InputError, match="none of the channels hepatobiliary"):
        prepare(
            ct_cohort, [0], dataclasses.replace(CT, channels=("hepatobiliary",)), tmp_path / "b"
        )
    study, truth = tiny_case(0)
    save_case(tmp_path / "no truth/a", study)
    with pytest.raises(InputError, match="case-00 has no truth"):
        prepare(Cohort.open(tmp_path / "no truth"), [0], CT, tmp_path / "c")
    save_case(tmp_path / "no organs/a", study, dataclasses.replace(truth, organs=None))
    with pytest.raises(InputError, match="no liver"):
        prepare(Cohort.open(tmp_path / "no organs"), [0], CT, tmp_path / "d")
    assert prepare(
        Cohort.open(tmp_path / "no organs"),
        [0],
        dataclasses.replace(CT, normalise_on_liver=False),
        tmp_path / "e",
    )
    high = truth.lesions.with_array(truth.lesions.array * np.uint16(300))
    listed = tuple(dataclasses.replace(t, label=300 * t.label) for t in truth.lesion_list)
    save_case(
        tmp_path / "high/a", study, dataclasses.replace(truth, lesions=high, lesion_list=listed)
    )
    with pytest.raises(InputError, match="labels over 255"):
        prepare(Cohort.open(tmp_path / "high"), [0], CT, tmp_path / "f")


def test_the_fingerprint_changes_with_the_truth_and_the_choice_of_cases(
    tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "a", 3)
    whole = data_fingerprint(cohort, range(3))
    assert whole == data_fingerprint(tiny_cohort(tmp_path / "b", 3), range(3))
    assert whole != data_fingerprint(cohort, range(2))
    assert whole != data_fingerprint(
        tiny_cohort(tmp_path / "c", 3, types=[LesionType.FNH]), range(3)
    )


def test_curve_statistics_by_hand() -> None:
    def case(*curves: tuple[float, float, float]) -> PreparedCase:
        lesions = tuple(PreparedLesion(1, 0, curve, {0: 1}) for curve in curves)
        return PreparedCase(
            Path(), (True, True, False), (1.0, 1.0, 1.0), (1.0, 1.0), (), (), 1, lesions
        )

    nan = float("nan")
    mean, sd = curve_statistics(
        [case((1.0, 2.0, nan)), case(), case((3.0, nan, nan), (5.0, 2.0, nan))]
    )
    np.testing.assert_allclose(mean, [3.0, 2.0, 0.0])
    np.testing.assert_allclose(sd, [np.sqrt(8 / 3), 1e-3, 1.0], rtol=1e-6)
    assert mean.dtype == sd.dtype == np.float32
    mean, sd = curve_statistics([case()])
    assert (mean.tolist(), sd.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_what_is_true_of_the_whole_case_is_kept(tiny_case: Callable, tmp_path: Path) -> None:
    study, truth = tiny_case(0)
    markers = {"fat_fraction": 12.5, "arm": "control"}
    truth = dataclasses.replace(truth, diagnosis="responder", markers=markers)
    save_case(tmp_path / "cohort/a", study, truth)
    (case,) = prepare(Cohort.open(tmp_path / "cohort"), [0], CT, tmp_path / "scratch")
    assert (case.diagnosis, case.markers) == ("responder", markers)


def test_studies_of_another_body_part_or_species_are_refused(
    tiny_case: Callable, tmp_path: Path
) -> None:
    study, truth = tiny_case(0)
    save_case(tmp_path / "cohort/a", dataclasses.replace(study, species=Species.RAT), truth)
    cohort = Cohort.open(tmp_path / "cohort")
    with pytest.raises(InputError, match=r"is rat, this recipe is for human \(input\.species\)"):
        prepare(cohort, [0], CT, tmp_path / "a")
    assert prepare(cohort, [0], dataclasses.replace(CT, species=Species.RAT), tmp_path / "b")


def test_a_channel_that_nobody_has_is_a_slip(tiny_case: Callable, tmp_path: Path) -> None:
    study, truth = tiny_case(0)
    save_case(tmp_path / "cohort/a", study, truth)
    t2w = dataclasses.replace(study, case_id="b", other={"t2w": study.phases[Phase.PRE]})
    save_case(tmp_path / "cohort/b", t2w, truth)
    cohort = Cohort.open(tmp_path / "cohort")
    with pytest.raises(InputError, match="no case of this cohort has an image 't2'"):
        prepare(cohort, [0, 1], dataclasses.replace(CT, channels=("pre", "t2")), tmp_path / "a")
    config = dataclasses.replace(CT, channels=("pre", "t2w"))
    one, other = prepare(cohort, [0, 1], config, tmp_path / "b")
    assert (one.present, other.present) == ((True, False), (True, True))
    assert np.isnan(other.lesions[0].curve[1])  # the truth of a curve is of phases


def test_a_block_is_that_part_of_the_volume(ct_cohort: Cohort, tmp_path: Path) -> None:
    (case,) = prepare(ct_cohort, [0], CT, tmp_path)
    assert case.plane == np.load(case.directory / "labels.npy").shape[2:]
    images, labels = case.block((slice(1, 3), slice(4, 9), slice(10, 12)))
    whole = [case.slice(z) for z in (1, 2)]
    assert np.array_equal(images, np.stack([i for i, _ in whole])[:, :, 4:9, 10:12])
    assert np.array_equal(labels, np.stack([lab for _, lab in whole])[:, :, 4:9, 10:12])
    assert images.dtype == np.float32 and labels.dtype == np.uint8
