"""Cases on the network's grid: resampled and normalised once, read as memory maps ever after.

Shape suffixes: P channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from liverleaf.cohort.index import Cohort
from liverleaf.data.identity import image_hashes
from liverleaf.data.network_input import (
    PHASE_OF_CHANNEL,
    InputConfig,
    canonical,
    channel_image,
    check_one_grid,
    model_shape,
    normalisations,
    resize,
    resize_labels,
)
from liverleaf.data.normalisation import LiverNormalisation
from liverleaf.storage.case_folder import CASE_FILE, CaseRecord
from liverleaf.study import Annotation, InputError, LesionAnnotation, Phase, Study
from liverleaf.system.files import new_directory, remove_partial
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LIVER_ORGANS

PREPARED_VERSION = 5

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class PreparedLesion:
    """One lesion of a prepared case.

    Attributes:
        label: its value in the case's label map, from 1.
        type: index into `InputConfig.types`.
        curve: true mean per channel, normalised; NaN where unknown.
        pixels: its size in each slice that shows it.
    """

    label: int
    type: int
    curve: tuple[float, ...]
    pixels: Mapping[int, int]


@dataclass(frozen=True)
class PreparedCase:
    """A case on the network's grid: images and labels in memory maps, and what is true of it.

    Attributes:
        directory: holds `images.npy`, float16 of shape (Z, P, Y, X), and `labels.npy`, uint8 of
            shape (Z, 2, Y, X): liver with lesions, and lesions by label.
        present: which channels are there.
        units: the intensity that counts as one when normalised, per channel; NaN where missing.
        pixel_mm: size of a pixel in mm, rows and columns.
        liver_slices: slices that show liver.
        untyped_slices: slices that show lesions of unknown type, or of none of the network's.
        slices: how many slices.
        lesions: those whose type the network knows.
        diagnosis, markers: as in `Annotation`.
        images: what its images are known by (`identity.image_hashes`).
    """

    directory: Path
    present: tuple[bool, ...]
    units: tuple[float, ...]
    pixel_mm: tuple[float, float]
    liver_slices: tuple[int, ...]
    untyped_slices: tuple[int, ...]
    slices: int
    lesions: tuple[PreparedLesion, ...]
    diagnosis: str = ""
    markers: Mapping[str, float | str] = field(default_factory=dict)
    images: tuple[str, ...] = ()

    def slice(self, z: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Images (P, Y, X) and labels (2, Y, X) of one slice."""
        images = np.load(self.directory / "images.npy", mmap_mode="r")[z]
        labels = np.load(self.directory / "labels.npy", mmap_mode="r")[z]
        return images.astype(np.float32), np.array(labels)

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = np.load(self.directory / "labels.npy", mmap_mode="r").shape[2:]
        return rows, columns

    def block(self, box: Box) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Images (Z, P, Y, X) and labels (Z, 2, Y, X) of a part of the volume."""
        slices, rows, columns = box
        images = np.load(self.directory / "images.npy", mmap_mode="r")[slices, :, rows, columns]
        labels = np.load(self.directory / "labels.npy", mmap_mode="r")[slices, :, rows, columns]
        return images.astype(np.float32), np.array(labels)


class CurveStatistics(NamedTuple):
    """Mean and standard deviation of the lesions' curves per channel, normalised, float32."""

    mean_P: NDArray[np.float32]
    sd_P: NDArray[np.float32]


def curve_statistics(cases: Sequence[PreparedCase]) -> CurveStatistics:
    """Statistics of the lesions' curves; 0 and 1 for a channel with fewer than two known values."""
    channels = len(cases[0].present)
    curves = np.array([lesion.curve for case in cases for lesion in case.lesions], float).reshape(
        -1, channels
    )
    mean, sd = np.zeros(channels), np.ones(channels)
    for channel, values in enumerate(curves.T):
        values = values[np.isfinite(values)]
        if len(values) > 1:
            mean[channel], sd[channel] = values.mean(), max(values.std(), 1e-3)
    return CurveStatistics(mean.astype(np.float32), sd.astype(np.float32))


