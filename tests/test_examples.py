"""Every example runs, made small by its arguments."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.storage.volumes import save_volume
from liverleaf.terminology import LesionType, Organ

ROOT = Path(__file__).parents[1]
Run = Callable[[str], str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run an example in an empty folder and return what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> str:
        monkeypatch.setattr(sys, "argv", command.split())
        runpy.run_path(str(ROOT / "examples" / sys.argv[0]), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_look_at_a_phantom(run: Run, tmp_path: Path) -> None:
    said = run("look_at_a_phantom.py --modality CT --size 48 --out phantom.png")
    assert said.startswith("phantom.png: slice ")
    with Image.open(tmp_path / "phantom.png") as picture:
        assert picture.width > picture.height


def test_train_a_tiny_network_and_analyse_a_study(
    run: Run, tmp_path: Path, tiny_case: Callable
) -> None:
    said = run("train_a_tiny_network.py tiny --cases 1 --steps 2 --size 32")
    assert "tiny/run/model" in said
    save_case(tmp_path / "case", *tiny_case())
    said = run("analyse_a_study.py case --out findings --model tiny/run")
    assert "research only" in said
    assert (tmp_path / "findings/report.html").is_file()


def test_measure_a_mask(run: Run, tmp_path: Path, tiny_case: Callable) -> None:
    study, truth = tiny_case()
    save_case(tmp_path / "case", study, truth)
    liver = (truth.organs.array == Organ.LIVER).astype(np.uint8)
    save_volume(tmp_path / "liver.nii.gz", study.grid.with_array(liver))
    said = run("measure_a_mask.py case --lesions case/truth/lesions.nii.gz --out alone")
    assert said.startswith("lesion 1: 3.76 ml, 22 x 22 mm, wash-in 15.3 HU\n  pre: 130 HU\n")
    said = run(
        "measure_a_mask.py case --lesions case/truth/lesions.nii.gz --liver liver.nii.gz"
        " --out measured"
    )
    assert "  pre: 130, liver 55 HU\n  arterial: 145, liver 70 HU\n" in said
    assert (tmp_path / "measured/report.html").is_file()


def test_outline_a_lesion(run: Run, tmp_path: Path, tiny_case: Callable) -> None:
    study, _ = tiny_case()
    save_case(tmp_path / "case", study)
    outline = {"lesions": [{"type": "hcc", "slices": {"2": [[10, 5], [20, 5], [20, 9], [10, 9]]}}]}
    (tmp_path / "outline.json").write_text(json.dumps(outline))
    run("outline_a_lesion.py case outline.json outlined")
    _, truth = load_case(tmp_path / "outlined")
    assert truth is not None and truth.lesion_list[0].type is LesionType.HCC
    z, y, x = np.nonzero(truth.lesions.array)
    assert set(z) == {2} and (y.min(), x.min(), x.max() - x.min()) == (5, 10, 10)


def test_adopt_an_organ_map(run: Run, tmp_path: Path, tiny_case: Callable) -> None:
    study, truth = tiny_case()
    save_case(tmp_path / "case", study, truth)
    run("adopt_an_organ_map.py case case/truth/organs.nii.gz 7 cohort/adopted")
    _, adopted = load_case(tmp_path / "cohort/adopted")
    assert adopted is not None and adopted.organs is not None and not adopted.lesion_list
    np.testing.assert_array_equal(adopted.organs.array == 7, truth.organs.array == 7)


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [
        path.name for path in (ROOT / "examples").glob("*.py") if f'run("{path.name} ' not in here
    ] == []
