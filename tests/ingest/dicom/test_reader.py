"""Whole studies: which series are used, what is told of the others, and that nobody's name is."""

import re
import zipfile

import numpy as np
import pytest

from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError, Modality, Phase


def four_phase_study(make, stored, folder, **elements):
    """Four phases in four series with their own folders, and a localizer."""
    for number, (name, clock) in enumerate(
        {
            "nativ": "0955",
            "arteriell": "1000",
            "portal venous": "1001",
            "3 min delay": "1003",
        }.items()
    ):
        options = {
            "SeriesNumber": number + 2,
            "SeriesInstanceUID": f"1.2.3.{number}",
            "SeriesDescription": name,
            "AcquisitionTime": f"{clock}35",
        }
        make.shuffled(
            make.series((stored + 10 * number).astype(np.uint16), **(options | elements)),
            folder / f"S{number}" / "deep",
        )
    scout = {
        "SeriesNumber": 1,
        "SeriesInstanceUID": "1.2.3.99",
        "SeriesDescription": "Topogram",
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
    }
    make.save(make.slice(stored[0], (0, 0, 0), (0, 1, 0, 0, 0, -1), **scout), folder / "scout")
    return folder


def test_a_study_of_four_phases(tmp_path, make, stored) -> None:
    study = read_study(
        four_phase_study(
            make, stored, tmp_path, ContrastBolusStartTime="100000", ContrastBolusAgent="Ultravist"
        )
    )
    assert study.modality is Modality.CT
    assert study.agent == "iodine"
    assert list(study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert [image.time_s for image in study.phases.values()] == [-265, 35, 95, 215]
    for number, image in enumerate(study.phases.values()):
        np.testing.assert_array_equal(
            image.volume.array, stored.astype(np.float32) + 10 * number - 1024
        )
    assert study.on_one_grid
    assert study.warnings == (
        "not used as a contrast phase: series 1 (a localizer by its image type)",
    )


def test_identifiers_of_the_source_are_kept_in_the_order_of_the_slices(
    tmp_path, make, stored
) -> None:
    series = make.series(stored, each=lambda index: {"SOPInstanceUID": f"1.2.3.4.{index}"})
    image = read_study(make.shuffled(series, tmp_path)).phases[Phase.PORTAL]
    assert (image.source.study_instance_uid, image.source.series_instance_uid) == (
        "1.2.3",
        "1.2.3.4",
    )
    assert image.source.sop_instance_uids == tuple(f"1.2.3.4.{index}" for index in range(6))


def test_inspect_lists_what_is_not_used_and_why(tmp_path, make, stored) -> None:
    reports = inspect(four_phase_study(make, stored, tmp_path)).series
    assert [(report.number, report.slices, report.used) for report in reports] == [
        (1, 1, False),
        (2, 6, True),
        (3, 6, True),
        (4, 6, True),
        (5, 6, True),
    ]
    assert reports[0].evidence == ("a localizer by its image type",)
    assert reports[0].spacing_mm == (None, 0.8, 0.7)
    assert reports[3].phase is Phase.PORTAL
    assert reports[3].shape == (6, 8, 7)
    assert reports[3].spacing_mm == (2.5, 0.8, 0.7)
    assert reports[4].time_s == 180


def test_the_injection_named_by_one_series_times_the_others(tmp_path, make, stored) -> None:
    for number, (description, start) in enumerate({"nativ": None, "portal": "100020"}.items()):
        clock = f"100{number}10"
        series = make.series(
            stored,
            SeriesInstanceUID=f"1.{number}",
            SeriesDescription=description,
            AcquisitionTime=clock,
            ContrastBolusStartTime=start,
        )
        make.shuffled(series, tmp_path / str(number))
    assert [image.time_s for image in read_study(tmp_path).phases.values()] == [-10, 50]


def test_of_two_series_for_one_phase_the_one_with_more_slices_is_kept_and_told(
    tmp_path, make, stored
) -> None:
    make.shuffled(
        make.series(stored, step_mm=2.5, SeriesInstanceUID="1.1", SeriesNumber=4), tmp_path / "thin"
    )
    make.shuffled(
        make.series(stored[:3], step_mm=5, SeriesInstanceUID="1.2", SeriesNumber=3),
        tmp_path / "thick",
    )
    study = read_study(tmp_path)
    assert study.phases[Phase.PORTAL].volume.shape == (6, 8, 7)
    assert (
        "series 3: not used, series 4 (6 slices) was preferred for the portal venous phase"
        in study.warnings
    )
    assert [report.used for report in inspect(tmp_path)] == [False, True]


def test_a_series_that_cannot_be_read_does_not_spoil_the_others(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored, SeriesInstanceUID="1.1"), tmp_path / "good")
    broken = make.series(
        stored, SeriesInstanceUID="1.2", SeriesNumber=7, SeriesDescription="arterial"
    )
    for dataset in broken:
        del dataset.PixelData
    make.shuffled(broken, tmp_path / "broken")
    study = read_study(tmp_path)
    assert list(study.phases) == [Phase.PORTAL]
    assert any(
        warning.startswith("series 7: none of its 6 slices can be decoded")
        for warning in study.warnings
    )


