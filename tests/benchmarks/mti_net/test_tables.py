"""MTI-Net's tables on tiny made-up cohorts: every row runs, stops and goes on, nobody is tested on what was learned, doubts are told."""

import dataclasses
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pytest
import torch

from liverleaf.benchmarks.mti_net import tables as mti_net_tables
from liverleaf.benchmarks.mti_net.cross_validation import (
    CaseScore,
)
from liverleaf.benchmarks.mti_net.methods import (
    BASELINE,
    IMPROVED,
    METHODS,
    OURS,
    SCALES,
    TABLES,
)
from liverleaf.benchmarks.mti_net.tables import (
    METRICS,
    begin_worker,
    mti_net_table,
    one_slice,
    slug,
    visible_gpus,
)
from liverleaf.benchmarks.training.network_cost import NetworkCost, forward_flops
from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.storage.case_folder import save_case
from liverleaf.study import (
    Annotation,
    InputError,
    LesionAnnotation,
    Modality,
    Phase,
    PhaseImage,
    Study,
)
from liverleaf.terminology import LesionType

torch.set_num_threads(1)
PHASES = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
VIEW = InputConfig(
    Modality.MR,
    types=(LesionType.HCC, LesionType.HAEMANGIOMA),
    pixel_mm=None,
    slice_mm=0.0,
    size=64,
    normalise_on_liver=False,
)