def prepare(
    cohort: Cohort,
    cases: Sequence[int],
    config: InputConfig,
    scratch: Path,
    *,
    progress: Progress = silent,
) -> list[PreparedCase]:
    """Bring cases onto the network's grid; a second call with the same settings finds them on disk.

    Args:
        cohort: the studies.
        cases: indices of the cases to prepare.
        config: what the network sees of them.
        scratch: folder for the memory maps, made if missing.
        progress: called with (what, done, total).

    Raises:
        InputError: a case has no annotation, is of another modality, body part or species, or has
            none of the network's channels; or no case has one of the channels that is no phase.
    """
    for case in cases:
        check_record(cohort.records[case], config)
    stamp = json.dumps({"version": PREPARED_VERSION, **asdict(config)}, sort_keys=True, default=str)
    folder = scratch / hashlib.sha256(stamp.encode()).hexdigest()[:12]
    remove_partial(folder)
    prepared = []
    for done, case in enumerate(cases, start=1):
        directory = (
            folder / f"{cohort.records[case].case_id}-{data_fingerprint(cohort, [case])[:8]}"
        )
        if not (directory / "case.json").exists():
            _write_prepared(directory, *cohort[case], config)
        prepared.append(_read_prepared(directory))
        progress("preparing cases", done, len(cases))
    _check_channels(prepared, config)
    return prepared


def _check_channels(prepared: Sequence[PreparedCase], config: InputConfig) -> None:
    """Phases may be missing everywhere; the name of another image that nobody has is a slip."""
    for index, channel in enumerate(config.channels):
        if channel not in PHASE_OF_CHANNEL and not any(case.present[index] for case in prepared):
            raise InputError(
                f"no case of this cohort has an image {channel!r} (input.channels): phases are"
                f" {', '.join(PHASE_OF_CHANNEL)}"
            )


