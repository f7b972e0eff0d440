"""LLD-MMRI in both layouts: boxes in millimetres, masks where there are some, ids as spelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType

BOX = {"x_min": 4, "x_max": 5, "y_min": 6, "y_max": 8, "z_min": 2, "z_max": 3}
SLICES = [
    {"slice_idx": z, "x_min": x, "x_max": 5, "y_min": 6, "y_max": y}
    for z, x, y in ((2, 4, 7), (3, 5, 8))
]
CORNERS = ((7.0, 11.0, 4.5), (11.0, 17.0, 10.5))
"""Of the box above: voxel 4 of 2 mm begins at 7 mm, voxel 5 ends at 11 mm, and so on."""


def entry(
    phase: str, category: int, bbox: dict[str, Any], origin: tuple[float, ...] | None = (0, 0, 0)
) -> dict[str, Any]:
    lesion = {"0": {"category": category, "bbox": bbox}}
    known = {} if origin is None else {"origin": list(origin)}
    return {
        "phase": phase,
        "studyUID": "1.2",
        "seriesUID": f"s-{phase}",
        "annotation": {"num_targets": 1, "lesion": lesion},
        **known,
    }


def challenge(
    tmp_path: Path, nifti, image: NDArray, *entries: dict[str, Any], person: str = "MR-123"
) -> Path:
    for e in entries:
        nifti(tmp_path / f"images/{person}/1.2/{e['seriesUID']}.nii.gz", image)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/Annotation.json").write_text(
        json.dumps({"Annotation_info": {person: entries}})
    )
    return tmp_path


def test_the_challenge_has_boxes_and_no_truth(tmp_path: Path, nifti, image: NDArray) -> None:
    bbox = {"3D_box": BOX, "2D_box": SLICES}
    names = ("C-pre", "C+A", "C+V", "C+Delay", "T2WI", "DWI", "In Phase", "Out Phase")
    (found,) = cases_of(
        "lld-mmri", challenge(tmp_path, nifti, image, *(entry(name, 6, bbox) for name in names))
    )
    annotated = found.read()
    assert (found.case_id, found.subject_id) == ("case-lld-mmri-MR123", "lld-mmri-MR123")
    assert list(annotated.study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert sorted(annotated.study.other) == ["dwi", "t1_in_phase", "t1_out_phase", "t2w"]
    assert annotated.truth is None
    assert {box.image for box in annotated.boxes} == {
        "pre",
        "arterial",
        "portal",
        "delayed",
        "t2w",
        "dwi",
        "t1_in_phase",
        "t1_out_phase",
    }
    assert {(box.type, box.category, box.corners_mm) for box in annotated.boxes} == {
        ("hcc", "hepatocellular carcinoma", CORNERS)
    }
    assert any(
        "a box in annotations.json and no mask" in warning for warning in annotated.study.warnings
    )


@pytest.mark.parametrize(
    ("bbox", "origin", "corners", "said"),
    [
        ({"3D_box": None, "2D_box": SLICES}, (0, 0, 0), CORNERS, None),
        ({"3D_box": BOX}, (0, 0, 21), ((7.0, 11.0, 10.5), (11.0, 17.0, 16.5)), "in the reverse"),
        ({"3D_box": BOX}, None, CORNERS, "does not tell whether slices are stored in reverse"),
        (
            {"3D_box": BOX},
            (90, 90, 90),
            CORNERS,
            "does not tell whether slices are stored in reverse",
        ),
        ({"3D_box": BOX | {"z_max": 8}}, (0, 0, 0), None, "beyond its 8 slices"),
        ({"3D_box": None, "2D_box": []}, (0, 0, 0), None, "a box is empty"),
    ],
    ids=[
        "2-D boxes merged",
        "slices reversed",
        "no origin",
        "foreign origin",
        "too many slices",
        "no box",
    ],
)
def test_boxes(
    bbox: dict,
    origin: tuple | None,
    corners: tuple | None,
    said: str | None,
    tmp_path: Path,
    nifti,
    image: NDArray,
) -> None:
    annotated = next(
        cases_of("lld-mmri", challenge(tmp_path, nifti, image, entry("C+V", 5, bbox, origin)))
    ).read()
    assert [box.corners_mm for box in annotated.boxes] == ([corners] if corners else [])
    assert said is None or any(said in warning for warning in annotated.study.warnings)


@pytest.mark.parametrize(
    ("category", "type_name", "word"),
    [
        (0, "haemangioma", "haemangioma"),
        (1, "icc", "intrahepatic cholangiocarcinoma"),
        (2, "other", "abscess"),
        (4, "cyst", "cyst"),
        (-1, "", ""),
    ],
)
def test_categories(
    category: int, type_name: str, word: str, tmp_path: Path, nifti, image: NDArray
) -> None:
    annotated = next(
        cases_of(
            "lld-mmri", challenge(tmp_path, nifti, image, entry("C+V", category, {"3D_box": BOX}))
        )
    ).read()
    assert [(box.type, box.category) for box in annotated.boxes] == [(type_name, word)]
    assert any("counted as 'other'" in warning for warning in annotated.study.warnings) == (
        category == 2
    )


def test_hugging_face_has_masks(tmp_path: Path, nifti, image: NDArray, tumour: NDArray) -> None:
    tumour[4:] = 0
    for person, name in (
        ("MR-400851", "C+V"),
        ("MR-400851", "C+A"),
        ("MR-400851", "InPhase"),
        ("MR102385", "C+V"),
    ):
        nifti(tmp_path / f"images/{person}_1_{name}_0000.nii.gz", image)
    nifti(tmp_path / "labels/MR-400851_1_C+V.nii.gz", tumour)
    listed = {
        "MR400851": [
            entry("C+V", 3, {"3D_box": None, "2D_box": SLICES}),
            entry("In Phase", 3, {"3D_box": BOX}),
        ]
    }
    (tmp_path / "LLD_MMRI_Annotation.json").write_text(json.dumps({"Annotation_info": listed}))
    unlisted, found = cases_of("lld-mmri", tmp_path)
    annotated = found.read()
    assert found.subject_id == "lld-mmri-MR400851"
    np.testing.assert_array_equal(annotated.truth.lesions.array, tumour)
    assert [lesion.type for lesion in annotated.truth.lesion_list] == [LesionType.METASTASIS]
    assert list(annotated.study.other) == ["t1_in_phase"]
    assert [box.corners_mm for box in annotated.boxes] == [CORNERS, CORNERS]
    said = annotated.study.warnings
    assert {"C-pre is missing", "C+Delay is missing", "T2WI is missing"} <= set(said)
    assert any("made by MedSAM2" in warning for warning in said)
    assert "it has neither masks nor boxes" in unlisted.read().study.warnings


def test_a_damaged_image_takes_only_its_own_boxes_along(
    tmp_path: Path, nifti, image: NDArray
) -> None:
    challenge(
        tmp_path, nifti, image, entry("C+V", 6, {"3D_box": BOX}), entry("C+A", 6, {"3D_box": BOX})
    )
    (tmp_path / "images/MR-123/1.2/s-C+A.nii.gz").write_bytes(b"no image")
    annotated = next(cases_of("lld-mmri", tmp_path)).read()
    assert (list(annotated.study.phases), [box.image for box in annotated.boxes]) == (
        [Phase.PORTAL],
        ["portal"],
    )
    assert "arterial: its boxes were left out with it" in annotated.study.warnings


def test_lists_without_images_and_images_without_list_are_refused(
    tmp_path: Path, nifti, image: NDArray
) -> None:
    (tmp_path / "Annotation.json").write_text(
        json.dumps({"Annotation_info": {"MR1": [entry("C+V", 1, {"3D_box": BOX})]}})
    )
    nifti(tmp_path / "images/MR-2/1.2/s.nii.gz", image)
    assert [case.refused for case in cases_of("lld-mmri", tmp_path)] == [
        "none of its contrast phases is there",
        "it is not listed",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "0 annotation files"), ("{", "damaged"), ('{"a": 1}', "no Annotation_info")],
)
def test_a_folder_without_annotations_is_refused(
    text: str | None, reason: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "Annotation.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        list(cases_of("lld-mmri", tmp_path))
