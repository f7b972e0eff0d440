"""Figures by hand, and whole evaluations of a network that sees by a simple rule."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import data_fingerprint
from liverleaf.evaluate import evaluate as evaluation
from liverleaf.evaluate.evaluate import CaseResult, evaluate, figures
from liverleaf.evaluate.fit_calibration import calibrate
from liverleaf.evaluate.metrics.detection import Detection
from liverleaf.models.checkpoint import load_card, save_model
from liverleaf.models.mti_net.network import MTINet
from liverleaf.registration.align import Registration
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import LesionType

torch.set_num_threads(1)

TYPES = (LesionType.CYST, LesionType.HCC)


def untouched(study: Study) -> Registration:
    """Stands for a registration that has nothing to do."""
    return Registration(study, None, {}, {})


def result(
    subject: str,
    detection: tuple[int, int, int],
    *rows: dict[str, object],
    dice: float | None = None,
    **fields: object,
) -> CaseResult:
    values = {
        "case_id": subject,
        "subject_id": subject,
        "liver_dice": 0.9,
        "lesion_dice": dice,
        "lesion_iou": None,
    }
    defaults = {"patient_truth": (True, False), "patient_score": (0.5, 0.5)}
    return CaseResult(
        **values | {"detection": Detection(*detection), "lesions": rows} | defaults | fields
    )


def lesion(
    *, right: bool, covered: bool = True, set_size: int = 1, curve_mae: float | None = 1.0
) -> dict[str, object]:
    return {
        "true_type": "hcc",
        "predicted_type": "hcc" if right else "cyst",
        "right": right,
        "covered": covered,
        "set_size": set_size,
        "curve_mae": curve_mae,
        "curve_mae_percent_of_liver": None,
    }


def test_figures_by_hand() -> None:
    results = [
        result(
            "a",
            (2, 1, 0),
            lesion(right=True, set_size=2),
            lesion(right=True, curve_mae=5.0),
            dice=0.8,
            patient_score=(0.9, 0.2),
        ),
        result(
            "b",
            (1, 0, 3),
            lesion(right=False, covered=False, curve_mae=None),
            dice=0.4,
            patient_score=(0.3, 0.6),
        ),
        result(
            "c", (0, 1, 0), liver_dice=0.6, patient_truth=(False, True), patient_score=(0.4, 0.5)
        ),
    ]
    found = {name: estimate.mean for name, estimate in figures(results, TYPES).items()}
    assert found == pytest.approx(
        {
            "liver_dice": 0.8,
            "lesion_dice": 0.6,  # over the two cases with a lesion
            "lesion_sensitivity": 3 / 6,
            "lesion_precision": 3 / 5,
            "type_accuracy": 2 / 3,
            "type_set_coverage": 2 / 3,
            "type_set_size": 4 / 3,
            "curve_mae": 3.0,
            "patient_auc_2": (0.5 + 0.5) / 2,
        }
    )


def test_figures_have_an_interval_by_subject_and_no_more_than_they_know() -> None:
    results = [result(f"s{i // 2}", (1, 0, 0), dice=0.5 + 0.1 * (i // 2)) for i in range(8)]
    found = figures(results, TYPES)
    assert found["lesion_dice"].n == 4
    assert (
        0.5
        <= found["lesion_dice"].low
        < found["lesion_dice"].mean
        < found["lesion_dice"].high
        <= 0.8
    )
    # no found lesion, no other class
    assert set(found) == {"liver_dice", "lesion_dice", "lesion_sensitivity", "lesion_precision"}


# whole evaluations


def test_an_evaluation_from_end_to_end(model: str, cohort: Cohort, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    record = evaluate(
        model, cohort, tmp_path / "out", device="cpu", progress=lambda *step: told.append(step)
    )
    means = {name: figure["mean"] for name, figure in record["figures"].items()}
    perfect = (
        "liver_dice",
        "lesion_dice",
        "lesion_iou",
        "lesion_sensitivity",
        "lesion_precision",
        "type_accuracy",
        "type_set_coverage",
    )
    assert {name: means[name] for name in perfect} == pytest.approx(dict.fromkeys(perfect, 1.0))
    assert means["type_set_size"] == 2  # nothing was calibrated, so every type belongs
    assert 0 < means["curve_mae"] < 4  # HU
    assert 0 < means["curve_mae_percent_of_liver"] < 6
    assert record["figures"]["lesion_dice"]["n"] == 3  # the last two cases are one subject's
    assert record["confusion"] == {"types": ["cyst", "hcc"], "counts": [[0, 0], [0, 8]]}
    assert (record["cases"], record["phases"], record["cohort"]) == (
        4,
        "all",
        data_fingerprint(cohort, range(4)),
    )
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == record
    assert pd.read_csv(tmp_path / "out/cases.csv")["true_positives"].tolist() == [2] * 4
    assert len(pd.read_csv(tmp_path / "out/lesions.csv")) == 8
    assert told[-1] == ("evaluating cases", 4, 4)
    with pytest.raises(InputError, match="exists already"):
        evaluate(model, cohort, tmp_path / "out", device="cpu")


def test_a_cohort_without_lesions_has_an_empty_table_of_them(
    model: str, tiny_case: Callable, tmp_path: Path
) -> None:
    save_case(tmp_path / "cohort/a", *tiny_case(0, types=[]))
    evaluate(model, Cohort.open(tmp_path / "cohort"), tmp_path / "out", device="cpu")
    table = pd.read_csv(tmp_path / "out/lesions.csv")
    assert table.empty and {"case", "true_type", "curve_mae"} <= set(table.columns)


def test_mistakes_are_counted(model: str, tiny_case: Callable, tmp_path: Path) -> None:
    """A wrong type, a lesion that the truth lacks, and a dark cyst that is not seen."""
    study, truth = tiny_case(0, types=[LesionType.HCC, LesionType.HCC])
    first, second = truth.lesion_list
    save_case(
        tmp_path / "cohort/a",
        study,
        dataclasses.replace(
            truth, lesion_list=(dataclasses.replace(first, type=LesionType.CYST), second)
        ),
    )
    one = truth.lesions.with_array(np.where(truth.lesions.array == 1, 1, 0).astype(np.uint16))
    save_case(
        tmp_path / "cohort/b",
        dataclasses.replace(study, case_id="b"),
        dataclasses.replace(truth, lesions=one, lesion_list=(first,)),
    )
    study, truth = tiny_case(1, types=[LesionType.HCC, LesionType.CYST])
    save_case(tmp_path / "cohort/c", study, truth)
    record = evaluate(model, Cohort.open(tmp_path / "cohort"), tmp_path / "out", device="cpu")
    means = {name: figure["mean"] for name, figure in record["figures"].items()}
    assert (means["lesion_sensitivity"], means["lesion_precision"]) == pytest.approx((4 / 5, 4 / 5))
    assert means["type_accuracy"] == pytest.approx(3 / 4)
    assert record["confusion"]["counts"] == [[0, 1], [0, 3]]
    cases = pd.read_csv(tmp_path / "out/cases.csv")
    assert cases[["true_positives", "false_positives", "false_negatives"]].to_numpy().tolist() == [
        [2, 0, 0],
        [1, 1, 0],
        [1, 0, 1],
    ]


@pytest.mark.parametrize("phase", [Phase.PRE, Phase.ARTERIAL])
def test_phases_are_left_out_after_registration(
    phase: Phase, model: str, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth lies on the reference's grid: studies are registered to it, even if left out."""
    registered: list[list[Phase]] = []

    def register(study: Study) -> Registration:
        registered.append(list(study.phases))
        return untouched(study)

    monkeypatch.setattr(evaluation, "register_phases", register)
    record = evaluate(model, cohort, tmp_path / "out", phases=[phase], device="cpu")
    assert registered == [[Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]] * 4
    assert record["figures"]["lesion_dice"]["mean"] == 1.0
    assert record["phases"] == [phase.key]
    with pytest.raises(InputError, match="none of the phases hepatobiliary"):
        evaluate(model, cohort, tmp_path / "other", phases=[Phase.HEPATOBILIARY], device="cpu")
    assert not (tmp_path / "other").exists()


