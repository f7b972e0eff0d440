"""A known world, cut into slices in every way archives do: each is read right or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, RLELossless

from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError

SHAPE = (9, 7)
SPACING = (0.8, 0.7)
STEP_MM = 2.5
HU_PER_STORED = 0.05
ORIGIN = (-10.0, 20.0, -30.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILT = np.deg2rad(20)
TILTED = (1.0, 0.0, 0.0, 0.0, np.cos(TILT), -np.sin(TILT))


def world(lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU at positions of shape (..., 3).

    No two positions of a small volume along one axis have the same value, so flips and swaps show.
    """
    x, y, z = np.moveaxis(lps, -1, 0)
    return 100 + 3.0 * x + 5.1 * y + 7.3 * z + 0.02 * x * y - 0.015 * y * z + 0.01 * x * z


def cut(
    make: Any,
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    *,
    shape: tuple[int, int] = SHAPE,
    spacing: tuple[float, float] = SPACING,
    add: float = 0.0,
    **elements: Any,
) -> Dataset:
    """The slice of the world whose first voxel is at `position`; its header claims `elements`."""
    rows, columns = np.indices(shape)
    across, down = np.reshape(orientation, (2, 3))
    places = (
        np.asarray(position)
        + rows[..., None] * spacing[0] * down
        + columns[..., None] * spacing[1] * across
    )
    stored = np.rint((world(places) + add + 1024) / HU_PER_STORED).astype(np.uint16)
    values = {
        "PixelSpacing": list(spacing),
        "RescaleSlope": HU_PER_STORED,
        "RescaleIntercept": -1024,
    }
    return make.slice(stored, position, orientation, **(values | elements))


