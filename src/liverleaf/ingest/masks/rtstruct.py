"""Masks from the contours of a DICOM RT Structure Set, of any orientation.

Contours lie in planes; where two of one plane overlap, the inner one is a hole (exclusive or).
Between planes the outline is interpolated by signed distance, so that contours drawn on other
slices than the grid's, or on every second one, make one solid.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon2mask

from liverleaf.ingest.dicom.frames import MAX_POSITION_MM, counted, text
from liverleaf.ingest.dicom.pixels import MAX_VOXELS
from liverleaf.ingest.masks.drawn import DrawnMasks, DrawnOn, Outline
from liverleaf.study import InputError

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
PARALLEL = 0.999
"""Cosine from which two directions are one: 2.6 degrees."""
SAME_PLANE_MM = 0.05
LARGEST_GAP = 2.0
"""Planes up to this many times their usual distance apart belong to one solid; across a wider gap
the structure falls into two."""
OWN_PIXEL_MM = 1.0
"""Pixel of a grid that is made for contours whose planes are oblique to the images."""

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


class _Plane(NamedTuple):
    """The contours of one structure in one plane: its place along the normal, and polygons."""

    at: float
    polygons: list[Points]


@dataclass(frozen=True)
class Structure:
    """The closed contours of one region of interest.

    Attributes:
        name: in lower case, "" for none.
        number: ROI number.
        contours_mm: each of shape (points, 3), LPS.
    """

    name: str
    number: int
    contours_mm: tuple[Points, ...]


@dataclass(frozen=True)
class StructureSet:
    """What a file holds before its contours are filled on a grid.

    Attributes:
        file: its name, for messages.
        structures: those with closed contours.
        drawn_on: the images that it names.
        warnings: what was left out.
    """

    file: str
    structures: tuple[Structure, ...]
    drawn_on: DrawnOn
    warnings: tuple[str, ...] = ()


def read_rtstruct(path: Path) -> StructureSet:
    """Read the closed contours of a structure set.

    Raises:
        InputError: it cannot be read, or holds no closed contour.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its values may name the patient
            dataset = pydicom.dcmread(path)
            structures, told = _structures(dataset, path.name)
            references = _drawn_on(dataset)
    except Exception as error:  # pydicom raises anything on damaged files
        raise InputError(
            f"{path.name} cannot be read as a structure set ({type(error).__name__}): export it"
            " again"
        ) from error
    if not structures:
        raise InputError(
            f"{path.name} holds no closed contour with an area, only open ones and points: export"
            " structures as closed planar contours"
        )
    return StructureSet(path.name, tuple(structures), references, tuple(told))


def filled(structures: StructureSet, image: hd.Volume | hd.VolumeGeometry) -> DrawnMasks:
    """The masks of a structure set on the grid of the image that it was drawn on.

    Where its planes are parallel to planes of that grid, its masks lie on that very grid; else on a
    grid of their own along the planes.

    Raises:
        InputError: nothing of it lies on the image.
    """
    geometry = image.get_geometry() if isinstance(image, hd.Volume) else image
    outlines, told = [], list(structures.warnings)
    normals = [_normal(structure) for structure in structures.structures]
    grid = _lattice(structures.structures, normals, geometry)
    for structure, normal in zip(structures.structures, normals, strict=True):
        mask = _solid(structure, normal, grid)
        if mask is None or not mask.any():
            told.append(
                f"{structures.file}: structure {structure.number} covers no voxel of the image and"
                " was left out"
            )
            continue
        labels = hd.Volume(
            mask.astype(np.uint16), grid.affine, "PATIENT", grid.frame_of_reference_uid
        )
        outlines.append(Outline(structure.name, structure.number, labels))
    if not outlines:
        raise InputError(
            f"{structures.file} covers no voxel of the image that it was drawn on: is it of another"
            " study?"
        )
    return DrawnMasks(structures.file, tuple(outlines), structures.drawn_on, warnings=tuple(told))


