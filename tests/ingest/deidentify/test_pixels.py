"""Unused bits of pixels: nothing stays in them, and the pixels are what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from liverleaf.ingest.deidentify.pixels import clean_pixels, stored_bits
from liverleaf.study import InputError

DRAWN = 0x5000


def test_stored_bits_clears_the_rest_and_extends_the_sign() -> None:
    values = np.array([0xF7FF, 0x0800, 0xFFFF, 0x1001], np.uint16)
    unsigned = stored_bits(values, 12, 11, signed=False)
    assert unsigned.tolist() == [0x7FF, 0x800, 0xFFF, 1]
    signed = stored_bits(values, 12, 11, signed=True)
    assert signed.view(np.int16).tolist() == [2047, -2048, -1, 1]


def test_what_follows_the_last_pixel_is_cut_off(make: Any, stored: NDArray[np.uint16]) -> None:
    image = make.slice(stored[0], (0, 0, 0), PixelData=stored[0].tobytes() + b"Mustermann")
    clean_pixels(image)
    assert image.PixelData == stored[0].tobytes()


def test_signed_pixels_keep_their_values(make: Any) -> None:
    values = np.array([[-5, 7], [2047, -2048]], np.int16)
    image = make.slice(values, (0, 0, 0), BitsStored=12, HighBit=11)
    image.PixelData = (values & 0x0FFF | 0x1000).tobytes()
    clean_pixels(image)
    assert np.array_equal(np.frombuffer(image.PixelData, np.int16).reshape(2, 2), values)


@pytest.mark.parametrize("drawn", [0, DRAWN])
def test_compressed_pixels_are_unpacked_only_where_something_is_drawn_in_them(
    make: Any, stored: NDArray[np.uint16], drawn: int
) -> None:
    image = make.slice(stored[0] | np.uint16(drawn), (0, 0, 0))
    image.compress(RLELossless, generate_instance_uid=False)
    image.BitsStored, image.HighBit = 12, 11
    before = image.PixelData
    clean_pixels(image)
    assert image.file_meta.TransferSyntaxUID.is_encapsulated is (not drawn)
    if drawn:
        assert image.PixelData == stored[0].tobytes()
    else:
        assert image.PixelData == before


@pytest.mark.parametrize(
    ("elements", "message"),
    [({"HighBit": 16}, "unusual place"), ({"HighBit": 3, "BitsStored": 12}, "unusual place")],
)
def test_bits_without_a_place_are_refused(
    make: Any, stored: NDArray[np.uint16], elements: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        clean_pixels(make.slice(stored[0], (0, 0, 0), **elements))


def test_compressed_pixels_that_cannot_be_decoded_are_refused(
    make: Any, stored: NDArray[np.uint16]
) -> None:
    image = make.slice(stored[0], (0, 0, 0), BitsStored=12, HighBit=11)
    image.compress(RLELossless, generate_instance_uid=False)
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(InputError, match="cannot be decoded"):
        clean_pixels(image)


@pytest.mark.parametrize(
    ("signed", "named", "kept"), [(0, 63536, 2096), (1, 63536, -2000), (0, 100, 100)]
)
def test_the_padding_value_goes_with_the_pixels(
    make: Any, signed: int, named: int, kept: int
) -> None:
    cells = np.array([[named, 7]], np.uint16)
    image = make.slice(cells, (0, 0, 0), BitsStored=12, HighBit=11, PixelRepresentation=signed)
    image.add_new("PixelPaddingValue", "US", named)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    clean_pixels(image)
    assert image.PixelPaddingValue == kept
    assert image.pixel_array[0].tolist() == [kept, 7]
