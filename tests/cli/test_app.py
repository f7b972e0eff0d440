"""The command line in the hands of an unkind user: one clear line and an exit code, never a traceback, never half a folder."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from liverleaf import analysis
from liverleaf.cli import app as cli
from liverleaf.cli.benchmarks import benchmarks
from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import data_fingerprint
from liverleaf.data.network_input import InputConfig
from liverleaf.findings import Findings
from liverleaf.models import checkpoint, lesion_masks, shipped
from liverleaf.models.checkpoint import ModelCard, save_card, save_model
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.registration.align import Registration
from liverleaf.study import Modality, Study

COMMANDS = (
    "analyze",
    "inspect",
    "ingest",
    "export",
    "phantom",
    "train",
    "ensemble",
    "evaluate",
    "compare",
    "benchmark",
    "models",
)
BENCHMARKS = sorted(
    command.name or command.callback.__name__ for command in benchmarks.registered_commands
)
SECRETS = ("mustermann", "erika", "4711secret", "acc0815")
RECIPE = Path(__file__).parents[2] / "recipes/liverleaf-net-ct.toml"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def liverleaf(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in this process; anything but a clean exit is a failure of the test."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["liverleaf", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that know nothing, one per modality."""
    folder = tmp_path_factory.mktemp("models")
    config = MTINetConfig(
        masks=2, types=8, widths=(4, 4, 8, 8), skips=True, heads="lesion", token_width=64, size=64
    )
    for modality in Modality:
        torch.manual_seed(1)
        card = ModelCard(
            f"tiny-{modality.lower()}",
            "mti-net",
            config,
            InputConfig(modality, size=64),
            (0.0,) * 4,
            (1.0,) * 4,
        )
        save_model(
            folder / modality.lower(),
            dataclasses.replace(card, training={"cases": 2}),
            MTINet(config),
        )
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM study of a patient with a name, a second patient's, and a cohort."""
    folder = tmp_path_factory.mktemp("source")
    phantom = Phantom("ct", 1, shape=(8, 40, 40), spacing_mm=(20.0, 9.0, 9.0))
    write_cohort(phantom, 2, folder / "dicom", format="dicom")
    write_cohort(phantom, 2, folder / "cohort", format="nifti")
    for file in (folder / "dicom/case-00000/dicom").iterdir():
        change(
            file, PatientName="Mustermann^Erika", PatientID="4711SECRET", AccessionNumber="ACC0815"
        )
    return folder