def _structures(dataset: Dataset, name: str) -> tuple[list[Structure], list[str]]:
    names = {
        int(roi.ROINumber): text(roi, "ROIName").lower()
        for roi in dataset.get("StructureSetROISequence", ())
    }
    found, told = [], []
    for item in dataset.get("ROIContourSequence", ()):
        number = int(item.ReferencedROINumber)
        kept, left = [], 0
        for contour in item.get("ContourSequence", ()):
            points = np.asarray(contour.get("ContourData", ()), float)
            closed = text(contour, "ContourGeometricType").upper() in CLOSED
            whole = points.size >= 9 and points.size % 3 == 0
            if not (closed and whole and np.abs(points).max() <= MAX_POSITION_MM):
                left += 1
                continue
            kept.append(points.reshape(-1, 3))
        if left:
            told.append(
                f"{name}: structure {number}: {counted(left, 'contour')} left out (open, or fewer"
                " than three points)"
            )
        if kept:
            found.append(Structure(names.get(number, ""), number, tuple(kept)))
    return found, told


def _drawn_on(dataset: Dataset) -> DrawnOn:
    series_uids, image_uids, study_uids = set(), set(), set()
    frame_of_reference = text(dataset, "FrameOfReferenceUID")
    for frame in dataset.get("ReferencedFrameOfReferenceSequence", ()):
        frame_of_reference = frame_of_reference or text(frame, "FrameOfReferenceUID")
        for study in frame.get("RTReferencedStudySequence", ()):
            study_uids.add(text(study, "ReferencedSOPInstanceUID"))
            for series in study.get("RTReferencedSeriesSequence", ()):
                series_uids.add(text(series, "SeriesInstanceUID"))
                for image in series.get("ContourImageSequence", ()):
                    image_uids.add(text(image, "ReferencedSOPInstanceUID"))
    for roi in dataset.get("StructureSetROISequence", ()):
        frame_of_reference = frame_of_reference or text(roi, "ReferencedFrameOfReferenceUID")
    return DrawnOn(
        text(dataset, "PatientID"),
        text(dataset, "StudyInstanceUID") or next(iter(study_uids), ""),
        frozenset(series_uids - {""}),
        frozenset(image_uids - {""}),
        frame_of_reference,
    )


def _normal(structure: Structure) -> Points:
    """The unit normal of a structure's planes: of its contour of the largest area."""
    areas = []
    for contour in structure.contours_mm:
        centred = contour - contour.mean(axis=0)
        areas.append(np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0) / 2)
    largest = max(areas, key=np.linalg.norm)
    size = np.linalg.norm(largest)
    return largest / size if size > 0 else np.array([0.0, 0.0, 1.0])


def _lattice(
    structures: Sequence[Structure], normals: Sequence[Points], image: hd.VolumeGeometry
) -> hd.VolumeGeometry:
    """The image's own grid where all planes are parallel to some of its; else a grid along them."""
    cosines = [np.abs(image.direction.T @ normal).max() for normal in normals]
    if min(cosines) >= PARALLEL:
        return image
    normal = normals[int(np.argmin(cosines))]
    helper = image.direction[:, int(np.abs(image.direction.T @ normal).argmin())]
    row = helper - (helper @ normal) * normal
    row /= np.linalg.norm(row)
    axes = np.column_stack([normal, np.cross(normal, row), row])
    points = np.concatenate([contour for s in structures for contour in s.contours_mm]) @ axes
    step = min(
        _usual_gap(_planes(s, n)) or min(image.spacing)
        for s, n in zip(structures, normals, strict=True)
    )
    spacing = np.array([step, OWN_PIXEL_MM, OWN_PIXEL_MM])
    low = points.min(axis=0) - spacing
    shape = np.ceil((points.max(axis=0) - low) / spacing).astype(int) + 2
    if np.prod(shape, dtype=float) > MAX_VOXELS:
        raise InputError(
            "the structures span more than any image: export those of one study, in planes of it"
        )
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ low
    return hd.VolumeGeometry(affine, tuple(shape.tolist()), "PATIENT", image.frame_of_reference_uid)


