"""Settings of the optimiser that cannot be, and the rate of heads."""

import pytest

from liverleaf.models.optimisation import Optimisation


@pytest.mark.parametrize("change", [{"steps": 0}, {"steps": -1}, {"epochs": 0}, {"save_every": 0}])
def test_less_than_one_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="are at least 1"):
        Optimisation(**change)


def test_heads_have_their_own_rate_or_everybodys() -> None:
    assert Optimisation(learning_rate=3e-3).rate_of_heads == 3e-3
    assert Optimisation(learning_rate=3e-3, head_rate=1e-4).rate_of_heads == 1e-4