def test_when_the_best_series_of_a_phase_cannot_be_read_the_next_one_is(
    tmp_path, make, stored
) -> None:
    broken = make.series(stored, SeriesInstanceUID="1.1", SeriesNumber=7)
    for dataset in broken:
        dataset.PixelData = dataset.PixelData[:20]
    make.shuffled(broken, tmp_path / "broken")
    make.shuffled(
        make.series(stored[:4], SeriesInstanceUID="1.2", SeriesNumber=8), tmp_path / "good"
    )
    study = read_study(tmp_path)
    assert study.phases[Phase.PORTAL].volume.shape == (4, 8, 7)
    assert any(
        warning.startswith("series 7: none of its 6 slices can be decoded")
        for warning in study.warnings
    )


def test_an_index_of_files_is_no_image_and_no_loss(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path)
    index = make.slice(stored[0], (0, 0, 0))
    index.DirectoryRecordSequence = []
    make.save(index, tmp_path / "DICOMDIR")
    assert read_study(tmp_path).warnings == ()


def test_different_frames_of_reference_are_kept_and_told(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored, SeriesInstanceUID="1.1"), tmp_path / "a")
    other = make.series(
        stored, SeriesInstanceUID="1.2", SeriesDescription="arterial", FrameOfReferenceUID="1.9"
    )
    make.shuffled(other, tmp_path / "b")
    study = read_study(tmp_path)
    assert len(study.phases) == 2
    assert any("different frames of reference" in warning for warning in study.warnings)


def test_empty_identifiers_are_tolerated(tmp_path, make, stored) -> None:
    study = read_study(
        make.shuffled(
            make.series(stored, SOPInstanceUID="", StudyInstanceUID="", SeriesNumber=None), tmp_path
        )
    )
    assert study.phases[Phase.PORTAL].volume.shape == (6, 8, 7)
    assert re.fullmatch(r"case-[0-9a-f]{8}", study.case_id)


@pytest.mark.parametrize("description", ["portal Mustermann", "portal 4711", "ERIKA portal venous"])
def test_a_description_that_could_identify_is_dropped(tmp_path, make, stored, description) -> None:
    study = read_study(make.shuffled(make.series(stored, SeriesDescription=description), tmp_path))
    image = study.phases[Phase.PORTAL]
    assert image.description == ""
    told = " ".join([study.case_id, *study.warnings, *image.evidence]).lower()
    assert not any(part in told for part in ("mustermann", "erika", "4711"))


def test_the_case_is_called_by_a_pseudonym_that_stays_the_same(tmp_path, make, stored) -> None:
    folders = [
        make.shuffled(make.series(stored, StudyInstanceUID=uid), tmp_path / str(index))
        for index, uid in enumerate(["1.2", "1.2", "1.3"])
    ]
    first, again, other = (read_study(folder).case_id for folder in folders)
    assert first == again != other


