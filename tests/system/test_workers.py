"""Tasks by several processes: every result once, and a task that kills its process takes no other along."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from liverleaf.system.workers import workers


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


ENDLESS = """
import os, sys, time
from pathlib import Path
from liverleaf.system.workers import workers

def work(number):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(60)

with workers(work, lambda task, reason: None, jobs=2) as run:
    list(run(iter(range(4))))
"""


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)])
    try:
        assert within(20.0, lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    left = [int(file.name) for file in tmp_path.iterdir()]
    ended = within(10.0, lambda: not any(map(alive, left)))
    for process in filter(alive, left):
        os.kill(process, signal.SIGKILL)
    assert ended


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
