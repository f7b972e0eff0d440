"""Dynamic series are split by time, series by what they show, and copies are dropped."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stack_normal, stacks_of
from liverleaf.ingest.dicom.volume import read_volume


def stacks(folder):
    return stacks_of([frame for path in sorted(folder.iterdir()) for frame in read_frames(path)])


def dynamic(make, stored, *, each, **elements) -> list[Dataset]:
    """Three time points of one series, their values 0, 1000 and 2000 higher.

    `each(point, z)` gives the tags that tell them apart.
    """
    return [
        dataset
        for point in range(3)
        for dataset in make.series(
            (stored + 1000 * point).astype(np.uint16),
            Modality="MR",
            RescaleIntercept=0,
            each=lambda z, p=point: each(p, z),
            **elements,
        )
    ]


TAGS = {
    "temporal position": lambda point, _: {"TemporalPositionIdentifier": point + 1},
    "acquisition number": lambda point, _: {"AcquisitionNumber": point + 5},
    "trigger time": lambda point, _: {"TriggerTime": 20000.0 * point},
    "acquisition time": lambda point, _: {"AcquisitionTime": f"1000{10 + 20 * point}"},
    "acquisition time of each slice": lambda point, z: {
        "AcquisitionTime": f"1000{10 + 20 * point + z}.5"
    },
    "content time": lambda point, _: {
        "ContentTime": f"1000{10 + 20 * point}",
        "AcquisitionTime": None,
    },
}


@pytest.mark.parametrize("each", TAGS.values(), ids=TAGS)
def test_a_dynamic_series_is_split_by_time(tmp_path, make, stored, each) -> None:
    found, failures = stacks(make.shuffled(dynamic(make, stored, each=each), tmp_path))
    assert not failures
    assert [stack.time_point for stack in found] == [1, 2, 3]
    for point, stack in enumerate(found):
        np.testing.assert_array_equal(
            read_volume(stack)[0].array, stored.astype(np.float32) + 1000 * point
        )


def clock(second: float) -> dict[str, str]:
    return {"AcquisitionTime": f"10{int(second) // 60:02d}{second % 60:06.3f}"}


def test_unequal_time_points_of_slices_with_times_of_their_own(tmp_path, make, stored) -> None:
    """The first time point lacks two slices, so that only the pause after it tells its slices."""
    datasets = dynamic(make, stored, each=lambda point, z: clock(30 * point + z))[2:]
    found, failures = stacks(make.shuffled(datasets, tmp_path))
    assert not failures
    assert [len(stack.frames) for stack in found] == [4, 6, 6]
    np.testing.assert_array_equal(read_volume(found[0])[0].array, stored[2:])
    for point in (1, 2):
        np.testing.assert_array_equal(
            read_volume(found[point])[0].array, stored.astype(np.float32) + 1000 * point
        )


def test_slices_that_overlap_only_in_pairs_of_time_points(tmp_path, make, stored) -> None:
    """A table that moves on: no slice position is in all three parts."""
    datasets = [
        dataset
        for part in range(3)
        for dataset in make.series(
            stored[2 * part : 2 * part + 4][:4] if part < 2 else stored[2:],
            origin=(0, 0, 7.5 * part),
            AcquisitionNumber=part,
        )
    ]
    found, failures = stacks(make.shuffled(datasets, tmp_path))
    assert not failures
    assert [len(stack.frames) for stack in found] == [4, 4, 4]
    np.testing.assert_array_equal(
        read_volume(found[2])[0].array, stored[2:].astype(np.float32) - 1024
    )


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("offset_mm", [0.8, 1.25])
@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_phases_whose_slices_lie_between_one_another(
    tmp_path, make, stored, modality, offset_mm, tag
) -> None:
    datasets = [
        dataset
        for point in range(2)
        for dataset in make.series(
            stored, origin=(0, 0, point * offset_mm), Modality=modality, **{tag: point + 1}
        )
    ]
    found, failures = stacks(make.shuffled(datasets, tmp_path))
    assert not failures
    # odd and even slices of one volume
    in_turns = modality == "MR" and offset_mm == 1.25 and tag == "AcquisitionNumber"
    assert [len(stack.frames) for stack in found] == ([12] if in_turns else [6, 6])
    if not in_turns:
        for stack in found:
            np.testing.assert_array_equal(
                read_volume(stack)[0].array, stored.astype(np.float32) - 1024
            )


def test_slabs_of_one_ct_volume_stay_together(tmp_path, make, stored) -> None:
    datasets = make.series(stored, each=lambda z: {"AcquisitionNumber": z // 3} | clock(z // 3))
    found, _ = stacks(make.shuffled(datasets, tmp_path))
    assert [len(stack.frames) for stack in found] == [6]


def test_trigger_times_count_from_one_acquisition_time(tmp_path, make, stored) -> None:
    found, _ = stacks(make.shuffled(dynamic(make, stored, each=TAGS["trigger time"]), tmp_path))
    times = [stack.acquired_s for stack in found]
    assert np.diff(times).tolist() == [20.0, 20.0]
    assert [stack.header.AcquisitionTime for stack in found] == [
        "100000.000000",
        "100020.000000",
        "100040.000000",
    ]


def test_an_unfinished_last_time_point_is_kept(tmp_path, make, stored) -> None:
    datasets = dynamic(make, stored, each=TAGS["acquisition number"])[:-2]
    found, _ = stacks(make.shuffled(datasets, tmp_path))
    assert [len(stack.frames) for stack in found] == [6, 6, 4]


def test_time_points_that_no_tag_tells_apart_are_left_out_with_a_reason(
    tmp_path, make, stored
) -> None:
    found, failures = stacks(make.shuffled(dynamic(make, stored, each=lambda *_: {}), tmp_path))
    assert found == []
    (reason,) = (stack.left_out for stack in failures)
    assert reason.startswith(
        "series 2 was left out: it holds several images at one slice position that no time tag"
        " tells apart; export"
    )


@pytest.mark.parametrize("uids", ["same", "new", "empty"])
def test_identical_copies_are_dropped_and_told(tmp_path, make, stored, uids) -> None:
    empty = {"SOPInstanceUID": ""} if uids == "empty" else {}
    datasets = make.series(stored, **empty)
    again = make.series(stored, **empty)
    if uids == "same":
        for dataset, copy in zip(datasets, again, strict=True):
            copy.SOPInstanceUID = dataset.SOPInstanceUID
    (stack,), _ = stacks(make.shuffled(datasets + again[:4], tmp_path))
    assert len(stack.frames) == 6
    assert stack.warnings == ("series 2: 4 identical copies of slices were dropped",)


def test_a_series_is_taken_apart_by_plane_size_and_kind(tmp_path, make, stored) -> None:
    datasets = [
        *make.series(stored),
        *make.series(stored[:3], orientation=(1, 0, 0, 0, 0, -1)),
        *make.series(stored[:2, :4]),
        *make.series(stored, ImageType=["DERIVED", "PRIMARY", "F"], AcquisitionNumber=1),
    ]
    found, failures = stacks(make.shuffled(datasets, tmp_path))
    assert not failures
    assert sorted((len(stack.frames), stack.frames[0].shape) for stack in found) == [
        (2, (4, 7)),
        (3, (8, 7)),
        (6, (8, 7)),
        (6, (8, 7)),
    ]


def test_the_normal_points_up_back_or_left() -> None:
    assert stack_normal(np.array([1.0, 0, 0, 0, 1, 0])).tolist() == [0, 0, 1]
    assert stack_normal(np.array([1.0, 0, 0, 0, -1, 0])).tolist() == [0, 0, 1]
    assert stack_normal(np.array([1.0, 0, 0, 0, 0, -1])).tolist() == [0, 1, 0]
    assert stack_normal(np.array([0, 1.0, 0, 0, 0, -1])).tolist() == [1, 0, 0]


def enhanced(make, stored) -> Dataset:
    """Two time points of an enhanced MR image, shuffled, with a rescaling for each frame."""
    order = np.random.default_rng(2).permutation(12)
    frames = np.concatenate([stored, stored + 500])
    dataset = make.slice(
        frames[order].reshape(-1, 7),
        (0, 0, 0),
        Modality="MR",
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
    )
    for keyword in ("PixelSpacing", "RescaleSlope", "RescaleIntercept", "SliceThickness"):
        delattr(dataset, keyword)
    dataset.SOPClassUID, dataset.Rows, dataset.NumberOfFrames = EnhancedMRImageStorage, 8, 12
    dataset.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence=item(PixelSpacing=[0.8, 0.7], SliceThickness=5),
            PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            MRImageFrameTypeSequence=item(FrameType=["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]),
            MREchoSequence=item(EffectiveEchoTime=1.5),
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence=item(ImagePositionPatient=[5, 6, 3 * (index % 6)]),
            PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=int(index)),
            FrameContentSequence=item(
                TemporalPositionIndex=int(index // 6) + 1,
                FrameAcquisitionDateTime=f"2024011510{index // 6:02d}00",
            ),
        )
        for index in order
    ]
    return dataset


def item(**elements) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**sequences: Dataset) -> Dataset:
    return item(**{keyword: [value] for keyword, value in sequences.items()})


def test_an_enhanced_image_is_split_by_the_offset_of_its_time_points(
    tmp_path, make, stored
) -> None:
    dataset = enhanced(make, stored)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        content = frame.FrameContentSequence[0]
        frame.TemporalPositionSequence = [
            item(TemporalPositionTimeOffset=20.0 * (content.TemporalPositionIndex - 1))
        ]
        del content.TemporalPositionIndex, content.FrameAcquisitionDateTime
    make.save(dataset, tmp_path / "multi")
    found, failures = stacks(tmp_path)
    assert not failures
    assert [stack.acquired_s - found[0].acquired_s for stack in found] == [0, 20]
    for point, stack in enumerate(found):
        offsets = (np.arange(6) + 6 * point)[:, None, None]
        np.testing.assert_array_equal(
            read_volume(stack)[0].array, 2.0 * (stored + 500 * point) + offsets
        )


def test_philips_scale_slopes_of_an_enhanced_image_are_used(tmp_path, make, stored) -> None:
    dataset = enhanced(make, stored)
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        private = Dataset()
        private.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(
            0x0E, "FL", 0.5 if index % 2 else 0.25
        )
        frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        frame.add_new((0x2005, 0x140F), "SQ", [private])
    make.save(dataset, tmp_path / "multi")
    found, _ = stacks(tmp_path)
    for point, stack in enumerate(found):
        assert stack.warnings[0].startswith(
            f"series 2 time point {point + 1}: scaled by Philips' private scale slope"
        )
        volume, _, _ = read_volume(stack)
        for plane, frame, values in zip(
            volume.array, stack.frames, stored + 500 * point, strict=True
        ):
            source = dataset.PerFrameFunctionalGroupsSequence[frame.index]
            intercept = source.PixelValueTransformationSequence[0].RescaleIntercept
            np.testing.assert_allclose(
                plane,
                (2.0 * values + intercept)
                / (2.0 * source[0x2005, 0x140F][0][0x2005, 0x100E].value),
                rtol=1e-6,
            )


def test_an_enhanced_multi_frame_image_is_split_and_read(tmp_path, make, stored) -> None:
    make.save(enhanced(make, stored), tmp_path / "multi")
    found, failures = stacks(tmp_path)
    assert not failures
    assert [stack.acquired_s for stack in found] == [found[0].acquired_s, found[0].acquired_s + 60]
    for point, stack in enumerate(found):
        volume, headers, warnings = read_volume(stack)
        offsets = (np.arange(6) + 6 * point)[:, None, None]
        np.testing.assert_array_equal(volume.array, 2.0 * (stored + 500 * point) + offsets)
        np.testing.assert_allclose(volume.spacing, (3, 0.8, 0.7))
        np.testing.assert_allclose(volume.position, (5, 6, 0))
        assert len(headers) == 1
        assert warnings == []