def data_fingerprint(cohort: Cohort, cases: Sequence[int]) -> str:
    """SHA-256 over the descriptions and annotations (`case.json`) of these cases."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update((cohort.directories[case] / CASE_FILE).read_bytes())
    return digest.hexdigest()


def liver_mask(truth: Annotation) -> NDArray[np.bool_]:
    """The liver with its vessels and lesions; without an organ map, the lesions alone."""
    lesions = truth.lesions.array > 0
    return lesions if truth.organs is None else np.isin(truth.organs.array, LIVER_ORGANS) | lesions


def check_record(record: CaseRecord, config: InputConfig) -> None:
    """Refuse a case that cannot be prepared, as far as `case.json` tells; nothing else is read.

    Raises:
        InputError: it has no annotation, is of another modality, body part or species, or has none
            of the network's channels.
    """
    if record.truth is None:
        raise InputError(
            f"case {record.case_id} has no truth: training and evaluation need"
            " truth/lesions.nii.gz and a lesion list"
        )
    for has, wanted, of in (
        (record.modality, config.modality, "modality"),
        (record.body_part, config.body_part, "body_part"),
        (record.species, config.species, "species"),
    ):
        if has is not wanted:
            raise InputError(
                f"case {record.case_id} is {has}, this recipe is for {wanted} (input.{of})"
            )
    if {*record.phases, *record.other}.isdisjoint(config.channels):
        raise InputError(
            f"case {record.case_id} has none of the channels {', '.join(config.channels)}"
        )


def _check_case(study: Study, truth: Annotation, config: InputConfig) -> None:
    """Refuse a case that cannot be prepared."""
    try:
        check_one_grid(study, config)
    except ValueError:
        raise InputError(
            f"case {study.case_id}: its images lie on different grids; register them first"
            " (liverleaf.registration.align.register_phases)"
        ) from None
    if truth.lesions.array.max() > np.iinfo(np.uint8).max:
        raise InputError(
            f"case {study.case_id} has lesion labels over 255: number its lesions 1, 2, 3, ..."
        )
    if config.normalise_on_liver and not (liver_mask(truth) & (truth.lesions.array == 0)).any():
        raise InputError(
            f"case {study.case_id} shows no liver in truth/organs.nii.gz, on which intensities are"
            " normalised: leave it out"
        )


def _write_prepared(
    directory: Path, study: Study, truth: Annotation | None, config: InputConfig
) -> None:
    assert truth is not None, "check_record refuses a case without"
    _check_case(study, truth, config)
    liver = liver_mask(truth)
    scales = normalisations(study, liver & (truth.lesions.array == 0), config)
    grid = canonical(study.grid)
    shape = model_shape(grid, config)
    images = _images(study, config, scales, shape)
    labels = _labels(liver, truth.lesions, shape)
    lesions = [
        _lesion_record(lesion, labels, scales, config)
        for lesion in truth.lesion_list
        if lesion.type in config.types and (labels[:, 1] == lesion.label).any()
    ]
    typed = [0, *(lesion["label"] for lesion in lesions)]
    untyped = ~np.isin(labels[:, 1], typed)
    record = {
        "present": [channel in scales for channel in config.channels],
        "units": [scales[c].unit if c in scales else None for c in config.channels],
        "pixel_mm": [
            grid.spacing[axis] * grid.spatial_shape[axis] / shape[axis] for axis in (1, 2)
        ],
        "liver_slices": np.flatnonzero(labels[:, 0].any((1, 2))).tolist(),
        "untyped_slices": np.flatnonzero(untyped.any((1, 2))).tolist(),
        "slices": shape[0],
        "lesions": lesions,
        "diagnosis": truth.diagnosis,
        "markers": dict(truth.markers),
        "images": image_hashes(study),
    }
    with new_directory(directory) as part:
        np.save(part / "images.npy", images)
        np.save(part / "labels.npy", labels)
        (part / "case.json").write_text(json.dumps(record))


def _images(
    study: Study,
    config: InputConfig,
    scales: Mapping[str, LiverNormalisation],
    shape: tuple[int, int, int],
) -> NDArray[np.float16]:
    """Normalised images on the network's grid, (Z, P, Y, X); zero for missing channels."""
    images = np.zeros((len(config.channels), *shape), np.float16)
    for index, channel in enumerate(config.channels):
        if image := channel_image(study, channel):
            volume = canonical(image.volume)
            images[index] = scales[channel].contrast(resize(volume.array, shape))
    return images.swapaxes(0, 1)


def _labels(
    liver_ZYX: NDArray[np.bool_], lesions: hd.Volume, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Liver and lesion labels on the network's grid, (Z, 2, Y, X)."""
    both = (liver_ZYX, lesions.array)
    small = [resize_labels(canonical(lesions.with_array(a)).array, shape) for a in both]
    return np.stack(small, axis=1).astype(np.uint8)


def _lesion_record(
    lesion: LesionAnnotation,
    labels_Z2YX: NDArray[np.uint8],
    scales: Mapping[str, LiverNormalisation],
    config: InputConfig,
) -> dict[str, Any]:
    area = (labels_Z2YX[:, 1] == lesion.label).sum((1, 2))

    def normalised(channel: str, phase: Phase | None) -> float | None:
        if phase is None or channel not in scales or phase not in lesion.curve:
            return None
        return (lesion.curve[phase] - scales[channel].liver) / scales[channel].unit

    return {
        "label": lesion.label,
        "type": config.types.index(lesion.type),
        "curve": [
            normalised(channel, phase)
            for channel, phase in zip(config.channels, config.channel_phases, strict=True)
        ],
        "pixels": {int(z): int(area[z]) for z in np.flatnonzero(area)},
    }


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
        diagnosis=record["diagnosis"],
        markers=record["markers"],
        images=tuple(record["images"]),
    )


def _with_nan(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else value for value in values)
