"""The cost of training, measured on networks and cohorts as small as they get."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from liverleaf.benchmarks.training import overhead
from liverleaf.benchmarks.training.overhead import Effort, run
from liverleaf.cohort.index import Cohort

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[3] / "recipes"


def test_the_benchmark(
    tiny_cohort: Callable[..., Cohort],
    ct_cohort: Cohort,
    mr_cohort: Cohort,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohorts = {"ct": ct_cohort, "mti-net": mr_cohort}

    def copied(phantom: object, _cases: int, out: Path) -> None:
        out.parent.mkdir()
        out.symlink_to(cohorts[phantom.preset].directories[0].parent)

    monkeypatch.setattr(overhead, "write_cohort", copied)
    overrides = (
        "network.widths=[2, 2, 4, 4]",
        "input.size=128",
        "network.size=128",
        "optimisation.precision='32-true'",
        "sampling.batch=2",
    )
    effort = Effort(cases=6, rounds=2, block=2, pairs=4, epochs=4, overrides=overrides)
    result = run(recipes=RECIPES, effort=effort, device="cpu")
    record = json.loads(json.dumps(result.record))
    assert set(record["loop"]) == {"liverleaf-net-ct", "mti-net-paper"}
    for row in record["loop"].values():
        assert row["loop_over_network"]["mean"] > 0
        assert f"| {row['batch']} | {row['cost']['parameters']:,} |" in result.markdown
        assert 0 <= row["share_waiting"]["mean"] < 1
    assert record["paper"]["32-true"]["largest_relative_difference_of_losses"] < 1e-4
    assert record["memory"]["epochs"] == pytest.approx(4, abs=0.5)
    assert len(record["memory"]["resident_mb"]) == record["memory"]["steps"]
