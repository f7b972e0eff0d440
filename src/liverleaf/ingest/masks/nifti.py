"""Masks from NIfTI files: label maps, a file per thing, and the folders that networks write.

Names come from the file name, from `dataset.json` (nnU-Net), or from the table of labels in the
file's header (TotalSegmentator's `--ml`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np

from liverleaf.ingest.masks.drawn import LARGEST_LABEL, DrawnMasks, Outline
from liverleaf.ingest.nifti import ENDING, is_nifti, read_nifti_volume
from liverleaf.storage.volumes import check_labels, grid_in_words, reordered
from liverleaf.study import InputError

DATASET = "dataset.json"
LABEL_FOLDERS = ("labelsTr", "labelsTs")
LESION_CLASSES = ("liver_lesions", "liver_tumor")
"""Classes of TotalSegmentator, each the name of a file with all lesions in it."""


def read_nifti_masks(path: Path) -> DrawnMasks:
    """Read one NIfTI file.

    A table of labels in its header or in a `dataset.json` in its folder, or in the folder above,
    names what each label is; without one it is a map of unnamed labels.

    Raises:
        InputError: it cannot be read or holds other values than labels.
    """
    outline, warnings = _label_map(path, 1, "")
    names = _names_in_header(path) or _names_in_dataset(path)
    if not names:
        classes = ENDING.sub("", path.name) in LESION_CLASSES
        return DrawnMasks(path.name, (outline,), classes=classes, warnings=tuple(warnings))
    labels = outline.labels
    present = [int(label) for label in np.unique(labels.array) if label]
    outlines = tuple(
        Outline(
            names.get(label, ""), label, labels.with_array((labels.array == label).astype("uint16"))
        )
        for label in present
        if names.get(label, "") != "background"
    )
    return DrawnMasks(path.name, outlines or (outline,), classes=True, warnings=tuple(warnings))


def read_nifti_folder(folder: Path) -> DrawnMasks:
    """Read a folder of masks on one grid: a file for each thing, named by its file.

    In a dataset of nnU-Net the only file of `labelsTr` is read with the names of `dataset.json`.

    Raises:
        InputError: there is no file, one cannot be read, or they lie on several grids.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_nifti(path))
    if not files:
        inner = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
        files = sorted(path for path in (inner[0].iterdir() if inner else ()) if is_nifti(path))
        if len(files) > 1:
            raise InputError(
                f"{folder.name} holds the masks of {len(files)} cases in {inner[0].name}: give the"
                " file of this study"
            )
    if not files:
        raise InputError(f"{folder.name} holds no NIfTI file: give a folder or a file of masks")
    if len(files) == 1:
        return read_nifti_masks(files[0])
    outlines: list[Outline] = []
    warnings: list[str] = []
    for number, file in enumerate(files, start=1):
        outline, notes = _label_map(file, number, ENDING.sub("", file.name).lower())
        if outlines:
            outline = _on_one_grid(outline, outlines[0], file.name)
        outlines.append(outline)
        warnings += notes
    lesions = [outline.labels.array for outline in outlines if outline.is_lesion]
    classes = len(lesions) == 1 and int(lesions[0].max()) == 1
    kept = tuple(outline for outline in outlines if outline.labels.array.any())
    if len(kept) < len(outlines):
        warnings.append(f"{len(outlines) - len(kept)} of the masks in {folder.name} are empty")
    return DrawnMasks(folder.name, kept, classes=classes, warnings=tuple(warnings))


def _label_map(path: Path, number: int, name: str) -> tuple[Outline, list[str]]:
    if not is_nifti(path):
        raise InputError(f"{path.name} is no NIfTI file: give masks as .nii or .nii.gz")
    volume, notes = read_nifti_volume(path)
    check_labels(path.name, volume.array, LARGEST_LABEL)
    labels = volume.with_array(np.rint(volume.array).astype(np.uint16))
    return Outline(name, number, labels), [f"{path.name}: {note}" for note in notes]


def _on_one_grid(outline: Outline, first: Outline, name: str) -> Outline:
    placed = reordered(outline.labels, first.labels)
    if placed is None:
        raise InputError(
            f"{name} ({grid_in_words(outline.labels)}) lies on another grid than the masks beside"
            f" it ({grid_in_words(first.labels)}): put masks of one image into a folder"
        )
    return Outline(outline.name, outline.number, placed)


def _names_in_header(path: Path) -> dict[int, str]:
    """The names in the table of labels that Connectome's header extension has; empty without."""
    extensions: Sequence[Any] = nib.load(path).header.extensions  # type: ignore[attr-defined]
    for extension in extensions:
        content = extension.get_content()
        try:
            text = content if isinstance(content, str) else bytes(content).decode("utf-8")
            tree = ElementTree.fromstring(text.strip("\0 \n"))
            return {
                int(label.attrib["Key"]): (label.text or "").lower() for label in tree.iter("Label")
            }
        except (UnicodeDecodeError, ElementTree.ParseError, KeyError, ValueError, TypeError):
            continue
    return {}


def _names_in_dataset(path: Path) -> dict[int, str]:
    """The names in the `dataset.json` of nnU-Net, of either version; empty without one."""
    for folder in (path.parent, path.parent.parent):
        file = folder / DATASET
        if file.is_file():
            try:
                return _labels_of(json.loads(file.read_text(encoding="utf-8"))["labels"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"the {DATASET} beside {path.name} names no labels: mend it or move it away"
                ) from error
    return {}


def _labels_of(table: Mapping[str, object]) -> dict[int, str]:
    """Names by number: version 1 has {"1": "liver"}, version 2 {"liver": 1}; regions are left."""
    names = {}
    for key, value in table.items():
        if isinstance(value, str):
            names[int(key)] = value.lower()
        elif isinstance(value, int):
            names[value] = key.lower()
    return names
