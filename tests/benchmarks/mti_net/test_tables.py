"""MTI-Net's tables on tiny made-up cohorts: every row runs, stops and goes on.

Nobody is tested on what was learned.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from liverleaf.benchmarks.mti_net import tables as mti_net_tables
from liverleaf.benchmarks.mti_net.definitions import TABLES, TRAINING_MEAN
from liverleaf.benchmarks.mti_net.methods import METHODS, OURS, SCALES
from liverleaf.benchmarks.mti_net.rows import METRICS
from liverleaf.benchmarks.mti_net.tables import (
    Job,
    TrainingSetting,
    one_slice,
    run,
    slug,
)
from liverleaf.benchmarks.training.network_cost import NetworkCost, forward_flops
from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.study import (
    InputError,
)

torch.set_num_threads(1)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are not measured: it takes long, and `test_network_cost` looks at them."""
    monkeypatch.setattr(mti_net_tables, "network_cost", lambda *_, **__: NetworkCost(1, 2, 3.0))


def setting(runs: Path, **changes: Any) -> TrainingSetting:
    return TrainingSetting(runs, **{"scale": "smoke", "device": "cpu", **changes})


@pytest.mark.usefixtures("free")
def test_every_table_is_made_at_smoke_scale_and_they_share_their_trainings(
    cohort: Cohort, tmp_path: Path
) -> None:
    for number, (name, table) in enumerate(TABLES.items()):
        result = run(name, cohort, setting(tmp_path / "runs", resume=number > 0))
        record = json.loads(json.dumps(result.record))
        rows = record["rows"]
        assert [row["name"] for row in rows] == [
            *[TRAINING_MEAN] * table.training_mean,
            *table.rows,
        ]
        assert set(record) >= {"table", "commit", "cohort", "scale", "rows", "seed", "hardware"}
        ours = rows[-1]
        assert set(ours["metrics"]) == set(table.metrics)
        assert bool(ours["published"]) == (table.ours == OURS)
        assert ours["metrics"][table.metrics[0]]["n"] == 4  # two of five folds of ten subjects
        assert all(row["train_seconds"] > 0 for row in rows if row["name"] != TRAINING_MEAN)
        assert "other, private data" in result.markdown
        says_no_verdict(record, result.markdown)
        wanted = {"table.png", "cases.csv"}
        wanted |= {"examples.png"} if "dsc" in table.metrics else set()
        wanted |= {"confusion.png"} if "accuracy" in table.metrics else set()
        assert (result.name, set(result.figures)) == ("table", wanted)
        means_are_those_of_the_cases(ours["metrics"], result.figures["cases.csv"], table.ours)
    trained = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert trained == sorted([*map(slug, METHODS), "prepared"])


def says_no_verdict(record: dict[str, Any], markdown: str) -> None:
    """A few steps tell nothing of a method."""
    assert all(row["p_value"] is None for row in record["rows"])
    assert '"ahead"' not in json.dumps(record) and "reading" not in record
    assert "no difference is tested" in markdown
    assert not re.search(r"\| p \||better than|worse than|difference shown", markdown)


def means_are_those_of_the_cases(metrics: dict[str, Any], table: object, method: str) -> None:
    assert isinstance(table, pd.DataFrame)
    cases = table[table["method"] == method]
    means = {
        **cases[["dsc", "iou", "mae"]].astype(float).mean(),
        "accuracy": (cases["type"] == cases["answered"]).mean(),
    }
    for metric, value in metrics.items():
        assert value["mean"] == pytest.approx(METRICS[metric].factor * means[metric], rel=1e-5)


@pytest.mark.usefixtures("free")
def test_a_stopped_table_goes_on_and_ends_the_same(cohort: Cohort, tmp_path: Path) -> None:
    def stop_at(count: int) -> Callable[[str, int, int], None]:
        def progress(what: str, done: int, _total: int, /) -> None:
            if what == "training and testing" and done == count:
                raise KeyboardInterrupt

        return progress

    name, first, second = "mti-net-table4", tmp_path / "a", tmp_path / "b"
    with pytest.raises(KeyboardInterrupt):
        run(name, cohort, setting(first), progress=stop_at(3))
    with pytest.raises(InputError, match="add --resume"):
        run(name, cohort, setting(first))
    for setting_name, value in (("scale", "cpu"), ("precision", "bf16-mixed")):
        with pytest.raises(InputError, match=f"other settings .{setting_name}."):
            run(name, cohort, setting(first, resume=True, **{setting_name: value}))
    continued = run(name, cohort, setting(first, resume=True)).record["rows"]
    at_once = run(name, cohort, setting(second)).record["rows"]
    assert [row["metrics"] for row in continued] == [row["metrics"] for row in at_once]


def test_a_dead_process_is_named_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"UNet, fold 2 was not trained: it died; go on with"):
        mti_net_tables._lost(Job("UNet", 2), "it died")


def test_a_folder_with_other_things_is_left_alone(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other things"):
        run("mti-net-table4", cohort, setting(tmp_path / "runs", resume=True))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", METHODS)
def test_what_costs_are_measured_on_is_what_the_network_takes(
    name: str, slice_input: InputConfig
) -> None:
    recipe = METHODS[name].recipe(SCALES["smoke"], slice_input)
    assert (
        forward_flops(registry.family(recipe.family).build(recipe.network), one_slice(recipe))
        > 10_000
    )
