"""Outputs of version 0.1 that the code of today must still give.

README.md says how they are remade.

Everything is small, and compared within what other processors round differently.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread

from liverleaf.analysis import analyze
from liverleaf.cohort.index import Cohort
from liverleaf.models.recipe import load_recipe
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.study import Modality
from liverleaf.train.loop import train

torch.set_num_threads(1)

HERE = Path(__file__).parent
NUMBERS, ARRAYS = HERE / "references.json", HERE / "references.npz"
SEEDS = {Modality.CT: 79, Modality.MR: 20}
SMALL = {"shape": (16, 64, 64), "spacing_mm": (10.0, 6.0, 6.0)}
KEPT = (slice(None, None, 2), slice(1, None, 4), slice(2, None, 4))
"""The voxels of a phantom that are stored."""
STOPPED_AT = 10


def phantom_record(modality: Modality) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """One phantom: statistics of whole volumes, and every 32nd voxel of each."""
    study, truth = Phantom(modality.lower(), SEEDS[modality], **SMALL)[0]
    assert truth.organs is not None
    volumes = {phase.name.lower(): image.volume for phase, image in study.phases.items()}
    volumes |= {"lesions": truth.lesions, "organs": truth.organs}
    images = {
        phase.name.lower(): {
            "time_s": image.time_s,
            "description": image.description,
            "mean": float(image.volume.array.mean(dtype=float)),
            "sd": float(image.volume.array.std(dtype=float)),
        }
        for phase, image in study.phases.items()
    }
    labels = {
        name: np.bincount(volumes[name].array.ravel()).tolist() for name in ("lesions", "organs")
    }
    lesions = [
        {
            "type": lesion.type.name.lower(),
            "curve": {phase.name.lower(): value for phase, value in lesion.curve.items()},
            "kinetics": dict(lesion.kinetics),
        }
        for lesion in truth.lesion_list
    ]
    record = {
        "agent": study.agent,
        "affine": study.grid.affine.tolist(),
        "images": images,
        "labels": labels,
        "lesions": lesions,
        "liver_curve": {phase.name.lower(): value for phase, value in truth.liver_curve.items()},
    }
    arrays = {
        f"{modality.lower()}-{name}": volume.array[KEPT].astype(np.int16)
        for name, volume in volumes.items()
    }
    return record, arrays


def analysis_record(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The analysis of a phantom's DICOM with the weights that ship: numbers, SEG and masks."""
    source = Phantom("mr", 75, shape=(16, 80, 80), spacing_mm=(10.0, 4.4, 4.4))
    write_cohort(source, 1, folder / "phantom", format="dicom")
    analyze(folder / "phantom" / "case-00000" / "dicom", folder / "out", device="cpu")
    findings = json.loads((folder / "out" / "findings.json").read_text())
    lesions = [
        {name: lesion[name] for name in ("volume_ml", "long_axis_mm", "type_probabilities")}
        | {"curve": lesion["curve"]["mean"], "liver_curve": lesion["liver_curve"]["mean"]}
        for lesion in findings["lesions"]
    ]
    seg = dcmread(folder / "out" / "seg.dcm")
    frames = [
        int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    segments = [
        {"label": str(segment.SegmentLabel), "frames": frames.count(int(segment.SegmentNumber))}
        for segment in seg.SegmentSequence
    ]
    masks = {
        name: np.asanyarray(nib.loadsave.load(folder / "out" / f"{name}.nii.gz").dataobj)
        for name in ("liver", "lesions")
    }
    record = {
        "phases": {row["phase"]: row["time_s"] for row in findings["study"]["phases"]},
        "liver_ml": findings["liver"]["volume_ml"],
        "lesions": lesions,
        "seg": {"rows": int(seg.Rows), "columns": int(seg.Columns), "segments": segments},
    }
    return record, {f"analysis-{name}": mask for name, mask in masks.items()}


def training_record(folder: Path, *, stopped: bool) -> list[dict[str, float]]:
    """The terms of the loss of 20 steps, straight on or stopped at the tenth and resumed."""
    source = Phantom("mti-net", 5, shape=(12, 64, 64), spacing_mm=(10.0, 5.0, 5.0))
    write_cohort(source, 4, folder / "cohort")
    recipe, cohort = load_recipe(HERE / "tiny-mti-net.toml"), Cohort.open(folder / "cohort")
    if stopped:
        with pytest.raises(KilledError):
            train(recipe, cohort, folder / "run", device="cpu", progress=killer(STOPPED_AT + 3))
    train(recipe, cohort, folder / "run", device="cpu", resume=stopped)
    with (folder / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(value) for name, value in row.items() if name != "seconds" and value}
        for row in rows
    ]


class KilledError(Exception):
    """What a training is killed with."""


def killer(step: int) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, _total: int) -> None:
        if what == "training" and done == step:
            raise KilledError

    return progress


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    return json.loads(NUMBERS.read_text())


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[Any]]:
    with np.load(ARRAYS) as stored:
        return dict(stored)


