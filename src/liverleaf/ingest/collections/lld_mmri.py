"""Cases of LLD-MMRI: eight MR images per person with boxes around one lesion."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, LesionBox, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.storage.volumes import affine_mm
from liverleaf.study import REFERENCE_ORDER, InputError, Modality, Phase, Study
from liverleaf.terminology import LesionType

NAME = "lld-mmri"
PHASES = {"C-pre": Phase.PRE, "C+A": Phase.ARTERIAL, "C+V": Phase.PORTAL, "C+Delay": Phase.DELAYED}
OTHER = {"T2WI": "t2w", "DWI": "dwi", "InPhase": "t1_in_phase", "OutPhase": "t1_out_phase"}
CATEGORIES: tuple[tuple[str, LesionType], ...] = (
    ("haemangioma", LesionType.HAEMANGIOMA),
    ("intrahepatic cholangiocarcinoma", LesionType.ICC),
    ("abscess", LesionType.OTHER),
    ("metastasis", LesionType.METASTASIS),
    ("cyst", LesionType.CYST),
    ("focal nodular hyperplasia", LesionType.FNH),
    ("hepatocellular carcinoma", LesionType.HCC),
)
"""By the collection's number; -1 is a case whose category was kept back."""
IMAGE = re.compile(r"(MR-?\d+)_(\d+)_(.+)_0000\.nii\.gz")
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Entries = Sequence[Mapping[str, Any]]


def lld_mmri(root: Path) -> Iterator[CollectionCase]:
    """The cases that the annotation file lists, and images that it does not list.

    The file is `labels/Annotation.json` of the challenge or `LLD_MMRI_Annotation.json` of Hugging
    Face.

    Raises:
        InputError: there is no such file, as with the cut-outs of `classification_dataset`, or it
            is damaged.
    """
    annotations = sorted([*root.rglob("Annotation.json"), *root.rglob("LLD_MMRI_Annotation.json")])
    if len(annotations) != 1:
        raise InputError(
            f"{root} holds {len(annotations)} annotation files; give the folder with images/ and"
            " one Annotation.json (the cut-outs of classification_dataset have lost their voxel"
            " sizes)"
        )
    try:
        listed = json.loads(annotations[0].read_text(encoding="utf-8"))["Annotation_info"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{annotations[0]} is damaged or something else: it has no Annotation_info; download it"
            " again"
        ) from error
    entries = {_number(person): of_one for person, of_one in listed.items()}
    flat: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(root.rglob("images/MR*_0000.nii.gz")):
        if match := IMAGE.fullmatch(path.name):
            flat[_number(match[1])].setdefault(match[3].replace(" ", ""), path)
    folders = {
        _number(path.name): path
        for path in root.glob("**/images/MR*")
        if path.is_dir() and "classification_dataset" not in path.parts
    }
    for person in sorted(entries.keys() | flat.keys() | folders.keys()):
        of_one = entries.get(person, ())
        files = flat.get(person) or _by_series(folders.get(person), of_one)
        reason = (
            ""
            if any(name in files for name in PHASES)
            else "none of its contrast phases is there"
            if of_one
            else "it is not listed"
        )
        yield case(NAME, person, partial(_read, files, of_one), refused=reason)


def _number(person: str) -> str:
    """The same id however it is spelled: MR-400851 and MR400851."""
    return person.replace("-", "")


def _by_series(folder: Path | None, entries: Entries) -> dict[str, Path]:
    """The images of the challenge's layout by phase: <studyUID>/<seriesUID>.nii.gz."""
    if folder is None:
        return {}
    places = {
        _phase(entry): folder / str(entry.get("studyUID")) / f"{entry.get('seriesUID')}.nii.gz"
        for entry in entries
    }
    return {name: path for name, path in places.items() if path.is_file()}


def _phase(entry: Mapping[str, Any]) -> str:
    return str(entry.get("phase")).replace(" ", "")


