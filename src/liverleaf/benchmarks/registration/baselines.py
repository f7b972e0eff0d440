"""Other people's registration as baselines: SimpleITK, elastix and ANTs.

Each gets two images on one grid and returns the displacements that it finds between them.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray

Field = NDArray[np.floating]


@dataclass(frozen=True)
class ImagePair:
    """What a baseline is given.

    Attributes:
        grid: the reference phase.
        moving: the other phase on that grid, (Z, Y, X).
        after_rigid: the same through the rigid motion that ours found.
        rigid: that motion.
    """

    grid: sitk.Image
    moving: NDArray[np.float32]
    after_rigid: NDArray[np.float32]
    rigid: sitk.Transform

    @property
    def direction(self) -> NDArray[np.float64]:
        """Columns are the directions of X, Y, Z."""
        return np.reshape(self.grid.GetDirection(), (3, 3))

    @property
    def points_mm(self) -> NDArray[np.float64]:
        """Every voxel in LPS mm, (Z, Y, X, 3)."""
        index = np.moveaxis(np.indices(self.moving.shape), 0, -1)[..., ::-1]
        points: NDArray[np.float64] = (
            index @ (self.direction * self.grid.GetSpacing()).T + self.grid.GetOrigin()
        )
        return points

    def image(self, array: NDArray[np.float32]) -> sitk.Image:
        """An array as an image on the grid."""
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(self.grid)
        return image

    def with_rigid(self, field_mm: Field) -> Field:
        """Displacements found after the rigid motion, followed by it."""
        field = sitk.GetImageFromArray(field_mm.astype(np.float64), isVector=True)
        field.CopyInformation(self.grid)
        both = sitk.CompositeTransform([self.rigid, sitk.DisplacementFieldTransform(field)])
        grid = self.grid
        whole: Field = sitk.GetArrayFromImage(
            sitk.TransformToDisplacementField(
                both,
                sitk.sitkVectorFloat64,
                grid.GetSize(),
                grid.GetOrigin(),
                grid.GetSpacing(),
                grid.GetDirection(),
            )
        )
        return whole


def demons(pair: ImagePair) -> Field:
    """SimpleITK's symmetric forces demons, intensities matched by histogram."""
    fixed = sitk.Cast(pair.grid, sitk.sitkFloat32)
    search = sitk.SymmetricForcesDemonsRegistrationFilter()
    search.SetNumberOfIterations(60)
    search.SetStandardDeviations(2.0)
    search.SmoothDisplacementFieldOn()
    field = search.Execute(
        fixed, sitk.HistogramMatching(pair.image(pair.after_rigid), fixed, 128, 10)
    )
    return pair.with_rigid(sitk.GetArrayFromImage(field))


def elastix_default(pair: ImagePair) -> Field:
    """The rigid, then the B-spline parameter map that elastix comes with."""
    return _elastix(pair, pair.moving, ("rigid", "bspline"), {})


def elastix_tuned(pair: ImagePair) -> Field:
    """A B-spline of 50 mm by mutual information from more samples, in two resolutions.

    So coarse an image allows no more of them.
    """
    changes = {
        "NumberOfResolutions": ["2"],
        "ImagePyramidSchedule": ["2", "2", "2", "1", "1", "1"],
        "GridSpacingSchedule": ["2", "1"],
        "FinalGridSpacingInPhysicalUnits": ["50"],
        "NumberOfSpatialSamples": ["4096"],
        "MaximumNumberOfIterations": ["150"],
    }
    return pair.with_rigid(_elastix(pair, pair.after_rigid, ("bspline",), changes))


def _elastix(
    pair: ImagePair,
    moving: NDArray[np.float32],
    maps: tuple[str, ...],
    changes: Mapping[str, list[str]],
) -> Field:
    import itk  # type: ignore[import-not-found, unused-ignore]  # an optional extra

    def image(array: NDArray[np.float32]) -> Any:
        made = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        made.SetOrigin(pair.grid.GetOrigin())
        made.SetSpacing(pair.grid.GetSpacing())
        made.SetDirection(pair.direction)
        return made

    parameters = itk.ParameterObject.New()
    for name in maps:
        chosen = parameters.GetDefaultParameterMap(name)
        for key, value in changes.items():
            chosen[key] = value
        chosen["RandomSeed"] = ["1"]
        parameters.AddParameterMap(chosen)
    _, found = itk.elastix_registration_method(
        image(sitk.GetArrayFromImage(pair.grid)),
        image(moving),
        parameter_object=parameters,
        log_to_console=False,
    )
    field: Field = itk.array_from_image(itk.transformix_deformation_field(image(moving), found))
    return field


def ants_default(pair: ImagePair) -> Field:
    """ANTs' SyN as it comes: rigid, affine, then symmetric normalisation by mutual information."""
    return _ants(pair, pair.moving, {"type_of_transform": "SyN"})


def ants_tuned(pair: ImagePair) -> Field:
    """SyN alone, by local cross-correlation, which bears a change of contrast, and smoother."""
    options = {
        "type_of_transform": "SyNOnly",
        "syn_metric": "CC",
        "syn_sampling": 2,
        "reg_iterations": (40, 20),
        "flow_sigma": 4,
    }
    return pair.with_rigid(_ants(pair, pair.after_rigid, options))


def _ants(pair: ImagePair, moving: NDArray[np.float32], options: Mapping[str, Any]) -> Field:
    import ants  # type: ignore[import-not-found, unused-ignore]  # an optional extra

    def image(array: NDArray[np.float32]) -> Any:
        x_first = np.ascontiguousarray(array.T, np.float32)
        return ants.from_numpy(
            x_first,
            origin=pair.grid.GetOrigin(),
            spacing=pair.grid.GetSpacing(),
            direction=pair.direction,
        )

    found = ants.registration(
        image(sitk.GetArrayFromImage(pair.grid)), image(moving), random_seed=1, **options
    )
    points = pair.points_mm
    table = pd.DataFrame(points.reshape(-1, 3), columns=list("xyz"))
    moved = ants.apply_transforms_to_points(3, table, found["fwdtransforms"])[
        ["x", "y", "z"]
    ].to_numpy()
    field: Field = moved.reshape(points.shape) - points
    return field


BASELINES: Mapping[str, tuple[str, Callable[[ImagePair], Field]]] = {
    "SimpleITK demons": ("SimpleITK", demons),
    "elastix default": ("itk", elastix_default),
    "elastix tuned": ("itk", elastix_tuned),
    "ANTs SyN default": ("ants", ants_default),
    "ANTs SyN tuned": ("ants", ants_tuned),
}
"""The package that each needs, and its function."""
