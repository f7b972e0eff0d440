"""The command line run in this process, and studies and models for it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
import torch

from liverleaf import analysis
from liverleaf.cli import app as cli
from liverleaf.data.network_input import InputConfig
from liverleaf.models import lesion_masks
from liverleaf.models.checkpoint import ModelCard, save_model
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.registration.align import Registration
from liverleaf.study import Modality, Study

SECRETS = ("mustermann", "erika", "4711secret", "acc0815")


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
        change_file(
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


@pytest.fixture(scope="session")
def secrets() -> tuple[str, ...]:
    """What names the patient, in lower case."""
    return SECRETS


@pytest.fixture(scope="session")
def assert_one_line() -> Callable[..., None]:
    """Checks that an error is explained in a line, without a traceback and the patient.

    Bad use also repeats the usage.
    """

    def check(done: Done, code: int, message: str) -> None:
        assert (done.code, done.out) == (code, ""), done
        assert message in done.err
        assert "Traceback" not in done.err
        if code == 1:
            assert re.fullmatch(r"liverleaf: .+\n", done.err)
        assert not any(secret in done.err.lower() for secret in SECRETS)

    return check


def change_file(file: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(file)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)
