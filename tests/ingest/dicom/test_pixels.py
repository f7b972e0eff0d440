"""Stored values in every coding and scaling of archives become intensities, or are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError


def only(folder: Path) -> tuple[NDArray[np.float32], str]:
    """The one volume of a study, and its warnings."""
    study = read_study(folder)
    (image,) = study.phases.values()
    return image.volume.array, "; ".join(study.warnings)


def smooth(make: Any) -> NDArray[np.uint16]:
    """Six slices of 40 x 36 in 12 bits."""
    z, y, x = np.indices((6, 40, 36))
    return (1000 + 40 * z + 23 * y + 11 * x + (7 * x * y + 3 * z) % 5).astype(np.uint16)


def lossless_jpeg(plane: NDArray[np.integer], selection: int) -> bytes:
    """JPEG process 14 of 16 bits.

    Prediction is from the left (1) or from above (2), differences in 17 classes of 5-bit codes.
    """
    values = plane.astype(int)
    rows, columns = values.shape
    predicted = np.empty_like(values)
    if selection == 1:
        predicted[:, 1:], predicted[1:, 0] = values[:, :-1], values[:-1, 0]
    else:
        predicted[1:], predicted[0, 1:] = values[:-1], values[0, :-1]
    predicted[0, 0] = 1 << 15
    bits = []
    for difference in ((values - predicted + 32768) % 65536 - 32768).ravel():
        size = int(abs(difference)).bit_length()
        bits.append(f"{size:05b}")
        if 0 < size < 16:
            bits.append(
                f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}"
            )
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    coded = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = b"\xff\xc3" + struct.pack(">HBHHBBBB", 11, 16, rows, columns, 1, 1, 0x11, 0)
    table = (
        b"\xff\xc4"
        + struct.pack(">HB", 19 + 17, 0)
        + bytes([0, 0, 0, 0, 17, *[0] * 11])
        + bytes(range(17))
    )
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, selection, 0, 0)
    return b"\xff\xd8" + frame + table + scan + coded + b"\xff\xd9"


def process_14(selection: int) -> Callable[[Dataset], None]:
    def encode(dataset: Dataset) -> None:
        code = lossless_jpeg(dataset.pixel_array.astype(np.uint16), selection)
        dataset.PixelData = encapsulate([code + b"\x00" * (len(code) % 2)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1 if selection == 1 else JPEGLossless

    return encode


def compress(uid: pydicom.uid.UID, **options: Any) -> Callable[[Dataset], None]:
    def encode(dataset: Dataset) -> None:
        if not get_encoder(uid).is_available:
            pytest.skip(f"no encoder for {uid.name} is installed")
        dataset.compress(uid, generate_instance_uid=False, **options)
        if "Lossless" not in uid.name:
            dataset.LossyImageCompression = "01"

    return encode


def plain(uid: pydicom.uid.UID) -> Callable[[Dataset], None]:
    def encode(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = uid
        if uid == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"

    return encode


CODINGS = {
    "implicit VR": (plain(ImplicitVRLittleEndian), 0),
    "big endian": (plain(ExplicitVRBigEndian), 0),
    "deflated": (plain(DeflatedExplicitVRLittleEndian), 0),
    "RLE": (compress(RLELossless), 0),
    "JPEG 2000 lossless": (compress(JPEG2000Lossless), 0),
    "JPEG 2000 lossy": (compress(JPEG2000, j2k_psnr=[100]), 4),
    "JPEG-LS lossless": (compress(JPEGLSLossless), 0),
    "JPEG-LS near lossless": (compress(JPEGLSNearLossless, jls_error=2), 2),
    "JPEG process 14, selection 1": (process_14(1), 0),
    "JPEG process 14, selection 2": (process_14(2), 0),
}


@pytest.mark.parametrize(("encode", "tolerance"), CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_coding(
    tmp_path: Path, make: Any, encode: Callable[[Dataset], None], tolerance: float, signed: bool
) -> None:
    values = smooth(make)
    stored = (values.astype(int) - 1500).astype(np.int16) if signed else values
    datasets = make.series(
        stored, RescaleIntercept=0 if signed else -1024, BitsStored=16, HighBit=15
    )
    for dataset in datasets:
        encode(dataset)
    array, told = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_allclose(
        array, stored.astype(float) - (0 if signed else 1024), atol=tolerance
    )
    assert told.startswith("series 2: lossily compressed") if tolerance else told == ""


@pytest.mark.parametrize(
    "encode",
    [
        compress(JPEG2000Lossless),
        compress(JPEGLSLossless),
        compress(RLELossless),
        plain(ExplicitVRBigEndian),
    ],
)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_twelve_bits_in_sixteen(
    tmp_path: Path, make: Any, encode: Callable[[Dataset], None], signed: bool
) -> None:
    stored = (smooth(make).astype(int) - 1500).astype(np.int16) if signed else smooth(make)
    datasets = make.series(stored, RescaleIntercept=0, BitsStored=12, HighBit=11)
    for dataset in datasets:
        encode(dataset)
    np.testing.assert_array_equal(only(make.shuffled(datasets, tmp_path))[0], stored)


def test_eight_bits_of_baseline_jpeg(tmp_path: Path, make: Any) -> None:
    stored = (smooth(make) // 20).astype(np.uint16)
    datasets = make.series(
        stored, Modality="MR", RescaleIntercept=0, BitsAllocated=8, BitsStored=8, HighBit=7
    )
    for dataset, plane in zip(datasets, stored, strict=True):
        stream = BytesIO()
        Image.fromarray(plane.astype(np.uint8)).save(stream, "JPEG", quality=95)
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    array, told = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_allclose(array, stored, atol=4)
    assert told.startswith("series 2: lossily compressed")


def test_an_unknown_coding_is_refused(tmp_path: Path, make: Any) -> None:
    datasets = make.series(smooth(make))
    for dataset in datasets:
        dataset.PixelData = encapsulate([bytes(100)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(
        InputError,
        match=r"series 2: none of its 6 slices can be decoded \(its compression is not supported",
    ):
        read_study(make.shuffled(datasets, tmp_path))


def test_an_overlay_in_the_unused_bits_is_no_intensity(tmp_path: Path, make: Any) -> None:
    stored = smooth(make)
    datasets = make.series(
        stored | np.uint16(0x1000), BitsStored=12, HighBit=11, RescaleIntercept=0
    )
    np.testing.assert_array_equal(only(make.shuffled(datasets, tmp_path))[0], stored)


def test_bits_in_an_unusual_place_are_refused(tmp_path: Path, make: Any) -> None:
    datasets = make.series(smooth(make) << 4, BitsStored=12, HighBit=15)
    with pytest.raises(InputError, match="6 with pixel bits in an unusual place"):
        read_study(make.shuffled(datasets, tmp_path))


def disc() -> tuple[NDArray[np.bool_], NDArray[np.int16]]:
    """A field of view that is a disc, and HU with water inside but not at its rim."""
    z, y, x = np.indices((6, 24, 24)) - 11.5
    hu = np.where((np.rint(x + z) % 3 == 0) & (y**2 + x**2 <= 9**2), 0, 60).astype(np.int16)
    return y**2 + x**2 <= 12**2, hu


@pytest.mark.parametrize(
    ("padding", "intercept", "elements"),
    [
        (-2000, -1024, {"PixelPaddingValue": -2000}),
        (-2000, -1024, {}),
        (-32768, 0, {"PixelPaddingValue": -32768}),
        (0, 0, {"PixelPaddingValue": 0}),
        (32767, -1024, {"PixelPaddingValue": 32767}),
        (-1990, -1024, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1980}),
    ],
    ids=[
        "below air",
        "not declared",
        "least value",
        "as dense as water",
        "greatest value",
        "a range",
    ],
)
def test_padding_of_ct_becomes_air_and_water_stays_water(
    tmp_path: Path, make: Any, padding: int, intercept: int, elements: Any
) -> None:
    inside, hu = disc()
    stored = np.where(inside, hu - intercept, padding).astype(np.int16)
    datasets = make.series(stored, RescaleIntercept=intercept, **elements)
    array, _ = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_array_equal(array, np.where(inside, hu, -1024))


def test_padding_written_without_its_sign(tmp_path: Path, make: Any) -> None:
    inside, hu = disc()
    datasets = make.series(
        np.where(inside, hu, -2000).astype(np.int16), RescaleIntercept=0, PixelPaddingValue=-2000
    )
    folder = make.shuffled(datasets, tmp_path)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    assert pydicom.dcmread(next(folder.iterdir())).PixelPaddingValue == 65536 - 2000
    np.testing.assert_array_equal(only(folder)[0], np.where(inside, hu, -1024))


def test_padding_of_mr_becomes_the_darkest_value(tmp_path: Path, make: Any) -> None:
    inside, hu = disc()
    stored = np.where(inside, hu + 100, -3000).astype(np.int16)
    datasets = make.series(stored, Modality="MR", RescaleIntercept=0, PixelPaddingValue=-3000)
    array, _ = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_array_equal(array, np.where(inside, hu + 100, 100))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_scaling_that_some_slices_do_not_give_is_that_of_the_others(
    tmp_path: Path, make: Any, modality: str
) -> None:
    missing = {"RescaleSlope": None, "RescaleIntercept": None}
    datasets = make.series(
        smooth(make), Modality=modality, RescaleSlope=1.5, each=lambda z: missing if z == 3 else {}
    )
    array, told = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_array_equal(array, 1.5 * smooth(make) - 1024)
    assert told.startswith("series 2: 1 of 6 slices name no rescaling, that of the others was used")


def test_scaling_that_cannot_be_told_is_refused(tmp_path: Path, make: Any) -> None:
    missing = {"RescaleSlope": None, "RescaleIntercept": None}
    datasets = make.series(
        smooth(make), each=lambda z: missing if z == 3 else {"RescaleSlope": z + 1}
    )
    with pytest.raises(
        InputError, match="series 2: 1 of 6 slices name no rescaling and the others differ"
    ):
        read_study(make.shuffled(datasets, tmp_path))


def test_ct_in_other_units_is_told(tmp_path: Path, make: Any) -> None:
    _, told = only(make.shuffled(make.series(smooth(make), RescaleType="Z_EFF"), tmp_path))
    assert told == "series 2: its header calls its values Z_EFF and not HU"


@pytest.mark.parametrize("unit", ["HU", "hu", "US", None])
def test_ct_in_hounsfield_units_is_not_said_to_be_in_others(
    tmp_path: Path, make: Any, unit: str | None
) -> None:
    assert only(make.shuffled(make.series(smooth(make), RescaleType=unit), tmp_path))[1] == ""


@pytest.mark.parametrize(
    "values", [(3.0, 3.0), (2.0, 2.5)], ids=["one display scale", "display scales differ"]
)
def test_philips_slices_have_one_scale(
    tmp_path: Path, make: Any, values: tuple[float, float]
) -> None:
    """The private scale slope gives what was measured; DICOM's rescaling only fits the display."""
    measured = smooth(make)

    def each(z: int) -> dict[str, Any]:
        return {"RescaleSlope": values[z % 2], "RescaleIntercept": 0}

    datasets = make.series(
        (measured * np.array([1, 2] * 3)[:, None, None]).astype(np.uint16), Modality="MR", each=each
    )
    for z, dataset in enumerate(datasets):
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", float([1, 2][z % 2]))
    array, told = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_allclose(array, measured, rtol=1e-6)
    assert (
        told
        == "series 2: scaled by Philips' private scale slope, because DICOM's rescaling puts its"
        " slices on different scales"
    )


