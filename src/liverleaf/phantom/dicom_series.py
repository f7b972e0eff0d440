"""DICOM series of simulated studies, as a CT or MR scanner would send them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.storage.case_folder import save_annotation
from liverleaf.study import Annotation, BodyPart, Modality, Phase, PhaseImage, Species, Study
from liverleaf.system.files import new_directory

INJECTION = datetime(2024, 1, 15, 10, 0, 0)
CT_INTERCEPT = -1024
MHZ_PER_TESLA = 42.577
AGENT_NAMES = {
    "gadobutrol": "GADOVIST",
    "gadoterate": "DOTAREM",
    "gadoxetate": "PRIMOVIST",
    "iodine": "OMNIPAQUE 350",
}
STUDY_DESCRIPTIONS = {
    (Modality.MR, BodyPart.ABDOMEN): "MR LIVER DYNAMIC",
    (Modality.CT, BodyPart.ABDOMEN): "CT LIVER 4 PHASE",
}
SCANNERS: dict[str, dict[Modality, str]] = {
    "SIEMENS": {Modality.CT: "SOMATOM Definition", Modality.MR: "MAGNETOM Skyra"},
    "GE MEDICAL SYSTEMS": {Modality.CT: "Discovery CT750 HD", Modality.MR: "Optima MR450w"},
    "Philips": {Modality.CT: "Brilliance 64", Modality.MR: "Ingenia"},
}


def with_headers(study: Study, protocol: Protocol) -> Study:
    """The study with the headers that its DICOM files would have, one per slice and without pixels.

    All UIDs follow from the study's frame of reference, so they are the same each time.
    `protocol.flaws` are in the headers.
    """
    images = {
        phase: _headed(image, _series(study, _flawed(protocol, study), phase, image, number))
        for number, (phase, image) in enumerate(study.phases.items(), start=1)
    }
    other = {
        name: _headed(
            image, _series(study, protocol.other.get(name, protocol), name, image, number)
        )
        for number, (name, image) in enumerate(study.other.items(), start=len(images) + 1)
    }
    return replace(study, phases=images, other=other)


def _headed(image: PhaseImage, series: Dataset) -> PhaseImage:
    """An image with a header per slice; its description is what the headers say."""
    headers = tuple(
        _slice(series, image.volume, index) for index in range(image.volume.spatial_shape[0])
    )
    return replace(image, headers=headers, description=series.SeriesDescription)


def _flawed(protocol: Protocol, study: Study) -> Protocol:
    """The protocol with the descriptions that its flaws leave."""
    if "one description for all series" in protocol.flaws:
        description = "ax dyn" if study.modality is Modality.MR else "Abdomen"
        return replace(protocol, descriptions=dict.fromkeys(study.phases, description))
    if "agent in the description" in protocol.flaws:
        named = {
            phase: f"{text} + {AGENT_NAMES[protocol.agent.name]}"
            for phase, text in protocol.descriptions.items()
        }
        return replace(protocol, descriptions=named)
    return protocol


def write_dicom(study: Study, out: Path) -> None:
    """Write a study with headers as one file per slice, IM00001, IM00002, ...

    The order of the files tells nothing, as in many archives.

    Args:
        study: whole-numbered intensities, headers of `with_headers`.
        out: a folder that exists.
    """
    slices = []
    images = {**{phase.name: image for phase, image in study.phases.items()}, **study.other}
    for name, image in images.items():
        if len(image.headers) != image.volume.spatial_shape[0]:
            raise ValueError(
                f"{name} has {len(image.headers)} headers for {image.volume.spatial_shape[0]}"
                " slices: use with_headers"
            )
        slices += list(zip(image.headers, image.volume.array, strict=True))
    slices.sort(key=lambda pair: pair[0].SOPInstanceUID)
    for number, (header, pixels) in enumerate(slices, start=1):
        file = Dataset()
        file.update(header)
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        stored = pixels - np.float32(header.get("RescaleIntercept", 0))
        file.PixelData = stored.astype("<i2" if header.PixelRepresentation else "<u2").tobytes()
        dcmwrite(out / f"IM{number:05d}", file, enforce_file_format=True)


def save_dicom_case(directory: Path, study: Study, truth: Annotation | None) -> None:
    """Write a case folder: series in `dicom`, truth in `truth.json` and as NIfTI.

    The folder appears whole or not at all.

    Raises:
        InputError: the folder exists.
    """
    with new_directory(directory) as partial_directory:
        (partial_directory / "dicom").mkdir()
        write_dicom(study, partial_directory / "dicom")
        if truth:
            record = save_annotation(partial_directory, truth)
            (partial_directory / "truth.json").write_text(
                record.model_dump_json(indent=1) + "\n", encoding="utf-8"
            )


def _series(
    study: Study, protocol: Protocol, kind: Phase | str, image: PhaseImage, number: int
) -> Dataset:
    """What all slices of one series share."""
    root = str(image.volume.frame_of_reference_uid)
    series = Dataset()
    series.SpecificCharacterSet = "ISO_IR 100"
    _describe_equipment(series, study.modality, protocol.manufacturer)
    _describe_patient(series, study)
    series.BodyPartExamined, series.PatientPosition = study.body_part.upper(), "HFS"
    series.StudyDescription = STUDY_DESCRIPTIONS.get(
        (study.modality, study.body_part), f"{study.modality} {series.BodyPartExamined}"
    )
    series.SeriesDescription = (
        protocol.descriptions.get(kind, image.description)
        if isinstance(kind, Phase)
        else image.description
    )
    series.StudyInstanceUID = generate_uid(entropy_srcs=[root, "study"])
    series.SeriesInstanceUID = generate_uid(
        entropy_srcs=[root, kind.name if isinstance(kind, Phase) else kind]
    )
    series.FrameOfReferenceUID = root
    series.AccessionNumber = series.ReferringPhysicianName = series.PositionReferenceIndicator = ""
    series.StudyID, series.SeriesNumber, series.AcquisitionNumber = "1", number + 1, number
    _describe_times(series, study, protocol, kind, image.time_s)
    _describe_pixels(series, image.volume)
    (_describe_ct if study.modality is Modality.CT else _describe_mr)(series, protocol)
    if "slice thickness is not the slices' distance" in protocol.flaws:
        series.SliceThickness = round(1.25 * float(series.SliceThickness), 3)
    return series


def _describe_equipment(series: Dataset, modality: Modality, manufacturer: str) -> None:
    series.Manufacturer = manufacturer
    series.ManufacturerModelName = SCANNERS[manufacturer][modality]
    series.DeviceSerialNumber, series.SoftwareVersions = "0", "liverleaf phantom"
    series.InstitutionName = "liverleaf phantom"


def _describe_patient(series: Dataset, study: Study) -> None:
    """Who was scanned; of an animal also the species and what DICOM then asks for besides."""
    person = study.subject_id or study.case_id
    series.PatientName, series.PatientID = f"PHANTOM^{person.upper()}", person
    series.PatientBirthDate, series.PatientSex = "", "O"
    if study.species is Species.HUMAN:
        return
    code, species = Dataset(), codes.cid7454.RattusNorvegicus
    code.CodeValue, code.CodingSchemeDesignator = species.value, species.scheme_designator
    code.CodeMeaning = species.meaning
    series.PatientSpeciesDescription = species.meaning
    series.PatientSpeciesCodeSequence = [code]
    # required to be there, and unknown
    series.PatientSexNeutered = series.PatientBreedDescription = ""
    series.PatientBreedCodeSequence, series.BreedRegistrationSequence = [], []
    series.ResponsiblePerson = series.ResponsibleOrganization = ""
    # the axes are a person's: y runs to the back, z to the head
    series.AnatomicalOrientationType = "BIPED"


def _describe_times(
    series: Dataset, study: Study, protocol: Protocol, kind: Phase | str, time_s: float | None
) -> None:
    """When the series was acquired, and after which injection."""
    injection = INJECTION + timedelta(weeks=study.week or 0.0)
    acquired = injection + timedelta(seconds=time_s or 0.0)
    date = f"{injection:%Y%m%d}"
    series.StudyDate = series.SeriesDate = series.AcquisitionDate = series.ContentDate = date
    series.StudyTime = f"{injection - timedelta(minutes=5):%H%M%S}"
    series.SeriesTime = series.AcquisitionTime = series.ContentTime = f"{acquired:%H%M%S.%f}"
    enhanced = isinstance(kind, Phase) and kind is not Phase.PRE
    if enhanced and "no contrast tags" not in protocol.flaws:
        series.ContrastBolusAgent = AGENT_NAMES[protocol.agent.name]
        series.ContrastBolusRoute = "IV"
        series.ContrastBolusStartTime = f"{injection:%H%M%S}"
    if "no acquisition times" in protocol.flaws:
        del series.AcquisitionTime, series.AcquisitionDate
        series.ContentTime = series.SeriesTime = series.StudyTime


def _describe_pixels(series: Dataset, volume: Volume) -> None:
    geometry = volume.get_plane_orientation(), volume.get_pixel_measures()
    series.ImageOrientationPatient = geometry[0][0].ImageOrientationPatient
    series.PixelSpacing = geometry[1][0].PixelSpacing
    series.SliceThickness = geometry[1][0].SliceThickness
    series.SpacingBetweenSlices = geometry[1][0].SpacingBetweenSlices
    _, series.Rows, series.Columns = volume.spatial_shape
    series.SamplesPerPixel, series.PhotometricInterpretation = 1, "MONOCHROME2"
    series.BitsAllocated, series.BitsStored, series.HighBit = 16, 16, 15


def _describe_ct(series: Dataset, protocol: Protocol) -> None:
    series.Modality, series.SOPClassUID = "CT", CTImageStorage
    series.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    series.PixelRepresentation = 1
    series.RescaleIntercept, series.RescaleSlope, series.RescaleType = CT_INTERCEPT, 1, "HU"
    series.WindowCenter, series.WindowWidth = 40, 350
    series.KVP, series.ConvolutionKernel = protocol.kilovolt, "B30f"
    series.GantryDetectorTilt, series.RotationDirection = 0, "CW"


def _describe_mr(series: Dataset, protocol: Protocol) -> None:
    series.Modality, series.SOPClassUID = "MR", MRImageStorage
    series.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    series.PixelRepresentation = 0
    series.ScanningSequence, series.SequenceVariant, series.MRAcquisitionType = (
        ("SE", "SK", "2D") if protocol.spin_echo else ("GR", "SP", "3D")
    )
    series.ScanOptions = "FS" if protocol.fat_suppressed else ""
    series.RepetitionTime = round(1000 * protocol.tr_s, 3)
    series.EchoTime = round(1000 * protocol.te_s, 3)
    series.FlipAngle = round(protocol.flip_deg, 1)
    series.EchoTrainLength = 16 if protocol.spin_echo else 1
    series.NumberOfAverages = 1
    series.MagneticFieldStrength = protocol.field_tesla
    series.ImagingFrequency = round(MHZ_PER_TESLA * protocol.field_tesla, 3)
    series.ImagedNucleus = "1H"


def _slice(series: Dataset, volume: Volume, index: int) -> Dataset:
    """The header of one slice; a series counts its instances from the volume's first."""
    header = Dataset()
    header.update(series)
    position = volume.get_plane_position(plane_index=index)[0].ImagePositionPatient
    header.InstanceNumber = index + 1
    header.SOPInstanceUID = generate_uid(entropy_srcs=[series.SeriesInstanceUID, str(index)])
    header.ImagePositionPatient = position
    header.SliceLocation = round(
        float(np.dot(volume.unit_vectors()[0], [float(p) for p in position])), 4
    )
    return header
