"""Figures of MTI-Net's tables: confusion matrices, and outlines beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from liverleaf.benchmarks.mti_net.cross_validation import lesion_area
from liverleaf.data.prepared import PreparedCase
from liverleaf.terminology import LesionType


def confusion_matrices(record: Mapping[str, Any], types: Sequence[LesionType]) -> Figure:
    """Percent of the true type, a matrix per method, as Figure 4 of the paper.

    Args:
        record: of `table.json`: `ours` and, by method, `confusion`: counts of true (row) and
            answered type (column).
        types: in the order of rows and columns.
    """
    counts = {
        name.removeprefix(f"{record['ours']}, ").removesuffix(", type"): matrix
        for name, matrix in record["confusion"].items()
    }
    drawn = Figure(figsize=(2.6 * len(counts), 3.1), dpi=130, layout="constrained")
    # HCC, ICC and FNH are abbreviations
    names = [kind.name if len(kind.name) == 3 else kind.key for kind in types]
    for panel, (name, matrix) in zip(
        drawn.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True
    ):
        array = np.array(matrix, float)
        share = 100 * array / np.maximum(array.sum(axis=1, keepdims=True), 1)
        panel.imshow(share, vmin=0, vmax=100, cmap="Blues")
        for row, column in np.ndindex(share.shape):
            colour = "white" if share[row, column] > 55 else "#26323a"
            text = f"{share[row, column]:.0f} %\n({array[row, column]:.0f})"
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        panel.set_title(name, fontsize=9)
        panel.set_xticks(range(len(names)), names, fontsize=8, rotation=30)
        panel.set_yticks(range(len(names)), names, fontsize=8)
    drawn.supxlabel("answered type", fontsize=9)
    drawn.supylabel("true type", fontsize=9)
    return drawn


def outlines(
    masks: Mapping[str, Mapping[str, NDArray[np.bool_]]], cases: Mapping[str, PreparedCase]
) -> Figure:
    """The largest slice of some lesions: truth in white, each method's outline in orange.

    Args:
        masks: by method and case, of the slice with the largest lesion.
        cases: by name, all that are shown.
    """
    shown = list(next(iter(masks.values())))
    drawn = Figure(
        figsize=(1.75 * len(masks), 1.85 * len(shown) + 0.3), dpi=130, layout="constrained"
    )
    panels_of = drawn.subplots(len(shown), len(masks), squeeze=False)
    for panels, case_id in zip(panels_of, shown, strict=True):
        case = cases[case_id]
        images_PYX, labels_2YX = case.slice(int(lesion_area(case).argmax()))
        image_YX = images_PYX[int(np.flatnonzero(case.present)[min(2, sum(case.present) - 1)])]
        low, high = image_YX.min(), np.percentile(image_YX[image_YX > image_YX.mean()], 99.5)
        for panel, (name, of_case) in zip(panels, masks.items(), strict=True):
            panel.imshow(image_YX, cmap="gray", vmin=low, vmax=high)
            panel.contour(labels_2YX[1] > 0, [0.5], colors="white", linewidths=0.7)
            if of_case[case_id].any():
                panel.contour(of_case[case_id], [0.5], colors="#ff8c42", linewidths=0.9)
            panel.set_axis_off()
            panel.set_title(name if case_id == shown[0] else "", fontsize=8)
    drawn.supxlabel(
        "portal venous phase where there is one; white: truth, orange: what the method answers",
        fontsize=8,
    )
    return drawn