def test_real_world_values_are_not_used(tmp_path: Path, make: Any) -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 7.0, 3.0
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 4095
    datasets = make.series(
        smooth(make), Modality="MR", RescaleIntercept=0, RealWorldValueMappingSequence=[mapping]
    )
    assert only(make.shuffled(datasets, tmp_path)) == (pytest.approx(smooth(make)), "")


def test_inverted_slices_among_others_are_refused(tmp_path: Path, make: Any) -> None:
    datasets = make.series(
        smooth(make),
        Modality="MR",
        RescaleIntercept=0,
        each=lambda z: {"PhotometricInterpretation": f"MONOCHROME{1 + (z > 2)}"},
    )
    with pytest.raises(
        InputError, match="series 2: 3 of 6 slices are stored with inverted grey values"
    ):
        read_study(make.shuffled(datasets, tmp_path))


@pytest.mark.parametrize("slope", [1e38, 1e-300, -1e300])
def test_absurd_scaling_is_refused(tmp_path: Path, make: Any, slope: float) -> None:
    datasets = make.series(smooth(make), RescaleSlope=str(slope))
    with pytest.raises(InputError, match="series 2: its header names an impossible rescaling"):
        read_study(make.shuffled(datasets, tmp_path))


def changed(name: str, value: Any) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)

    return change