def made_up(folder: Path, subjects: int, *, shuffled: bool = False) -> Cohort:
    """Two slices of liver with a square that is bright in HCC and dark in haemangioma."""
    rng = np.random.default_rng(0)
    for index in range(subjects):
        kind = VIEW.types[index % 2]
        level = 180.0 if kind is LesionType.HCC else 40.0
        said = VIEW.types[int(rng.integers(2))] if shuffled else kind
        lesions = np.zeros((2, 64, 64), np.uint8)
        y, x = rng.integers(12, 36, 2)
        lesions[:, y : y + 16, x : x + 16] = 1
        images = {
            p: np.where(lesions, level, 100.0) + rng.normal(0, 4, lesions.shape) for p in PHASES
        }
        volume = hd.Volume(lesions, np.diag([3.0, 3.0, 8.0, 1.0])[[2, 1, 0, 3]], "PATIENT")
        study = Study(
            Modality.MR,
            {p: PhaseImage(volume.with_array(a.astype(np.float32))) for p, a in images.items()},
            f"case-{index:02d}",
        )
        truth = Annotation(volume, None, (LesionAnnotation(1, said, dict.fromkeys(PHASES, level)),))
        save_case(folder / study.case_id, study, truth)
    return Cohort.open(folder)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return made_up(tmp_path_factory.mktemp("made-up"), 10)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are measured in processes of their own, which takes longer than all else; `test_network_cost` looks at them."""
    monkeypatch.setattr(mti_net_tables, "network_cost", lambda *_, **__: NetworkCost(1, 2, 3.0))


@pytest.mark.usefixtures("free")
def test_every_table_is_written_at_smoke_scale_and_they_share_their_trainings(
    cohort: Cohort, tmp_path: Path
) -> None:
    for number, (name, table) in enumerate(TABLES.items()):
        out = tmp_path / name
        text = mti_net_table(
            name,
            cohort,
            out,
            scale="smoke",
            runs=tmp_path / "runs",
            resume=number > 0,
            device="cpu",
        )
        record = json.loads((out / "table.json").read_text())
        assert [row["name"] for row in record["rows"]] == [BASELINE] * table.baseline + list(
            table.rows
        )
        assert set(record) >= {"table", "commit", "cohort", "scale", "rows", "seed", "hardware"}
        ours = record["rows"][-1]
        assert set(ours["metrics"]) == set(table.metrics) and bool(ours["published"]) == (
            table.ours == OURS
        )
        assert ours["metrics"][table.metrics[0]]["n"] == 4  # two of five folds of ten subjects
        assert all(row["train_seconds"] > 0 for row in record["rows"] if row["name"] != BASELINE)
        rates_of_its_own = {
            row["name"]
            for row in record["rows"]
            if any("learns at" in note for note in row["notes"])
        }
        assert rates_of_its_own == {
            n
            for n in table.rows
            if n.startswith(("EI-DDPM", IMPROVED)) and "rates of the others" not in n
        }
        assert "other, private data" in text and (out / "table.png").exists()
        cases = pd.read_csv(out / "cases.csv").query("method == @table.ours")
        means = {
            **cases[["dsc", "iou", "mae"]].mean(),
            "accuracy": (cases["type"] == cases["answered"]).mean(),
        }
        for metric, value in ours["metrics"].items():
            assert value["mean"] == pytest.approx(METRICS[metric].factor * means[metric], rel=1e-5)
        assert (out / "examples.png").exists() == ("dsc" in table.metrics)
    assert (tmp_path / "mti-net-figure4/confusion.png").exists()
    trained = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert trained == sorted([*map(slug, METHODS), "prepared"])


@pytest.mark.usefixtures("free")
def test_a_stopped_table_goes_on_and_ends_the_same(cohort: Cohort, tmp_path: Path) -> None:
    def stop_at(count: int):
        def progress(what: str, done: int, _total: int) -> None:
            if what == "training and testing" and done == count:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        mti_net_table(
            "mti-net-table4",
            cohort,
            tmp_path / "a",
            scale="smoke",
            device="cpu",
            progress=stop_at(3),
        )
    with pytest.raises(InputError, match="add --resume"):
        mti_net_table("mti-net-table4", cohort, tmp_path / "a", scale="smoke", device="cpu")
    for other in ({"scale": "cpu"}, {"scale": "smoke", "precision": "bf16-mixed"}):
        with pytest.raises(InputError, match="another cohort, scale or precision"):
            mti_net_table(
                "mti-net-table4", cohort, tmp_path / "a", resume=True, device="cpu", **other
            )
    mti_net_table(
        "mti-net-table4", cohort, tmp_path / "a", scale="smoke", resume=True, device="cpu"
    )
    mti_net_table("mti-net-table4", cohort, tmp_path / "b", scale="smoke", device="cpu")
    first, second = (json.loads((tmp_path / x / "table.json").read_text())["rows"] for x in "ab")
    assert [row["metrics"] for row in first] == [row["metrics"] for row in second]


def test_processes_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus() == ["3", "5"]
    context = multiprocessing.get_context("spawn")
    places = context.SimpleQueue()
    places.put("5")
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=begin_worker, initargs=(1, places)
    ) as pool:
        assert pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "5"


def test_a_folder_with_other_things_is_left_alone(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other things"):
        mti_net_table("mti-net-table4", cohort, tmp_path, scale="smoke", resume=True, device="cpu")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine.txt"]


def test_a_method_that_answers_the_same_for_everyone_is_told() -> None:
    def case(number: int, **more) -> CaseScore:
        return CaseScore(
            f"c{number}",
            f"s{number}",
            0,
            true_curve=(100.0 + 20 * number,) * 4,
            type=number % 2,
            **more,
        )

    mean = [case(n, dsc=0.0, curve=(120.0 + 0.1 * n,) * 4, answered=0) for n in range(4)]
    alive = [case(n, dsc=0.5, curve=(105.0 + 15 * n,) * 4, answered=n % 2) for n in range(4)]
    told = list(mti_net_tables._doubts(mean, ("dsc", "mae", "accuracy")))
    assert len(told) == 3 and "about the mean of all" in told[1] and "same type" in told[2]
    assert list(mti_net_tables._doubts(alive, ("dsc", "mae", "accuracy"))) == []


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_built_at_every_scale(name: str, scale: str) -> None:
    view = dataclasses.replace(VIEW, size=SCALES[scale].size)
    recipe = METHODS[name].recipe(SCALES[scale], view)
    with torch.device("meta"):
        network = registry.family(recipe.family).build(recipe.network)
    assert sum(p.numel() for p in network.parameters()) > 1000


@pytest.mark.parametrize("name", METHODS)
def test_what_costs_are_measured_on_is_what_the_network_takes(name: str) -> None:
    recipe = METHODS[name].recipe(SCALES["smoke"], VIEW)
    assert (
        forward_flops(registry.family(recipe.family).build(recipe.network), one_slice(recipe))
        > 10_000
    )
