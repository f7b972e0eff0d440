"""Annotations of a study on its reference phase's grid, made of masks on any grids."""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cc3d
import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray

from liverleaf.ingest.collections.case import Annotated
from liverleaf.measure.enhancement import curve, liver_background
from liverleaf.storage.volumes import SAME_GRID_VOXELS
from liverleaf.study import (
    Annotation,
    InputError,
    LesionAnnotation,
    Phase,
    PhaseImage,
    Study,
    same_grid,
)
from liverleaf.terminology import LesionType, Organ

Labels = NDArray[np.uint8]

MAX_LOST = 0.01
"""Share of a mask that may lie outside the image before the two do not belong together."""
MAX_OUTSIDE_LIVER = 0.1
"""Share of the lesions' voxels outside the liver's own mask above which a warning says so."""
MAX_LESIONS = 255
"""What training can number."""


def annotate(
    study: Study,
    *,
    lesions: Sequence[hd.Volume] | None,
    organs: Mapping[Organ, hd.Volume] | None = None,
    lesion_type: LesionType | None = None,
    lesion_types: Sequence[LesionType | None] = (),
    one_mask_each: bool = False,
    notes: Sequence[str] = (),
) -> Annotated:
    """Put masks onto a study's grid and make its annotation of them.

    Args:
        study: the images.
        lesions: bool or label masks (non-zero is lesion) on any grids; empty where it is known that
            there is no lesion, None where lesions were not outlined.
        organs: masks of organs, the later ones above the earlier ones; lesions lie above all.
        lesion_type: of every lesion, None where the collection does not tell it: such lesions are
            not in the lesion list.
        lesion_types: of the lesions in each mask, instead; None where it is not told.
        one_mask_each: whether each mask is one lesion; else lesions are the 26-connected components
            of all of them together, or with `lesion_types` of all that are of one type.
        notes: warnings to add.

    Returns:
        The study with its annotation, or with its organs where lesions were not outlined.

    Raises:
        InputError: a mask lies outside the image, is empty where there is a lesion, or falls into
            more pieces than can be lesions.
    """
    warnings = list(notes)
    organ_map = _organ_map(organs or {}, study.grid, warnings)
    if lesions is None:
        warnings.append(
            "lesions are not outlined in this collection, so there is no truth to train on or to"
            " evaluate with"
        )
        warned = replace(study, warnings=(*study.warnings, *warnings))
        return Annotated(
            warned, organs=None if organ_map is None else study.grid.with_array(organ_map)
        )
    shape = study.grid.spatial_shape
    placed = [onto(mask, study.grid, "lesion", warnings) > 0 for mask in lesions]
    if lesion_types:
        labels, types = _typed_components(placed, lesion_types, shape)
    else:
        one_each = one_mask_each
        labels = _one_each(placed, shape, warnings) if one_each else _components(placed, shape)
        types = [lesion_type] * int(labels.max())
    _check_lesions(labels, lesion_type if lesions else None)
    if organ_map is None:
        warnings.append("the liver is not outlined in this collection")
    else:
        if Organ.LIVER in (organs or {}):
            warnings += _outside_liver(labels, organ_map)
        organ_map[labels > 0] = Organ.LIVER
    if untold := types.count(None):
        of_some = "" if untold == len(types) else f" {untold} of"
        warnings.append(f"the collection does not tell the type of{of_some} its lesions")
    truth = Annotation(
        study.grid.with_array(labels),
        None if organ_map is None else study.grid.with_array(organ_map),
        _lesion_list(types),
    )
    return Annotated(replace(study, warnings=(*study.warnings, *warnings)), truth)


def _lesion_list(types: Sequence[LesionType | None]) -> tuple[LesionAnnotation, ...]:
    """One entry per label from 1 on, none where no type is known."""
    if all(kind is None for kind in types):
        return ()
    return tuple(LesionAnnotation(label, kind, {}) for label, kind in enumerate(types, start=1))


def _organ_map(
    organs: Mapping[Organ, hd.Volume], grid: hd.Volume, warnings: list[str]
) -> Labels | None:
    """The organs on one grid, the later ones above the earlier ones; None without any."""
    if not organs:
        return None
    organ_map = np.zeros(grid.spatial_shape, np.uint8)
    for organ, mask in organs.items():
        name = organ.name.lower().replace("_", " ")
        organ_map[onto(mask, grid, name, warnings) > 0] = organ
    return organ_map


def _check_lesions(labels: NDArray[np.uint16], expected: LesionType | None) -> None:
    """Refuse an empty mask where there is a lesion of that type, and too many pieces."""
    if expected is not None and not labels.any():
        raise InputError(
            "its lesion mask is empty, though the collection says it has a lesion of type"
            f" {expected.title}"
        )
    if labels.max() > MAX_LESIONS:
        raise InputError(
            f"its lesion mask falls into {labels.max()} pieces, more than can be lesions"
        )


def _outside_liver(labels: NDArray[np.uint16], organ_map: Labels) -> list[str]:
    """The warning that much of the lesions lies outside the liver's own mask, where it does."""
    outside = float((organ_map[labels > 0] != Organ.LIVER).mean()) if labels.any() else 0.0
    if outside <= MAX_OUTSIDE_LIVER:
        return []
    return [f"{outside:.0%} of the lesions lie outside the liver's own mask"]