ONE_ODD_SLICE = {
    "another intercept": (
        changed("RescaleIntercept", -1000),
        "the rescaling to HU differs between its slices",
    ),
    "no intercept": (
        changed("RescaleIntercept", None),
        "1 of 6 slices name no rescaling, that of the others was used",
    ),
    "another sign": (changed("PixelRepresentation", 1), "name 2 ways of storing pixels"),
    "fewer bits": (
        lambda d: (changed("BitsStored", 12)(d), changed("HighBit", 11)(d)),
        "name 2 ways of storing pixels",
    ),
}


@pytest.mark.parametrize(("change", "said"), ONE_ODD_SLICE.values(), ids=ONE_ODD_SLICE)
def test_one_slice_unlike_the_others_is_told(
    tmp_path: Path, make: Any, change: Callable[[Dataset], Any], said: str
) -> None:
    datasets = make.series(smooth(make))
    change(datasets[3])
    assert said in only(make.shuffled(datasets, tmp_path))[1]


def test_pixels_much_longer_than_wide_are_told(tmp_path: Path, make: Any) -> None:
    assert (
        "its pixels are 0.8 x 7 mm"
        in only(make.shuffled(make.series(smooth(make), PixelSpacing=[0.8, 7.0]), tmp_path))[1]
    )


