"""Worker processes that use networks: each with its share of the threads, and one GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import SimpleITK
import torch

from liverleaf.system.workers import refuse_lost, workers

T = TypeVar("T")
R = TypeVar("R")


def network_workers(
    function: Callable[[T], R],
    lost: Callable[[T, str], R] = refuse_lost,
    *,
    jobs: int = 1,
    apart: bool = False,
    device: str = "auto",
    scheduler: str | None = None,
) -> AbstractContextManager[Callable[[Iterable[T]], Iterator[R]]]:
    """As `liverleaf.system.workers.workers`, for a function that asks networks.

    Args:
        function: as there.
        lost: as there.
        jobs: as there; processes share the cores, and take the GPUs in turn.
        apart: as there.
        device: "auto", "cpu" or "cuda".
        scheduler: as there.
    """
    return workers(
        function,
        lost,
        jobs=jobs,
        apart=apart,
        scheduler=scheduler,
        start_method="spawn",  # torch's threads do not survive a fork
        begin=partial(
            begin_worker,
            threads=max(1, (os.cpu_count() or 1) // jobs),
            gpus=() if device == "cpu" else tuple(visible_gpus()),
        ),
    )


def begin_worker(number: int, *, threads: int, gpus: Sequence[str]) -> None:
    """Set a process's threads and, where there are any, the one GPU that it sees."""
    torch.set_num_threads(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)  # type: ignore[no-untyped-call]
    if gpus:
        # read when CUDA is first used, which is later
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]