def between_phases(drawn_on: Phase, study: Study) -> list[str]:
    """The warning that masks were drawn in another phase than the reference phase, if they were."""
    if drawn_on is study.reference:
        return []
    where = (
        f"in the {drawn_on.title} phase and lie in the {study.reference.title} phase by the"
        " scanner's coordinates"
    )
    return [f"lesions were outlined {where}: breathing in between is not corrected"]


def onto(mask: hd.Volume, grid: hd.Volume, what: str, warnings: list[str]) -> Labels:
    """A mask's labels on another grid.

    They stay as they are where the grids are one. Else those of the nearest voxels are taken, with
    a line in `warnings`.

    Raises:
        InputError: more than `MAX_LOST` of the mask lies outside the grid.
    """
    if same_grid(mask, grid, tolerance_mm=SAME_GRID_VOXELS * min(grid.spacing)):
        return np.asarray(mask.array, np.uint8)
    inside = np.argwhere(mask.array > 0)
    if not len(inside):
        return np.zeros(grid.spatial_shape, np.uint8)
    indices = grid.map_reference_to_indices(mask.map_indices_to_reference(inside))
    lost = float(((indices < -0.5) | (indices > np.array(grid.spatial_shape) - 0.5)).any(1).mean())
    if lost > MAX_LOST:
        raise InputError(
            f"{lost:.0%} of its {what} mask lie outside the image: they do not belong together, or"
            " a header is wrong"
        )
    line = (
        f"the {what} mask lies on another grid ({_size(mask)}) than the reference phase"
        f" ({_size(grid)}): the nearest voxels were taken"
    )
    if line not in warnings:
        warnings.append(line)
    source = sitk.Cast(
        mask.with_array(np.asarray(mask.array, np.uint8)).to_simpleitk(), sitk.sitkUInt8
    )
    target = grid.to_simpleitk()
    placed = sitk.Resample(
        source,
        target,
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkNearestNeighbor,
        0,
        sitk.sitkUInt8,
    )
    return np.ascontiguousarray(hd.Volume.from_simpleitk(placed).array, np.uint8)


def _size(volume: hd.Volume) -> str:
    return " x ".join(map(str, volume.spatial_shape))


def _components(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    union = np.logical_or.reduce(masks) if masks else np.zeros(shape, bool)
    found: NDArray[np.uint16] = cc3d.connected_components(
        union, connectivity=26, binary_image=True
    ).astype(np.uint16)
    return found


def _typed_components(
    masks: Sequence[NDArray[np.bool_]],
    types: Sequence[LesionType | None],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.uint16], list[LesionType | None]]:
    """Components mask by mask, which do not overlap, and the type of each label from 1 on."""
    labels, types_of_labels = np.zeros(shape, np.uint16), list[LesionType | None]()
    for mask, kind in zip(masks, types, strict=True):
        found = _components([mask], shape)
        labels[mask] = found[mask] + len(types_of_labels)
        types_of_labels += [kind] * int(found.max())
    return labels, types_of_labels


def _one_each(
    masks: Sequence[NDArray[np.bool_]], shape: tuple[int, ...], warnings: list[str]
) -> NDArray[np.uint16]:
    """Labels in the order of the masks.

    A voxel in two of them goes to the smaller lesion, which would vanish otherwise.
    """
    labels = np.zeros(shape, np.uint16)
    kept = [mask for mask in masks if mask.any()]
    if len(kept) < len(masks):
        warnings.append(f"{len(masks) - len(kept)} of {len(masks)} lesion masks are empty")
    shared = int((np.sum(kept, axis=0, dtype=np.uint16) > 1).sum()) if kept else 0
    if shared:
        warnings.append(
            f"{shared} voxels lie in more than one lesion mask and were given to the smaller lesion"
        )
    for index in sorted(range(len(kept)), key=lambda i: -int(kept[i].sum())):
        labels[kept[index]] = index + 1
    present = np.unique(labels[labels > 0])
    if len(present) < len(kept):
        warnings.append(f"{len(kept) - len(present)} lesion masks repeat another one")
        labels = np.searchsorted(np.append(0, present), labels).astype(np.uint16)
    return labels


def with_curves(study: Study, truth: Annotation) -> Annotation:
    """The annotation with the curves of its lesions and of the liver, in every trusted phase.

    They are the mean intensity of each lesion and the median of the liver around them. A phase that
    does not show all of a lesion is not in that lesion's curve.

    Args:
        study: on one grid, as `registration.register` leaves it.
        truth: on that grid.
    """
    images = {
        phase: _shown(image)
        for phase, image in study.phases.items()
        if image.alignment is None or image.alignment.trusted
    }
    lesions = truth.lesions.array
    listed = tuple(
        replace(lesion, curve=curve(images, lesions == lesion.label).mean)
        for lesion in truth.lesion_list
    )
    liver: Mapping[Phase, float] = {}
    if truth.organs is not None:
        background = liver_background(
            images, (truth.organs.array == Organ.LIVER) | (lesions > 0), lesions, study.grid.spacing
        )
        liver = background.mean if background else {}
    return replace(truth, lesion_list=listed, liver_curve=liver)


def _shown(image: PhaseImage) -> NDArray[np.float32]:
    """A phase's intensities, NaN where registration put the lowest value for want of any."""
    array = image.volume.array
    moved = image.alignment is not None and image.alignment.method != "none"
    return np.where(array > array.min(), array, np.float32(np.nan)) if moved else array
