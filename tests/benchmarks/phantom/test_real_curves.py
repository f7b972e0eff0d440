"""Real curves are read from archives with known answers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.benchmarks.phantom.real_curves import arrival, read_curves
from liverleaf.study import InputError

Archive = Callable[..., Path]
Bolus = Callable[[float, float], NDArray[np.float64]]
TIME_S = np.arange(0.0, 1500, 2.5)
ARRIVAL_S = 75.0


def test_a_curve_is_read_with_what_it_was_acquired_with(tmp_path: Path, archive: Archive) -> None:
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


def test_an_incredible_relaxation_time_is_replaced(tmp_path: Path, archive: Archive) -> None:
    archive(tmp_path / "a.zip", T1_aorta_1=0.02)
    assert read_curves(tmp_path)[0].t1_s["aorta"] == 1.65


def test_samples_that_were_not_accepted_do_not_count(tmp_path: Path, archive: Archive) -> None:
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


def test_arrival_is_the_foot_of_the_bolus(bolus: Bolus) -> None:
    noise = np.random.default_rng(0).normal(0, 4, TIME_S.size)
    assert arrival(TIME_S, bolus(4, 1.5) + noise) == pytest.approx(ARRIVAL_S, abs=2.5)


@pytest.mark.parametrize("broken", ["nothing", "no zip", "rats"])
def test_without_curves_there_is_one_clear_line(
    tmp_path: Path, broken: str, archive: Archive
) -> None:
    if broken == "no zip":
        (tmp_path / "a.zip").write_text("not an archive")
    if broken == "rats":
        archive(tmp_path / "a.zip", aorta="spleen")
    with pytest.raises(InputError):
        read_curves(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_curves(tmp_path / "nowhere")
