"""Damage to the bytes of any file, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.random import Generator

Mutation = Callable[[Generator, bytes], bytes]
"""Gives the damaged bytes of a valid file; what is random in it comes from the generator."""

BINARY: Mapping[str, Sequence[int | float]] = {
    "H": (0, 1, 7, 255, 32767, 32768, 65535),
    "h": (0, -1, -32768, 32767),
    "I": (0, 1, 2**31, 2**32 - 1),
    "i": (0, -1, -(2**31), 2**31 - 1),
    "f": (0.0, float("nan"), float("inf"), -1.0, 3e38),
    "d": (0.0, float("nan"), float("inf"), -1.0, 1e308),
}
"""Extreme values by the format characters of `struct`."""


def flip_bits(rng: Generator, content: bytes) -> bytes:
    """One to eight bits anywhere."""
    return flipped(rng, content, 0, len(content))


def flip_early_bits(rng: Generator, content: bytes) -> bytes:
    """One to eight bits in the first 2000 bytes, where headers are."""
    return flipped(rng, content, 0, min(len(content), 2000))


def truncate(rng: Generator, content: bytes) -> bytes:
    """The file ends early, perhaps before it begins."""
    return content[: rng.integers(len(content)) if rng.random() < 0.9 else 0]


def insert_bytes(rng: Generator, content: bytes) -> bytes:
    """Up to 64 bytes too many."""
    at = int(rng.integers(len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 65))) + content[at:]


def remove_bytes(rng: Generator, content: bytes) -> bytes:
    """Up to 64 bytes missing in the middle."""
    at = int(rng.integers(len(content)))
    return content[:at] + content[at + int(rng.integers(1, 65)) :]


def overwrite_block(rng: Generator, content: bytes) -> bytes:
    """Up to 1024 bytes of zeros, ones or noise, as a bad disk leaves them."""
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 1025))
    block = (b"\x00" * size, b"\xff" * size, rng.bytes(size))[rng.integers(3)]
    return (content[:at] + block + content[at + size :])[: len(content)]


def append_bytes(rng: Generator, content: bytes) -> bytes:
    """The file again, or noise, behind its end."""
    return content + (content if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 4097))))


def flipped(rng: Generator, content: bytes, start: int, stop: int) -> bytes:
    """The file with one to eight bits flipped between two bytes of it."""
    damaged = bytearray(content)
    for at in rng.integers(start, max(start + 1, stop), size=int(rng.integers(1, 9))):
        if at < len(damaged):
            damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def pick(rng: Generator, choices: Sequence[Any]) -> Any:
    """One of several choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]


ANY: dict[str, Mutation] = {
    "bits flipped anywhere": flip_bits,
    "bits flipped in the header": flip_early_bits,
    "truncated": truncate,
    "bytes inserted": insert_bytes,
    "bytes removed": remove_bytes,
    "block overwritten": overwrite_block,
    "bytes appended": append_bytes,
}
