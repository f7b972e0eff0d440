"""The log of a training run: the terms of the loss, to `log.csv` and to TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from liverleaf.system.files import whole_file


class TrainingLog:
    """The log of a run; a resumed run drops the rows after its checkpoint.

    Args:
        out: folder of the run.
        start: the step that the run goes on with.
        columns: terms of the loss, in the order of the columns; "step", "loss" and "seconds" are
            there anyway.
    """

    def __init__(self, out: Path, start: int, columns: Sequence[str]) -> None:
        self.path, self.start = out / "log.csv", start
        self.columns = ("step", "loss", *columns, "seconds")
        # values are read only when flushed: a GPU would be waited for at every step
        self.pending: list[tuple[int, Mapping[str, Tensor], float]] = []

    def __enter__(self) -> TrainingLog:
        from torch.utils.tensorboard import SummaryWriter

        kept: list[dict[str, str]] = []
        if self.start and self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) < self.start]
        with whole_file(self.path) as part, part.open("w", newline="") as file:
            # logs of 0.1 have a column for every term of MTI-Net's loss, whatever was trained
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        self.file = self.path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, self.columns, restval="")
        self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.start)
        return self

    def add(self, step: int, terms: Mapping[str, Tensor], seconds: float) -> None:
        """Keep the terms of a step for the next `flush`."""
        self.pending.append((step, terms, seconds))

    def flush(self) -> None:
        """Write what was kept."""
        for step, terms, seconds in self.pending:
            values = {name: float(value) for name, value in terms.items()} | {"seconds": seconds}
            self.writer.writerow(
                {"step": step} | {name: f"{value:.6g}" for name, value in values.items()}
            )
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        self.pending.clear()
        self.file.flush()

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()
        self.board.close()
