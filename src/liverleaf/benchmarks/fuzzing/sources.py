"""Small valid studies of two phantoms, in every kind of file that liverleaf reads."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Modality, Phase, Study

SHAPE = (4, 32, 32)
SPACING_MM = (45.0, 12.0, 12.0)
"""JPEG 2000 needs 32 pixels for its usual depth."""
PHANTOM_SEED = 1
NAME, NUMBER, BIRTHDAY = "QUORVEX^ZYLANDER", "MRN88172635", "19410713"
IDENTITY = ("quorvex", "zylander", "88172635", BIRTHDAY)
"""Words of the patient of every source; none of them may ever be told."""


@dataclass(frozen=True)
class Source:
    """A valid study as files.

    Attributes:
        format: "dicom", "compressed dicom", "nifti", "zip" or "case".
        files: their bytes by name; one of them alone is given to ingest as a file.
        series: names of the files that belong together.
        study: what is in them; reading the files gives its voxels back exactly.
    """

    format: str
    files: Mapping[str, bytes]
    series: Sequence[Sequence[str]]
    study: Study


def fuzz_sources() -> dict[str, Source]:
    """All sources by name; their bytes depend on nothing but the versions of encoding libraries."""
    ct, mr = _study(Modality.CT), _study(Modality.MR)
    alone = {
        study.modality: replace(study, phases={Phase.PORTAL: study.phases[Phase.PORTAL]})
        for study in (ct, mr)
    }
    compressed = {"RLE": RLELossless, "JPEG 2000": JPEG2000Lossless, "JPEG-LS": JPEGLSLossless}
    return {
        "CT slices": _slices(ct),
        "MR slices, implicit VR": _slices(alone[Modality.MR], _implicit),
        **{
            f"CT slices, {name}": _slices(alone[Modality.CT], _compression(uid))
            for name, uid in compressed.items()
        },
        "enhanced MR": _enhanced(mr),
        "enhanced CT, JPEG 2000": _enhanced(alone[Modality.CT], JPEG2000Lossless),
        "NIfTI": _nifti(ct, ".nii"),
        "NIfTI, gzip": _nifti(mr, ".nii.gz"),
        "zip of CT slices": _zip(alone[Modality.CT]),
        "case folder": _case(mr),
    }


def _study(modality: Modality) -> Study:
    """Two phases of a phantom person under the name that must not be told."""
    study, _ = Phantom(
        modality.value, PHANTOM_SEED, shape=SHAPE, spacing_mm=SPACING_MM, missing={}, headers=True
    )[0]
    phases = {phase: study.phases[phase] for phase in (Phase.PRE, Phase.PORTAL)}
    for image in phases.values():
        for header in image.headers:
            header.PatientName, header.PatientID, header.PatientBirthDate = NAME, NUMBER, BIRTHDAY
            header.OtherPatientNames, header.AccessionNumber, header.ReferringPhysicianName = (
                NAME,
                NUMBER,
                NAME,
            )
    return replace(study, phases=phases, other={}, subject_id="")


def _slices(study: Study, encode: Callable[[Dataset], None] | None = None) -> Source:
    with _written(lambda folder: write_dicom(study, folder)) as folder:
        datasets = {path.name: pydicom.dcmread(path) for path in sorted(folder.iterdir())}
    for dataset in datasets.values():
        if encode:
            encode(dataset)
    series: dict[str, list[str]] = {}
    for name, dataset in datasets.items():
        series.setdefault(dataset.SeriesInstanceUID, []).append(name)
    packed = next(iter(datasets.values())).file_meta.TransferSyntaxUID.is_compressed
    files = {name: _bytes(dataset) for name, dataset in datasets.items()}
    return Source("compressed dicom" if packed else "dicom", files, list(series.values()), study)


def _implicit(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _compression(uid: UID) -> Callable[[Dataset], None]:
    return lambda dataset: dataset.compress(uid, generate_instance_uid=False)


def _enhanced(study: Study, compression: UID | None = None) -> Source:
    """Each phase as one multi-frame file."""
    files = {}
    for phase, image in study.phases.items():
        dataset = _multi_frame(image.headers, image.volume.array, study.modality)
        if compression:
            dataset.compress(compression, generate_instance_uid=False)
        files[f"{phase.key}.dcm"] = _bytes(dataset)
    return Source(
        "compressed dicom" if compression else "dicom", files, [[name] for name in files], study
    )


def _multi_frame(headers: Sequence[Dataset], array: np.ndarray, modality: Modality) -> Dataset:
    """One enhanced image of the slices of one series."""
    first = headers[0]
    dataset = Dataset()
    dataset.update(first)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "SliceLocation",
    ):
        del dataset[keyword]
    scale = {
        keyword: dataset.pop(keyword).value
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType")
        if keyword in dataset
    }
    dataset.SOPClassUID = (
        EnhancedCTImageStorage if modality is Modality.CT else EnhancedMRImageStorage
    )
    dataset.NumberOfFrames = len(headers)
    shared = {
        "PixelMeasuresSequence": {
            "PixelSpacing": first.PixelSpacing,
            "SliceThickness": first.SliceThickness,
        },
        "PlaneOrientationSequence": {"ImageOrientationPatient": first.ImageOrientationPatient},
        f"{modality}ImageFrameTypeSequence": {"FrameType": [*first.ImageType, "NONE"]},
        **({"PixelValueTransformationSequence": scale} if scale else {}),
    }
    dataset.SharedFunctionalGroupsSequence = [_groups(shared)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _groups(
            {
                "PlanePositionSequence": {"ImagePositionPatient": header.ImagePositionPatient},
                "FrameContentSequence": {
                    "FrameAcquisitionDateTime": f"{header.AcquisitionDate}{header.AcquisitionTime}",
                    "InStackPositionNumber": number,
                    "StackID": "1",
                },
            }
        )
        for number, header in enumerate(headers, start=1)
    ]
    for sequence in dataset:
        # so that an element in it can change its length and the rest stays valid
        sequence.is_undefined_length = sequence.VR == "SQ"
    stored = array - np.float32(scale.get("RescaleIntercept", 0))
    dataset.PixelData = stored.astype("<i2" if dataset.PixelRepresentation else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _groups(groups: Mapping[str, Mapping[str, object]]) -> Dataset:
    """An item of functional groups."""
    outer = Dataset()
    outer.is_undefined_length_sequence_item = True
    for sequence, elements in groups.items():
        item = Dataset()
        item.is_undefined_length_sequence_item = True
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(outer, sequence, [item])
        outer[sequence].is_undefined_length = True
    return outer


def _nifti(study: Study, ending: str) -> Source:
    def write(folder: Path) -> None:
        for phase, image in study.phases.items():
            volume = image.volume.with_array(
                image.volume.array.astype(np.int16)
            ).permute_spatial_axes([2, 1, 0])
            nib.save(volume.to_nibabel(), folder / f"{phase.key}{ending}")

    with _written(write) as folder:
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return Source("nifti", files, [[name] for name in files], study)


def _zip(study: Study) -> Source:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _slices(study).files.items():
            archive.writestr(zipfile.ZipInfo(f"study/{name}"), content, zipfile.ZIP_DEFLATED)
    return Source("zip", {"study.zip": out.getvalue()}, [["study.zip"]], study)


def _case(study: Study) -> Source:
    with _written(lambda folder: save_case(folder / "case", study)) as folder:
        files = {path.name: path.read_bytes() for path in sorted((folder / "case").iterdir())}
    return Source("case", files, [[name] for name in files], study)


@contextmanager
def _written(write: Callable[[Path], None]) -> Iterator[Path]:
    """A temporary folder with what `write` writes into it."""
    with TemporaryDirectory() as folder:
        write(Path(folder))
        yield Path(folder)


def _bytes(dataset: Dataset) -> bytes:
    out = BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()
