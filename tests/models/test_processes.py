"""Worker processes that use networks."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import SimpleITK
import torch

from liverleaf.models.processes import begin_worker, network_workers, visible_gpus


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The threads of this process as they were."""
    before = torch.get_num_threads(), SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    yield
    torch.set_num_threads(before[0])
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


THREADS = """
import SimpleITK
import torch


def threads_of_both(_):
    return torch.get_num_threads(), SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
"""
"""A module that spawned processes can import, which they cannot do with tests."""


def test_processes_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "threads_in_process.py").write_text(THREADS)
    monkeypatch.syspath_prepend(str(tmp_path))
    threads_of_both = importlib.import_module("threads_in_process").threads_of_both
    jobs = os.cpu_count() or 1
    with network_workers(threads_of_both, jobs=jobs, apart=True, device="cpu") as run:
        assert list(run([0])) == [(1, 1)]


def test_processes_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus() == ["3", "5"]
    seen = []
    for number in range(3):
        begin_worker(number, threads=1, gpus=["3", "5"])
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["3", "5", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    begin_worker(0, threads=1, gpus=())
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