def places(
    offsets: Sequence[float] = range(6),
    orientation: Sequence[float] = AXIAL,
    along: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Slice positions at multiples of the step along the normal, or along another direction."""
    direction = np.cross(orientation[:3], orientation[3:]) if along is None else np.asarray(along)
    return np.asarray(ORIGIN) + STEP_MM * np.asarray(offsets, float)[:, None] * direction


def stack(
    make: Any,
    offsets: Sequence[float] = range(6),
    orientation: Sequence[float] = AXIAL,
    **options: Any,
) -> list[Dataset]:
    return [cut(make, place, orientation, **options) for place in places(offsets, orientation)]


Build = Callable[[Any], list[Dataset]]


@dataclass(frozen=True)
class Case:
    """What is written, and what must come of it.

    Attributes:
        build: makes the files.
        shape: of the volume that is read, None when the files are refused.
        says: a pattern of the only warning or of the error; "" for a study without warnings.
        tolerance: of a voxel, in HU.
        inside: compare only voxels where slices were, as a straightened stack has empty corners.
        patch: bytes to put in place of others in every file, where pydicom would not write them.
    """

    build: Build
    shape: tuple[int, int, int] | None = (6, *SHAPE)
    says: str = ""
    tolerance: float = 0.03
    inside: bool = False
    patch: tuple[bytes, bytes] = (b"", b"")


def plane(*orientation: float) -> Case:
    return Case(lambda make: stack(make, orientation=orientation), tolerance=0.05)


def header(says: str = "", **elements: Any) -> Case:
    return Case(lambda make: stack(make, **elements), says=says)


def tilted(
    make: Any, along: Sequence[float], orientation: Sequence[float], count: int = 6
) -> list[Dataset]:
    return [
        cut(make, place, orientation, GantryDetectorTilt=20)
        for place in places(range(count), along=along)
    ]


def jitter(make: Any, share: float) -> list[Dataset]:
    return stack(make, np.arange(8) + share * np.array([0, 1, -1, 1, 1, -1, 1, 0]))


def twice(make: Any, add: float) -> list[Dataset]:
    return [*stack(make), *stack(make, [2], add=add)]


def item(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(
    make: Any, modality: str, slices: Sequence[Dataset], stack_ids: Sequence[str], **shared: Any
) -> list[Dataset]:
    """The same slices, shuffled, in one multi-frame file."""
    order = np.random.default_rng(3).permutation(len(slices))
    whole = make.slice(
        np.concatenate([slices[index].pixel_array for index in order]), (0, 0, 0), Modality=modality
    )
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "SliceThickness",
    ):
        delattr(whole, keyword)
    whole.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    whole.Rows, whole.NumberOfFrames = SHAPE[0], len(slices)
    whole.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=9)], **shared)
    ]
    whole.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=slices[index].ImagePositionPatient)],
            PlaneOrientationSequence=[
                item(ImageOrientationPatient=slices[index].ImageOrientationPatient)
            ],
            PixelValueTransformationSequence=[
                item(
                    RescaleSlope=slices[index].RescaleSlope,
                    RescaleIntercept=slices[index].RescaleIntercept,
                    RescaleType="HU",
                )
            ],
            FrameContentSequence=[
                item(StackID=stack_ids[index], InStackPositionNumber=int(index) + 1)
            ],
        )
        for index in order
    ]
    return [whole]


def compressed(datasets: list[Dataset]) -> list[Dataset]:
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return datasets


NOT_SQUARE = {"shape": (5, 11), "spacing": (1.5, 0.5)}
CASES = {
    "axial": plane(*AXIAL),
    "coronal": plane(1, 0, 0, 0, 0, -1),
    "sagittal": plane(0, 1, 0, 0, 0, -1),
    "oblique": plane(0.936, 0.352, 0, 0, 0, -1),
    "double oblique": plane(0.96, 0.28, 0, -0.168, 0.576, 0.8),
    "feet first prone": Case(
        lambda make: stack(make, orientation=(1, 0, 0, 0, -1, 0), PatientPosition="FFP")
    ),
    "feet first supine": Case(
        lambda make: stack(make, orientation=(-1, 0, 0, 0, 1, 0), PatientPosition="FFS")
    ),
    "reversed order": Case(lambda make: stack(make, range(0, -6, -1))),
    "rows are not columns": Case(lambda make: stack(make, **NOT_SQUARE), (6, 5, 11)),
    "row spacing comes first": Case(lambda make: stack(make, spacing=(0.5, 2.0))),
    "orientation slightly off": Case(
        lambda make: stack(make, ImageOrientationPatient=[0.99996, 0.0004, 0, 0, 1.0001, 0.0003]),
        tolerance=0.06,
    ),
    "gantry tilt about x": Case(
        lambda make: tilted(make, (0, 0, 1), TILTED),
        (6, 15, 7),
        r"series 2: .* askew \(gantry tilt",
        tolerance=0.1,
        inside=True,
    ),
    "gantry tilt the other way": Case(
        lambda make: tilted(make, (0, 0, 1), (1, 0, 0, 0, np.cos(TILT), np.sin(TILT))),
        (6, 15, 7),
        "askew",
        tolerance=0.1,
        inside=True,
    ),
    "gantry tilt and a missing slice": Case(
        lambda make: [part for z, part in enumerate(tilted(make, (0, 0, 1), TILTED)) if z != 2],
        (6, 15, 7),
        "askew.*1 of 6 slices are missing",
        tolerance=0.2,
        inside=True,
    ),
    "gantry tilt already corrected": Case(
        lambda make: stack(make, GantryDetectorTilt=20), says="names a gantry tilt of 20 degrees"
    ),
    "slices side by side": Case(
        lambda make: [cut(make, place) for place in places(along=(4, 0, 1))],
        None,
        "series 2: its slices do not lie above one another",
    ),
    "a slice is missing": Case(
        lambda make: stack(make, [0, 1, 3, 4, 5]),
        says="series 2: 1 of 6 slices are missing and were interpolated",
    ),
    "two slices of many are missing": Case(
        lambda make: stack(make, [z for z in range(24) if z not in (7, 8)]),
        (24, *SHAPE),
        "2 of 24 slices are missing",
    ),
    "the middle is missing": Case(
        lambda make: stack(make, [0, 1, 2, 7, 8, 9]),
        None,
        r"series 2: its 6 slices leave gaps of up to 12\.5 mm",
    ),
    "jitter of spacing": Case(lambda make: jitter(make, 0.02), (8, *SHAPE), tolerance=0.8),
    "uneven spacing": Case(
        lambda make: jitter(make, 0.2),
        (8, *SHAPE),
        r"unevenly spaced \(1\.50 to 3\.50 mm\), they were resampled to 2\.50",
    ),
    "coarse spacing below fine": Case(
        lambda make: stack(make, [0, 1, 2, 3, 4, 5, 9, 13, 17, 21]),
        None,
        "leave gaps of up to 10.0 mm at a step of 2.5 mm",
    ),
    "a slice twice": Case(
        lambda make: twice(make, 0), says="1 identical copy of a slice was dropped"
    ),
    "two slices of one place": Case(
        lambda make: twice(make, 50),
        None,
        "series 2 was left out: it holds several images at one slice position",
    ),
    "wrong thickness": header(
        SliceThickness=40, SpacingBetweenSlices=-3, says="3 mm by the header's spacing"
    ),
    "identifiers of the study on some slices": Case(
        lambda make: [*stack(make, range(3)), *stack(make, range(3, 6), StudyInstanceUID="")]
    ),
    "no identifiers": header(SOPInstanceUID="", SeriesInstanceUID="", FrameOfReferenceUID=""),
    "slice location only": Case(
        lambda make: [
            cut(make, place, ImagePositionPatient=None, SliceLocation=place[2])
            for place in places()
        ],
        None,
        "6 without position: a slice location alone does not tell",
    ),
    "all at one position": Case(
        lambda make: [
            part
            for z in range(6)
            for part in stack(make, [0], SliceLocation=3 * z, AcquisitionTime=f"10000{z}")
        ],
        None,
        "series 2 was left out: its 6 slices name one position but different slice locations",
    ),
    "some without position": Case(
        lambda make: [*stack(make, [0, 1, 3, 4, 5]), *stack(make, [2], ImagePositionPatient=None)],
        says="left out 1 of 6 files: 1 without position.*1 of 6 slices are missing",
    ),
    "two series in one folder": Case(
        lambda make: [
            *stack(make),
            *stack(make, [0.5, 1.5, 2.5], SeriesInstanceUID="1.2.3.9", SeriesNumber=3),
        ],
        says=r"series 3: not used, series 2 \(6 slices\) was preferred",
    ),
    "two series without identifiers": Case(
        lambda make: [
            *stack(make, SeriesInstanceUID=""),
            *stack(make, [0.5, 1.5, 2.5], SeriesInstanceUID="", SeriesNumber=3),
        ],
        says=r"series 3: not used, series 2 \(6 slices\) was preferred",
    ),
    "slices of another size": Case(
        lambda make: [*stack(make), *stack(make, [6, 7], shape=(4, 4))],
        says=r"not used, series 2 \(6 slices\) was preferred",
    ),
    "a localizer among the slices": Case(
        lambda make: [*stack(make, range(24)), *stack(make, [0], (1, 0, 0, 0, 0, -1))],
        (24, *SHAPE),
        "not used as a contrast phase: series 2",
    ),
    "slices far from one another": Case(
        lambda make: stack(make, [0, 60]),
        None,
        "series 2: its slices are 150 mm apart, that is no volume",
    ),
    "a single slice of absurd thickness": Case(
        lambda make: stack(make, [0], SliceThickness=1e9), (1, *SHAPE), "one slice only"
    ),
    "image types that alternate": Case(
        lambda make: [
            part
            for z in range(6)
            for part in stack(
                make, [z], ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "SPI"][: 3 + z % 2]
            )
        ]
    ),
    "echo times with jitter": Case(
        lambda make: [
            part
            for z in range(6)
            for part in stack(make, [z], Modality="MR", EchoTime=1.59 + 0.001 * z)
        ]
    ),
    "fewer rows than pixels": Case(
        lambda make: stack(make, Rows=7),
        None,
        "6 slices can be decoded .*do not fill rows and columns",
    ),
    "fewer columns than pixels": Case(
        lambda make: stack(make, Columns=6),
        None,
        "6 slices can be decoded .*do not fill rows and columns",
    ),
    "more rows than pixels": Case(
        lambda make: stack(make, Rows=10),
        None,
        "6 slices can be decoded .*do not fill rows and columns",
    ),
    "a negative number of frames": Case(
        lambda make: stack(make, NumberOfFrames=-3), None, "6 multi-frame without a place"
    ),
    "no samples per pixel": header(SamplesPerPixel=None, PhotometricInterpretation=None),
    "a wrong transfer syntax": Case(
        stack, patch=(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    ),
    "no transfer syntax": Case(stack, patch=(b"1.2.840.10008.1.2.1\0", b"\0" * 20)),
    "a slice twice, with other pixels and another time": Case(
        lambda make: [*stack(make), *stack(make, [2], add=50, AcquisitionTime="100500")],
        says=r"series 2 time point 2: not used, series 2 time point 1 \(6 slices\)",
    ),
    "a single slice": Case(lambda make: stack(make, [0]), (1, *SHAPE), "one slice only"),
    "a huge position": Case(
        lambda make: stack(make, ImagePositionPatient=[0, 0, 1e12]),
        None,
        "6 with an impossible position",
    ),
    "a huge matrix": Case(
        lambda make: stack(make, Rows=65535, Columns=65535),
        None,
        "series 2: 6 slices of 65535 x 65535 are too large to read",
    ),
    "a huge matrix without phase": Case(
        lambda make: stack(make, SeriesDescription="Abdomen", Rows=65535, Columns=65535),
        None,
        "nothing in its headers tells the phase",
    ),
    "no voxel size": Case(
        lambda make: stack(make, PixelSpacing=[0, 0]), None, "6 with an impossible position"
    ),
    "numbers with blanks": Case(stack, patch=(rb"0.8\0.7 ", rb" 0.8\0.7")),
    "decimal commas": Case(stack, patch=(rb"-10.0\20.0\-", rb"-10,0\20,0\-")),
    "decimal commas in the spacing": Case(stack, patch=(rb"0.8\0.7", rb"0,8\0,7")),
    "words for numbers": Case(
        stack,
        None,
        "6 without position, orientation or pixel spacing",
        patch=(rb"0.8\0.7", b"narrow."),
    ),
    "several frames of reference": Case(
        lambda make: [
            part for z in range(6) for part in stack(make, [z], FrameOfReferenceUID=f"1.2.{z // 3}")
        ],
        says="its slices name 2 frames of reference",
    ),
    "enhanced CT": Case(lambda make: enhanced(make, "CT", stack(make), "111111")),
    "enhanced MR": Case(lambda make: enhanced(make, "MR", stack(make), "111111")),
    "enhanced, each frame scaled its own way": Case(
        lambda make: enhanced(
            make,
            "CT",
            [
                cut(make, place, RescaleIntercept=-1024 - z, add=z)
                for z, place in enumerate(places())
            ],
            "111111",
        )
    ),
    "enhanced and compressed": Case(
        lambda make: compressed(enhanced(make, "CT", stack(make), "111111"))
    ),
    "enhanced oblique": Case(
        lambda make: enhanced(
            make, "CT", stack(make, orientation=(0.96, 0.28, 0, -0.168, 0.576, 0.8)), "111111"
        ),
        tolerance=0.05,
    ),
    "enhanced, two slabs": Case(
        lambda make: enhanced(make, "MR", [*stack(make), *stack(make, [60, 61, 62])], "111111222"),
        says=r"not used, series 2 \(6 slices\)",
    ),
    "enhanced, two directions": Case(
        lambda make: enhanced(
            make, "MR", [*stack(make), *stack(make, range(4), (1, 0, 0, 0, 0, -1))], "1111112222"
        ),
        says=r"not used, series 2 \(6 slices\)",
    ),
}


def check(image: Any, case: Case) -> None:
    volume = image.volume
    assert volume.shape == case.shape
    expected = world(
        volume.map_indices_to_reference(np.indices(volume.shape).reshape(3, -1).T.astype(float))
    ).reshape(volume.shape)
    compared = volume.array > volume.array.min() + 1 if case.inside else np.ones(volume.shape, bool)
    assert compared.mean() > 0.5
    np.testing.assert_allclose(volume.array[compared], expected[compared], atol=case.tolerance)
    axes = np.array(volume.unit_vectors())
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert axes[0][np.abs(axes[0]).argmax()] > 0


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_read_right_or_refused(tmp_path: Path, make: Any, case: Case) -> None:
    folder = make.shuffled(case.build(make), tmp_path)
    for file in folder.iterdir():
        file.write_bytes(
            file.read_bytes().replace(*case.patch) if case.patch[0] else file.read_bytes()
        )
    if case.shape is None:
        with pytest.raises(InputError, match=case.says) as raised:
            read_study(folder)
        told = str(raised.value)
    else:
        assert any(report.used and report.slices <= case.shape[0] for report in inspect(folder))
        study = read_study(folder)
        (image,) = study.phases.values()
        check(image, case)
        told = "; ".join(study.warnings)
        assert bool(told) == bool(case.says)
    assert re.search(case.says, told)
    assert "\n" not in told
    assert not any(part in told.lower() for part in ("mustermann", "erika", "4711"))
