"""Cases of CHAOS: CT of liver donors and T1 and T2 MRI with outlined organs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from PIL import Image
from pydicom import Dataset

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_series
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import Organ

NAME = "chaos"
MR_ORGANS = {
    63: (Organ.LIVER, 55, 70),
    126: (Organ.KIDNEY, 110, 135),
    189: (Organ.KIDNEY, 175, 200),
    252: (Organ.SPLEEN, 240, 255),
}
"""Grey levels of the MR masks, with the range around each that counts as that organ."""
DONORS = "a candidate for liver donation: the collection says that its liver is healthy"


def chaos(root: Path) -> Iterator[CollectionCase]:
    """The cases of `Train_Sets/CT/<id>` and `Train_Sets/MR/<id>`; test sets have no masks."""
    for kind, read in (("CT", _read_ct), ("MR", _read_mr)):
        for folder in sorted(path for path in root.glob(f"**/{kind}/*") if path.is_dir()):
            grounds = folder / "Ground" if kind == "CT" else folder / "T1DUAL/Ground"
            reason = (
                ""
                if any(grounds.glob("*.png"))
                else "it has no masks: it belongs to the test set, or they are missing"
            )
            yield case(NAME, f"{kind.lower()}-{folder.name}", partial(read, folder), refused=reason)


def _read_ct(folder: Path) -> Annotated:
    files = _dicom(folder / "DICOM_anon")
    volume, headers, notes = read_series(files)
    image = PhaseImage(
        volume, evidence=("the collection says all its CT is portal venous",), headers=headers
    )
    liver = _masks(folder / "Ground", files, headers, volume, {Organ.LIVER: (1, 255)})
    study = Study(Modality.CT, {Phase.PORTAL: image}, warnings=tuple(notes))
    annotated = annotate(study, lesions=[], organs=liver, notes=[DONORS])
    return annotated.with_case_labels(diagnosis="normal")


def _read_mr(folder: Path) -> Annotated:
    files = _dicom(folder / "T1DUAL/DICOM_anon/InPhase")
    volume, headers, notes = read_series(files)
    notes = [*notes, "masks of the T2-weighted images are left out"]
    other = {}
    for name, part in (
        ("t1_out_phase", "T1DUAL/DICOM_anon/OutPhase"),
        ("t2_spir", "T2SPIR/DICOM_anon"),
    ):
        try:
            other[name] = PhaseImage(read_series(_dicom(folder / part))[0])
        except InputError as error:
            notes.append(f"{name}: {error}")
    image = PhaseImage(
        volume, evidence=("T1-weighted in phase, taken without contrast agent",), headers=headers
    )
    organs = _masks(folder / "T1DUAL/Ground", files, headers, volume, {})
    study = Study(Modality.MR, {Phase.PRE: image}, warnings=tuple(notes), other=other)
    return annotate(study, lesions=None, organs=organs)


def _dicom(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise InputError(f"there is no DICOM in {folder.name}")
    return files


def _masks(
    folder: Path,
    files: Sequence[Path],
    headers: Sequence[Dataset],
    volume: hd.Volume,
    binary: Mapping[Organ, tuple[int, int]],
) -> dict[Organ, hd.Volume]:
    """Masks from one PNG per slice.

    The n-th PNG by name belongs to the n-th DICOM file by name, wherever that lies in the volume.

    Args:
        folder: of the PNG files.
        files: of the series, sorted by name.
        headers: one per slice in the order of the volume's Z axis.
        volume: the series.
        binary: grey levels of one organ; empty for those of `MR_ORGANS`.
    """
    pictures = sorted(folder.glob("*.png"))
    if len(pictures) != len(files) or len(headers) != volume.shape[0]:
        raise InputError(
            f"{len(pictures)} mask slices do not belong to {len(files)} images that make"
            f" {volume.shape[0]} slices"
        )
    by_uid = {
        str(
            pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]
            ).SOPInstanceUID
        ): picture
        for file, picture in zip(files, pictures, strict=True)
    }
    grey = np.stack(
        [
            np.asarray(Image.open(by_uid[str(header.SOPInstanceUID)]).convert("L"))
            for header in headers
        ]
    )
    if grey.shape != volume.shape:
        raise InputError(f"its masks have shape {grey.shape}, its images {volume.shape}")
    ranges = [(organ, low, high) for organ, (low, high) in binary.items()] or list(
        MR_ORGANS.values()
    )
    organs: dict[Organ, hd.Volume] = {}
    for organ, low, high in ranges:
        found = (grey >= low) & (grey <= high)
        organs[organ] = volume.with_array(
            found | (organs[organ].array if organ in organs else False)
        )
    return organs
