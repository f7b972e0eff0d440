"""Tasks by several processes: every result once, and a task that kills its process takes no other along."""

import os
from collections.abc import Iterator
from itertools import count

import pytest

from hepatica.workers import workers


def answer_or_die(number: int) -> str:
    if number == 3:
        os._exit(1)
    return "fine"


def lost(number: int, reason: str) -> str:
    return f"{number}: {reason}"


def test_a_process_that_dies_takes_only_its_own_task_along() -> None:
    with workers(answer_or_die, lost, jobs=2) as run:
        found = sorted(run(iter(range(6))))
    assert found[0].startswith("3: ") and "died" in found[0]
    assert found[1:] == ["fine"] * 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_few_tasks_wait_at_a_time(jobs: int) -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with workers(abs, lost, jobs=jobs) as run:
        assert next(run(tasks())) in taken
    assert len(taken) <= 2 * jobs