def test_inspect_tells_of_what_was_left_out_and_of_missing_slices(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path / "good")
    for turn in range(2):
        rival = make.series(
            stored + turn, SeriesNumber=3, SeriesInstanceUID="1.3", SeriesDescription="arterial"
        )
        make.shuffled(rival, tmp_path / f"mixed-{turn}")
    late = make.series(
        np.concatenate([stored, stored]),
        SeriesNumber=4,
        SeriesInstanceUID="1.4",
        SeriesDescription="delayed",
    )
    make.shuffled(late[:4] + late[5:], tmp_path / "late")
    (tmp_path / "notes.txt").write_text("nothing")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("a", "b")
    found = inspect(tmp_path)
    assert found.warnings == ("left out 2 of 31 files: 1 zip to be unpacked first, 1 not DICOM",)
    assert [(report.number, report.phase, report.used) for report in found] == [
        (2, Phase.PORTAL, True),
        (3, None, False),
        (4, Phase.DELAYED, True),
    ]
    assert "no time tag tells apart; export it again" in found.series[1].evidence[0]
    assert found.series[1].spacing_mm[0] is None or found.series[1].spacing_mm[0] > 0
    assert found.series[2].warnings == (
        "series 4: 1 of 12 slices are missing and were interpolated from their neighbours",
    )


def test_a_lone_ct_of_unknown_phase_is_guessed_by_its_pixels_and_told(tmp_path, make) -> None:
    slices = np.full((6, 40, 40), 24, np.uint16)
    slices[:, 5:35, 5:35] = 1024 + 50
    slices[:, 10:25, 10:25] = 1024 + 150
    study = read_study(
        make.shuffled(
            make.series(slices, SeriesDescription="Abdomen", PixelSpacing=[2, 2]),
            tmp_path / "enhanced",
        )
    )
    assert study.phases[Phase.PORTAL].confidence < 0.5
    assert any("portal venous phase without proof" in warning for warning in study.warnings)
    slices[slices > 1100] = 1024 + 55
    native = read_study(
        make.shuffled(
            make.series(slices, SeriesDescription="Abdomen", PixelSpacing=[2, 2]),
            tmp_path / "native",
        )
    )
    assert list(native.phases) == [Phase.PRE]


def test_words_of_mr_in_the_protocol_of_ct_are_no_reason_to_refuse_it(
    tmp_path, make, stored
) -> None:
    """A public collection has CT whose protocol is called so, and a hospital's MR a topogram."""
    for modality, protocol in (("CT", "T2SPIR portal"), ("MR", "Topogram portal")):
        elements = {"SeriesDescription": None, "ProtocolName": protocol, "Modality": modality}
        folder = make.shuffled(make.series(stored, **elements), tmp_path / modality)
        assert len(read_study(folder).phases) == 1
        other = elements | {"Modality": "MR" if modality == "CT" else "CT"}
        inspected = inspect(make.shuffled(make.series(stored, **other), tmp_path / protocol))
        assert inspected.refused


def test_a_modality_other_than_the_headers_say_is_refused(tmp_path, make, stored) -> None:
    folder = make.shuffled(make.series(stored), tmp_path)
    assert read_study(folder, modality=Modality.CT).modality is Modality.CT
    for ask in (read_study, inspect):
        with pytest.raises(
            InputError, match="the study is CT by its own files and not MR: leave --modality out"
        ):
            ask(folder, modality=Modality.MR)


def test_the_next_series_stands_for_a_phase_whose_best_cannot_be_decoded_in_both(
    tmp_path, make, stored
) -> None:
    """`inspect` reads pixels too, so that it does not promise what `read_study` cannot read."""
    for number, count in ((3, 6), (4, 5)):
        series = make.series(stored[:count], SeriesNumber=number, SeriesInstanceUID=f"1.2.{number}")
        for dataset in series:
            if number == 3:
                dataset.PixelData = dataset.PixelData[:-40]
        make.shuffled(series, tmp_path / str(number))
    study = read_study(tmp_path)
    assert study.phases[Phase.PORTAL].source.series_instance_uid == "1.2.4"
    inspected = inspect(tmp_path)
    assert [(report.number, report.used) for report in inspected] == [(3, False), (4, True)]
    assert "none of its 6 slices can be decoded" in inspected.series[0].warnings[0]
    assert set(inspected.series[0].warnings) <= set(study.warnings)
