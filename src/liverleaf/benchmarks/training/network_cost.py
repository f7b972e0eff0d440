"""What a network costs: parameters, operations of a forward pass, memory of a training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from liverleaf.study import InputError
from liverleaf.system.memory import forget_peak, resident_mb
from liverleaf.system.workers import in_new_process

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs.

    Attributes:
        parameters: how many weights are trained.
        flops: floating point operations of one forward pass: matrix products, convolutions,
            attention and Fourier transforms, in which a multiplication and an addition are two.
            What is done element by element (activations, normalisation, pooling) does not count.
        peak_memory_mb: memory that one forward and backward pass takes at its peak, beyond the
            weights and the input, gradients included.
    """

    parameters: int
    flops: int
    peak_memory_mb: float


def network_cost(
    build: Callable[[], nn.Module], inputs: Inputs, *, device: str = "cpu"
) -> NetworkCost:
    """Count and measure.

    Args:
        build: makes the network; on a CPU another process calls it, so it must be picklable, as
            `functools.partial(MTINet, config)` is.
        inputs: what `forward` takes, on the CPU.
        device: where the memory is measured: "cpu", of a fresh process, which needs Linux; or
            "cuda".
    """
    if device == "cuda":
        memory_mb = _cuda_training_memory_mb(build, inputs)
    else:
        measure = partial(_cpu_training_memory_mb, build)
        memory_mb = in_new_process(measure, inputs, _lost, start_method="spawn")
    network = build()
    trained = sum(
        parameter.numel() for parameter in network.parameters() if parameter.requires_grad
    )
    return NetworkCost(trained, forward_flops(network, inputs), memory_mb)


def forward_flops(network: nn.Module, inputs: Inputs) -> int:
    """Floating point operations of one forward pass, as `NetworkCost.flops` counts them."""
    aten = torch.ops.aten
    uncounted = {
        aten._fft_c2c: _complex_fft_flops,
        aten._fft_r2c: _real_fft_flops,
        aten._fft_c2r: _inverse_real_fft_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    }
    training = network.training
    network.eval()  # the statistics of normalisation layers stay as they are
    with (
        FlopCounterMode(display=False, custom_mapping=uncounted) as counter,
        torch.enable_grad(),
    ):  # else Transformers take an uncounted path
        network(*inputs)
    network.train(training)
    return int(counter.get_total_flops())


def _complex_fft_flops(shape: Sequence[int], axes: Sequence[int], *_: object, **__: object) -> int:
    """5 N log2 N for each transform of N points.

    Reference: Frigo and Johnson, The design and implementation of FFTW3, Proc IEEE 2005;93:216-231,
    section V.
    """
    points = math.prod(shape[axis] for axis in axes)
    return round(5 * math.prod(shape) * math.log2(points))


def _real_fft_flops(shape: Sequence[int], axes: Sequence[int], *_: object, **__: object) -> int:
    """Half of what the transform of complex values takes."""
    return _complex_fft_flops(shape, axes) // 2


def _inverse_real_fft_flops(
    _shape: Sequence[int], axes: Sequence[int], *_: object, out_shape: Sequence[int]
) -> int:
    return _real_fft_flops(out_shape, axes)


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    return int(sdpa_flop_count(query, key, value))


def _lost(_inputs: Inputs, reason: str) -> NoReturn:
    raise InputError(f"the memory of a training step cannot be measured: {reason}")


def _cpu_training_memory_mb(build: Callable[[], nn.Module], inputs: Inputs) -> float:
    network = build().train()
    start_mb = resident_mb()
    if not forget_peak():
        raise OSError(
            "the peak of memory cannot be measured: this system does not let a process forget its"
            " peak"
        )
    sum_of_outputs(network, inputs).backward()
    return resident_mb("VmHWM") - start_mb


def _cuda_training_memory_mb(build: Callable[[], nn.Module], inputs: Inputs) -> float:
    network = build().train().cuda()
    inputs = tuple(each.to(torch.device("cuda")) for each in inputs)
    start = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    sum_of_outputs(network, inputs).backward()
    return (torch.cuda.max_memory_allocated() - start) / 2**20


def sum_of_outputs(network: nn.Module, inputs: Inputs) -> Tensor:
    """The simplest scalar whose gradient reaches the whole network."""
    return torch.stack([tensor.sum() for tensor in _tensors(network(*inputs))]).sum()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    else:
        for part in output:
            yield from _tensors(part)
