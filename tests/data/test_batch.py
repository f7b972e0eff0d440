"""Batches by number, and how they are joined."""

import dataclasses

import pytest
import torch

from liverleaf.data.batch import BatchStream, Regions, SliceBatch, collate


def test_collate_offsets_the_slices_of_each_sample() -> None:
    def sample(lesions: int) -> SliceBatch:
        batch = SliceBatch(
            *(
                torch.zeros(1, 4, 16, 16),
                torch.ones(1, 4, dtype=torch.bool),
                torch.zeros(1, 2, 16, 16),
                torch.ones(1, 2),
            ),
            None,
            None,
            None,
        )
        return dataclasses.replace(
            batch,
            regions=Regions(
                torch.zeros(lesions, 3, 16, 16),
                torch.zeros(lesions, dtype=torch.int64),
                torch.ones(lesions),
            ),
            curve_LP=torch.zeros(lesions, 4),
            type_L=torch.zeros(lesions, dtype=torch.int64),
        )

    joined = collate([sample(2), sample(0), sample(1)])
    assert joined.regions.slice_L.tolist() == [0, 0, 2]
    assert len(joined.images_BPYX) == 3 and len(joined.type_L) == 3
    assert collate([joined, sample(1)]).regions.slice_L.tolist() == [0, 0, 2, 3]


class Counting(BatchStream):
    """Batch number `step` is the number itself."""

    samples_per_epoch = 7

    def __call__(self, step: int) -> int:
        """The number."""
        return step


def test_a_stream_gives_the_batches_in_order_from_anywhere() -> None:
    assert list(Counting().stream(3, 6)) == [3, 4, 5]
    assert list(Counting().stream(6, 6)) == []


class Failing(Counting):
    """As `Counting`, with a batch that cannot be made."""

    def __call__(self, step: int) -> int:
        """The number, but for one."""
        if step == 4:
            raise ValueError("a broken case")
        return step


def test_a_failure_in_the_background_is_raised_when_its_batch_is_due() -> None:
    stream = Failing().stream(3, 6)
    assert next(stream) == 3
    with pytest.raises(ValueError, match="a broken case"):
        next(stream)
