"""A recipe, a cohort and a fold in; the network trained on the other folds and what it answers on this one, per case, out.

Shape suffixes: Z slices, P phases, T types, Y rows, X columns.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from liverleaf.cohort.index import Cohort
from liverleaf.data.batch import Regions
from liverleaf.data.network_input import lesion_regions
from liverleaf.data.prepared import PreparedCase, prepare
from liverleaf.evaluate.metrics.overlap import dice, iou
from liverleaf.evaluate.metrics.regression import curve_mae
from liverleaf.models import checkpoint
from liverleaf.models.mti_net.network import MTINet
from liverleaf.models.recipe import Recipe
from liverleaf.models.registry import NETWORKS
from liverleaf.study import InputError
from liverleaf.system.files import whole_file
from liverleaf.train.loop import FOLDS, holds, train

SLICES_AT_ONCE = 8
EXAMPLES, EXAMPLES_FILE = 3, "examples.npz"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CaseScore:
    """What one method reaches on one case that it was not trained on; None where it does not answer or the case has no lesion.

    Attributes:
        case, subject, fold: which.
        dsc, iou: of all lesions together, over the whole volume on the network's grid, in [0, 1].
        mae: mean absolute error of the lesions' curve over the phases, in image units.
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
    """A network's answer on one case.

    Attributes:
        mask_ZYX: lesions, or None.
        curve_P: in image units, or None.
        type: index of the likeliest type, or None.
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
    progress: Progress | None = None,
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
        if not holds(out, recipe):
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
    examiner = Examiner(out / "model", device=device)
    cases = prepare(cohort, split.test, recipe.input, prepared_in)
    scores = []
    examples: dict[str, NDArray[np.bool_]] = {}
    for index, case in zip(split.test, cases, strict=True):
        record = cohort.records[index]
        answer = examiner(case)
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


class Examiner:
    """A trained network that is asked about prepared cases."""

    def __init__(self, model: Path, *, device: str = "auto") -> None:
        self.card, network = checkpoint.load_network(model)
        self.device = torch.device(
            "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        )
        self.network = network.to(self.device)
        self.answers = NETWORKS[self.card.network].answers
        loss = self.card.training["recipe"]["loss"]
        self.per_lesion = getattr(self.card.network_config, "heads", "slice") == "lesion"
        self.learned_curve = self.answers != "mask" and bool(loss["curve"])
        self.learned_type = self.answers != "mask" and bool(loss["type"])

    @torch.inference_mode()
    def __call__(self, case: PreparedCase) -> Answer:
        """What the network says of a case.

        Curve and type are asked of the slices that the truth says show a lesion, as the paper does
        with every method, and are averaged over them by the lesions' area: the curve itself, and
        the logarithm of the types' probabilities. Lesion heads look at what the network itself
        outlines in a slice, not at the truth.
        """
        area_Z = lesion_area(case)
        wanted = [z for z in range(case.slices) if self.answers != "values" or area_Z[z]]
        masks, curves, types = [], [], []
        for start in range(0, len(wanted), SLICES_AT_ONCE):
            images_BPYX = torch.from_numpy(
                np.stack([case.slice(z)[0] for z in wanted[start : start + SLICES_AT_ONCE]])
            ).to(self.device)
            if self.answers == "all":
                present_BP = torch.tensor(case.present, device=self.device).expand(
                    len(images_BPYX), -1
                )
                network = cast(MTINet, self.network)
                features = network.features(images_BPYX, present_BP)
                logits_BYX = features.mask_logits_BKYX[:, -1].float()
                regions = (
                    outlined(logits_BYX, pixel_mm=float(np.mean(case.pixel_mm)))
                    if self.per_lesion
                    else None
                )
                curve_BP, type_logits_BT = network.answer(
                    features.levels_BPCYX, images_BPYX, present_BP, regions
                )
                masks.append(logits_BYX > 0)
                curves.append(curve_BP.float())
                types.append(type_logits_BT.float().log_softmax(-1))
            elif self.answers == "mask":
                masks.append(self.network(images_BPYX)[:, 0] > 0)
            elif self.learned_curve:
                curves.append(self.network(images_BPYX).float())
            else:
                types.append(self.network(images_BPYX).float().log_softmax(-1))
        weight_Z = area_Z[wanted]
        return Answer(
            torch.cat(masks).cpu().numpy() if masks else None,
            (
                self._in_image_units(_weighted(curves, weight_Z), case)
                if self.learned_curve and weight_Z.any()
                else None
            ),
            (
                int(_weighted(types, weight_Z).argmax())
                if self.learned_type and weight_Z.any()
                else None
            ),
        )

    def _in_image_units(
        self, curve_P: NDArray[np.float64], case: PreparedCase
    ) -> NDArray[np.float64]:
        return np.asarray(
            (curve_P * np.array(self.card.curve_sd) + np.array(self.card.curve_mean))
            * np.array(case.units)
        )


def outlined(logits_BYX: torch.Tensor, *, pixel_mm: float) -> Regions:
    """What a network outlines in each slice, as one lesion; its likeliest pixel where that is nothing.

    Args:
        logits_BYX: of the lesion mask.
        pixel_mm: size of a pixel.
    """
    peak_B11 = logits_BYX.amax((1, 2), keepdim=True)
    outlines = (logits_BYX >= peak_B11.clamp(max=0.0)).cpu().numpy()
    weights_LRYX = torch.from_numpy(
        np.stack([lesion_regions(outline, pixel_mm=pixel_mm) for outline in outlines])
    )
    area_L = torch.from_numpy(outlines.sum((1, 2)) * np.float32(pixel_mm**2))
    return Regions(weights_LRYX, torch.arange(len(outlines)), area_L).to(logits_BYX.device)


def _weighted(values: Sequence[torch.Tensor], weight_Z: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(
        np.average(torch.cat(list(values)).double().cpu().numpy(), axis=0, weights=weight_Z)
    )


def lesion_area(case: PreparedCase) -> NDArray[np.int64]:
    """Pixels of lesions per slice, (Z,)."""
    area_Z = np.zeros(case.slices, np.int64)
    for lesion in case.lesions:
        area_Z[list(lesion.pixels)] += list(lesion.pixels.values())
    return area_Z


def true_curve(case: PreparedCase) -> NDArray[np.float64]:
    """The lesions' curve, by volume where there are several, per phase in image units; NaN for a missing phase."""
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
    if answer.curve_P is not None:
        truth_P = true_curve(case)
        found["mae"] = float(curve_mae(answer.curve_P[None], truth_P[None])[0])
        found |= {"curve": tuple(answer.curve_P.tolist()), "true_curve": tuple(truth_P.tolist())}
    if answer.type is not None:
        largest = max(case.lesions, key=lambda lesion: sum(lesion.pixels.values()))
        found |= {"type": largest.type, "answered": answer.type}
    return replace(which, **found)
