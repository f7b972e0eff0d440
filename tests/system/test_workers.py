"""Tasks by several processes: every result once, and no task takes another along."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from liverleaf.study import InputError
from liverleaf.system.workers import StartMethod, in_new_process, workers


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


def die_once(task: tuple[int, Path]) -> int:
    number, marker = task
    if number == 3 and not marker.exists():
        marker.touch()
        os._exit(1)
    return number


def test_a_task_whose_process_died_is_done_again(tmp_path: Path) -> None:
    with workers(die_once, jobs=2) as run:
        assert sorted(run((n, tmp_path / "died") for n in range(9))) == list(range(9))
    assert (tmp_path / "died").exists()


def test_a_task_that_kills_its_process_ends_the_work_unless_told_otherwise() -> None:
    with workers(answer_or_die, jobs=2) as run, pytest.raises(InputError, match=r"3: .* died"):
        list(run(range(6)))
    with pytest.raises(InputError, match=r"3: .* died"):
        in_new_process(answer_or_die, 3)


@pytest.mark.parametrize(("jobs", "start_method"), [(1, None), (2, None), (2, "spawn")])
def test_what_a_task_raises_is_raised(jobs: int, start_method: StartMethod | None) -> None:
    with workers(numeral, jobs=jobs, start_method=start_method) as run:
        assert sorted(run(["1", "2", "3"])) == [1, 2, 3]
        with pytest.raises(ValueError, match="seven"):
            list(run(["1", "seven"]))


numeral: Callable[[str], int] = int  # a fresh process can import it
magnitude: Callable[[int], int] = abs


def begin(number: int) -> None:
    os.environ["LIVERLEAF_TEST_NUMBER"] = str(number)


def process_and_number(_task: int) -> tuple[int, str]:
    return os.getpid(), os.environ["LIVERLEAF_TEST_NUMBER"]


def test_each_process_begins_with_a_number_of_its_own() -> None:
    with workers(process_and_number, jobs=2, begin=begin) as run:
        numbers = dict(run(range(6)))
    assert os.getpid() not in numbers
    assert len({*numbers.values()}) == len(numbers)
    assert {*numbers.values()} <= {"0", "1"}
    assert "LIVERLEAF_TEST_NUMBER" not in os.environ


def test_one_job_stays_in_this_process_unless_it_is_to_be_apart() -> None:
    with workers(process_of) as here, workers(process_of, apart=True) as apart:
        assert set(here(range(2))) == {os.getpid()}
        (other,) = set(apart(range(2)))
    assert other != os.getpid()


def test_a_new_process_is_another_one_each_time() -> None:
    assert len({process_of(0), *(in_new_process(process_of, 0) for _ in range(2))}) == 3


def process_of(_task: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("jobs", [1, 2])
def test_few_tasks_wait_at_a_time(jobs: int) -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with workers(magnitude, jobs=jobs) as run:
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
