"""The phantom's physics against OSIPI's reference numbers, and against a small folder made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from liverleaf.benchmarks.phantom.osipi import (
    INPUT_FUNCTIONS,
    MODEL_FILES,
    SPGR_FILE,
    T1_FILES,
    compare,
    section,
)
from liverleaf.phantom.physics.kinetics import parker
from liverleaf.phantom.physics.signal import spgr_signal
from liverleaf.phantom.physics.tracer import MODELS
from liverleaf.study import InputError

OSIPI = Path(__file__).parents[3] / "../shared/data/osipi-dce"
FLIP_DEG = (2.0, 5.0, 12.0)


def joined(values: ArrayLike) -> str:
    return "  ".join(map(repr, np.asarray(values, float).tolist()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every file with one case, made by the phantom's own equations, so that nothing is wrong."""
    conc = np.array([0.0, 0.0, 0.0, 1.0, 3.0])
    signal = 10 * spgr_signal(1.4, tr_s=0.005, flip_deg=15, added_rate_per_s=4.5 * conc)
    spgr = {
        "FA": 15,
        "TR": 0.005,
        "T1base": 1.4,
        "numbaselinepts": 3,
        "r1": 4.5,
        "s": joined(signal),
        "conc": joined(conc),
    }
    tables = {SPGR_FILE: [spgr]}
    for name, (_, function) in INPUT_FUNCTIONS.items():
        tables[name] = [
            {"label": "a", "time": t, "delay": 3.0, "Cb": float(function(60 * t - 3.0))}
            for t in (0.0, 0.1, 0.2, 2.0)
        ]
    for name, file in T1_FILES.items():
        signals = [float(spgr_signal(0.8, tr_s=0.005, flip_deg=angle)) for angle in FLIP_DEG]
        known = {"brain": 1.25, "QIBA phantom": 0.00125, "prostate": 800.0}[file.tissue]
        heading = f" {file.column}" if " " in file.column else file.column  # as published
        tables[name] = [
            {
                "FA": joined(FLIP_DEG),
                "TR": joined([0.005 / file.tr_unit_s] * 3),
                "s": joined(signals),
                heading: known,
            }
        ]
    time_s = np.arange(0.0, 200.0, 2.0)
    plasma = parker(time_s - 10) / 0.58
    for name, model in MODEL_FILES.items():
        true = {p.name: 0.3 if "fp" in p.name else 0.1 for p in model.parameters}
        row = {p.column: true[p.name] / p.unit for p in model.parameters}
        tissue = MODELS[model.model][0](time_s, plasma, **true)
        tables[name] = [
            row | {"t": joined(time_s), model.tissue: joined(tissue), model.plasma: joined(plasma)}
        ]
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False, encoding="utf-8-sig")
    return tmp_path


def change(path: Path, column: str, value: object) -> None:
    pd.read_csv(path).assign(**{column: value}).to_csv(path, index=False)


def test_the_phantom_is_within_every_tolerance() -> None:
    if not OSIPI.is_dir():
        pytest.skip(f"no reference data at {OSIPI}")
    rows = compare(OSIPI)
    assert [row["item"] for row in rows if not row["within"]] == []
    cases = {row["reference"]: row["cases"] for row in rows}
    assert len(rows) == 18 and set(cases) == {SPGR_FILE, *INPUT_FUNCTIONS, *T1_FILES, *MODEL_FILES}
    assert (
        cases["t1_brain_data.csv"],
        cases["dce_DRO_data_tofts.csv"],
        cases["2cxm_sd_0.001_delay_0.csv"],
    ) == (76, 25, 24)
    # what has no noise has next to no error
    exact = [
        row
        for row in rows
        if row["reference"]
        in {SPGR_FILE, *INPUT_FUNCTIONS, "t1_brain_data.csv", "t1_prostate_data.csv"}
    ]
    assert max(row["worst_over_tolerance"] for row in exact) < 0.01


def test_nothing_is_wrong_with_curves_of_the_same_equations(folder: Path) -> None:
    rows = compare(folder)
    assert max(row["worst_over_tolerance"] for row in rows) < 0.01
    assert all(row["within"] is True and row["cases"] == 1 for row in rows)
    assert "**no**" not in section(rows)


def test_an_error_is_measured_against_its_tolerance(folder: Path) -> None:
    # the curve has 0.1; 0.005 and 10 % of 0.2 are tolerated
    change(folder / "dce_DRO_data_tofts.csv", "Ktrans", 0.2)
    # the reference is 4 % longer than the T1 of the signals
    change(folder / "t1_brain_data.csv", "R1", 1.25 / 1.04)
    rows: dict[str, dict[str, Any]] = {row["item"]: row for row in compare(folder)}
    ktrans, brain = rows["Tofts, Ktrans"], rows["T1 from flip angles, brain"]
    assert ktrans["worst_error"] == pytest.approx(0.1, rel=1e-3)
    assert ktrans["worst_over_tolerance"] == pytest.approx(0.1 / 0.025, rel=1e-3)
    assert not ktrans["within"] and rows["Tofts, ve"]["within"]
    assert brain["within"] and brain["worst_over_tolerance"] == pytest.approx(
        (1 - 1 / 1.04) / 0.05, rel=1e-3
    )
    text = section(list(rows.values()))
    assert (
        "| Tofts, Ktrans | dce_DRO_data_tofts.csv | 1 | 0.1 /min | 0.005 /min + 10 % | 4 | **no** |"
        in text
    )
    assert text.count("**no**") == 1


def test_a_value_that_cannot_be_found_is_not_within(folder: Path) -> None:
    change(folder / "t1_quiba_data.csv", "s", "0 0 0")
    row = next(row for row in compare(folder) if row["reference"] == "t1_quiba_data.csv")
    assert not row["within"] and row["worst_error"] == np.inf


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "GeorgiouAIF_ref.csv").unlink()
    (folder / "t1_brain_data.csv").unlink()
    with pytest.raises(InputError, match=r"lacks GeorgiouAIF_ref\.csv, t1_brain_data\.csv"):
        compare(folder)
    with pytest.raises(InputError, match="nowhere"):
        compare(folder / "nowhere")


@pytest.mark.parametrize(
    "text",
    ["", "label,time\na,b\n", "FA,TR,T1base,numbaselinepts,r1,s,conc\n15,x,1,2,4.5,1 2 3,0 0 0\n"],
)
def test_a_broken_file_is_named_in_one_line(folder: Path, text: str) -> None:
    (folder / SPGR_FILE).write_text(text)
    with pytest.raises(InputError, match=r"^SI2Conc_data\.csv [^\n]*$"):
        compare(folder)
