"""What is fitted on a cohort held back, with a network that sees by a rule."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.evaluate import fit_calibration
from liverleaf.evaluate.evaluate import evaluate
from liverleaf.evaluate.fit_calibration import calibrate
from liverleaf.models.checkpoint import ModelCard, load_card, save_model
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.registration.align import Registration
from liverleaf.study import InputError, Modality, Phase, Study
from liverleaf.terminology import LesionType

torch.set_num_threads(1)

TYPES = (LesionType.CYST, LesionType.HCC)


def untouched(study: Study) -> Registration:
    """Stands for a registration that has nothing to do."""
    return Registration(study, None, {}, {})


def test_calibration_is_fitted_for_every_number_of_phases_and_kept(
    model: str, cohort: Cohort
) -> None:
    said = calibrate(model, cohort, device="cpu")
    calibration = load_card(Path(model)).calibration
    assert calibration.lesions == {1: 8, 2: 8, 3: 8, 4: 8}
    # eight lesions promise no 90 %
    assert calibration.set_threshold == dict.fromkeys((1, 2, 3, 4), 0.0)
    # none is made up: nothing to leave out
    assert calibration.minimum_peak == dict.fromkeys((1, 2, 3, 4), 0.0)
    assert calibration.temperature == pytest.approx(
        0.2, rel=0.05
    )  # always right: as sure as may be
    assert "1 phase:" in said and "4 phases:" in said and "8 lesions" in said


def test_what_counts_as_a_lesion_is_fitted_for_every_number_of_phases(
    model: str, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_on: list[tuple[int, int]] = []

    def best_peak(candidates: list[tuple[float, bool]], missed: int) -> float:
        fitted_on.append((sum(real for _, real in candidates), missed))
        return 0.1 * len(fitted_on)

    monkeypatch.setattr(fit_calibration, "best_peak", best_peak)
    calibrate(model, cohort, device="cpu")
    assert fitted_on == [(8, 0)] * 4
    assert load_card(Path(model)).calibration.minimum_peak == pytest.approx(
        {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
    )


def test_calibration_on_enough_lesions_makes_small_sets(
    model: str, tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 5, types=[LesionType.HCC, LesionType.HCC])
    calibrate(model, cohort, device="cpu")
    record = evaluate(model, cohort, tmp_path / "out", device="cpu")
    assert record["figures"]["type_set_size"]["mean"] == pytest.approx(1.0)
    assert record["figures"]["type_set_coverage"]["mean"] == 1.0


def test_calibration_takes_studies_whose_reference_the_model_does_not_know(
    model: str, tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(
        tmp_path / "cohort", 2, types=[LesionType.HCC], phases=[Phase.PRE, Phase.HEPATOBILIARY]
    )
    calibrate(model, cohort, device="cpu")
    assert load_card(Path(model)).calibration.lesions == {1: 2}


def test_calibration_works_on_a_real_network(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MTINetConfig(
        masks=2, widths=(2, 2, 2, 2), heads="lesion", token_width=8, head_width=4, blocks=1
    )
    view = InputConfig(Modality.CT, types=TYPES, pixel_mm=4.0, slice_mm=5.0, size=48)
    network = MTINet(config)
    with torch.no_grad():
        network.decoder.masks.weight.zero_()
        network.decoder.masks.bias.fill_(-3.0)
    save_model(
        tmp_path / "blind",
        ModelCard("blind", "mti-net", config, view, (0.0,) * 4, (1.0,) * 4),
        network,
    )
    monkeypatch.setattr(fit_calibration, "register_phases", untouched)
    with pytest.raises(InputError, match="blind found no lesion"):
        calibrate(str(tmp_path / "blind"), cohort, device="cpu")
