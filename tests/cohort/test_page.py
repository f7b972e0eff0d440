"""The page and the table of a cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from liverleaf.cohort.build import IngestSummary
from liverleaf.cohort.page import CaseRow, PhaseCell, thumbnail, write_table
from liverleaf.study import Phase


def test_the_page_shows_each_case_each_refusal_and_loads_nothing(
    built: tuple[Path, IngestSummary],
) -> None:
    out, done = built
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3
    assert "Research use only" in page
    assert all(case in page and reason in page for case, reason in done.refused.items())
    assert "http" not in page
    assert "<script" not in page


def test_a_thumbnail_shows_front_up_and_right_to_the_left(tiny_case: Callable[..., Any]) -> None:
    study, _ = tiny_case(0)
    volume = study.phases[Phase.PRE].volume
    array = np.full(volume.array.shape, -500, np.float32)
    array[:, :10, :10] = 300  # front and right of a grid that runs to the back and to the left
    turned = study.phases[Phase.PRE].volume.with_array(array).flip_spatial([0, 1, 2])
    images = {
        p: replace(study.phases[p], volume=v)
        for p, v in ((Phase.PRE, turned), (Phase.PORTAL, volume.with_array(array)))
    }
    strip = np.asarray(thumbnail(replace(study, phases=images)))
    assert strip.shape == (160, 320)
    for left in (0, 160):
        assert strip[5, left + 5] == 255
        assert strip[-5, left + 5] == strip[5, left + 155] == 0


def test_a_row_of_the_table_joins_what_belongs_to_phases(tmp_path: Path) -> None:
    row = CaseRow(
        case="case-1",
        subject="subject-1",
        status="read",
        modality="CT",
        phases={
            "arterial": PhaseCell(time_s=35.0, confidence=0.876),
            "portal": PhaseCell(time_s=None, confidence=1.0),
        },
        shape=(12, 24, 30),
        spacing_mm=(10.0, 1.5, 1.5),
        warnings=("one", "two"),
    )
    write_table(lambda: iter([row]), tmp_path / "cohort.csv")
    header, line = (tmp_path / "cohort.csv").read_text(encoding="utf-8").splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True)) == {
        "case": "case-1",
        "subject": "subject-1",
        "status": "read",
        "reason": "",
        "modality": "CT",
        "phases": "arterial;portal",
        "times_s": "35;",
        "confidences": "0.88;1.00",
        "agent": "",
        "slices": "12",
        "shape": "12x24x30",
        "spacing_mm": "10x1.5x1.5",
        "dicom_files": "0",
        "warnings": "one; two",
    }


def test_a_long_scan_shows_a_slice_130_mm_below_its_top(tiny_case: Callable[..., Any]) -> None:
    study, _ = tiny_case(0)
    volume = study.grid
    slices = 100  # of 5 mm, towards the head: the top slice is number 99, its centre at 495 mm
    heights = np.repeat(np.arange(slices, dtype=np.float32)[:, None, None], 48, 1)
    array = np.repeat(heights, 48, 2)
    array[0, 0, 0], array[0, 0, 1] = -160, 240  # the window, whatever it is, holds all
    long = type(volume)(array, volume.affine, "PATIENT", volume.frame_of_reference_uid)
    image = replace(study.phases[Phase.PORTAL], volume=long)
    strip = np.asarray(thumbnail(replace(study, phases={Phase.PORTAL: image})))
    # (495 - 130) / 5 = slice 73; the CT window of the report maps it to one grey
    from liverleaf.export.html.figures import CT_WINDOW_HU

    low, high = CT_WINDOW_HU
    assert strip[80, 80] == int((73 - low) / (high - low) * 255)
