"""The phase that masks were drawn on: by what they name, by their grid, or as a person says."""

from __future__ import annotations

import highdicom as hd
import numpy as np

from liverleaf.ingest.dicom.frames import text
from liverleaf.ingest.masks.drawn import DrawnMasks, DrawnOn
from liverleaf.ingest.masks.rtstruct import StructureSet
from liverleaf.storage.volumes import SAME_GRID_VOXELS, axis_order, grid_in_words
from liverleaf.study import InputError, Phase, PhaseImage, Study, same_grid

Drawn = DrawnMasks | StructureSet


def drawn_phase(drawn: Drawn, study: Study, said: Phase | None) -> tuple[Phase, list[str]]:
    """The phase of a study that masks were drawn on, and warnings.

    What a person says counts first; then the images or series that the file names; then a grid that
    only one phase has (of several with one grid, the reference phase, with a warning); then that
    there is only one phase.

    Args:
        drawn: as read.
        study: as read, before registration.
        said: the phase that a person names.

    Raises:
        InputError: the masks are of another patient, study or frame of reference, or nothing tells
            their phase.
    """
    _check_subject(drawn, study)
    named = _named(drawn.drawn_on, study)
    if said is not None:
        if said not in study.phases:
            raise InputError(
                f"the study has no {said.title} phase that masks could be drawn on, only"
                f" {_listed(study)}"
            )
        _check_frame(drawn, study.phases[said])
        if named and said not in named:
            return said, [
                f"{drawn.file} names images of the {named[0].title} phase, but is said to be drawn"
                f" on the {said.title} one: taken as said"
            ]
        return said, []
    warnings = []
    if len(named) == 1:
        return named[0], []
    if _names_images(drawn.drawn_on) and not named and _has_names(study):
        warnings.append(
            f"{drawn.file} was drawn on images that are not here: its place was told by its grid"
        )
    candidates = named or tuple(study.phases)
    if isinstance(drawn, DrawnMasks):
        candidates = tuple(
            phase for phase in candidates if offset_in(drawn.grid, study.phases[phase].volume)
        )
    elif not named and len(candidates) > 1:
        candidates = ()
    if len(study.phases) == 1:
        _check_frame(drawn, study.phases[study.reference])
        return study.reference, warnings
    if not candidates:
        raise InputError(_untold(drawn, study))
    phase = study.reference if study.reference in candidates else candidates[0]
    _check_frame(drawn, study.phases[phase])
    if len(candidates) > 1:
        titles = " and ".join(phase.key for phase in candidates)
        warnings.append(
            f"{drawn.file} has the grid of several phases ({titles}): taken for drawn on the"
            f" {phase.title} one; --drawn-on says otherwise"
        )
    return phase, warnings


def offset_in(
    part: hd.VolumeGeometry, whole: hd.Volume | hd.VolumeGeometry
) -> tuple[int, int, int] | None:
    """Where the first voxel of a grid lies in another, axes turned alike; None for nowhere.

    The grids have the same voxels as far as they overlap: one may show a part of the other, as a
    Segmentation that leaves empty slices out.
    """
    grid = whole.get_geometry() if isinstance(whole, hd.Volume) else whole
    order = axis_order(part, grid)
    if order is None:
        return None
    turned = part.permute_spatial_axes(order.source)
    if order.backwards:
        turned = turned.flip_spatial(order.backwards)
    first = (np.linalg.inv(grid.affine) @ turned.affine)[:3, 3]
    offset = np.rint(first).astype(int)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ offset
    expected = hd.VolumeGeometry(affine, turned.spatial_shape, "PATIENT")
    overlaps = (offset < grid.spatial_shape).all() and (
        offset + np.array(turned.spatial_shape) > 0
    ).all()
    tolerance_mm = SAME_GRID_VOXELS * min(grid.spacing)
    if not overlaps or not same_grid(turned, expected, tolerance_mm=tolerance_mm):
        return None
    return int(offset[0]), int(offset[1]), int(offset[2])


def embedded(labels: hd.Volume, grid: hd.Volume) -> hd.Volume | None:
    """Labels on a grid that has the same voxels, cut or filled up with 0; None on any other."""
    offset = offset_in(labels.get_geometry(), grid)
    order = axis_order(labels.get_geometry(), grid.get_geometry())
    if offset is None or order is None:
        return None
    array = labels.array.transpose(order.source)
    array = np.flip(array, order.backwards) if order.backwards else array
    placed = np.zeros(grid.spatial_shape, array.dtype)
    to, of = [], []
    for start, size, whole in zip(offset, array.shape, grid.spatial_shape, strict=True):
        first, end = max(start, 0), min(start + size, whole)
        to.append(slice(first, end))
        of.append(slice(first - start, end - start))
    placed[tuple(to)] = array[tuple(of)]
    return grid.with_array(placed)


def _listed(study: Study) -> str:
    return ", ".join(phase.key for phase in study.phases)


def _untold(drawn: Drawn, study: Study) -> str:
    """Why nothing tells the phase, with the phases to choose from."""
    has = f" ({grid_in_words(drawn.grid)})" if isinstance(drawn, DrawnMasks) else ""
    return (
        f"{drawn.file}{has} names no series of this study and has the grid of none of its phases:"
        f" say with --drawn-on which it was drawn on: {_listed(study)}"
    )


def _check_subject(drawn: Drawn, study: Study) -> None:
    """Refuse masks of another patient or study, as far as both are named."""
    headers = [header for image in study.phases.values() for header in image.headers[:1]]
    patients = {text(header, "PatientID") for header in headers} - {""}
    if drawn.drawn_on.patient_id and patients and drawn.drawn_on.patient_id not in patients:
        raise InputError(
            f"{drawn.file} is of another patient than the images: give masks of this study"
        )
    studies = {image.source.study_instance_uid for image in study.phases.values()} - {None}
    if _named(drawn.drawn_on, study):
        return
    if drawn.drawn_on.study_uid and studies and drawn.drawn_on.study_uid not in studies:
        raise InputError(
            f"{drawn.file} is of another study than the images, and names none of them: give masks"
            " of this study"
        )


def _check_frame(drawn: Drawn, image: PhaseImage) -> None:
    """Refuse masks whose coordinates are those of another frame of reference."""
    own, theirs = drawn.drawn_on.frame_of_reference_uid, image.volume.frame_of_reference_uid
    if own and theirs and own != theirs:
        raise InputError(
            f"{drawn.file} has another frame of reference than the images: its coordinates mean"
            " other places, so draw it on images of this study"
        )


def _names_images(drawn_on: DrawnOn) -> bool:
    return bool(drawn_on.image_uids or drawn_on.series_uids)


def _has_names(study: Study) -> bool:
    return any(image.source.series_instance_uid for image in study.phases.values())


def _named(drawn_on: DrawnOn, study: Study) -> tuple[Phase, ...]:
    """The phases whose images a file names most, or whose series where it names no images."""
    counts = {
        phase: len(drawn_on.image_uids & set(image.source.sop_instance_uids))
        for phase, image in study.phases.items()
    }
    most = max(counts.values())
    if most:
        return tuple(phase for phase, count in counts.items() if count == most)
    return tuple(
        phase
        for phase, image in study.phases.items()
        if image.source.series_instance_uid in drawn_on.series_uids
    )