def assert_near(found: Any, wanted: Any, *, rel: float, absolute: float = 0.0) -> None:
    """Compare nested dicts and lists: numbers nearly, all else exactly."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_near(found[key], wanted[key], rel=rel, absolute=absolute)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, two in zip(found, wanted, strict=True):
            assert_near(one, two, rel=rel, absolute=absolute)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=rel, abs=absolute)
    else:
        assert found == wanted


def dice(one: NDArray[Any], two: NDArray[Any]) -> float:
    return (
        2
        * np.count_nonzero((one > 0) & (two > 0))
        / (np.count_nonzero(one) + np.count_nonzero(two))
    )


@pytest.mark.parametrize("modality", Modality)
def test_a_phantom_is_as_it_was(
    modality: Modality, numbers: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    record, sampled = phantom_record(modality)
    wanted = numbers[modality.lower()]
    counts, wanted_counts = record.pop("labels"), dict(wanted).pop("labels")
    assert_near(record, {k: v for k, v in wanted.items() if k != "labels"}, rel=1e-4)
    for name, count in wanted_counts.items():
        # a voxel on the border of two tissues may fall to the other
        np.testing.assert_allclose(counts[name], count, rtol=1e-3, atol=3)
    stored = {name for name in arrays if name.startswith(f"{modality.lower()}-")}
    assert sampled.keys() == stored
    for name in stored:
        assert (sampled[name] == arrays[name]).mean() > 0.999, name


@pytest.fixture(scope="module")
def analysis(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    return analysis_record(tmp_path_factory.mktemp("analysis"))


def test_findings_are_as_they_were(
    analysis: tuple[dict[str, Any], dict[str, NDArray[Any]]], numbers: dict[str, Any]
) -> None:
    found, wanted = analysis[0], numbers["analysis"]
    assert_near(found["phases"], wanted["phases"], rel=1e-6)
    assert found["liver_ml"] == pytest.approx(wanted["liver_ml"], rel=1e-2)
    assert len(found["lesions"]) == len(wanted["lesions"]) > 1
    for lesion, reference in zip(found["lesions"], wanted["lesions"], strict=True):
        types, reference_types = (
            lesion.pop("type_probabilities"),
            dict(reference)["type_probabilities"],
        )
        assert_near(types, reference_types, rel=0, absolute=0.02)
        assert_near(
            lesion, {k: v for k, v in reference.items() if k != "type_probabilities"}, rel=1e-2
        )


def test_masks_are_as_they_were(
    analysis: tuple[dict[str, Any], dict[str, NDArray[Any]]], arrays: dict[str, NDArray[Any]]
) -> None:
    for name, mask in analysis[1].items():
        assert dice(mask, arrays[name]) > 0.98
        for label in np.unique(arrays[name])[1:]:
            assert dice(mask == label, arrays[name] == label) > 0.95


def test_the_seg_is_as_it_was(
    analysis: tuple[dict[str, Any], dict[str, NDArray[Any]]], numbers: dict[str, Any]
) -> None:
    # a lesion may just reach one slice more on another processor
    assert_near(
        [s["label"] for s in analysis[0]["seg"]["segments"]],
        [s["label"] for s in numbers["analysis"]["seg"]["segments"]],
        rel=0,
    )
    for found, wanted in zip(
        analysis[0]["seg"]["segments"], numbers["analysis"]["seg"]["segments"], strict=True
    ):
        assert abs(found["frames"] - wanted["frames"]) <= 1
    assert analysis[0]["seg"]["rows"] == numbers["analysis"]["seg"]["rows"]


def test_a_training_that_was_stopped_and_resumed_has_the_losses_of_one_that_was_not(
    tmp_path: Path, numbers: dict[str, Any]
) -> None:
    """The tiny network has no dropout, so that nothing is drawn in a step but the batch."""
    found, wanted = training_record(tmp_path, stopped=True), numbers["training"]
    assert len(found) == len(wanted) == 20
    assert_near(found[0], wanted[0], rel=1e-4)
    # rounding errors grow with the steps
    assert_near([row["loss"] for row in found[1:]], [row["loss"] for row in wanted[1:]], rel=1e-3)


def remake(folder: Path) -> None:
    """Write the references anew from the code that runs."""
    record: dict[str, Any] = {}
    stored: dict[str, NDArray[Any]] = {}
    for modality in Modality:
        record[modality.lower()], images = phantom_record(modality)
        stored |= images
    record["analysis"], masks = analysis_record(folder / "analysis")
    record["training"] = training_record(folder / "training", stopped=False)
    NUMBERS.write_text(json.dumps(record, indent=1) + "\n")
    np.savez_compressed(ARRAYS, **stored, **masks)  # type: ignore[arg-type]


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as temporary:
        remake(Path(temporary))
