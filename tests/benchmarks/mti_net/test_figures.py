"""Figures of MTI-Net's tables show every method and every count."""

from liverleaf.benchmarks.mti_net.figures import confusion_matrices
from liverleaf.terminology import LesionType


def test_confusion_matrices_have_short_names_shares_and_counts() -> None:
    record = {
        "ours": "liverleaf-net",
        "confusion": {
            "VGG-16, type": [[3, 1], [0, 0]],
            "liverleaf-net": [[4, 0], [1, 3]],
            "liverleaf-net, no skips": [[1, 0], [0, 1]],
        },
    }
    drawn = confusion_matrices(record, (LesionType.HCC, LesionType.HAEMANGIOMA))
    assert [panel.get_title() for panel in drawn.axes] == ["VGG-16", "liverleaf-net", "no skips"]
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts == ["75 %\n(3)", "25 %\n(1)", "0 %\n(0)", "0 %\n(0)"]
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == [
        "HCC",
        "haemangioma",
    ]