def _planes(structure: Structure, normal: Points) -> list[_Plane]:
    """The contours by plane, in the order of the planes; the same contour twice counts once."""
    planes: list[_Plane] = []
    at = [float((contour @ normal).mean()) for contour in structure.contours_mm]
    for index in np.argsort(at, kind="stable"):
        contour = structure.contours_mm[index]
        if planes and abs(planes[-1].at - at[index]) <= SAME_PLANE_MM:
            known = planes[-1].polygons
            if not any(np.array_equal(contour, other) for other in known):
                known.append(contour)
        else:
            planes.append(_Plane(at[index], [contour]))
    return planes


def _usual_gap(planes: Sequence[_Plane]) -> float | None:
    """The median distance of neighbouring planes; None of a single one."""
    gaps = np.diff([plane.at for plane in planes])
    return float(np.median(gaps)) if len(gaps) else None


def _solid(structure: Structure, normal: Points, grid: hd.VolumeGeometry) -> Mask | None:
    """A structure filled on a grid whose axis `axis` is its normal; None where none is."""
    cosines = grid.direction.T @ normal
    axis = int(np.abs(cosines).argmax())
    if abs(cosines[axis]) < PARALLEL:
        return None
    normal = normal * np.sign(cosines[axis])
    planes = _planes(structure, normal)
    step = grid.spacing[axis]
    thickness = _usual_gap(planes) or step
    order = [axis, *(other for other in range(3) if other != axis)]
    shape = tuple(grid.spatial_shape[other] for other in order)
    to_index = np.linalg.inv(grid.affine)
    masks = [_plane_mask(plane, to_index, order[1:], shape[1:]) for plane in planes]
    origin = float(grid.affine[:3, 3] @ normal)
    at = np.array([plane.at for plane in planes])
    solid = np.zeros(shape, bool)
    for index in range(shape[0]):
        found = _section(origin + index * step, at, masks, thickness)
        if found is not None:
            solid[index] = found
    return np.moveaxis(solid, 0, axis)


def _plane_mask(
    plane: _Plane, to_index: Points, axes: Sequence[int], shape: tuple[int, ...]
) -> Mask:
    """The pixels whose centres lie inside an odd number of a plane's contours."""
    mask = np.zeros(shape, bool)
    for polygon in plane.polygons:
        corners = (polygon @ to_index[:3, :3].T + to_index[:3, 3])[:, list(axes)]
        mask ^= polygon2mask(shape, corners)
    return mask


def _section(
    place: float, at: NDArray[np.float64], masks: Sequence[Mask], thickness: float
) -> Mask | None:
    """The outline at one place along the normal, between or beside planes; None outside."""
    nearest = int(np.abs(at - place).argmin())
    if abs(at[nearest] - place) <= SAME_PLANE_MM:
        return masks[nearest]
    after = int(np.searchsorted(at, place))
    if 0 < after < len(at) and at[after] - at[after - 1] <= LARGEST_GAP * thickness * 1.01:
        share = (place - at[after - 1]) / (at[after] - at[after - 1])
        return _between(masks[after - 1], masks[after], share)
    # a contour stands for a slab as thick as the planes lie apart; its lower face belongs to it
    offset = place - at[nearest]
    return masks[nearest] if -thickness / 2 <= offset < thickness / 2 else None


def _between(low: Mask, high: Mask, share: float) -> Mask:
    """The outline `share` of the way from one plane to the next, by signed distance."""
    if not (low & high).any():  # two things: each reaches half the way
        return low if share < 0.5 else high
    signed = [distance_transform_edt(mask) - distance_transform_edt(~mask) for mask in (low, high)]
    inside: Mask = (1 - share) * signed[0] + share * signed[1] > 0
    return inside
