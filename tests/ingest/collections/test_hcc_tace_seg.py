"""HCC-TACE-Seg: the outlined phase is found by the segmentation's references or its grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType, Organ

SHAPE = (12, 16, 16)
STUDY = "HCC_001/02-15-1998-NA-LIVER-10975"
SECONDS = {"pre": "095900", "arterial": "100035", "portal": "100115"}
Change = Callable[[Dataset], None]


def mask(z: slice, y: slice, x: slice) -> NDArray[np.uint8]:
    array = np.zeros(SHAPE, np.uint8)
    array[z, y, x] = 1
    return array


SEGMENTS = {
    "Liver": mask(slice(1, 11), slice(3, 13), slice(3, 13)),
    "Mass": mask(slice(3, 5), slice(4, 6), slice(4, 6)),
    "Necrosis": mask(slice(5, 6), slice(4, 6), slice(4, 6)),
    "Portal vein": mask(slice(6, 7), slice(9, 10), slice(9, 10)),
    "Abdominal aorta": mask(slice(1, 11), slice(14, 15), slice(8, 9)),
    "Spleen": mask(slice(1, 3), slice(0, 1), slice(0, 1)),
}


def acquisition(
    make, name: str, series: int, value: int, number: int, x_mm: float = -10.0
) -> list[Dataset]:
    return make.series(
        np.full(SHAPE, value, np.uint16) + np.arange(SHAPE[0], dtype=np.uint16)[:, None, None],
        origin=(x_mm, 20.0, -30.0),
        SeriesNumber=series,
        SeriesInstanceUID=f"1.2.3.4.{series}",
        SeriesDescription="PRE LIVER" if name == "pre" else "LIVER 2 PHASE",
        AcquisitionNumber=number,
        AcquisitionTime=SECONDS[name],
        ContentTime=SECONDS[name],
        ContrastBolusStartTime="100000",
        ContrastBolusAgent=None if name == "pre" else "OMNIPAQUE",
        each=lambda index: {"InstanceNumber": 100 * number + index},
    )


def segmentation(sources: list[Dataset]) -> hd.seg.Segmentation:
    for source in sources:
        source.PatientSex = source.PatientBirthDate = source.AccessionNumber = source.StudyID = (
            source.StudyTime
        ) = ""
        source.ReferringPhysicianName = ""
    described = [
        hd.seg.SegmentDescription(
            number,
            label,
            codes.SCT.Organ,
            codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(SEGMENTS, start=1)
    ]
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(list(SEGMENTS.values()), axis=-1),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=300,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )


def collection(
    root: Path,
    make,
    *,
    outlined: str = "portal",
    change: Change = lambda _: None,
    portal_x_mm: float = -10.0,
) -> Path:
    """One person before and after treatment; `change` spoils the segmentation of the first."""
    acquisitions = {
        "pre": acquisition(make, "pre", 2, 1040, 1),
        "arterial": acquisition(make, "arterial", 3, 1100, 1),
        "portal": acquisition(make, "portal", 3, 1140, 2, portal_x_mm),
    }
    for name, datasets in acquisitions.items():
        folder = (
            root / STUDY / ("2.000000-PRE-1" if name == "pre" else "103.000000-LIVER 2 PHASE-83135")
        )
        for index, dataset in enumerate(datasets):
            make.save(dataset, folder / f"{name}-{index:02d}.dcm")
    drawn = segmentation(acquisitions[outlined])
    change(drawn)
    file = root / STUDY / "300.000000-Segmentation-91221/1-1.dcm"
    file.parent.mkdir(parents=True)
    drawn.save_as(file)
    make.save(
        acquisitions["portal"][0], root / "HCC_001/05-20-1998-NA-AFTER-1/2.000000-AFTER/1-01.dcm"
    )
    return root


def test_a_series_of_two_phases_and_its_segmentation(tmp_path: Path, make) -> None:
    before, after = cases_of("hcc-tace-seg", collection(tmp_path, make))
    annotated = before.read()
    study, truth = annotated.study, annotated.truth
    assert (before.case_id, before.subject_id) == (
        "case-hcc-tace-seg-HCC_001-1",
        "hcc-tace-seg-HCC_001",
    )
    assert list(study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL]
    assert float(study.phases[Phase.PORTAL].volume.array[0, 0, 0]) == 1140 - 1024
    np.testing.assert_array_equal(truth.lesions.array, SEGMENTS["Mass"] | SEGMENTS["Necrosis"])
    assert [lesion.type for lesion in truth.lesion_list] == [LesionType.HCC]
    organs = {Organ.PORTAL_VEIN: 1, Organ.AORTA: 10, Organ.LIVER: 999}
    assert {organ: int((truth.organs.array == organ).sum()) for organ in organs} == organs
    assert any("segments spleen were left out" in warning for warning in study.warnings)
    assert not any(
        "breathing" in warning or "grid" in warning or "Mustermann" in warning
        for warning in study.warnings
    )
    assert "a study after the treatment" in after.refused


def test_masks_of_another_phase_than_the_reference_say_so(tmp_path: Path, make) -> None:
    annotated = next(
        cases_of("hcc-tace-seg", collection(tmp_path, make, outlined="arterial"))
    ).read()
    assert any("outlined in the arterial phase" in warning for warning in annotated.study.warnings)


def without_references(drawn: Dataset) -> None:
    del drawn.ReferencedSeriesSequence
    for frame in drawn.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


def with_foreign_references(drawn: Dataset) -> None:
    drawn.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.9"
    for instance in drawn.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
        instance.ReferencedSOPInstanceUID = UID("1.2.9.1")
    for frame in drawn.PerFrameFunctionalGroupsSequence:
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = UID(
            "1.2.9.1"
        )


def with_references_to_the_arterial_phase(drawn: Dataset, files: dict[int, str]) -> None:
    for frame in drawn.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPInstanceUID = UID(next(iter(files.values())))
    del drawn.ReferencedSeriesSequence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_references, "names none of the images: taken for"),
        (with_foreign_references, "names none of the images: taken for"),
    ],
    ids=["no reference, as in HCC_048", "a wrong reference, as in HCC_089"],
)
def test_bad_references_are_mended_by_geometry(
    change: Change, said: str, tmp_path: Path, make
) -> None:
    annotated = next(
        cases_of("hcc-tace-seg", collection(tmp_path, make, change=change, portal_x_mm=-9.0))
    ).read()
    np.testing.assert_array_equal(
        annotated.truth.lesions.array, SEGMENTS["Mass"] | SEGMENTS["Necrosis"]
    )
    assert any(said in warning for warning in annotated.study.warnings)


def test_references_to_a_series_with_another_grid_are_not_believed(tmp_path: Path, make) -> None:
    collection(tmp_path, make, portal_x_mm=-9.0)
    file = tmp_path / STUDY / "300.000000-Segmentation-91221/1-1.dcm"
    arterial = dcmread(
        tmp_path / STUDY / "103.000000-LIVER 2 PHASE-83135/arterial-00.dcm"
    ).SOPInstanceUID
    drawn = dcmread(file)
    with_references_to_the_arterial_phase(drawn, {0: arterial})
    drawn.save_as(file)
    annotated = next(cases_of("hcc-tace-seg", tmp_path)).read()
    np.testing.assert_array_equal(
        annotated.truth.lesions.array, SEGMENTS["Mass"] | SEGMENTS["Necrosis"]
    )
    assert any(
        "names images of another grid: taken for drawn on series 3 time point 2" in w
        for w in annotated.study.warnings
    )


def test_a_damaged_segmentation_is_refused_in_one_line(tmp_path: Path, make) -> None:
    collection(tmp_path, make)
    (tmp_path / STUDY / "300.000000-Segmentation-91221/1-1.dcm").write_bytes(b"DICM" * 50)
    with pytest.raises(InputError, match="its segmentation cannot be read"):
        next(cases_of("hcc-tace-seg", tmp_path)).read()
