"""What a case is known by, whatever is drawn on it or written of it: its images and its subject."""

from __future__ import annotations

import hashlib

import numpy as np

from liverleaf.data.network_input import canonical
from liverleaf.study import Study

DIGITS = 16
"""Of the hashes, in hexadecimal: enough that no two of a million images agree by chance."""


def image_hashes(study: Study) -> tuple[str, ...]:
    """One hash per image of a study, of its voxels alone.

    Neither the order of axes in a file, nor its compression or header, nor the phase's name counts.
    An image that is the same everywhere has none: it tells nobody apart.

    Args:
        study: as it is stored, not registered.

    Returns:
        SHA-256, its first `DIGITS` digits, sorted, each once.
    """
    found = set()
    for image in (*study.phases.values(), *study.other.values()):
        array = canonical(image.volume).array
        if array.min() == array.max():
            continue
        digest = hashlib.sha256(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array + np.float32(0)).data)  # -0.0 becomes 0.0
        found.add(digest.hexdigest()[:DIGITS])
    return tuple(sorted(found))


def subject_hash(subject_id: str) -> str:
    """A subject's pseudonym as a model's card keeps it: SHA-256, its first `DIGITS` digits."""
    return hashlib.sha256(subject_id.encode(errors="surrogatepass")).hexdigest()[:DIGITS]
