"""Volumes against their slices voxel by voxel, and positions against the slices' headers."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.dicom.volume import read_volume
from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError, Phase

TILT = np.deg2rad(20)
OBLIQUE = (np.cos(TILT), np.sin(TILT), 0.0, 0.0, 0.0, -1.0)
DOUBLE_OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)
PLANES = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": OBLIQUE,
    "double oblique": DOUBLE_OBLIQUE,
    "prone": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "mirrored": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
}


def only(study):
    (image,) = study.phases.values()
    return image


@pytest.mark.parametrize("orientation", PLANES.values(), ids=PLANES)
def test_every_voxel_has_its_slices_value_and_place(tmp_path, make, stored, orientation) -> None:
    datasets = make.series(stored, orientation=orientation)
    image = only(read_study(make.shuffled(datasets, tmp_path)))
    normal = image.volume.unit_vectors()[0]
    assert normal[np.abs(normal).argmax()] > 0
    seen = set()
    for header, plane, z in zip(image.headers, image.volume.array, range(6), strict=True):
        source = next(
            index
            for index, dataset in enumerate(datasets)
            if dataset.SOPInstanceUID == header.SOPInstanceUID
        )
        np.testing.assert_array_equal(plane, stored[source].astype(np.float32) - 1024)
        for y, x in ((0, 0), (3, 0), (0, 5), (7, 6)):
            axes = np.array(orientation).reshape(2, 3)
            place = (
                np.array(datasets[source].ImagePositionPatient)
                + x * 0.7 * axes[0]
                + y * 0.8 * axes[1]
            )
            np.testing.assert_allclose(
                image.volume.map_indices_to_reference(np.array([[z, y, x]]))[0], place, atol=1e-5
            )
        seen.add(source)
    assert len(seen) == 6
    assert image.volume.frame_of_reference_uid == "1.2.3.5"
    assert image.volume.array.dtype == np.float32


def test_step_comes_from_positions_not_from_thickness(tmp_path, make, stored) -> None:
    image = only(
        read_study(
            make.shuffled(
                make.series(stored, step_mm=1.25, SliceThickness=5, SpacingBetweenSlices=3),
                tmp_path,
            )
        )
    )
    assert image.volume.spacing == pytest.approx((1.25, 0.8, 0.7))


def test_rescaling_is_each_slices_own(tmp_path, make, stored) -> None:
    datasets = make.series(
        stored, Modality="MR", each=lambda z: {"RescaleSlope": z + 1, "RescaleIntercept": -10 * z}
    )
    image = only(read_study(make.shuffled(datasets, tmp_path)))
    for z in range(6):
        np.testing.assert_array_equal(
            image.volume.array[z], stored[z].astype(np.float32) * (z + 1) - 10 * z
        )


def test_signed_values_and_unused_bits(tmp_path, make, stored) -> None:
    signed = (stored.astype(np.int32) - 1200).astype(np.int16)
    # as stored: the sign is in bit 11, the bits above are not set
    twelve_bits = (signed & 0x0FFF).astype(np.int16)
    datasets = make.series(twelve_bits, BitsStored=12, HighBit=11, RescaleIntercept=0)
    np.testing.assert_array_equal(
        only(read_study(make.shuffled(datasets, tmp_path))).volume.array, signed
    )


def test_run_length_encoded(tmp_path, make, stored) -> None:
    datasets = make.series(stored)
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(
        only(read_study(make.shuffled(datasets, tmp_path))).volume.array,
        stored.astype(np.float32) - 1024,
    )


@pytest.mark.parametrize(
    "encoding", ["RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "padded"]
)
def test_every_encoding_of_one_image_reads_the_same(encoding) -> None:
    def pixels(name: str) -> np.ndarray:
        path = Path(get_testdata_file(name, download=False))
        (stack,), _ = stacks_of(read_frames(path))
        return read_volume(stack)[0].array

    np.testing.assert_array_equal(pixels(f"MR_small_{encoding}.dcm"), pixels("MR_small.dcm"))


def test_monochrome1_turns_mr_round_and_leaves_hounsfield_units_alone(
    tmp_path, make, stored
) -> None:
    ct = only(
        read_study(
            make.shuffled(
                make.series(stored, PhotometricInterpretation="MONOCHROME1"), tmp_path / "ct"
            )
        )
    )
    np.testing.assert_array_equal(ct.volume.array, stored.astype(np.float32) - 1024)
    mr_series = make.series(
        stored, PhotometricInterpretation="MONOCHROME1", Modality="MR", RescaleIntercept=0
    )
    mr = read_study(make.shuffled(mr_series, tmp_path / "mr"))
    np.testing.assert_array_equal(
        only(mr).volume.array, float(stored.max()) + stored.min() - stored.astype(np.float32)
    )
    assert any("MONOCHROME1" in warning for warning in mr.warnings)


def test_a_missing_slice_is_interpolated_and_told(tmp_path, make, stored) -> None:
    datasets = make.series(stored)
    del datasets[2]
    study = read_study(make.shuffled(datasets, tmp_path))
    volume = only(study).volume
    assert any("1 of 6 slices are missing" in warning for warning in study.warnings)
    whole = stored.astype(np.float32) - 1024
    np.testing.assert_allclose(volume.array[2], (whole[1] + whole[3]) / 2)
    np.testing.assert_array_equal(volume.array[[0, 1, 3, 4, 5]], whole[[0, 1, 3, 4, 5]])
    assert len(only(study).headers) == 5


def test_many_missing_slices_are_refused(tmp_path, make, stored) -> None:
    datasets = make.series(stored)
    with pytest.raises(
        InputError, match=r"series 2: its 4 slices leave gaps of up to 7\.5 mm at a step of 2\.5 mm"
    ):
        read_study(make.shuffled([datasets[0], *datasets[3:]], tmp_path))


@pytest.mark.parametrize(
    ("step_mm", "missing", "filled"),
    [(10.0, 1, True), (10.0, 2, False), (5.0, 3, True), (5.0, 4, False), (25.0, 0, True)],
)
def test_a_gap_is_judged_in_millimetres_whatever_the_step(
    tmp_path, make, step_mm: float, missing: int, filled: bool
) -> None:
    planes = np.full((44, 8, 7), 1000, np.uint16)
    datasets = make.series(planes, step_mm=step_mm)
    del datasets[20 : 20 + missing]
    folder = make.shuffled(datasets, tmp_path)
    if filled:
        assert len(only(read_study(folder)).volume.array) == 44
    else:
        gap_mm = (missing + 1) * step_mm
        with pytest.raises(InputError, match=rf"gaps of up to {gap_mm:.1f} mm .*more than 20 mm"):
            read_study(folder)


def test_uneven_slices_are_resampled_and_told(tmp_path, make) -> None:
    places = np.array([0.0, 2.0, 4.4, 6.0, 8.0])
    ramp = np.broadcast_to((1000 + 100 * places)[:, None, None], (5, 8, 7)).astype(np.uint16)
    datasets = [make.slice(plane, (0, 0, place)) for plane, place in zip(ramp, places, strict=True)]
    study = read_study(make.shuffled(datasets, tmp_path))
    volume = only(study).volume
    assert any(
        "unevenly spaced (1.60 to 2.40 mm), they were resampled to 2.00 mm" in warning
        for warning in study.warnings
    )
    # a linear ramp stays one
    np.testing.assert_allclose(
        volume.array[:, 0, 0], 1000 - 1024 + 100 * np.arange(0, 9, 2), atol=1e-3
    )


def test_a_sheared_stack_is_straightened_and_told(tmp_path, make) -> None:
    """Each slice is moved by a row against the one below; one position in space is one column."""
    body = np.full((5, 9, 7), 1000, np.uint16)
    for z in range(5):
        body[z, 6 - z, 3] = 2000  # a rod along z through y = 6 rows
    datasets = [make.slice(plane, (0, 0.8 * z, 3.0 * z)) for z, plane in enumerate(body)]
    study = read_study(make.shuffled(datasets, tmp_path))
    volume = only(study).volume
    assert any("askew" in warning for warning in study.warnings)
    rod = np.argwhere(volume.array > 500)
    np.testing.assert_array_equal(rod[:, 1:], np.repeat([[6, 3]], 5, axis=0))
    np.testing.assert_allclose(volume.map_indices_to_reference(rod)[:, 1], 6 * 0.8, atol=1e-5)


def test_one_slice_is_read_and_told(tmp_path, make, stored) -> None:
    study = read_study(make.save(make.slice(stored[0], (0, 0, 0)), tmp_path / "one"))
    assert only(study).volume.shape == (1, 8, 7)
    assert only(study).volume.spacing[0] == 5
    assert any("one slice only" in warning for warning in study.warnings)


def test_a_slice_with_damaged_pixels_is_left_out_and_told(tmp_path, make, stored) -> None:
    datasets = make.series(stored)
    datasets[3].PixelData = datasets[3].PixelData[:40]
    study = read_study(make.shuffled(datasets, tmp_path))
    assert any("1 of 6 slices cannot be decoded" in warning for warning in study.warnings)
    assert only(study).volume.shape == (6, 8, 7)
    assert study.reference is Phase.PORTAL


def test_headers_hold_no_pixels_and_are_in_order(tmp_path, make, stored) -> None:
    datasets = make.series(stored)
    datasets[0].add_new(0x00091010, "LO", "private")
    image = only(read_study(make.shuffled(datasets, tmp_path)))
    assert [header.ImagePositionPatient[2] for header in image.headers] == sorted(
        header.ImagePositionPatient[2] for header in image.headers
    )
    assert all("PixelData" not in header and 0x00091010 not in header for header in image.headers)
    assert all(isinstance(header, pydicom.Dataset) for header in image.headers)
