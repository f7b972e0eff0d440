"""Archives of curves with known answers, in the comparison with virtual subjects."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from liverleaf.benchmarks.phantom.real_curves import RealCurve, arrival, read_curves
from liverleaf.benchmarks.phantom.realism import (
    MEASURES,
    attenuation,
    measures,
    phantom_realism,
    simulate,
)
from liverleaf.study import InputError

TIME_S = np.arange(0.0, 1500, 2.5)
ARRIVAL_S = 75.0


def bolus(peak: float, tail: float) -> NDArray[np.float64]:
    """Signal 100 before the arrival, then a peak after 5 s and a level that stays."""
    after = TIME_S - ARRIVAL_S
    return 100 * np.where(
        after < 0, 1.0, np.maximum(tail, peak - np.abs(after - 5) * (peak - 1) / 6)
    )


def archive(path: Path, *, aorta: str = "aorta", **changed: float) -> Path:
    """One person's first scan, as published archives hold it; `changed` replaces parameters."""
    known = {
        "TR": 0.0037,
        "FA_1": 15,
        "dose_1": 0.025,
        "weight": 70,
        "T1_time_1": 900,
        "T1_aorta_1": 1.7,
        "T1_liver_1": 0.8,
        "T1_time_2": 4000,
        "T1_aorta_2": 1.2,
    } | changed
    parameters = pd.DataFrame(
        [("7", "control", name, value) for name, value in known.items()],
        columns=["subject", "study", "parameter", "value"],
    )
    columns = {
        "time_1": TIME_S + 1000,
        f"{aorta}_1": bolus(4, 1.5),
        f"{aorta}_1_accept": 1.0 + 0 * TIME_S,
        "liver_1": bolus(1.2, 1.3),
    }
    table = pd.DataFrame({("7", "control", name): values for name, values in columns.items()})
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("pars.csv", parameters.to_csv(index=False))
        files.writestr("rois.csv", table.to_csv(index=False))
    return path


def test_a_curve_is_read_with_what_it_was_acquired_with(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip")
    aorta, liver = read_curves(tmp_path)
    assert (aorta.subject, aorta.study, aorta.scan, aorta.tissue, liver.tissue) == (
        "7",
        "control",
        1,
        "aorta",
        "liver",
    )
    assert aorta.dose_mmol_per_kg == pytest.approx(0.00625)
    assert aorta.time_s[0] == pytest.approx(-ARRIVAL_S, abs=2.6)
    # no portal map: typical; the second map is of later
    assert aorta.t1_s == {"aorta": 1.7, "portal": 1.65, "liver": 0.8}


def test_an_incredible_relaxation_time_is_replaced(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", T1_aorta_1=0.02)
    assert read_curves(tmp_path)[0].t1_s["aorta"] == 1.65


def test_samples_that_were_not_accepted_do_not_count(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip")
    whole = read_curves(tmp_path)[0]
    with zipfile.ZipFile(tmp_path / "a.zip") as files:
        texts = {name: files.read(name).decode() for name in files.namelist()}
    rows = texts["rois.csv"].splitlines()
    rows[200] = rows[200].replace(",1.0,", ",0.0,")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as files:
        files.writestr("pars.csv", texts["pars.csv"])
        files.writestr("rois.csv", "\n".join(rows))
    assert len(read_curves(tmp_path)[0].time_s) == len(whole.time_s) - 1


def test_arrival_is_the_foot_of_the_bolus() -> None:
    noise = np.random.default_rng(0).normal(0, 4, TIME_S.size)
    assert arrival(TIME_S, bolus(4, 1.5) + noise) == pytest.approx(ARRIVAL_S, abs=2.5)


def test_measures_by_hand() -> None:
    found = measures(TIME_S - ARRIVAL_S, bolus(4, 1.5))
    assert found["peak_ratio"] == pytest.approx(4)
    assert found["time_to_peak_s"] == pytest.approx(5)
    assert [found[f"ratio_{at}s"] for at in (60, 180, 600)] == pytest.approx([1.5, 1.5, 1.5])


def test_a_short_scan_has_no_late_ratio() -> None:
    early = TIME_S < ARRIVAL_S + 300
    assert set(MEASURES) - set(measures(TIME_S[early] - ARRIVAL_S, bolus(4, 1.5)[early])) == {
        "ratio_600s"
    }


def test_virtual_subjects_differ_and_follow_the_dose(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip")
    aorta = read_curves(tmp_path)[0]
    first, second = (simulate(aorta, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.allclose(first, second)
    twice = RealCurve(**{**vars(aorta), "dose_mmol_per_kg": 2 * aorta.dose_mmol_per_kg})
    peaks = [
        measures(aorta.time_s, simulate(curve, np.random.default_rng(1)))["peak_ratio"]
        for curve in (aorta, twice)
    ]
    assert peaks[1] > 1.4 * peaks[0]


def test_the_table_says_where_real_values_stand(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip")
    text = phantom_realism(tmp_path, tmp_path / "out", subjects=20)
    record = json.loads((tmp_path / "out/realism.json").read_text())
    assert len(record["curves"]) == 2 * len(MEASURES)
    for row in record["curves"]:
        assert row["p5"] <= row["p50"] <= row["p95"]
        assert (row["percentile"] < 5) == (row["real"] <= row["p5"]) or row["percentile"] in (0, 5)
    impossible = next(
        row
        for row in record["curves"]
        if (row["tissue"], row["measure"]) == ("liver", "ratio_600s")
    )
    assert impossible["real"] == pytest.approx(1.3)
    assert "| aorta | peak over baseline |" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "realism.json",
        "realism.md",
        "realism-curves.png",
        "realism-percentiles.png",
        "realism-threshold.png",
    }
    assert (
        record == json.loads(json.dumps(record))
        and "NaN" not in (tmp_path / "out/realism.json").read_text()
    )


@pytest.mark.parametrize("broken", ["nothing", "no zip", "rats"])
def test_without_curves_there_is_one_clear_line(tmp_path: Path, broken: str) -> None:
    if broken == "no zip":
        (tmp_path / "a.zip").write_text("not an archive")
    if broken == "rats":
        archive(tmp_path / "a.zip", aorta="spleen")
    with pytest.raises(InputError):
        read_curves(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_curves(tmp_path / "nowhere")


def test_median_attenuation_is_near_what_readers_expect() -> None:
    for row in attenuation(100, np.random.default_rng(0)):
        assert row["p5"] <= row["p50"] <= row["p95"]
        allowed = 0.25 * row["typical"] if row["tissue"] == "aorta" else 20
        assert abs(row["p50"] - row["typical"]) <= max(allowed, 20), row
