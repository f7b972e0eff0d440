"""Studies in a tree: however the files lie, each study is found once, under a pseudonym."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from liverleaf.cohort.discovery import discover
from liverleaf.cohort.study_index import FoundStudy, StudyIndex
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.study import InputError

PSEUDONYMS = Pseudonyms(bytes(32))


def find(tmp_path: Path, *inputs: Path, skip: Path | None = None) -> tuple[list[FoundStudy], int]:
    index = StudyIndex(tmp_path / f"index-{len(list(tmp_path.glob('index-*')))}.sqlite")
    discover(inputs, index, PSEUDONYMS, skip=skip)
    studies, ignored = list(index), index.ignored.total()
    assert len(index) == len(studies)
    index.close()
    return studies, ignored


def nifti(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), file)
    return file


def test_dicom_files_are_grouped_by_study_wherever_they_lie(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    tree = tmp_path / "tree"
    for number, dataset in enumerate(make.series(stored, StudyInstanceUID="1.2.3")):
        make.save(dataset, tree / f"disc{number % 2}/deep/IM{number}")
    for number, dataset in enumerate(make.series(stored, StudyInstanceUID="1.2.4")):
        make.save(dataset, tree / f"disc0/deep/OTHER{number}")
    for number, dataset in enumerate(
        make.series(stored, StudyInstanceUID="1.2.5", PatientID="4712")
    ):
        make.save(dataset, tree / f"third/IM{number}")
    (tree / "notes.txt").write_text("nothing")
    studies, ignored = find(tmp_path, tree)
    assert sorted(len(study.sources) for study in studies) == [6, 6, 6]
    assert len({study.subject_id for study in studies}) == 2
    assert ignored == 1
    assert PSEUDONYMS.case_id("uid 1.2.3") in {study.case_id for study in studies}


def test_a_folder_stands_in_for_a_missing_study_uid(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    for folder in ("a", "b"):
        for number, dataset in enumerate(make.series(stored, StudyInstanceUID="")):
            make.save(dataset, tmp_path / f"tree/{folder}/IM{number}")
    studies, _ = find(tmp_path, tmp_path / "tree")
    assert [len(study.sources) for study in studies] == [6, 6]


def test_a_study_may_be_spread_over_zips_and_folders(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    slices = [
        make.save(dataset, tmp_path / f"all/IM{number}")
        for number, dataset in enumerate(make.series(stored))
    ]
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for file in slices[:2]:
            archive.write(file, f"inner/{file.name}")
            file.unlink()
        archive.writestr("__MACOSX/._IM0", "nothing")
    (study,), ignored = find(tmp_path, tmp_path / "some.zip", tmp_path / "all")
    assert [source.archive is not None for source in study.sources].count(True) == 2
    assert len(study.sources) == 6
    assert ignored == 0


def test_an_input_given_twice_is_read_once(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    for number, dataset in enumerate(make.series(stored)):
        make.save(dataset, tmp_path / f"study/IM{number}")
    (study,), _ = find(tmp_path, tmp_path / "study", tmp_path, tmp_path / "study/IM0")
    assert len(study.sources) == 6


def test_the_nifti_files_of_a_folder_are_one_study(tmp_path: Path) -> None:
    for name in (
        "one/pre.nii.gz",
        "one/portal.nii.gz",
        "two/art.nii",
        "two/liver_mask.nii",
        "truth/lesions.nii.gz",
    ):
        nifti(tmp_path / "tree" / name)
    studies, ignored = find(tmp_path, tmp_path / "tree")
    assert [len(study.sources) for study in studies] == [2, 2]
    assert ignored == 1
    assert len({study.subject_id for study in studies}) == 2


def test_nifti_files_given_one_by_one_are_studies_of_their_own(tmp_path: Path) -> None:
    studies, _ = find(tmp_path, nifti(tmp_path / "a.nii"), nifti(tmp_path / "b.nii"))
    assert len(studies) == 2


def test_a_subject_of_a_bids_tree_has_several_studies(tmp_path: Path) -> None:
    for name in ("sub-01/ses-1/portal.nii", "sub-01/ses-2/portal.nii", "sub-02/ses-1/portal.nii"):
        nifti(tmp_path / "tree" / name)
    studies, _ = find(tmp_path, tmp_path / "tree")
    assert sorted(studies.count(s) for s in studies) == [1, 1, 1]
    assert len({study.subject_id for study in studies}) == 2


def test_pictures_of_screens_are_left_out_and_counted(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    for number, dataset in enumerate(make.series(stored)):
        make.save(dataset, tmp_path / f"tree/IM{number}")
    make.save(
        make.slice(stored[0], (0, 0, 0), SOPClassUID=SecondaryCaptureImageStorage),
        tmp_path / "tree/SC",
    )
    make.save(make.slice(stored[0], (0, 0, 0), BurnedInAnnotation="YES"), tmp_path / "tree/BURNED")
    (study,), _ = find(tmp_path, tmp_path / "tree")
    assert len(study.sources) == 6
    assert study.notes[0].startswith("left out 2 of 8 files: 1 ")
    assert "burned into the pixels" in study.notes[0]


def test_what_cannot_be_used_is_a_refused_study_with_a_reason(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    tree = tmp_path / "tree"
    make.save(make.slice(stored[0], (0, 0, 0), BurnedInAnnotation="YES"), tree / "burned/IM0")
    (tree / "case").mkdir()
    (tree / "case/case.json").write_text("{}")
    (tree / "mustermann.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(tree / "empty.zip", "w") as archive:
        archive.writestr("a.txt", "nothing")
    studies, _ = find(tmp_path, tree)
    reasons = " | ".join(sorted(study.refused for study in studies))
    assert len(studies) == 4
    assert not any(study.sources for study in studies)
    assert all(
        word in reasons
        for word in ("burned", "case folder", "damaged", "neither a DICOM nor a NIfTI")
    )
    assert "mustermann" not in reasons


def test_the_cohort_itself_hidden_files_and_damaged_ones_are_passed_over(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    tree = tmp_path / "tree"
    for name in ("out/IM0", ".hidden/IM1", "good/IM2"):
        make.save(make.slice(stored[0], (0, 0, 0), StudyInstanceUID=f"1.2.{name[-1]}"), tree / name)
    (tree / "good/IM3").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    studies, ignored = find(tmp_path, tree, skip=tree / "out")
    assert [study.case_id for study in studies] == [PSEUDONYMS.case_id("uid 1.2.2")]
    assert ignored == 1


def test_names_may_be_of_any_bytes(tmp_path: Path, make: Any, stored: NDArray[np.uint16]) -> None:
    folder = tmp_path / os.fsdecode(b"tree/M\xfcller")
    for z, dataset in enumerate(make.series(stored, StudyInstanceUID="")):
        make.save(dataset, folder / os.fsdecode(b"M\xfcller-%d" % z))
    (study,), _ = find(tmp_path, tmp_path / "tree")
    assert all(Path(source.name).is_file() for source in study.sources)


def test_copies_of_an_image_have_one_pseudonym_wherever_they_lie(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    one, two = make.series(stored[:2])
    files = [
        make.save(dataset, tmp_path / f"tree/{name}")
        for dataset, name in ((one, "a"), (two, "b"), (one, "deep/c"))
    ]
    with zipfile.ZipFile(tmp_path / "tree/some.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(files[0], "d")
    (study,), _ = find(tmp_path, tmp_path / "tree")
    sources = {Path(source.name).name: source for source in study.sources}
    assert sources["a"].image == sources["c"].image == sources["d"].image != sources["b"].image
    assert {source.size for source in study.sources} == {files[0].stat().st_size}


def test_other_files_are_counted_by_what_they_are(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    make.save(make.slice(stored[0], (0, 0, 0)), tmp_path / "tree/IM0")
    (tmp_path / "tree/cut.dcm").write_bytes((tmp_path / "tree/IM0").read_bytes()[:200])
    (tmp_path / "tree/report.pdf").write_bytes(b"%PDF")
    (tmp_path / "tree/link").symlink_to("nowhere")
    with zipfile.ZipFile(tmp_path / "tree/inner.zip", "w") as archive:
        archive.write(tmp_path / "tree/IM0", "IM0")
    with zipfile.ZipFile(tmp_path / "tree/outer.zip", "w") as archive:
        archive.write(tmp_path / "tree/inner.zip", "inner.zip")
    (tmp_path / "tree/inner.zip").unlink()
    index = StudyIndex(tmp_path / "index.sqlite")
    discover([tmp_path / "tree"], index, PSEUDONYMS)
    kinds = {
        "unreadable or damaged": 1,
        "not DICOM": 1,
        "no regular file": 1,
        "zip to be unpacked first": 1,
    }
    assert index.ignored == kinds
    refused = [study for study in index if study.refused]
    assert [study.refused for study in refused] == [
        "a zip: there is neither a DICOM nor a NIfTI image in it (files: 1 zip to be unpacked"
        " first)"
    ]
    assert (refused[0].case_id, str(tmp_path / "tree/outer.zip")) in index.locations()


def test_an_input_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find(tmp_path, tmp_path / "nowhere")


def test_damaged_files_beside_a_study_are_told_of_it_and_alone_refused(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    make.shuffled(make.series(stored), tmp_path / "tree/good")
    header = (tmp_path / "tree/good/IM0001").read_bytes()[:200]
    for name in ("good/IM0001", "good/lost", "lost/a/IM1", "lost/b/IM1"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(header)
    (tmp_path / "tree/lost/a/IM2.dcm").write_bytes(bytes(500))
    studies, ignored = find(tmp_path, tmp_path / "tree")
    assert ignored == 5
    assert [(study.refused, study.notes) for study in sorted(studies, key=lambda s: s.refused)] == [
        ("", ("left out 2 of 7 files: 2 unreadable or damaged, beside its images",)),
        ("none of its images can be read: 3 unreadable or damaged", ()),
    ]
    studies, _ = find(tmp_path, *sorted((tmp_path / "tree/good").iterdir()))
    assert [study.notes[0][:20] for study in studies] == ["left out 2 of 7 file"]


def test_phases_torn_into_studies_of_their_own_are_one_and_thorax_and_abdomen_two(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    for number, (z_mm, step_mm) in enumerate(((0, 2.5), (-4, 3.0), (40, 2.5))):
        series = make.series(
            stored,
            origin=(0, 0, z_mm),
            step_mm=step_mm,
            StudyInstanceUID=f"1.7.{number}",
            SeriesInstanceUID=f"1.8.{number}",
        )
        make.shuffled(series, tmp_path / f"tree/{number}")
    studies, _ = find(tmp_path, tmp_path / "tree")
    assert sorted(len(study.sources) for study in studies) == [6, 12]
    assert [study.notes[0][:25] for study in studies if study.notes] == [
        "its images name 2 studies"
    ]


def test_single_images_that_nothing_puts_together_are_refused_with_the_reason(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    torn = make.series(
        stored,
        FrameOfReferenceUID=None,
        each=lambda z: {"StudyInstanceUID": f"1.7.{z}", "SeriesInstanceUID": f"1.8.{z}"},
    )
    make.shuffled(torn, tmp_path / "tree/a")
    make.save(make.slice(stored[0], (0, 0, 0), PatientID="4712"), tmp_path / "tree/b/IM0")
    index = StudyIndex(tmp_path / "index.sqlite")
    discover([tmp_path / "tree"], index, PSEUDONYMS)
    studies = list(index)
    assert sorted(len(study.sources) for study in studies) == [0] * 6 + [1]
    told = {study.refused for study in studies if study.refused}
    assert [reason[:63] for reason in told] == [
        "6 images of this patient and day each name a study of their own"
    ]
    assert len(list(index.ignored_files())) == 6
