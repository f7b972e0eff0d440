"""Input functions against the OSIPI reference, tissues against the table of typical HU."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liverleaf.benchmarks.phantom.attenuation import TYPICAL_HU
from liverleaf.phantom.anatomy.person import Subject, Tissue
from liverleaf.phantom.physics.kinetics import (
    AGENTS,
    FITTED_DOSE,
    PERFUSION,
    Circulation,
    Perfusion,
    arterial_blood,
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
    parker,
)
from liverleaf.phantom.physics.signal import PROPERTIES, iodine_hu

OSIPI = Path(__file__).parents[3] / "../shared/data/osipi-dce"
HEALTHY = Subject(75.0, 0.0, 0.0)

UNSUPPLIED = Perfusion(1.0, 0.0, 10.0, 0.0, 60.0)


@pytest.mark.parametrize("file", ["ParkerAIF_ref.csv", "ParkerAIF_ref_with_delay.csv"])
def test_parker_agrees_with_osipi(file: str) -> None:
    if not OSIPI.is_dir():
        pytest.skip(f"no reference data at {OSIPI}")
    with (OSIPI / file).open(encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    minutes, delay_s, reference = (
        np.array([float(row[name]) for row in rows]) for name in ("time", "delay", "Cb")
    )
    np.testing.assert_allclose(parker(60 * minutes - delay_s), reference, rtol=0.01, atol=1e-4)


@pytest.mark.parametrize("tissue", TYPICAL_HU, ids=lambda tissue: tissue.name)
def test_ct_lands_on_typical_attenuation(tissue: Tissue) -> None:
    agent = AGENTS["iodine"]
    inputs = blood_inputs(agent, end_s=200)
    outside, _ = concentrations(
        [PERFUSION.get(tissue, UNSUPPLIED)], inputs, agent, (0, 35, 70, 180)
    )
    hu = PROPERTIES[tissue].hu + iodine_hu(outside[0])
    if tissue is Tissue.AORTA:
        np.testing.assert_allclose(hu, TYPICAL_HU[tissue], rtol=0.2)
    else:
        np.testing.assert_allclose(hu, TYPICAL_HU[tissue], atol=16)


def test_population_means_stay_on_typical_liver() -> None:
    rng = np.random.default_rng(0)
    agent = AGENTS["iodine"]
    curves = []
    for _ in range(100):
        inputs = blood_inputs(agent, draw_circulation(agent, HEALTHY, rng), end_s=200)
        curves.append(
            concentrations(
                [draw_perfusion(Tissue.LIVER, HEALTHY, rng)], inputs, agent, (35, 70, 180)
            )[0][0]
        )
    np.testing.assert_allclose(55 + iodine_hu(np.mean(curves, axis=0)), (70, 110, 95), atol=10)


def test_the_default_circulation_is_parkers_within_the_first_minutes() -> None:
    time_s = np.arange(0, 241.0)
    np.testing.assert_allclose(
        arterial_blood(time_s, Circulation()), parker(time_s), rtol=0.06, atol=0.01
    )


def test_a_shorter_first_pass_is_higher_and_has_the_same_area() -> None:
    time_s = np.arange(-10, 25, 0.1)
    usual, quick = (
        arterial_blood(time_s, Circulation(width=w, tail_fast=0, tail_slow=0)) for w in (1.0, 0.8)
    )
    assert 1.2 < quick.max() / usual.max() < 1.3
    np.testing.assert_allclose(quick.sum(), usual.sum(), rtol=0.06)


def test_a_longer_injection_keeps_the_dose_and_lowers_the_peak() -> None:
    short = AGENTS["gadobutrol"]
    quick, slow = (
        blood_inputs(replace(short, injection_s=s), end_s=300).arterial for s in (5.0, 30.0)
    )
    assert slow.max() < 0.5 * quick.max()
    assert np.trapezoid(slow) == pytest.approx(np.trapezoid(quick), rel=0.05)


def test_concentrations_against_direct_convolution() -> None:
    agent = replace(AGENTS["gadoxetate"], dose_mmol_per_kg=FITTED_DOSE)
    time_s = np.arange(0, 400.5, 0.5)
    inputs = blood_inputs(agent, end_s=400)
    tissue = Perfusion(0.3, 0.2, 12.0, 0.25, 80.0, uptake_per_min=0.1)
    outside, hepatocytes = concentrations([tissue], inputs, agent, (30, 100, 400))
    blood = 0.3 * inputs.arterial + 0.7 * inputs.portal
    fast, slow = (
        np.convolve(blood, np.exp(-time_s / c) / np.exp(-time_s / c).sum())[: time_s.size]
        for c in (12.0, 80.0)
    )
    at = [60, 200, 800]
    np.testing.assert_allclose(outside[0], (0.2 * fast + 0.25 * slow)[at], rtol=0.01)
    leaving = np.exp(-time_s / 2700)
    np.testing.assert_allclose(
        hepatocytes[0], (0.1 / 60 * np.convolve(fast, leaving)[: time_s.size] * 0.5)[at], rtol=0.01
    )
    usual = concentrations([tissue], inputs, AGENTS["gadoxetate"], (400,))[1]
    # the same blood after a full dose: transport saturates
    assert 0.4 * hepatocytes[0, 2] < usual[0, 0] < 0.7 * hepatocytes[0, 2]


def test_only_hepatic_agents_enter_hepatocytes() -> None:
    for agent in AGENTS.values():
        _, inside = concentrations(
            [PERFUSION[Tissue.LIVER], PERFUSION[Tissue.HCC]],
            blood_inputs(agent, end_s=1200),
            agent,
            (-60, 1200),
        )
        assert (inside[0, 1] > 0.05) == agent.hepatic
        assert inside[1].max() == inside[0, 0] == 0


def test_cirrhosis_delays_the_portal_vein_and_weakens_uptake() -> None:
    sick, rng = Subject(75.0, 1.0, 0.0), np.random.default_rng
    agent = AGENTS["gadoxetate"]
    peaks = [
        np.argmax(blood_inputs(agent, draw_circulation(agent, subject, rng(1)), end_s=120).portal)
        for subject in (HEALTHY, sick)
    ]
    assert peaks[1] > peaks[0]
    uptakes = [
        draw_perfusion(Tissue.LIVER, subject, rng(1)).uptake_per_min for subject in (HEALTHY, sick)
    ]
    assert uptakes[1] < 0.5 * uptakes[0]
