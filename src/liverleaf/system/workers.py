"""A pool of workers: a function run on many tasks by one or several processes, or by Dask.

The result does not depend on who runs the tasks. A worker process that dies takes only its own task
along, and all of them end with the process that started them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from threading import Thread
from typing import Any, Literal, NoReturn, TypeVar

from liverleaf.study import InputError

T = TypeVar("T")
R = TypeVar("R")
StartMethod = Literal["fork", "spawn", "forkserver"]
Begin = Callable[[int], None]

DIED = "the process that worked on it died, perhaps for want of memory"


def refuse_lost(task: object, reason: str) -> NoReturn:
    """Stop all work because of a task that took its process or worker along."""
    raise InputError(f"{task}: {reason}")


@contextmanager
def workers(
    function: Callable[[T], R],
    lost: Callable[[T, str], R] = refuse_lost,
    *,
    jobs: int = 1,
    apart: bool = False,
    scheduler: str | None = None,
    start_method: StartMethod | None = None,
    begin: Begin | None = None,
) -> Iterator[Callable[[Iterable[T]], Iterator[R]]]:
    """What runs a function on tasks and yields the results in any order.

    Few tasks wait at a time, so memory stays bounded.

    Args:
        function: sent to other processes, as tasks and results are. What it raises ends the work,
            and is raised here; on a Dask cluster it must raise nothing.
        lost: makes the result of a task that took its process or worker along, from the task and
            the reason, or raises.
        jobs: number of processes; 1 for this one alone, or one apart from it.
        apart: leave nothing to this process, so that no task takes it along.
        scheduler: address of a Dask scheduler whose workers see the same files; used instead of
            processes here.
        start_method: of the processes; "spawn" where the function uses torch, whose threads do not
            survive a fork. The system's usual one by default.
        begin: called in each process before its first task with the process's number from 0, to
            set threads or choose a GPU; not called in this process.

    Raises:
        InputError: Dask is not installed or does not answer.
    """
    if scheduler is None:
        processes = _Processes(start_method, begin)
        yield (
            partial(map, function)
            if jobs == 1 and not apart
            else partial(
                _in_processes, function=function, lost=lost, processes=processes, jobs=jobs
            )
        )
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs dask.distributed, which is not installed: pip install"
            " '.[dask]' in the folder of the source"
        ) from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: start one there, or leave --scheduler out"
        ) from error
    with client:
        yield partial(_on_dask, client=client, function=function, lost=lost)


def in_new_process(
    function: Callable[[T], R],
    task: T,
    lost: Callable[[T, str], R] = refuse_lost,
    *,
    start_method: StartMethod | None = None,
) -> R:
    """Run a function on one task in a process of its own; arguments and errors as of `workers`."""
    return _Processes(start_method).run_alone(function, task, lost)


@dataclass(frozen=True)
class _Processes:
    """How processes are started."""

    start_method: StartMethod | None = None
    begin: Begin | None = None

    def pool(self, jobs: int) -> ProcessPoolExecutor:
        """New processes, numbered from 0."""
        context: Any = multiprocessing.get_context(self.start_method)
        numbers = context.SimpleQueue()
        for number in range(jobs):
            numbers.put(number)
        return ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_begin_process, initargs=(numbers, self.begin)
        )

    def run_alone(self, function: Callable[[T], R], task: T, lost: Callable[[T, str], R]) -> R:
        """Run a task in a new process."""
        with self.pool(1) as pool:
            try:
                return pool.submit(function, task).result()
            except BrokenExecutor:
                return lost(task, DIED)


def _begin_process(numbers: SimpleQueue[int], begin: Begin | None) -> None:
    end_with_parent()
    number = numbers.get()
    if begin is not None:
        begin(number)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _in_processes(
    tasks: Iterable[T],
    *,
    function: Callable[[T], R],
    lost: Callable[[T, str], R],
    processes: _Processes,
    jobs: int,
) -> Iterator[R]:
    """Run tasks in processes.

    When one dies, all tasks that were under way are done again one by one, and the one that kills
    its process again is lost.
    """
    tasks = iter(tasks)
    pool, waiting = processes.pool(jobs), dict[Future[R], T]()
    try:
        while True:
            suspects = []
            for task in islice(tasks, 2 * jobs - len(waiting)):
                try:
                    waiting[pool.submit(function, task)] = task
                except BrokenExecutor:
                    suspects.append(task)
            if not waiting and not suspects:
                return
            finished = wait(waiting, return_when=FIRST_COMPLETED).done
            if suspects or any(map(_died, finished)):
                pool.shutdown()
                finished = set(waiting)
            for future in finished:
                task = waiting.pop(future)
                if _died(future):
                    suspects.append(task)
                else:
                    yield future.result()
            if suspects:
                for task in suspects:
                    yield processes.run_alone(function, task, lost)
                pool = processes.pool(jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _died(future: Future[Any]) -> bool:
    """Whether the processes that ran a finished task are gone."""
    return isinstance(future.exception(), BrokenExecutor)


def _on_dask(
    tasks: Iterable[T], client: object, *, function: Callable[[T], R], lost: Callable[[T, str], R]
) -> Iterator[R]:
    """Run tasks on the workers of a Dask cluster."""
    from distributed import as_completed

    tasks = iter(tasks)
    submit, threads = client.submit, client.nthreads  # type: ignore[attr-defined]
    waiting = {
        submit(function, task, pure=False): task
        for task in islice(tasks, 2 * max(1, sum(threads().values())))
    }
    done = as_completed(list(waiting))
    for future in done:
        task = waiting.pop(future)
        try:
            yield future.result()
        # a worker died or lacks liverleaf; the function itself raises nothing
        except Exception as error:
            yield lost(task, f"no Dask worker could do it ({type(error).__name__})")
        for new in islice(tasks, 1):
            more = submit(function, new, pure=False)
            waiting[more] = new
            done.add(more)