@pytest.fixture
def study(source: Path, tmp_path: Path) -> Path:
    """A copy of the study to spoil."""
    shutil.copytree(source / "dicom/case-00000/dicom", tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed the reference phase and one lesion are kept alone."""
    separate = lesion_masks.separate

    def keep(study: Study) -> Registration:
        return Registration(
            dataclasses.replace(study, phases={study.reference: study.phases[study.reference]}),
            None,
            {},
            {},
        )

    monkeypatch.setattr(analysis, "register_phases", keep)
    monkeypatch.setattr(
        lesion_masks,
        "separate",
        lambda *arguments, **settings: (separate(*arguments, **settings) == 1).astype(np.uint16),
    )


def change(file: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(file)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)


def series(study: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for file in sorted(study.iterdir()):
        files.setdefault(
            pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID, []
        ).append(file)
    return files


def assert_one_line(done: Done, code: int, message: str) -> None:
    """The error is explained, without a traceback and without the patient; bad use also repeats the usage."""
    assert (done.code, done.out) == (code, ""), done
    assert message in done.err
    assert "Traceback" not in done.err
    if code == 1:
        assert re.fullmatch(r"liverleaf: .+\n", done.err)
    assert not any(secret in done.err.lower() for secret in SECRETS)


# help and bad use
# ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [name for name in COMMANDS if name != "benchmark"]
    + [f"benchmark {name}" for name in BENCHMARKS],
)
def test_the_help_of_every_command_has_an_example(
    liverleaf: Callable[..., Done], command: str
) -> None:
    done = liverleaf(*command.split(), "--help")
    assert done.code == 0
    assert f"Example: liverleaf {command}" in " ".join(done.out.split())


def test_the_help_names_every_command(liverleaf: Callable[..., Done]) -> None:
    done = liverleaf("--help")
    assert done.code == 0
    assert all(f"  {command} " in done.out for command in COMMANDS)
    done = liverleaf("benchmark", "--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in BENCHMARKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("frobnicate",), "No such command"),
        (("analyze",), "Missing"),
        (("analyze", "study"), "--out"),
        (("analyze", "study", "--out", "out", "--device", "toaster"), "--device"),
        (("inspect",), "INPUT"),
        (("inspect", "study", "--colour"), "--colour"),
        (("phantom", "--cases", "0", "--out", "out"), "--cases"),
        (("phantom", "--cases", "-3", "--out", "out"), "--cases"),
        (("phantom", "--cases", "many", "--out", "out"), "--cases"),
        (("phantom", "--cases", "1", "--seed", "-1", "--out", "out"), "--seed"),
        (("phantom", "--cases", "1", "--jobs", "0", "--out", "out"), "--jobs"),
        (("phantom", "--cases", "1", "--shape", "8", "0", "8", "--out", "out"), "--shape"),
        (
            ("phantom", "--cases", "1", "--spacing-mm", "1", "-1", "1", "--out", "out"),
            "--spacing-mm",
        ),
        (
            ("phantom", "--cases", "1", "--spacing-mm", "nan", "1", "1", "--out", "out"),
            "--spacing-mm",
        ),
        (("phantom", "--cases", "1", "--modality", "us", "--out", "out"), "--modality"),
        (("phantom", "--cases", "1", "--format", "jpeg", "--out", "out"), "--format"),
        (
            ("export", "cohort", "--out", "Dataset501_Liver", "--phase", "late"),
            "pre, arterial, portal, delayed",
        ),
        (("train", "recipe.toml", "--cohort", "cohort", "--out", "out", "--fold", "5"), "--fold"),
        (("train", "recipe.toml", "--cohort", "cohort", "--out", "out", "--fold", "-1"), "--fold"),
        (("benchmark", "beauty", "--out", "out"), "No such command 'beauty'"),
    ],
)
def test_bad_use_exits_2(
    liverleaf: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(liverleaf(*arguments), 2, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, ""),
        (["inspect", "nowhere"], 1, "nowhere does not exist"),
        (["inspect"], 2, "Missing argument"),
    ],
)
def test_the_program_exits_as_the_function_does(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "liverleaf", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stop_from_the_keyboard_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit, match="130"):
        cli.main()
    assert capsys.readouterr().err == "liverleaf: stopped before it was done\n"


def test_what_the_system_refuses_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "ro/ph")

    monkeypatch.setattr(cli, "app", refused)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err == "liverleaf: ro/ph: permission denied\n"


# bad input
# -------------------------------------------------------------------------------------------------------------------------------


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
    for file in list(study.iterdir())[::2]:
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


BAD_INPUT = {
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
    liverleaf: Callable[..., Done], study: Path, models: Path, spoil: Callable
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
    liverleaf: Callable[..., Done], study: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for file in study.iterdir():
        data = bytearray(file.read_bytes())
        data[int(rng.integers(132, len(data) - 3000))] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
    done = liverleaf("inspect", study)
    assert done.code in (0, 1)
    assert done.code == 0 or re.fullmatch(r"liverleaf: .+\n", done.err)
    assert not any(secret in (done.out + done.err).lower() for secret in SECRETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nobody"), "no model nobody"),
        (("--model", "{models}/mr"), "is for MR"),
        (("--model", "{models}"), "no model"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    liverleaf: Callable[..., Done],
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


# doubtful input
# --------------------------------------------------------------------------------------------------------------------------


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


def a_slice_missing(study: Path) -> Path:
    for files in series(study).values():
        next(
            f for f in files if pydicom.dcmread(f, stop_before_pixels=True).InstanceNumber == 4
        ).unlink()
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
    a_slice_missing: "missing and were interpolated",
    one_phase_only: "only one phase",
    no_liver: "",
    name_in_description: "",
}


@pytest.mark.parametrize("spoil", DOUBTFUL, ids=lambda spoil: spoil.__name__)
def test_doubtful_input_is_analysed_with_a_warning(
    liverleaf: Callable[..., Done], study: Path, models: Path, one_phase: None, spoil: Callable
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
        assert not any(secret in file.name.lower() for secret in SECRETS)
        if file.suffix != ".dcm":
            assert not any(secret.encode() in file.read_bytes().lower() for secret in SECRETS), file
    assert not [path for path in study.parent.iterdir() if path.name.startswith(".")]


def test_warnings_are_printed_for_people(
    liverleaf: Callable[..., Done], study: Path, models: Path, one_phase: None
) -> None:
    (study / "notes.txt").write_text("beside the images")
    done = liverleaf("analyze", study, "--out", study.parent / "out", "--model", models / "ct")
    assert done.code == 0
    assert "warning: left out 1 of" in done.out
    assert "research only" in done.out
    assert f"{study.parent / 'out' / 'seg.dcm'} holds the patient's name" in done.out


# the other commands
# ----------------------------------------------------------------------------------------------------------------------


def test_inspect_prints_descriptions_as_they_are(
    liverleaf: Callable[..., Done], study: Path
) -> None:
    for file in next(iter(series(study).values())):
        change(file, SeriesDescription="portal [/b] :smile: [red]")
    done = liverleaf("inspect", study)
    assert (done.code, done.err) == (0, "")
    assert "[/b]" in done.out
    assert ":smile:" in done.out


def test_inspect_tells_machines_what_it_tells_people(
    liverleaf: Callable[..., Done], study: Path
) -> None:
    done = liverleaf("inspect", study, "--json")
    assert (done.code, done.err) == (0, "")
    assert {entry["phase"] for entry in json.loads(done.out)} == {
        "pre",
        "arterial",
        "portal",
        "delayed",
    }


def test_inspect_tells_of_files_that_were_left_out(
    liverleaf: Callable[..., Done], study: Path
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


def test_ingest_says_what_was_kept_read_again_and_ignored(
    liverleaf: Callable[..., Done], study: Path
) -> None:
    files = [file for alike in series(study).values() for file in alike]
    whole = study.parent / "whole"
    shutil.copytree(study, whole)
    (whole / "notes.txt").write_text("beside the images")
    for file in files[8:]:
        file.unlink()
    out = study.parent / "new/cohort"
    assert (
        "1 study found, 1 read, 0 refused\npage: " in liverleaf("ingest", study, "--out", out).out
    )
    done = liverleaf("ingest", whole, "--out", out)
    assert (
        "1 study found, 1 read (1 read again), 0 refused\nother files ignored: 1 not DICOM\npage: "
        in done.out
    )
    assert f"where each study lies: {out.parent / 'pseudonyms.places.csv'} " in done.out
    assert (
        "1 study found, 1 read (1 kept from before), 0 refused\n"
        in liverleaf("ingest", study, "--out", out).out
    )
    told = json.loads(liverleaf("ingest", whole, "--out", out, "--json").out)
    assert (told["kept"], told["again"], told["ignored"], told["warnings"]) == (
        1,
        0,
        {"not DICOM": 1},
        {},
    )


def test_inspect_shows_a_single_slice(liverleaf: Callable[..., Done], study: Path) -> None:
    done = liverleaf("inspect", one_slice(study))
    assert (done.code, done.err) == (0, "")
    assert "- x 9 x 9" in done.out


def test_phantom_makes_a_study_and_leaves_other_folders_alone(
    liverleaf: Callable[..., Done], tmp_path: Path
) -> None:
    arguments = ("phantom", "--cases", 1, "--shape", 4, 16, 16, "--spacing-mm", 40, 22, 22, "--out")
    assert liverleaf(*arguments, tmp_path / "new").code == 0
    assert (tmp_path / "new/case-00000/case.json").is_file()
    assert liverleaf(*arguments, tmp_path / "new").code == 0
    assert_one_line(liverleaf(*arguments, tmp_path / "new", "--seed", 2), 1, "other settings")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.docx").write_text("")
    assert_one_line(liverleaf(*arguments, tmp_path / "mine"), 1, "thesis.docx")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.docx"]


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("nowhere.toml", (), "no recipe nowhere.toml"),
        ("text", (), "recipe text"),
        (RECIPE, ("--cohort", "nowhere"), "nowhere is not a folder"),
        (RECIPE, ("--set", "nonsense"), "write TABLE.FIELD=VALUE"),
        (RECIPE, ("--set", "optimisation.speed=9"), "speed"),
        (RECIPE, ("--set", "input.size=17"), "multiple of 16"),
        (RECIPE, ("--resume",), "leave out --resume"),
        (RECIPE, ("--out", "old"), "add --resume"),
    ],
)
def test_training_that_cannot_begin_is_refused(
    liverleaf: Callable[..., Done],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: object,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no = [recipe")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/run.json").write_text("{}")
    assert_one_line(
        liverleaf("train", recipe, "--cohort", source / "cohort", "--out", "run", *options),
        1,
        message,
    )
    assert not (tmp_path / "run").exists()


def test_evaluation_on_the_training_cohort_is_refused(
    liverleaf: Callable[..., Done], source: Path, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "ct", tmp_path / "model")
    cohort = Cohort.open(source / "cohort")
    card = checkpoint.load_card(tmp_path / "model")
    save_card(
        tmp_path / "model",
        dataclasses.replace(
            card, training={"cohort": data_fingerprint(cohort, range(len(cohort)))}
        ),
    )
    arguments = (
        "evaluate",
        tmp_path / "model",
        "--cohort",
        source / "cohort",
        "--out",
        tmp_path / "out",
    )
    assert_one_line(liverleaf(*arguments), 1, "was trained on")
    assert_one_line(liverleaf(*arguments, "--calibrate"), 1, "was trained on")
    assert not (tmp_path / "out").exists()


def test_models_without_any_shipped(
    liverleaf: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    assert liverleaf("models").code == 0
    assert json.loads(liverleaf("models", "--json").out) == []


def test_models_shows_the_measured_figures(
    liverleaf: Callable[..., Done], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models, tmp_path / "shipped")
    models = tmp_path / "shipped"
    card = checkpoint.load_card(models / "ct")
    figures = {
        "all phases": {"figures": {"lesion_dice": {"mean": 0.61, "low": 0.5, "high": 0.7, "n": 9}}}
    }
    save_card(models / "ct", dataclasses.replace(card, figures=figures))
    monkeypatch.setattr(shipped, "SHIPPED", models)
    done = liverleaf("models")
    assert done.code == 0
    assert "0.61" in done.out
    assert "not on patients" in done.out
    assert [entry["name"] for entry in json.loads(liverleaf("models", "--json").out)] == [
        "tiny-ct",
        "tiny-mr",
    ]


# many studies
# ----------------------------------------------------------------------------------------------------------------------------


def test_ingest_makes_a_cohort_of_many_studies(
    liverleaf: Callable[..., Done], source: Path, tmp_path: Path
) -> None:
    study = sorted((source / "dicom/case-00000/dicom").iterdir())
    (tmp_path / "mustermann").mkdir()
    for file in study:
        shutil.copy(file, tmp_path / "mustermann")
    done = liverleaf("ingest", tmp_path / "mustermann", "--out", tmp_path / "cohort", "--json")
    assert done.code == 0, done
    said = json.loads(done.out)
    assert (said["found"], said["read"], said["refused"]) == (1, 1, {})
    assert len(Cohort.open(tmp_path / "cohort")) == 1
    again = liverleaf("ingest", tmp_path / "mustermann", "--out", tmp_path / "cohort")
    assert "1 read (1 kept from before), 0 refused" in again.out
    assert "Research use only" in again.out
    assert not any(
        secret in (done.out + again.out).lower().replace(str(tmp_path).lower(), "")
        for secret in SECRETS
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ingest", "{empty}", "--out", "{out}"], 1, "no studies found"),
        (["ingest", "{empty}/nowhere", "--out", "{out}"], 1, "does not exist"),
        (["ingest", "{empty}", "--out", "{full}"], 1, "holds other things"),
        (["ingest", "{empty}", "--out", "{out}", "--key", "{full}"], 1, "cannot be read as a key"),
        (["ingest", "{empty}", "--out", "{out}", "--jobs", "0"], 2, "--jobs"),
        (["ingest", "--out", "{out}"], 2, "INPUT"),
    ],
)
def test_ingest_explains_bad_use_in_one_line(
    liverleaf: Callable[..., Done], tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    folders = {name: tmp_path / name for name in ("empty", "full", "out")}
    assert_one_line(
        liverleaf(*(argument.format(**folders) for argument in arguments)), code, message
    )
    assert not (tmp_path / "out").exists()
