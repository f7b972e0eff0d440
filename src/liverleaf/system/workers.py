"""Tasks and a function in, what it makes of them out as it comes: by this process, by several, or by the workers of a Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import TypeVar

from liverleaf.study import InputError

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def workers(
    function: Callable[[T], R],
    lost: Callable[[T, str], R],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
) -> Iterator[Callable[[Iterator[T]], Iterator[R]]]:
    """What runs a function on tasks and yields the results in any order. Few tasks wait at a time, so memory stays bounded.

    Args:
        function: sent to other processes, as tasks and results are; raises nothing.
        lost: makes the result of a task that took its process or worker along, from the task and
            the reason.
        jobs: number of processes; 1 for this one alone.
        scheduler: address of a Dask scheduler whose workers see the same files; used instead of
            processes here.

    Raises:
        InputError: Dask is not installed or does not answer.
    """
    if scheduler is None:
        yield (
            partial(map, function)
            if jobs == 1
            else partial(_in_processes, function=function, lost=lost, jobs=jobs)
        )
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs dask.distributed, which is not installed: pip install"
            " 'liverleaf[dask]'"
        ) from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: start one there, or leave --scheduler out"
        ) from error
    with client:
        yield partial(_on_dask, client=client, function=function, lost=lost)


def _in_processes(
    tasks: Iterator[T], *, function: Callable[[T], R], lost: Callable[[T, str], R], jobs: int
) -> Iterator[R]:
    """Run tasks in processes. When one dies, all that were under way are done again one by one, and the one that kills is lost."""
    pool, waiting = _pool(jobs), dict[Future[R], T]()
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
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                task = waiting.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    suspects.append(task)
                else:
                    yield future.result()
            if suspects:
                pool.shutdown()
                for task in [*suspects, *waiting.values()]:
                    yield _alone(task, function, lost)
                pool, waiting = _pool(jobs), {}
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, initializer=end_with_parent)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _alone(task: T, function: Callable[[T], R], lost: Callable[[T, str], R]) -> R:
    """Run a task in a process of its own."""
    with _pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenExecutor:
            return lost(task, "the process that read it died, perhaps for want of memory")


def _on_dask(
    tasks: Iterator[T], client: object, *, function: Callable[[T], R], lost: Callable[[T, str], R]
) -> Iterator[R]:
    """Run tasks on the workers of a Dask cluster."""
    from distributed import as_completed

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
            yield lost(task, f"no Dask worker could read it ({type(error).__name__})")
        for new in islice(tasks, 1):
            more = submit(function, new, pure=False)
            waiting[more] = new
            done.add(more)
