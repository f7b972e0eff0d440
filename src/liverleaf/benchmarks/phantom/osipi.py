"""The phantom's physics beside OSIPI's reference numbers and their tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from liverleaf.benchmarks.result import markdown_table
from liverleaf.phantom.physics.kinetics import parker
from liverleaf.phantom.physics.signal import spgr_concentration
from liverleaf.phantom.physics.tracer import fit, georgiou, vfa_t1_s
from liverleaf.study import InputError

INPUT_FUNCTIONS: Mapping[str, tuple[str, Callable[[ArrayLike], NDArray[np.float64]]]] = {
    "ParkerAIF_ref.csv": ("Parker input function", parker),
    "ParkerAIF_ref_with_delay.csv": ("Parker input function with delay", parker),
    "GeorgiouAIF_ref.csv": ("Georgiou input function", georgiou),
}
SPGR_FILE = "SI2Conc_data.csv"


class T1File(NamedTuple):
    """How a file of flip-angle signals gives the repetition time and the reference.

    Attributes:
        tissue: whose signals they are.
        tr_unit_s: the unit of the repetition time.
        column: of the reference.
        of: turns the column into seconds.
    """

    tissue: str
    tr_unit_s: float
    column: str
    of: Callable[[float], float]


T1_FILES: Mapping[str, T1File] = {
    "t1_brain_data.csv": T1File("brain", 1.0, "R1", lambda per_s: 1 / per_s),
    "t1_quiba_data.csv": T1File("QIBA phantom", 1.0, "R1", lambda per_ms: 1e-3 / per_ms),
    "t1_prostate_data.csv": T1File("prostate", 1e-3, "T1 nonlinear", lambda ms: 1e-3 * ms),
}


class Parameter(NamedTuple):
    """A parameter of a model that is fitted.

    Attributes:
        name: in `tracer`.
        column: of the reference.
        unit: of the column, in ours.
        absolute, relative: the error that is tolerated is their sum.
    """

    name: str
    column: str
    unit: float
    absolute: float
    relative: float


FLOW = Parameter("fp_ml_per_ml_per_min", "fp", 0.01, 0.05, 0.1)
PS = Parameter("ps_per_min", "ps", 1.0, 0.005, 0.1)
KTRANS = Parameter("ktrans_per_min", "Ktrans", 1.0, 0.005, 0.1)
VE = Parameter("ve", "ve", 1.0, 0.05, 0.0)
VP = Parameter("vp", "vp", 1.0, 0.025, 0.0)


class ModelFile(NamedTuple):
    """Which model a file of tissue curves is of, and the columns of its curves."""

    title: str
    model: str
    tissue: str
    plasma: str
    parameters: tuple[Parameter, ...]


MODEL_FILES: Mapping[str, ModelFile] = {
    "dce_DRO_data_tofts.csv": ModelFile("Tofts", "tofts", "C", "ca", (KTRANS, VE)),
    "dce_DRO_data_extended_tofts.csv": ModelFile(
        "extended Tofts", "extended_tofts", "C", "ca", (KTRANS, VE, VP)
    ),
    "patlak_sd_0.02_delay_0.csv": ModelFile("Patlak", "patlak", "C_t", "cp_aif", (PS, VP)),
    "2cxm_sd_0.001_delay_0.csv": ModelFile(
        "two-compartment exchange", "two_compartment_exchange", "C_t", "cp_aif", (FLOW, PS, VE, VP)
    ),
}
UNITS = {
    "fp_ml_per_ml_per_min": "ml/ml/min",
    "ps_per_min": "/min",
    "ktrans_per_min": "/min",
    "ve": "ml/ml",
    "vp": "ml/ml",
}
SYMBOLS = {
    "fp_ml_per_ml_per_min": "Fp",
    "ps_per_min": "PS",
    "ktrans_per_min": "Ktrans",
    "ve": "ve",
    "vp": "vp",
}


def compare(folder: Path) -> list[dict[str, Any]]:
    """Compare the phantom's physics with the reference numbers of the OSIPI code collection.

    Signals become concentrations, input functions are evaluated, T1 is fitted to flip angles, and
    models to tissue curves with noise.

    Args:
        folder: with the collection's CSV files, under their names there.

    Returns:
        One row per item: `item`, `reference` (the file), `cases` (curves or voxels), `unit`,
            `worst_error` (absolute, in that unit), `tolerance` (absolute and relative to the
            reference, in words), `worst_over_tolerance` (the highest ratio of an error to what is
            tolerated of it; 1 is the limit) and `within`.

    Raises:
        InputError: the folder does not have the files, or one of them is not as published.

    Reference: van Houdt et al., Magn Reson Med 2024, doi 10.1002/mrm.29826.
    """
    names = [SPGR_FILE, *INPUT_FUNCTIONS, *T1_FILES, *MODEL_FILES]
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: give the folder with the OSIPI reference files")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}: give the folder with the OSIPI reference files"
        )
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            table = pd.read_csv(folder / name, encoding="utf-8-sig", skipinitialspace=True)
            rows += _compared(name, table)
        except KeyError as error:
            raise InputError(
                f"{name} has no column {error}: give the file as OSIPI publishes it"
            ) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{name} is not as OSIPI publishes it: {error}") from None
    return rows


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `compare` as a table, with what has to be known to read it."""
    cells = (
        (
            row["item"],
            row["reference"],
            row["cases"],
            f"{row['worst_error']:.2g} {row['unit']}",
            row["tolerance"],
            f"{row['worst_over_tolerance']:.2g}",
            "yes" if row["within"] else "**no**",
        )
        for row in rows
    )
    header = ("item", "reference", "cases", "worst error", "tolerance", "of tolerance", "within")
    lines = [
        "## OSIPI reference numbers",
        "",
        (
            "How far the phantom's physics is from the reference numbers of the OSIPI code"
            " collection. Error: the worst of all cases. Of tolerance: the worst error over what is"
            " tolerated; above 1 it fails."
        ),
        "",
        *markdown_table(header, cells, left=(0, 1, 4, 6)),
        "",
        (
            "Georgiou's constants were fitted to the curve that is the reference here, because the"
            " paper prints them rounded: the row tells that the formula holds, not that the"
            " constants were found without it. T1 of the prostate is compared with the reference's"
            " nonlinear fit without correction of the flip angles. Models are fitted to curves with"
            " noise, so their errors are not those of the equations alone. A signal's baseline"
            " leaves out the first sample, as the reference does."
        ),
    ]
    return "\n".join(lines) + "\n"


