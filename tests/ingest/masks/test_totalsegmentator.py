"""TotalSegmentator called through a stand-in that writes the layout of its own output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liverleaf.ingest.masks.reader import read_drawn
from liverleaf.ingest.masks.totalsegmentator import totalsegmentator_masks
from liverleaf.study import InputError, Modality, Phase, Study

STAND_IN = """#!{python}
import pathlib, sys
import nibabel as nib
import numpy as np
arguments = sys.argv[1:]
pathlib.Path({log!r}).open("a").write(" ".join(arguments[4:]) + "\\n")
image = nib.load(arguments[arguments.index("-i") + 1])
out = pathlib.Path(arguments[arguments.index("-o") + 1])
out.mkdir(parents=True)
bright = image.get_fdata()
names = {{"liver": bright > 80, "spleen": bright < -2000}}
if arguments[arguments.index("--task") + 1].startswith("liver_lesions"):
    names = {{"liver_lesions": bright > 150}}
for name, mask in names.items():
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine), out / f"{{name}}.nii.gz")
sys.exit({code})
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a stand-in on the path, and gives the file in which it notes its options."""

    def put(text: str = STAND_IN, code: int = 0) -> Path:
        log = tmp_path / "calls"
        program = tmp_path / "bin/TotalSegmentator"
        program.parent.mkdir()
        program.write_text(text.format(python=sys.executable, log=str(log), code=code))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        return log

    return put


@pytest.fixture
def study(tiny_case: Callable) -> Study:
    return tiny_case(phases=[Phase.PORTAL])[0]


def test_liver_and_lesions_are_asked_for_and_read(
    study: Study, install: Callable[..., Path]
) -> None:
    log = install()
    with totalsegmentator_masks(study, ["liver", "lesions"]) as made:
        drawn = read_drawn(study, lesions=made["lesions"], liver=made["liver"])
    assert not made["liver"].exists()
    assert log.read_text().splitlines() == [
        "--task total --roi_subset liver",
        "--task liver_lesions",
    ]
    np.testing.assert_array_equal(drawn.lesions.labels.array > 0, study.grid.array > 150)
    assert drawn.liver is not None
    np.testing.assert_array_equal(drawn.liver.labels.array > 0, study.grid.array > 80)


def test_mr_has_tasks_of_its_own(tiny_case: Callable, install: Callable[..., Path]) -> None:
    log = install()
    mr = tiny_case(phases=[Phase.PORTAL], modality=Modality.MR)[0]
    with totalsegmentator_masks(mr, ["liver", "lesions"]) as made:
        assert nib.load(made["lesions"]).shape == mr.grid.spatial_shape[::-1]
    assert log.read_text().splitlines() == [
        "--task total_mr --roi_subset liver",
        "--task liver_lesions_mr",
    ]


def test_a_program_that_is_not_there_is_told(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(InputError, match="TotalSegmentator is not installed"),
        totalsegmentator_masks(study, ["liver"]),
    ):
        pass
    with totalsegmentator_masks(study, []) as made:  # nothing is asked of it
        assert made == {}


def test_a_program_that_fails_is_told(study: Study, install: Callable[..., Path]) -> None:
    install(code=3)
    with (
        pytest.raises(InputError, match="--task liver_lesions ended with exit code 3"),
        totalsegmentator_masks(study, ["lesions"]),
    ):
        pass


def test_a_program_that_writes_nothing_is_told(study: Study, install: Callable[..., Path]) -> None:
    install("#!{python}\n")
    with (
        pytest.raises(InputError, match=r"wrote no liver\.nii\.gz"),
        totalsegmentator_masks(study, ["liver"]),
    ):
        pass