def _read(files: Mapping[str, Path], entries: Entries) -> Annotated:
    notes: list[str] = []
    boxes = tuple(
        box
        for entry in entries
        if _phase(entry) in files
        for box in _boxes(entry, files[_phase(entry)], notes)
    )
    study = study_of(
        Modality.MR,
        {phase: files[name] for name, phase in PHASES.items() if name in files},
        other={other: files[name] for name, other in OTHER.items() if name in files},
        notes=[f"{name} is missing" for name in (*PHASES, *OTHER) if name not in files],
    )
    categories = sorted({box.category for box in boxes})
    if len(categories) > 1:
        notes.append(
            f"its phases name different categories ({', '.join(categories)}): taken as unknown"
        )
    lesion_type = (
        dict(CATEGORIES)[categories[0]] if len(categories) == 1 and categories[0] else None
    )
    if lesion_type is LesionType.OTHER:
        notes.append(f"a lesion is an {categories[0]}, which is counted as 'other'")
    phase, masks = _masks(study, files)
    if not masks:
        notes.append(
            "each lesion has a box in annotations.json and no mask"
            if boxes
            else "it has neither masks nor boxes"
        )
        return replace(annotate(study, lesions=None, notes=notes), boxes=boxes)
    notes.append(
        "masks were made by MedSAM2 from the boxes and checked by people; lesions beside the one"
        " with a box may be missing"
    )
    notes += between_phases(phase, study)
    volumes = [read_labels(path) for path in masks]
    return replace(
        annotate(study, lesions=volumes, lesion_type=lesion_type, one_mask_each=True, notes=notes),
        boxes=boxes,
    )


def _masks(study: Study, files: Mapping[str, Path]) -> tuple[Phase, list[Path]]:
    """The masks of the first phase that has some, in the order of reference phases."""
    for phase in (phase for phase in REFERENCE_ORDER if phase in study.phases):
        name = next(name for name, named in PHASES.items() if named is phase)
        match = IMAGE.fullmatch(files[name].name)
        if match:
            found = sorted(
                (files[name].parent.parent / "labels").glob(f"{match[1]}_*_{name}.nii.gz")
            )
            if found:
                return phase, found
    return study.reference, []


def _boxes(entry: Mapping[str, Any], path: Path, notes: list[str]) -> Iterator[LesionBox]:
    """The boxes of one image in millimetres.

    A box that does not fit its image is left out with a line in `notes`.
    """
    name = _phase(entry)
    image = PHASES[name].key if name in PHASES else OTHER.get(name, name.lower())
    try:
        header: Any = nib.load(path)
        affine, slices = affine_mm(header), int(header.shape[2])
    except Exception:  # as when the image is read: nibabel raises anything on damaged files
        notes.append(f"{image}: its boxes were left out with it")
        return
    reversed_slices = _reversed(entry, affine, slices)
    if reversed_slices is None:
        notes.append(
            f"{image}: its origin does not tell whether slices are stored in reverse; its boxes"
            " were taken as they are"
        )
    for lesion in entry["annotation"]["lesion"].values():
        low, high = _extent(lesion["bbox"])
        if low is None or high is None or not (0 <= low[2] <= high[2] < slices):
            notes.append(
                f"{image}: a box is empty or reaches beyond its {slices} slices and was left out"
            )
            continue
        if reversed_slices:
            low[2], high[2] = slices - 1 - high[2], slices - 1 - low[2]
        first, last = (
            RAS_TO_LPS @ affine @ [*(index + shift), 1.0]
            for index, shift in ((low, -0.5), (high, 0.5))
        )
        category = int(lesion["category"])
        word, lesion_type = CATEGORIES[category] if 0 <= category < len(CATEGORIES) else ("", None)
        corners = (tuple(round(float(mm), 3) for mm in corner[:3]) for corner in (first, last))
        yield LesionBox.model_validate(
            {
                "image": image,
                "type": "" if lesion_type is None else lesion_type.key,
                "category": word,
                "corners_mm": tuple(corners),
            }
        )
    if reversed_slices:
        notes.append(
            f"{image}: its slices are stored in the reverse of the order its boxes count them,"
            " which was mended"
        )


def _extent(
    bbox: Mapping[str, Any],
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """First and last voxel (x, y, z) of a 3-D box, or of all 2-D boxes where that is null."""
    parts = (
        [bbox["3D_box"]]
        if bbox.get("3D_box")
        else [{**b, "z_min": b["slice_idx"], "z_max": b["slice_idx"]} for b in bbox["2D_box"] or ()]
    )
    if not parts:
        return None, None
    low = np.min([[part[f"{axis}_min"] for axis in "xyz"] for part in parts], axis=0)
    high = np.max([[part[f"{axis}_max"] for axis in "xyz"] for part in parts], axis=0)
    return low.astype(float), high.astype(float)


def _reversed(entry: Mapping[str, Any], affine: NDArray[np.float64], slices: int) -> bool | None:
    """Whether the annotation's first slice is the file's last, None where its origin is neither."""
    if entry.get("origin") is None:
        return None
    ends = [(RAS_TO_LPS @ affine @ [0, 0, z, 1])[:3] for z in (0, slices - 1)]
    far_mm = [float(np.linalg.norm(np.asarray(entry["origin"], float) - end)) for end in ends]
    near_mm = 0.5 * float(np.linalg.norm(affine[:3, 2]))
    return None if min(far_mm) > near_mm else far_mm[1] < far_mm[0]
