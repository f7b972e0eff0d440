"""Files of a study that become no part of its phases: each is named, with the true reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.dicom.survey import survey
from liverleaf.ingest.dicom.unused import unused_files
from liverleaf.ingest.reader import read_study


def test_every_file_that_is_not_used_is_named_with_its_reason(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    for number, (name, slices) in enumerate(
        (("portal venous", stored), ("portal", stored[:4]), ("scout", stored[:3])), start=2
    ):
        for z, dataset in enumerate(
            make.series(
                slices, SeriesNumber=number, SeriesInstanceUID=f"1.{number}", SeriesDescription=name
            )
        ):
            make.save(dataset, tmp_path / f"{number}/IM{z}")
    shutil.copy(tmp_path / "2/IM1", tmp_path / "copy")
    (tmp_path / "notes.txt").write_text("nothing")
    whole = (tmp_path / "2/IM5").read_bytes()
    (tmp_path / "2/IM5").write_bytes(whole[:-60])  # its header is sound, its pixels end early
    unused: dict[Path, str] = {}
    study = read_study(tmp_path, unused=unused)
    assert len(study.phases) == 1
    reasons = {str(path.relative_to(tmp_path)): reason for path, reason in unused.items()}
    copied = reasons.pop("copy", None) or reasons.pop("2/IM1")
    assert copied == "a copy of another image of the study"
    assert reasons.pop("notes.txt") == "not DICOM"
    assert reasons.pop("2/IM5") == "series 2: its pixels cannot be read"
    second = {reasons.pop(f"3/IM{z}") for z in range(4)}
    assert second == {"series 3: another series was preferred for the portal venous phase"}
    third = {reasons.pop(f"4/IM{z}") for z in range(3)}
    assert third == {
        "series 4: not used as a contrast phase (a localizer: description says 'scout')"
    }
    assert not reasons


def test_a_file_of_which_one_frame_is_used_is_used(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    files = sorted(make.shuffled(make.series(stored), tmp_path).iterdir())
    found = survey(files)
    headers = [frame.header for frame in found.stacks[0].frames]
    assert unused_files(found, headers) == {}
    assert set(unused_files(found, headers[1:]).values()) == {"series 2: its pixels cannot be read"}