def test_a_jpeg_ls_stream_that_ends_early_is_no_slice(tmp_path: Path, make: Any) -> None:
    datasets = make.series(smooth(make))
    for dataset in datasets:
        compress(JPEGLSLossless)(dataset)
    folder = make.shuffled(datasets, tmp_path)
    victim = next(
        path
        for path in folder.iterdir()
        if pydicom.dcmread(path).SOPInstanceUID == datasets[2].SOPInstanceUID
    )
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-200])
    assert "1 of 6 slices cannot be decoded" in only(folder)[1]
    victim.write_bytes(whole[: whole.rindex(b"\xff\xd9") + 2])  # only DICOM's own end is missing
    assert only(folder)[1] == ""


@pytest.mark.parametrize("offsets", [True, False])
def test_more_compressed_frames_than_the_header_says_are_told(
    tmp_path: Path, make: Any, offsets: bool
) -> None:
    datasets = make.series(smooth(make))
    for dataset in datasets:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    stream = next(pydicom.encaps.generate_frames(datasets[2].PixelData, number_of_frames=1))
    datasets[2].PixelData = encapsulate([stream, stream], has_bot=offsets)
    _, told = only(make.shuffled(datasets, tmp_path))
    assert "1 of 6 slices cannot be decoded" in told


def test_runs_that_go_on_behind_the_last_pixel_are_told(tmp_path: Path, make: Any) -> None:
    datasets = make.series(smooth(make))
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    (frame,) = pydicom.encaps.generate_frames(datasets[2].PixelData, number_of_frames=1)
    for dataset, more in ((datasets[2], b"\xf0\x07"), (datasets[3], b"\x00\x00")):
        (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame + more])
    _, told = only(make.shuffled(datasets, tmp_path))
    assert "1 of 6 slices cannot be decoded" in told


def test_values_that_no_tissue_has_are_told(tmp_path: Path, make: Any) -> None:
    stored = smooth(make)
    stored[2, 3, 4] = 20_000
    _, told = only(make.shuffled(make.series(stored), tmp_path))
    assert "1 voxel of up to 18976 HU: metal, or damaged pixels" in told
    assert "HU" not in only(make.shuffled(make.series(smooth(make)), tmp_path))[1]


def test_a_padding_value_beyond_the_stored_bits_is_still_padding(tmp_path: Path, make: Any) -> None:
    inside, hu = disc()
    stored = np.where(inside, hu + 1024, 63536).astype(np.uint16)
    datasets = make.series(stored, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
    array, _ = only(make.shuffled(datasets, tmp_path))
    np.testing.assert_array_equal(array, np.where(inside, hu, -1024))
