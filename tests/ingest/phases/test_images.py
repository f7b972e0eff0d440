"""What pixels tell of the phase: drawn abdomens, features by hand."""

from __future__ import annotations

import numpy as np
import pytest

from liverleaf.ingest.phases.ct_organs import OrganHU
from liverleaf.ingest.phases.images import (
    appearance,
    brightness_features,
    combine_with_pixels,
    difference_features,
)
from liverleaf.ingest.phases.reasons import ReasonCode
from liverleaf.ingest.phases.tissue import Tissue, soft_tissue
from liverleaf.study import Modality, Phase

CT = Modality.CT
HU = {  # liver and spleen, vessels and kidneys; textbook values
    Phase.PRE: (55, 42),
    Phase.ARTERIAL: (70, 280),
    Phase.PORTAL: (115, 165),
    Phase.DELAYED: (90, 110),
}
OPEN = np.array([[0.2, 0.2, 0.2, 0.2, 0.2, 0.0]])


def test_a_drawn_ct_study_is_told_whatever_the_order(abdomen) -> None:
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 2]):
        phases = [Phase(index) for index in order]
        tissue = soft_tissue(np.stack([abdomen(*HU[phase], phase) for phase in phases]), CT)
        assert tissue is not None
        rows = combine_with_pixels(np.repeat(OPEN, len(phases), axis=0), tissue)
        assert rows.argmax(axis=1).tolist() == order
        np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_two_reconstructions_of_one_acquisition_are_one_phase(abdomen) -> None:
    images = np.stack(
        [
            abdomen(*HU[Phase.PORTAL], 1),
            abdomen(*HU[Phase.PORTAL], 2),
            abdomen(*HU[Phase.ARTERIAL], 3),
        ]
    )
    tissue = soft_tissue(images, CT)
    assert tissue is not None
    rows = combine_with_pixels(np.repeat(OPEN, 3, axis=0), tissue)
    assert rows.argmax(axis=1).tolist() == [Phase.PORTAL, Phase.PORTAL, Phase.ARTERIAL]


def test_headers_count_and_what_is_no_phase_stays_so(abdomen) -> None:
    tissue = soft_tissue(abdomen(*HU[Phase.PORTAL])[None], CT)
    assert tissue is not None
    sure = np.array([[0.01, 0.01, 0.01, 0.96, 0.01, 0.0]])
    assert combine_with_pixels(sure, tissue).argmax() == Phase.DELAYED
    half = np.array([[0.1, 0.1, 0.1, 0.1, 0.1, 0.5]])
    assert combine_with_pixels(half, tissue)[0, -1] == pytest.approx(0.5)


def test_features_by_hand() -> None:
    values = np.array([np.linspace(0, 1, 201)])
    right = np.arange(201) < 101
    mr = Tissue(values, right, None)
    np.testing.assert_allclose(
        brightness_features(mr)[0], [-0.45, -0.25, 0.25, 0.4, 0.47, 0.495, -0.25]
    )
    np.testing.assert_allclose(
        difference_features(values[0], np.zeros(201)), [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]
    )
    (seen,) = appearance(mr)
    assert dict(seen.values) == {"ratio": pytest.approx(np.exp(0.97 - 0.25))}
    organs = OrganHU(np.array([208.0]), np.array([63.0]), np.array([np.nan]))
    ct = Tissue(values, right, organs)
    np.testing.assert_allclose(
        brightness_features(ct)[0], [1.2, 0.6, 0.28, 0.63, np.log(178 / (13 + 10))]
    )
    (seen,) = appearance(ct)
    assert (seen.code, seen.sentence) == (
        ReasonCode.CT_PIXELS,
        "its pixels: aorta 208 HU, liver 63 HU",
    )


def test_two_arterial_phases_are_both_arterial(abdomen) -> None:
    """As measured in a real study: early arterial, late arterial, portal venous."""
    images = np.stack([abdomen(48, 350, 1), abdomen(70, 200, 2), abdomen(95, 136, 3)])
    tissue = soft_tissue(images, CT)
    assert tissue is not None
    rows = combine_with_pixels(np.repeat(OPEN, 3, axis=0), tissue)
    assert rows.argmax(axis=1).tolist() == [Phase.ARTERIAL, Phase.ARTERIAL, Phase.PORTAL]


def test_the_portal_venous_phase_cannot_come_before_a_brighter_one(abdomen) -> None:
    """Two series as alike as portal and delayed: the brighter one is the portal venous one."""
    tissue = soft_tissue(np.stack([abdomen(92, 120, 1), abdomen(106, 150, 2)]), CT)
    assert tissue is not None
    rows = combine_with_pixels(np.repeat(OPEN, 2, axis=0), tissue)
    assert rows.argmax(axis=1).tolist() == [Phase.DELAYED, Phase.PORTAL]
