"""Analysis and inspection of bad and doubtful input: one clear line or a warning."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from liverleaf.cli.analyze import _print_findings
from liverleaf.export.wording import PROBABILITIES_DO_NOT_HOLD
from liverleaf.findings import (
    CaseRecord,
    ClassRecord,
    DoubtRecord,
    Findings,
    ScoreRecord,
    SegmentationRecord,
)


def change(file: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(file)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)


def series(study: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for file in sorted(study.iterdir()):
        uid = pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID
        files.setdefault(uid, []).append(file)
    return files


def missing(study: Path) -> Path:
    return study / "nowhere"


def empty(study: Path) -> Path:
    (study.parent / "empty").mkdir()
    return study.parent / "empty"


def text_as_dicom(study: Path) -> Path:
    file = study.parent / "text.dcm"
    file.write_text("I am no image")
    return file


def truncated(study: Path) -> Path:
    for file in study.iterdir():
        file.write_bytes(file.read_bytes()[:400])
    return study


def pixels_cut_off(study: Path) -> Path:
    for file in study.iterdir():
        file.write_bytes(file.read_bytes()[:-1000])
    return study


def zip_that_escapes(study: Path) -> Path:
    with zipfile.ZipFile(study.parent / "escape.zip", "w") as archive:
        archive.writestr("../../evil", "")
    return study.parent / "escape.zip"


def zip_that_explodes(study: Path) -> Path:
    with zipfile.ZipFile(
        study.parent / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as archive:
        archive.writestr("zeros", bytes(260 * 2**20))
    return study.parent / "bomb.zip"


def zip_cut_off(study: Path) -> Path:
    whole = Path(shutil.make_archive(str(study.parent / "whole"), "zip", study)).read_bytes()
    (study.parent / "cut.zip").write_bytes(whole[: len(whole) // 2])
    return study.parent / "cut.zip"


def two_patients(study: Path) -> Path:
    for file in next(iter(series(study).values())):
        change(file, PatientName="Doe^Jane", PatientID="0815")
    return study


def two_studies(study: Path) -> Path:
    for file in next(iter(series(study).values())):
        change(file, StudyInstanceUID="1.2.3")
    return study


def nifti(study: Path, **images: np.ndarray) -> Path:
    folder = study.parent / "nifti"
    folder.mkdir()
    for name, array in images.items():
        nib.save(
            nib.Nifti1Image(array.astype(np.float32), np.diag([5.0, 5, 5, 1])),
            folder / f"{name}.nii.gz",
        )
    return folder


CUBE = np.linspace(-1000, 300, 512).reshape(8, 8, 8)


def two_portal_phases(study: Path) -> Path:
    return nifti(study, portal=CUBE, venous=CUBE)


def phases_without_names(study: Path) -> Path:
    return nifti(study, first=CUBE, second=CUBE)


def four_axes(study: Path) -> Path:
    return nifti(study, portal=np.stack([CUBE, CUBE], -1))


def damaged_nifti(study: Path) -> Path:
    folder = nifti(study, portal=CUBE)
    (folder / "portal.nii.gz").write_bytes((folder / "portal.nii.gz").read_bytes()[:100])
    return folder


def a_slice_missing(study: Path) -> Path:
    """Slices are 20 mm apart, so that the gap is of 40 mm."""
    for files in series(study).values():
        next(
            f for f in files if pydicom.dcmread(f, stop_before_pixels=True).InstanceNumber == 4
        ).unlink()
    return study


BAD_INPUT = {
    a_slice_missing: "gaps of more than 20 mm",
    missing: "does not exist",
    empty: "empty",
    text_as_dicom: "not DICOM",
    truncated: "no CT or MR image",
    pixels_cut_off: "no series could be read",
    zip_that_escapes: "lead out of its folder",
    zip_that_explodes: "too large to unpack",
    zip_cut_off: "damaged or no zip",
    two_patients: "2 patients",
    two_studies: "2 studies",
    two_portal_phases: "two files are of the portal venous phase",
    phases_without_names: "do not tell the phase",
    four_axes: "three axes",
    damaged_nifti: "cannot be read as NIfTI",
}


@pytest.mark.parametrize("spoil", BAD_INPUT, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_one_line_and_leaves_nothing(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    study: Path,
    models: Path,
    spoil: Callable,
) -> None:
    path = spoil(study)
    before = set(study.parent.iterdir())
    assert_one_line(
        liverleaf("analyze", path, "--out", study.parent / "out", "--model", models / "ct"),
        1,
        BAD_INPUT[spoil],
    )
    assert set(study.parent.iterdir()) == before


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_end_in_findings_or_in_one_line(
    secrets: tuple[str, ...], liverleaf: Callable[..., Any], study: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for file in study.iterdir():
        data = bytearray(file.read_bytes())
        data[int(rng.integers(132, len(data) - 3000))] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
    done = liverleaf("inspect", study)
    assert done.code in (0, 1)
    assert done.code == 0 or re.fullmatch(r"liverleaf: .+\n", done.err)
    assert not any(secret in (done.out + done.err).lower() for secret in secrets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nobody"), "no model nobody"),
        (("--model", "{models}/mr"), "is for MR"),
        (("--model", "{models}"), "no model"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    study: Path,
    models: Path,
    one_phase: None,
    options: tuple[str, str],
    message: str,
) -> None:
    done = liverleaf(
        "analyze",
        study,
        "--out",
        study.parent / "out",
        *(option.format(models=models) for option in options),
    )
    assert_one_line(done, 1, message)
    assert not (study.parent / "out").exists()


def whole(study: Path) -> Path:
    return study


def zipped_and_nested(study: Path) -> Path:
    (study.parent / "outer/a/b").mkdir(parents=True)
    study.rename(study.parent / "outer/a/b/c")
    (study.parent / "outer/notes.txt").write_text("beside the images")
    return Path(shutil.make_archive(str(study.parent / "study"), "zip", study.parent / "outer"))


def one_slice(study: Path) -> Path:
    for file in sorted(study.iterdir())[1:]:
        file.unlink()
    return study


def one_phase_only(study: Path) -> Path:
    for files in list(series(study).values())[1:]:
        for file in files:
            file.unlink()
    return study


def no_liver(study: Path) -> Path:
    for file in study.iterdir():
        change(file, PixelData=bytes(2 * 40 * 40))
    return study


def name_in_description(study: Path) -> Path:
    for file in study.iterdir():
        change(
            file,
            SeriesDescription=f"{pydicom.dcmread(file).SeriesDescription} Mustermann 4711SECRET",
        )
    return study


DOUBTFUL = {
    whole: "",
    zipped_and_nested: "1 not DICOM",
    one_slice: "one slice only",
    one_phase_only: "only one phase",
    no_liver: "",
    name_in_description: "",
}


@pytest.mark.parametrize("spoil", DOUBTFUL, ids=lambda spoil: spoil.__name__)
def test_doubtful_input_is_analysed_with_a_warning(
    secrets: tuple[str, ...],
    liverleaf: Callable[..., Any],
    study: Path,
    models: Path,
    one_phase: None,
    spoil: Callable,
) -> None:
    out = study.parent / "out"
    done = liverleaf("analyze", spoil(study), "--out", out, "--model", models / "ct", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out == (out / "findings.json").read_text()
    findings = Findings.model_validate_json(done.out)
    assert DOUBTFUL[spoil] in " ".join((*findings.study.warnings, *findings.warnings))
    written = [file for file in out.rglob("*") if file.is_file()]
    assert {"findings.json", "lesions.nii.gz", "liver.nii.gz", "report.html"} <= {
        file.name for file in written
    }
    for file in written:
        assert not any(secret in file.name.lower() for secret in secrets)
        if file.suffix != ".dcm":
            assert not any(secret.encode() in file.read_bytes().lower() for secret in secrets), file
    assert not [path for path in study.parent.iterdir() if path.name.startswith(".")]


def test_warnings_are_printed_for_people(
    liverleaf: Callable[..., Any], study: Path, models: Path, one_phase: None
) -> None:
    (study / "notes.txt").write_text("beside the images")
    done = liverleaf("analyze", study, "--out", study.parent / "out", "--model", models / "ct")
    assert done.code == 0
    assert "warning: left out 1 of" in done.out
    assert "research only" in done.out
    assert f"{study.parent / 'out' / 'seg.dcm'} holds the patient's name" in done.out


def test_inspect_prints_descriptions_as_they_are(
    liverleaf: Callable[..., Any], study: Path
) -> None:
    for file in next(iter(series(study).values())):
        change(file, SeriesDescription="portal [/b] :smile: [red]")
    done = liverleaf("inspect", study)
    assert (done.code, done.err) == (0, "")
    assert "[/b]" in done.out
    assert ":smile:" in done.out


def test_inspect_prints_the_same_for_machines(liverleaf: Callable[..., Any], study: Path) -> None:
    done = liverleaf("inspect", study, "--json")
    assert (done.code, done.err) == (0, "")
    assert {entry["phase"] for entry in json.loads(done.out)} == {
        "pre",
        "arterial",
        "portal",
        "delayed",
    }


def test_inspect_warns_of_files_that_were_left_out(
    liverleaf: Callable[..., Any], study: Path
) -> None:
    file = sorted(study.iterdir())[0]
    file.write_bytes(file.read_bytes()[:200])
    assert (
        "\nwarning: left out 1 of 32 files: 1 unreadable or damaged\n"
        in liverleaf("inspect", study).out
    )
    assert (
        liverleaf("inspect", study, "--json").err
        == "warning: left out 1 of 32 files: 1 unreadable or damaged\n"
    )


def test_inspect_shows_a_single_slice(liverleaf: Callable[..., Any], study: Path) -> None:
    done = liverleaf("inspect", one_slice(study))
    assert (done.code, done.err) == (0, "")
    assert "- x 9 x 9" in done.out


def test_the_modality_of_nifti_is_what_a_person_says(
    liverleaf: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    folder = nifti(study, portal=CUBE)
    (shown,) = json.loads(liverleaf("inspect", folder, "--modality", "mr", "--json").out)
    assert shown["modality"] == "MR"
    done = liverleaf("ingest", folder, "--modality", "mr", "--out", tmp_path / "cohort")
    assert (done.code, done.err) == (0, "")
    assert ",MR," in (tmp_path / "cohort/cohort.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "{study}"),
        ("analyze", "{study}", "--out", "{out}"),
        ("measure", "{study}", "--lesions", "{study}", "--out", "{out}"),
        ("ingest", "{study}", "--out", "{out}"),
    ],
    ids=lambda command: command[0],
)
def test_a_modality_that_dicom_contradicts_is_refused(
    liverleaf: Callable[..., Any],
    study: Path,
    tmp_path: Path,
    command: tuple[str, ...],
) -> None:
    words = [word.format(study=study, out=tmp_path / "findings") for word in command]
    done = liverleaf(*words, "--modality", "mr")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "is CT by its own files and not MR: leave --modality out" in done.err


def test_masks_by_hand_are_measured_without_a_model(
    liverleaf: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    case = source / "cohort/case-00000"
    lesions, out = case / "truth/lesions.nii.gz", tmp_path / "out"
    done = liverleaf(
        "measure", case, "--lesions", lesions, "--liver-from", "nobody", "--out", out, "--json"
    )
    assert done.code == 0
    findings = Findings.model_validate_json(done.out)
    assert findings.model is None
    assert len(findings.lesions) == np.asarray(nib.load(lesions).dataobj).max()
    assert (out / "report.html").is_file()


def test_a_mask_that_is_missing_is_explained(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    source: Path,
    tmp_path: Path,
) -> None:
    case, mask = source / "cohort/case-00000", tmp_path / "nowhere.nii.gz"
    done = liverleaf("measure", case, "--lesions", mask, "--out", tmp_path / "out")
    assert_one_line(done, 1, "nowhere.nii.gz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--masks", "{lesions}", "--drawn-on", "venous"), 2, "no phase; use pre, arterial"),
        (("--masks", "{lesions}", "--drawn-on", "hepatobiliary"), 1, "no hepatobiliary phase"),
        ((), 2, "--lesions-from PROGRAM"),
        (("--masks", "{lesions}", "--lesions-from", "totalsegmentator"), 2, "either --masks"),
        (("--lesions-from", "totalsegmentator"), 1, "TotalSegmentator is not installed"),
    ],
)
def test_masks_that_cannot_be_placed_or_found_are_explained(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    source: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    case = source / "cohort/case-00000"
    words = [word.format(lesions=case / "truth/lesions.nii.gz") for word in options]
    done = liverleaf("measure", case, *words, "--out", tmp_path / "out")
    assert_one_line(done, code, message)
    assert not (tmp_path / "out").exists()


def test_a_model_types_given_lesions(
    liverleaf: Callable[..., Any], source: Path, models: Path, tmp_path: Path, one_phase: None
) -> None:
    case = source / "cohort/case-00000"
    truth = case / "truth/lesions.nii.gz"
    done = liverleaf(
        "analyze", case, "--lesions", truth, "--model", models / "ct", "--out", tmp_path / "out",
        "--drawn-on", "portal", "--instances", "labels", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    findings = Findings.model_validate_json(done.out)
    labels = np.asarray(nib.load(truth).dataobj)
    assert [lesion.id for lesion in findings.lesions] == list(np.unique(labels[labels > 0]))
    assert all(lesion.type_probabilities for lesion in findings.lesions)
    assert findings.model == "tiny-ct"


# What is printed of findings


def documented() -> Findings:
    """The example of the documentation: a carcinoma that a model found."""
    text = (Path(__file__).parents[2] / "docs/findings.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found
    return Findings.model_validate_json(found[1])


def printed(capsys: pytest.CaptureFixture[str], **update: Any) -> str:
    _print_findings(documented().model_copy(update=update), Path("out"))
    return " ".join(capsys.readouterr().out.split())


def test_wash_out_and_its_conditions_are_printed_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    text = printed(capsys)
    assert "wash-out (delayed), 50 % of its uptake lost" in text
    assert "lesion 1, wash-out, non-peripheral: present: " in text
    assert "rim enhancement" not in text  # its evidence is under the threshold
    assert "masks" not in text  # they are the model's, which is named


HAND = SegmentationRecord(source="manual", method="manual", organs=("liver",))


def test_it_is_printed_whose_masks_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert "masks drawn by hand" in printed(capsys, segmentation=HAND, model=None)
    other = HAND.model_copy(update={"source": "ITK-SNAP"})
    assert "masks of ITK-SNAP" in printed(capsys, segmentation=other, model=None)


def test_an_empty_mask_is_not_a_search_that_found_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "No lesion was found." in printed(capsys, lesions=())
    by_hand = printed(capsys, lesions=(), segmentation=HAND, model=None)
    assert "The mask holds no lesion." in by_hand and "was found" not in by_hand


def test_what_a_model_says_of_the_whole_study_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CaseRecord(
        scores=(ScoreRecord(name="fat_fraction", value=12.3, unit="%"),),
        classes=(ClassRecord(name="response", probabilities={"none": 0.2, "partial": 0.8}),),
    )
    text = printed(capsys, case=case, lesions=(), segmentation=None)
    assert "fat_fraction: 12.3 %" in text and "response: partial 80%, none 20%" in text
    assert "No lesion" not in text


def test_a_doubt_takes_the_sureness_down(capsys: pytest.CaptureFixture[str]) -> None:
    doubts = (DoubtRecord(code="lesion_fills_liver", lesion=1, text="Lesion 1 fills the liver."),)
    assert PROBABILITIES_DO_NOT_HOLD in printed(capsys, doubts=doubts)
    assert PROBABILITIES_DO_NOT_HOLD not in printed(capsys)
