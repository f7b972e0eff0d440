"""Cross-validation: one method trained on all folds but one, and tested case by case on that.

Shape suffixes: Z slices, P phases, T types, Y rows, X columns.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.prepared import PreparedCase, prepare
from liverleaf.evaluate.metrics.overlap import dice, iou
from liverleaf.evaluate.metrics.regression import curve_mae
from liverleaf.models import checkpoint, registry
from liverleaf.models.family import Output, SliceOutput
from liverleaf.models.predictor import chosen_device
from liverleaf.models.recipe import Recipe
from liverleaf.study import InputError
from liverleaf.system.files import whole_file
from liverleaf.system.progress import Progress, silent
from liverleaf.train.loop import is_run_of, train

SLICES_AT_ONCE = 8
EXAMPLES, EXAMPLES_FILE = 3, "examples.npz"


@dataclass(frozen=True)
class CaseScore:
    """What one method reaches on one case that it was not trained on.

    None where it does not say anything or the case has no lesion.

    Attributes:
        case, subject: pseudonyms.
        fold: 0 to 4, the fold that the case is tested in.
        dsc, iou: of all lesions together, over the whole volume on the network's grid, in [0, 1].
        mae: mean absolute error of the lesions' curve over the phases, in image units; None where
            no true curve is known either.
        type, answered: index of the true and of the answered type.
        curve, true_curve: the answered and the true curve of the lesions, per phase in image units.
    """

    case: str
    subject: str
    fold: int
    dsc: float | None = None
    iou: float | None = None
    mae: float | None = None
    type: int | None = None
    answered: int | None = None
    curve: tuple[float, ...] | None = None
    true_curve: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """What a network says of one case; None where it says nothing.

    Attributes:
        mask_ZYX: lesions, over the whole volume on the network's grid.
        curve_P: the lesions' curve, in image units.
        type: index of the likeliest type.
    """

    mask_ZYX: NDArray[np.bool_] | None = None
    curve_P: NDArray[np.float64] | None = None
    type: int | None = None


def cross_validate(
    recipe: Recipe,
    cohort: Cohort,
    fold: int,
    out: Path,
    *,
    prepared_in: Path,
    device: str = "auto",
    progress: Progress = silent,
) -> list[CaseScore]:
    """Train on all folds but one and test on that one; goes on where an earlier call was stopped.

    The folds and what is prepared of a case are the same for every recipe with the same seed and
    input.

    Args:
        recipe: what to train.
        cohort: cases with truth.
        fold: 0 to 4.
        out: folder of this method and fold: the training run, `cases.json`, and the masks of the
            largest slices of the first few cases.
        prepared_in: folder for prepared cases, shared by all methods.
        device: "auto", "cpu" or "cuda".
        progress: called with (what, done, total).

    Raises:
        InputError: as `train`; the folder holds what another recipe has reached.
    """
    path = out / "cases.json"
    if path.exists():
        if not is_run_of(out, recipe):
            raise InputError(
                f"{out} holds what another recipe has reached: remove that folder, or choose"
                " another for the trainings"
            )
        return TypeAdapter(list[CaseScore]).validate_json(path.read_bytes())
    split = cohort.folds(FOLDS, recipe.seed)[fold]
    if not (out / "model").exists():
        train(
            recipe,
            cohort,
            out,
            fold=fold,
            resume=(out / "run.json").exists(),
            device=device,
            prepared_in=prepared_in,
            progress=progress,
        )
    predictor = SlicePredictor(out / "model", device=device)
    cases = prepare(cohort, split.test, recipe.input, prepared_in)
    scores = []
    examples: dict[str, NDArray[np.bool_]] = {}
    for index, case in zip(split.test, cases, strict=True):
        record = cohort.records[index]
        answer = predictor(case)
        scores.append(score(answer, case, CaseScore(record.case_id, record.subject_id, fold)))
        if answer.mask_ZYX is not None and case.lesions and len(examples) < EXAMPLES:
            examples[record.case_id] = answer.mask_ZYX[lesion_area(case).argmax()]
    if examples:
        np.savez_compressed(out / EXAMPLES_FILE, **examples)  # type: ignore[arg-type]
    with whole_file(path) as part:
        part.write_text(json.dumps([asdict(each) for each in scores]))
    return scores


def training_seconds(out: Path) -> float:
    """Seconds that the steps of a run took, those before it was stopped and resumed included.

    No step counts for more than ten times the median one: a process or a machine that slept was not
    training.
    """
    with (out / "log.csv").open(newline="") as file:
        seconds = np.array([float(row["seconds"]) for row in csv.DictReader(file)])
    return float(np.minimum(seconds, 10 * np.median(seconds)).sum())


class SlicePredictor:
    """A trained network that is asked about the slices of prepared cases.

    Args:
        model: its folder.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: there is no such model or device, or its family is not two-dimensional.
    """

    def __init__(self, model: Path, *, device: str = "auto") -> None:
        self.card, network = checkpoint.load_model(model)
        self.device = chosen_device(device)
        self.network = network.to(self.device)
        infer = registry.family(self.card.family).infer_slices
        if infer is None:
            raise InputError(f"{self.card.family} does not answer for slices")
        self.infer_slices, self.outputs = infer, self.card.outputs

    @torch.inference_mode()
    def __call__(self, case: PreparedCase) -> Answer:
        """What the network says of a case.

        Curve and type are asked of the slices that the truth says show a lesion, as the paper does
        with every method, and are averaged over them by the lesions' area: the curve itself, and
        the logarithm of the types' probabilities. Lesion heads read what the network itself
        outlines in a slice, not the truth.
        """
        area_Z = lesion_area(case)
        masks_wanted = Output.LESION_MASK in self.outputs
        slices = [z for z in range(case.slices) if masks_wanted or area_Z[z]]
        outputs = [
            self._infer(case, slices[start : start + SLICES_AT_ONCE])
            for start in range(0, len(slices), SLICES_AT_ONCE)
        ]
        mask, curve, type_index = None, None, None
        weight_Z = area_Z[slices]
        if masks_wanted:
            mask = np.concatenate([_array(each.mask_logits_BYX) > 0 for each in outputs])
        if Output.CURVE in self.outputs and weight_Z.any():
            curve_P = np.average(
                np.concatenate([_array(each.curve_BP) for each in outputs]),
                axis=0,
                weights=weight_Z,
            )
            curve = self._in_image_units(curve_P, case)
        if Output.LESION_TYPE in self.outputs and weight_Z.any():
            log_probability = np.concatenate(
                [_array(_known(each.type_logits_BT).log_softmax(-1)) for each in outputs]
            )
            type_index = int(np.average(log_probability, axis=0, weights=weight_Z).argmax())
        return Answer(mask, curve, type_index)

    def _infer(self, case: PreparedCase, slices: Sequence[int]) -> SliceOutput:
        images_BPYX = torch.from_numpy(np.stack([case.slice(z)[0] for z in slices]))
        present_BP = torch.tensor(case.present).expand(len(slices), -1)
        return self.infer_slices(
            self.network,
            images_BPYX.to(self.device),
            present_BP.to(self.device),
            float(np.mean(case.pixel_mm)),
        )

    def _in_image_units(
        self, curve_P: NDArray[np.float64], case: PreparedCase
    ) -> NDArray[np.float64]:
        return np.asarray(
            (curve_P * np.array(self.card.curve_sd) + np.array(self.card.curve_mean))
            * np.array(case.units)
        )


def _known(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None, "the family does not say what its outputs promise"
    return tensor


def _array(tensor: torch.Tensor | None) -> NDArray[np.float64]:
    return _known(tensor).double().cpu().numpy()


def lesion_area(case: PreparedCase) -> NDArray[np.int64]:
    """Pixels of lesions per slice, (Z,)."""
    area_Z = np.zeros(case.slices, np.int64)
    for lesion in case.lesions:
        area_Z[list(lesion.pixels)] += list(lesion.pixels.values())
    return area_Z


def true_curve(case: PreparedCase) -> NDArray[np.float64]:
    """The lesions' mean curve, weighted by volume, per phase in image units; NaN where missing."""
    volumes = [sum(lesion.pixels.values()) for lesion in case.lesions]
    curves = np.array([lesion.curve for lesion in case.lesions], float)
    return np.asarray(np.average(curves, axis=0, weights=volumes) * np.array(case.units))


def score(answer: Answer, case: PreparedCase, which: CaseScore) -> CaseScore:
    """Compare an answer with the truth of its case."""
    found: dict[str, Any] = {}
    if not case.lesions:
        return which
    if answer.mask_ZYX is not None:
        truth_ZYX = np.load(case.directory / "labels.npy", mmap_mode="r")[:, 1] > 0
        found |= {"dsc": dice(answer.mask_ZYX, truth_ZYX), "iou": iou(answer.mask_ZYX, truth_ZYX)}
    truth_P = true_curve(case)
    if answer.curve_P is not None and np.isfinite(truth_P).any():
        found["mae"] = float(curve_mae(answer.curve_P[None], truth_P[None])[0])
        found |= {"curve": tuple(answer.curve_P.tolist()), "true_curve": tuple(truth_P.tolist())}
    if answer.type is not None:
        largest = max(case.lesions, key=lambda lesion: sum(lesion.pixels.values()))
        found |= {"type": largest.type, "answered": answer.type}
    return replace(which, **found)
