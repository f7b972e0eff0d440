"""Two images on one grid in, the displacements that other people's registration finds between them out: SimpleITK, elastix, ANTs."""

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
class Scene:
    """What a rival is given.

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


def demons(scene: Scene) -> Field:
    """SimpleITK's symmetric forces demons, intensities matched by histogram."""
    fixed = sitk.Cast(scene.grid, sitk.sitkFloat32)
    search = sitk.SymmetricForcesDemonsRegistrationFilter()
    search.SetNumberOfIterations(60)
    search.SetStandardDeviations(2.0)
    search.SmoothDisplacementFieldOn()
    field = search.Execute(
        fixed, sitk.HistogramMatching(scene.image(scene.after_rigid), fixed, 128, 10)
    )
    return scene.with_rigid(sitk.GetArrayFromImage(field))


def elastix_default(scene: Scene) -> Field:
    """The rigid, then the B-spline parameter map that elastix comes with."""
    return _elastix(scene, scene.moving, ("rigid", "bspline"), {})


def elastix_tuned(scene: Scene) -> Field:
    """A B-spline of 50 mm by mutual information from more samples, in two resolutions that so coarse an image allows."""
    changes = {
        "NumberOfResolutions": ["2"],
        "ImagePyramidSchedule": ["2", "2", "2", "1", "1", "1"],
        "GridSpacingSchedule": ["2", "1"],
        "FinalGridSpacingInPhysicalUnits": ["50"],
        "NumberOfSpatialSamples": ["4096"],
        "MaximumNumberOfIterations": ["150"],
    }
    return scene.with_rigid(_elastix(scene, scene.after_rigid, ("bspline",), changes))


def _elastix(
    scene: Scene,
    moving: NDArray[np.float32],
    maps: tuple[str, ...],
    changes: Mapping[str, list[str]],
) -> Field:
    import itk  # type: ignore[import-not-found, unused-ignore]  # an optional extra

    def image(array: NDArray[np.float32]) -> Any:
        made = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        made.SetOrigin(scene.grid.GetOrigin())
        made.SetSpacing(scene.grid.GetSpacing())
        made.SetDirection(scene.direction)
        return made

    parameters = itk.ParameterObject.New()
    for name in maps:
        chosen = parameters.GetDefaultParameterMap(name)
        for key, value in changes.items():
            chosen[key] = value
        chosen["RandomSeed"] = ["1"]
        parameters.AddParameterMap(chosen)
    _, found = itk.elastix_registration_method(
        image(sitk.GetArrayFromImage(scene.grid)),
        image(moving),
        parameter_object=parameters,
        log_to_console=False,
    )
    field: Field = itk.array_from_image(itk.transformix_deformation_field(image(moving), found))
    return field


def ants_default(scene: Scene) -> Field:
    """ANTs' SyN as it comes: rigid, affine, then symmetric normalisation by mutual information."""
    return _ants(scene, scene.moving, {"type_of_transform": "SyN"})


def ants_tuned(scene: Scene) -> Field:
    """SyN alone, by local cross-correlation, which bears a change of contrast, with a smoother field."""
    options = {
        "type_of_transform": "SyNOnly",
        "syn_metric": "CC",
        "syn_sampling": 2,
        "reg_iterations": (40, 20),
        "flow_sigma": 4,
    }
    return scene.with_rigid(_ants(scene, scene.after_rigid, options))


def _ants(scene: Scene, moving: NDArray[np.float32], options: Mapping[str, Any]) -> Field:
    import ants  # type: ignore[import-not-found, unused-ignore]  # an optional extra

    def image(array: NDArray[np.float32]) -> Any:
        x_first = np.ascontiguousarray(array.T, np.float32)
        return ants.from_numpy(
            x_first,
            origin=scene.grid.GetOrigin(),
            spacing=scene.grid.GetSpacing(),
            direction=scene.direction,
        )

    found = ants.registration(
        image(sitk.GetArrayFromImage(scene.grid)), image(moving), random_seed=1, **options
    )
    points = scene.points_mm
    table = pd.DataFrame(points.reshape(-1, 3), columns=list("xyz"))
    moved = ants.apply_transforms_to_points(3, table, found["fwdtransforms"])[
        ["x", "y", "z"]
    ].to_numpy()
    field: Field = moved.reshape(points.shape) - points
    return field


RIVALS: Mapping[str, tuple[str, Callable[[Scene], Field]]] = {
    "SimpleITK demons": ("SimpleITK", demons),
    "elastix default": ("itk", elastix_default),
    "elastix tuned": ("itk", elastix_tuned),
    "ANTs SyN default": ("ants", ants_default),
    "ANTs SyN tuned": ("ants", ants_tuned),
}
"""The package that each needs, and what it does."""