def test_the_card_keeps_the_figures_of_each_choice_of_phases(
    model: str, cohort: Cohort, tmp_path: Path
) -> None:
    evaluate(model, cohort, tmp_path / "a", device="cpu", card=True)
    evaluate(model, cohort, tmp_path / "b", device="cpu", card=True, phases=[Phase.PORTAL])
    kept = load_card(Path(model)).figures
    assert set(kept) == {"all phases", "portal"}
    assert kept["all phases"]["figures"]["lesion_dice"]["mean"] == 1.0


def test_cases_that_prove_nothing_are_refused(
    model: str, cohort: Cohort, tiny_case: Callable, tmp_path: Path
) -> None:
    card = load_card(Path(model))
    save_model(
        Path(model),
        dataclasses.replace(card, training={"cohort": data_fingerprint(cohort, range(4))}),
        MTINet(card.network_config),
    )
    with pytest.raises(InputError, match="was trained on 4 of these 4 cases"):
        evaluate(model, cohort, tmp_path / "out", device="cpu")
    one = {"cohort": "another", "case_hashes": [data_fingerprint(cohort, [2])[:16]]}
    save_model(Path(model), dataclasses.replace(card, training=one), MTINet(card.network_config))
    with pytest.raises(InputError, match="was trained on 1 of these 4 cases"):
        calibrate(model, cohort, device="cpu")
    save_case(tmp_path / "bare/a", tiny_case(0)[0])
    with pytest.raises(InputError, match="case-00 has no truth"):
        evaluate(model, Cohort.open(tmp_path / "bare"), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
