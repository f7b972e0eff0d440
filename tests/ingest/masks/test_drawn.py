"""Outlines are told apart by their names, in the words that people and programs use."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest

from liverleaf.ingest.masks.drawn import DrawnMasks, Outline
from liverleaf.study import InputError

GRID = hd.Volume(np.ones((2, 2, 2), np.uint16), np.eye(4), "PATIENT")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("liver", "liver"),
        ("Liver Liver", "liver"),
        ("leber", "liver"),
        ("liver_lesions", "lesion"),
        ("liver_tumor", "lesion"),
        ("tumour 2", "lesion"),
        ("hcc1", "lesion"),
        ("GTVp_1", "lesion"),
        ("metastases", "lesion"),
        ("liver_vessels", "other"),
        ("liver_segment_4", "other"),
        ("spleen", "other"),
        ("portal_vein_and_splenic_vein", "other"),
        ("", "unnamed"),
        ("roi 3", "unnamed"),
        ("comet", "unnamed"),
    ],
)
def test_a_name_tells_what_was_outlined(name: str, kind: str) -> None:
    outline = Outline(name, 1, GRID)
    found = {"liver": outline.is_liver, "lesion": outline.is_lesion, "other": outline.is_other}
    assert [key for key, is_so in found.items() if is_so] == ([] if kind == "unnamed" else [kind])


def test_nothing_outlined_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.nii outlines nothing"):
        DrawnMasks("a.nii", ())
