"""What MTI-Net's tables compare exists."""

import pytest

from liverleaf.benchmarks.mti_net.definitions import TABLES, TRAINING_MEAN
from liverleaf.benchmarks.mti_net.methods import METHODS
from liverleaf.benchmarks.mti_net.rows import METRICS


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_method_and_every_metric_is_known(name: str) -> None:
    table = TABLES[name]
    assert set(table.rows) <= set(METHODS)
    assert set(table.metrics) <= set(METRICS)
    assert table.rows[-1] == table.ours
    assert TRAINING_MEAN not in table.rows


def test_every_method_is_in_a_table() -> None:
    assert {row for table in TABLES.values() for row in table.rows} == set(METHODS)
