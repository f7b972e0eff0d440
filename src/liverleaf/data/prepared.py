"""A cohort on disk in, its cases on the network's grid out, resampled and calibrated once and read as memory maps ever after.

Shape suffixes: P phases, Z slices, Y rows, X columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import (
    InputConfig,
    calibrations,
    canonical,
    model_shape,
    resize,
    resize_labels,
)
from liverleaf.storage.case_folder import CASE_FILE
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.files import new_directory, remove_partial
from liverleaf.terminology import Organ

PREPARED_VERSION = 3
LIVER_ORGANS = (Organ.LIVER, Organ.PORTAL_VEIN, Organ.HEPATIC_VEIN)


@dataclass(frozen=True)
class PreparedLesion:
    """One lesion of a prepared case: its label, type index, curve in contrast (NaN where missing) and pixels per slice."""

    label: int
    type: int
    curve: tuple[float, ...]
    pixels: Mapping[int, int]


@dataclass(frozen=True)
class PreparedCase:
    """A case on the network's grid: images (Z, P, Y, X) float16 and labels (Z, 2, Y, X) uint8 [liver, lesion] as memory maps.

    `units` says how much of an image's intensity a contrast of one is, per phase; NaN where it is
    missing. `untyped_slices` show lesions of which no type is known or none of the network's.
    """

    directory: Path
    present: tuple[bool, ...]
    units: tuple[float, ...]
    pixel_mm: tuple[float, float]
    liver_slices: tuple[int, ...]
    untyped_slices: tuple[int, ...]
    slices: int
    lesions: tuple[PreparedLesion, ...]

    def slice(self, z: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Images (P, Y, X) and labels (2, Y, X) of one slice."""
        images = np.load(self.directory / "images.npy", mmap_mode="r")[z]
        labels = np.load(self.directory / "labels.npy", mmap_mode="r")[z]
        return images.astype(np.float32), np.array(labels)


