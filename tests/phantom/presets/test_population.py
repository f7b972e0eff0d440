"""Presets: each stands for the people its line promises, and a wrong one is refused in a line."""

from collections import Counter

import numpy as np
import pytest

from liverleaf.phantom.anatomy.lesions import plan_lesions
from liverleaf.phantom.generator import PRESETS, Phantom, _subject_mix
from liverleaf.phantom.physics.protocol import draw_protocol
from liverleaf.phantom.presets.population import find_population
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType

TINY = {"shape": (8, 32, 32), "spacing_mm": (20.0, 11.0, 11.0)}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_study_with_its_truth(preset: str) -> None:
    study, truth = Phantom(preset, 3, **TINY)[1]
    assert study.modality is PRESETS[preset].modality
    assert truth.lesions.spatial_shape == study.grid.spatial_shape == TINY["shape"]
    assert len(truth.lesion_list) == truth.lesions.array.max()
    assert preset in study.case_id


def test_mti_net_has_its_138_and_100_subjects_at_3_tesla() -> None:
    people = find_population("mti-net")
    kinds = [_subject_mix(people, 5, index).types for index in range(238)]
    assert Counter(kinds) == {(LesionType.HCC,): 138, (LesionType.HAEMANGIOMA,): 100}
    # in an order of the seed's own
    assert kinds != [_subject_mix(people, 6, index).types for index in range(238)]
    study, truth = Phantom("mti-net", 5, **TINY)[0]
    assert study.agent == "gadobutrol" and set(study.phases) == {
        Phase.PRE,
        Phase.ARTERIAL,
        Phase.PORTAL,
        Phase.DELAYED,
    }
    assert {lesion.type for lesion in truth.lesion_list} <= set(kinds[0] or ())


def test_lidia_has_several_lesions_and_lacks_a_third_of_the_delayed_phases() -> None:
    people, rng = find_population("lidia"), np.random.default_rng(0)
    planned = [plan_lesions(rng, None, people.lesion_mix) for _ in range(200)]
    assert min(map(len, planned)) >= 2
    assert {kind for case in planned for kind, _ in case} == set(LesionType)
    drawn = [draw_protocol(rng, people.modality, missing=people.missing) for _ in range(600)]
    assert np.mean([Phase.DELAYED not in protocol.times_s for protocol in drawn]) == pytest.approx(
        1 / 3, abs=0.05
    )


def test_hard_lesions_are_small_and_look_like_liver() -> None:
    people, rng = find_population("hard"), np.random.default_rng(0)
    radii = [radius for _ in range(50) for _, radius in plan_lesions(rng, None, people.lesion_mix)]
    assert max(radii) <= 9
    contrast = {}
    for preset in ("hard", "ct"):
        phantom = Phantom(
            preset,
            1,
            Modality.CT,
            lesion_types=(LesionType.CYST,) * 2,
            shape=(20, 80, 80),
            spacing_mm=(8.0, 4.5, 4.5),
        )
        cases = [phantom[index][1] for index in range(4)]
        contrast[preset] = np.mean(
            [
                abs(lesion.curve[Phase.PORTAL] - c.liver_curve[Phase.PORTAL])
                for c in cases
                for lesion in c.lesion_list
            ]
        )
    assert contrast["hard"] < 0.65 * contrast["ct"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "nobody"}, "no preset 'nobody': use mr, ct"),
        ({"preset": "lidia", "modality": Modality.MR}, "lidia is CT, not MR"),
        ({"preset": "ct", "shape": (0, 4, 4)}, "three positive numbers"),
        ({"preset": "ct", "spacing_mm": (1.0, -1.0, 1.0)}, "three positive numbers"),
        ({"preset": "ct", "shape": (12, 60)}, "three positive numbers"),
        ({"preset": "ct", "seed": -1}, "0 or more"),
        ({"preset": "mr", "lesion_types": ("hcc",)}, r"members of LesionType.*got \('hcc',\)"),
        ({"preset": "mr", "agents": ("gadobutrol", "tea")}, "gadobutrol.*got tea"),
        ({"preset": "mr", "missing": {"delayed": 0.5}}, "members of Phase"),
        ({"preset": "mr", "missing": {Phase.DELAYED: 1.5}}, "from 0 to 1"),
        ({"preset": "rat-hcc", "agents": ("gadobutrol",)}, "draws its own cases: leave out agents"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Phantom(**{"seed": 0} | arguments)
