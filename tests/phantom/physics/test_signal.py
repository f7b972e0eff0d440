"""Signal equations against the OSIPI reference and by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from liverleaf.phantom.anatomy.person import Subject, Tissue
from liverleaf.phantom.physics.signal import (
    PROPERTIES,
    draw_properties,
    iodine_hu,
    spgr_concentration,
    spgr_signal,
)

OSIPI = Path(__file__).parents[3] / "../shared/data/osipi-dce"


def test_concentration_and_signal_agree_with_osipi() -> None:
    if not OSIPI.is_dir():
        pytest.skip(f"no reference data at {OSIPI}")
    with (OSIPI / "SI2Conc_data.csv").open(encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    assert rows
    for row in rows:
        signal, conc = (np.array(row[name].split(), float) for name in ("s", "conc"))
        tr_s, flip_deg, t1_s, r1 = (float(row[name]) for name in ("TR", "FA", "T1base", "r1"))
        # the reference leaves out the first point
        baseline = signal[1 : int(row["numbaselinepts"])].mean()
        found = spgr_concentration(
            signal, baseline, t1_s=t1_s, tr_s=tr_s, flip_deg=flip_deg, r1_per_s_per_mM=r1
        )
        np.testing.assert_allclose(found, conc, rtol=1e-5, atol=1e-5)
        before = spgr_signal(t1_s, tr_s=tr_s, flip_deg=flip_deg)
        again = (
            spgr_signal(t1_s, tr_s=tr_s, flip_deg=flip_deg, added_rate_per_s=r1 * conc)
            / before
            * baseline
        )
        np.testing.assert_allclose(again, signal, rtol=1e-4)


def test_spgr_by_hand() -> None:
    # 90 degrees: S = 1 - exp(-TR / T1), with TR = T1 ln 2 half of it recovers
    assert spgr_signal(1.0, tr_s=np.log(2), flip_deg=90) == pytest.approx(0.5)
    # an agent with r1 C = 1/T1 doubles the rate
    assert spgr_signal(1.0, tr_s=np.log(2), flip_deg=90, added_rate_per_s=1.0) == pytest.approx(
        0.75
    )
    assert spgr_signal(
        1.0, tr_s=np.log(2), flip_deg=90, decay=0.5, proton_density=4.0
    ) == pytest.approx(1.0)


def test_impossible_signal_has_no_concentration() -> None:
    assert np.isnan(
        spgr_concentration(1e6, 1.0, t1_s=1.0, tr_s=0.004, flip_deg=12, r1_per_s_per_mM=4.5)
    )


def test_iodine_by_hand() -> None:
    # 1 mg/ml is 7.88 mM and adds 25 HU at 120 kV
    assert iodine_hu(7.88) == pytest.approx(25.0, rel=1e-3)
    assert iodine_hu(1.0, kilovolt=100) > iodine_hu(1.0, kilovolt=120)


def test_steatosis_darkens_the_liver_on_ct() -> None:
    hu = [
        draw_properties(Tissue.LIVER, Subject(75, 0, fat), np.random.default_rng(0)).hu
        for fat in (0.0, 0.3)
    ]
    assert hu[0] - hu[1] == pytest.approx(39.0)


def test_every_tissue_has_properties() -> None:
    assert set(PROPERTIES) == set(Tissue)