def _compared(name: str, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    if name == SPGR_FILE:
        yield _spgr(table)
    elif name in INPUT_FUNCTIONS:
        yield _input_function(name, table)
    elif name in T1_FILES:
        yield _t1(name, table)
    else:
        yield from _model(name, table)


def _spgr(table: pd.DataFrame) -> dict[str, Any]:
    found, reference = [], []
    for _, row in table.iterrows():
        signal = _numbers(row["s"])
        # the reference leaves out the first point
        baseline = signal[1 : int(row["numbaselinepts"])].mean()
        found.append(
            spgr_concentration(
                signal,
                baseline,
                t1_s=row["T1base"],
                tr_s=row["TR"],
                flip_deg=row["FA"],
                r1_per_s_per_mM=row["r1"],
            )
        )
        reference.append(_numbers(row["conc"]))
    return _row(
        "SPGR signal to concentration",
        SPGR_FILE,
        len(table),
        "mM",
        np.concatenate(found),
        np.concatenate(reference),
        1e-5,
        1e-5,
    )


def _input_function(name: str, table: pd.DataFrame) -> dict[str, Any]:
    title, function = INPUT_FUNCTIONS[name]
    delay_s = table["delay"].to_numpy(float) if "delay" in table else 0.0
    found = function(60 * table["time"].to_numpy(float) - delay_s)  # the files count minutes
    return _row(
        title, name, table["label"].nunique(), "mM", found, table["Cb"].to_numpy(float), 1e-4, 0.01
    )


def _t1(name: str, table: pd.DataFrame) -> dict[str, Any]:
    file = T1_FILES[name]
    reference = [file.of(value) for value in table[file.column].to_numpy(float)]
    found = [
        float(
            vfa_t1_s(
                _numbers(row["s"]),
                _numbers(row["FA"]),
                tr_s=file.tr_unit_s * _numbers(row["TR"])[0],
            )
        )
        for _, row in table.iterrows()
    ]
    return _row(
        f"T1 from flip angles, {file.tissue}", name, len(table), "s", found, reference, 0.0, 0.05
    )


def _model(name: str, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    file = MODEL_FILES[name]
    found = [
        fit(file.model, _numbers(row["t"]), _numbers(row[file.plasma]), _numbers(row[file.tissue]))
        for _, row in table.iterrows()
    ]
    for parameter in file.parameters:
        reference = parameter.unit * table[parameter.column].to_numpy(float)
        item = f"{file.title}, {SYMBOLS[parameter.name]}"
        values = [each[parameter.name] for each in found]
        yield _row(
            item,
            name,
            len(table),
            UNITS[parameter.name],
            values,
            reference,
            parameter.absolute,
            parameter.relative,
        )


def _row(
    item: str,
    file: str,
    cases: int,
    unit: str,
    found: ArrayLike,
    reference: ArrayLike,
    absolute: float,
    relative: float,
) -> dict[str, Any]:
    """A row of `osipi`; a value that could not be found (NaN) is infinitely wrong."""
    reference = np.asarray(reference, float)
    error = np.nan_to_num(np.abs(np.asarray(found, float) - reference), nan=np.inf)
    worst = float((error / (absolute + relative * np.abs(reference))).max())
    parts = [f"{absolute:g} {unit}"] * (absolute > 0) + [f"{100 * relative:g} %"] * (relative > 0)
    return {
        "item": item,
        "reference": file,
        "cases": cases,
        "unit": unit,
        "worst_error": float(error.max()),
        "tolerance": " + ".join(parts),
        "worst_over_tolerance": worst,
        "within": worst <= 1,
    }


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), float)
