"""References of a segmentation: each image is named once, in its own study and series."""

from __future__ import annotations

from pydicom import Dataset

from liverleaf.export.dicom_references import refer
from liverleaf.export.dicom_sources import SourceSlice


def frame(z_mm: float) -> Dataset:
    position, item = Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, z_mm]
    item.PlanePositionSequence = [position]
    return item


def source(z: int, image: str | None, study: str, series: str) -> SourceSlice:
    return SourceSlice(z, (0.0, 0.0, 5.0 * z), 0.0, "1.2.840.1", image, None, True, study, series)


def segmentation(*heights_mm: float) -> Dataset:
    found = Dataset()
    found.PerFrameFunctionalGroupsSequence = [frame(z_mm) for z_mm in heights_mm]
    found.SourceImageSequence = found.ReferencedSeriesSequence = []
    return found


def listed(item: Dataset) -> dict[str, list[str]]:
    return {
        str(series.SeriesInstanceUID): [
            str(image.ReferencedSOPInstanceUID) for image in series.ReferencedInstanceSequence
        ]
        for series in item.ReferencedSeriesSequence
    }


def test_images_of_the_own_study_and_of_others_are_listed_apart() -> None:
    seg = segmentation(0, 5, 10, 0)
    sources = [source(0, "1.1", "9.1", "8.1"), source(1, "1.2", "9.1", "8.2")]
    refer(seg, [*sources, source(2, "1.3", "9.2", "8.3")], "9.1")
    assert listed(seg) == {"8.1": ["1.1"], "8.2": ["1.2"]}
    (other,) = seg.StudiesContainingOtherReferencedInstancesSequence
    assert (other.StudyInstanceUID, listed(other)) == ("9.2", {"8.3": ["1.3"]})
    named = [
        item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for item in seg.PerFrameFunctionalGroupsSequence
    ]
    assert named == ["1.1", "1.2", "1.3", "1.1"]


def test_a_study_that_is_whole_names_no_other() -> None:
    seg = segmentation(0)
    refer(seg, [source(0, "1.1", "9.1", "8.1")], "9.1")
    assert "StudiesContainingOtherReferencedInstancesSequence" not in seg
    assert listed(seg) == {"8.1": ["1.1"]}


def test_where_no_image_has_a_uid_none_is_named() -> None:
    seg = segmentation(0)
    refer(seg, [source(0, None, "9.1", "8.1")], "9.1")
    assert "ReferencedSeriesSequence" not in seg
    assert not seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