def prepare(
    cohort: Cohort,
    cases: Sequence[int],
    config: InputConfig,
    scratch: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[PreparedCase]:
    """Bring cases onto the network's grid, once; a second call with the same settings finds them on disk.

    Args:
        cohort: the studies.
        cases: which of them.
        config: the network's view.
        scratch: folder for the memory maps, made if missing.
        progress: called with (done, total).

    Raises:
        InputError: a case has no truth, another modality, or none of the network's phases.
    """
    stamp = json.dumps({"version": PREPARED_VERSION, **asdict(config)}, sort_keys=True, default=str)
    folder = scratch / hashlib.sha256(stamp.encode()).hexdigest()[:12]
    remove_partial(folder)
    prepared = []
    for done, case in enumerate(cases):
        directory = (
            folder / f"{cohort.records[case].case_id}-{data_fingerprint(cohort, [case])[:8]}"
        )
        if not (directory / "case.json").exists():
            study, truth = cohort[case]
            if truth is None:
                raise InputError(
                    f"case {study.case_id} has no truth: training and evaluation need"
                    " truth/lesions.nii.gz and a lesion list"
                )
            if study.modality is not config.modality:
                raise InputError(
                    f"case {study.case_id} is {study.modality}, this recipe is for"
                    f" {config.modality}"
                )
            _write_prepared(directory, study, truth, config)
        prepared.append(_read_prepared(directory))
        if progress:
            progress(done + 1, len(cases))
    return prepared


def data_fingerprint(cohort: Cohort, cases: Sequence[int]) -> str:
    """SHA-256 over the descriptions and truths (`case.json`) of these cases: what a training run was trained on."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update((cohort.directories[case] / CASE_FILE).read_bytes())
    return digest.hexdigest()


def liver_mask(truth: Annotation) -> NDArray[np.bool_]:
    """The liver with its vessels and lesions; without an organ map, the lesions alone."""
    lesions = truth.lesions.array > 0
    return lesions if truth.organs is None else np.isin(truth.organs.array, LIVER_ORGANS) | lesions


def _write_prepared(directory: Path, study: Study, truth: Annotation, config: InputConfig) -> None:
    if not study.on_one_grid:
        raise InputError(
            f"case {study.case_id}: its phases lie on different grids; register them first"
            " (liverleaf.registration.align.register)"
        )
    if truth.lesions.array.max() > np.iinfo(np.uint8).max:
        raise InputError(
            f"case {study.case_id} has lesion labels over 255: number its lesions 1, 2, 3, ..."
        )
    liver = liver_mask(truth)
    parenchyma = liver & (truth.lesions.array == 0)
    if config.calibrate and not parenchyma.any():
        raise InputError(
            f"case {study.case_id} shows no liver in truth/organs.nii.gz, on which intensities are"
            " calibrated: leave it out"
        )
    scales = calibrations(study, parenchyma, config)
    shape = model_shape(canonical(study.grid), config)
    images = np.zeros((len(config.phases), *shape), np.float16)
    for index, phase in enumerate(config.phases):
        if phase in study.phases:
            volume = canonical(study.phases[phase].volume)
            images[index] = scales[phase].contrast(resize(volume.array, shape))
    present = [phase in study.phases for phase in config.phases]
    if not any(present):
        raise InputError(
            f"case {study.case_id} has none of the phases {', '.join(p.key for p in config.phases)}"
        )
    labels = np.stack(
        [
            resize_labels(canonical(truth.lesions.with_array(a)).array, shape)
            for a in (liver, truth.lesions.array)
        ],
        axis=1,
    )
    lesions: list[dict[str, Any]] = []
    typed: list[int] = []
    for lesion in truth.lesion_list:
        area = (labels[:, 1] == lesion.label).sum((1, 2))
        if area.any() and lesion.type in config.types:
            curve = [
                (
                    (lesion.curve[phase] - scales[phase].liver) / scales[phase].unit
                    if phase in study.phases and phase in lesion.curve
                    else None
                )
                for phase in config.phases
            ]
            typed.append(lesion.label)
            lesions.append(
                {
                    "label": lesion.label,
                    "type": config.types.index(lesion.type),
                    "curve": curve,
                    "pixels": {int(z): int(area[z]) for z in np.flatnonzero(area)},
                }
            )
    (dy, dx), (_, my, mx), (_, y, x) = (
        canonical(study.grid).spacing[1:],
        shape,
        canonical(study.grid).spatial_shape,
    )
    record = {
        "present": present,
        "units": [scales[phase].unit if phase in scales else None for phase in config.phases],
        "pixel_mm": [dy * y / my, dx * x / mx],
        "liver_slices": np.flatnonzero(labels[:, 0].any((1, 2))).tolist(),
        "untyped_slices": (
            np.flatnonzero((~np.isin(labels[:, 1], [0, *typed])).any((1, 2))).tolist()
        ),
        "slices": shape[0],
        "lesions": lesions,
    }
    with new_directory(directory) as part:
        np.save(part / "images.npy", images.swapaxes(0, 1))
        np.save(part / "labels.npy", labels.astype(np.uint8))
        (part / "case.json").write_text(json.dumps(record))


def _read_prepared(directory: Path) -> PreparedCase:
    record = json.loads((directory / "case.json").read_text())
    lesions = tuple(
        PreparedLesion(
            label=entry["label"],
            type=entry["type"],
            curve=_with_nan(entry["curve"]),
            pixels={int(z): n for z, n in entry["pixels"].items()},
        )
        for entry in record["lesions"]
    )
    return PreparedCase(
        directory=directory,
        present=tuple(record["present"]),
        units=_with_nan(record["units"]),
        pixel_mm=tuple(record["pixel_mm"]),
        liver_slices=tuple(record["liver_slices"]),
        untyped_slices=tuple(record["untyped_slices"]),
        slices=record["slices"],
        lesions=lesions,
    )


def _with_nan(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else value for value in values)
